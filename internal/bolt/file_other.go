//go:build !unix

package bolt

import "os"

// Where there are no unix modes, the folder's access rules protect the file, and bbolt's own lock follows a moment later.

func checkFile(*os.File, string) error { return nil }

func tryLock(*os.File) error { return nil }

func release(f *os.File) error { return f.Close() }

func fileSize(f *os.File) (int64, error) {
	info, err := f.Stat()
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}

func syncFolder(string) error { return nil }
