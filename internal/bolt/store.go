// Package bolt is an authority.Store in one bbolt file: for keyturn serve, for tests, and for a sidecar's replica.
//
// It knows no rule of the domain and opens nothing that it has not checked: bbolt maps the file and trusts it, so Open
// first reads the whole tree of pages and every item itself. Values carry a checksum that each read proves. A file that is
// not what was written is ErrDamaged, with its name and what can be done, and is never repaired; a file that somebody
// else uses is ErrLocked. All else is an error of the operating system that names the file, after which the store goes on
// working as soon as its cause is gone (a full disk, for example).
package bolt

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"go.etcd.io/bbolt"

	"github.com/keyturn/keyturn/internal/authority"
)

// Options are what Open can be told. The zero value works.
type Options struct {
	// LockTimeout is how long Open waits for a file that is in use. Zero means one second; below zero it does not wait.
	LockTimeout time.Duration
}

const (
	defaultLockTimeout = time.Second
	mapSize            = 1 << 28 // bytes of address space: below that size of the file a writer never waits for readers
	growBy             = 1 << 20 // bytes by which the file grows
)

// Store is an authority.Store in one file. It may be used from many goroutines.
type Store struct {
	path string
	db   *bbolt.DB
	file *os.File // the one that db has open and locked

	life   sync.RWMutex // held for reading by every call, for writing by Close
	closed bool

	writer chan struct{}         // held by the one that writes
	size   atomic.Int64          // bytes that the file had at least: it never shrinks
	dead   atomic.Pointer[error] // set for good when the file has proved unusable in the middle of a call
	doubt  atomic.Bool           // the last commit is in the file, but its fsync failed
}

var _ authority.Store = (*Store)(nil)

// Open opens the store at path, and makes a new one where there is no file; its folder must exist. The file has mode
// 0600 and belongs to the user who runs the program: one that others can read or that belongs to somebody else is
// refused with the command that mends it. Errors: ErrLocked, ErrDamaged, fs.ErrPermission, and those of the system.
func Open(path string, o Options) (*Store, error) {
	timeout := o.LockTimeout
	if timeout == 0 {
		timeout = defaultLockTimeout
	}
	f, err := openFile(path, timeout)
	if err != nil {
		return nil, err
	}
	s := &Store{path: path, file: f, writer: make(chan struct{}, 1)}
	if err := s.start(); err != nil {
		_ = release(f) // bbolt may have closed it already
		return nil, s.explain(err)
	}
	return s, nil
}

// start opens the database in the file that is locked already.
func (s *Store) start() (err error) {
	defer s.guard(&err)()
	if _, err := s.grown(); err != nil {
		return err
	}
	if err := inspect(s.file, s.size.Load()); err != nil {
		return err
	}
	s.db, err = openDB(s.file)
	return err
}

// openDB hands an open file to bbolt.
func openDB(f *os.File) (*bbolt.DB, error) {
	db, err := bbolt.Open(f.Name(), 0o600, &bbolt.Options{
		OpenFile:        func(string, int, fs.FileMode) (*os.File, error) { return f, nil },
		FreelistType:    bbolt.FreelistMapType,
		InitialMmapSize: mapSize,
		NoStatistics:    true,
		Timeout:         time.Millisecond, // for a lock that is ours already
	})
	if err != nil {
		return nil, err
	}
	db.AllocSize = growBy
	return db, nil
}

// Close waits for the calls that are under way, then closes the file and lets go of its lock. Later calls return
// fs.ErrClosed; a later Close returns nil.
func (s *Store) Close() (err error) {
	s.life.Lock()
	defer s.life.Unlock()
	if s.closed {
		return nil
	}
	s.closed = true
	if s.dead.Load() != nil {
		return release(s.file) // bbolt may have died with its own locks held, so it cannot be asked
	}
	defer s.guard(&err)()
	return s.explain(s.db.Close())
}

// view runs fn in a transaction that reads.
func (s *Store) view(ctx context.Context, fn func(view) error) error {
	leave, err := s.enter(ctx)
	if err != nil {
		return err
	}
	defer leave()
	if s.doubt.Load() {
		if err := s.write(ctx, func(*change) error { return nil }); err != nil {
			return err
		}
	}
	return s.explain(s.read(fn))
}

func (s *Store) read(fn func(view) error) (err error) {
	defer s.guard(&err)()
	return s.db.View(func(tx *bbolt.Tx) error { return fn(view{tx}) })
}

// update runs fn in a transaction that writes, and returns nil when all of it is on durable media.
func (s *Store) update(ctx context.Context, fn func(*change) error) error {
	leave, err := s.enter(ctx)
	if err != nil {
		return err
	}
	defer leave()
	return s.write(ctx, fn)
}

// write waits for its turn, so that bbolt's own lock never makes a call wait that could have given up.
func (s *Store) write(ctx context.Context, fn func(*change) error) error {
	select {
	case s.writer <- struct{}{}:
		defer func() { <-s.writer }()
	case <-ctx.Done():
		return ctx.Err()
	}
	if err := s.usable(ctx); err != nil {
		return err
	}
	if err := inPlace(s.file, s.path); err != nil {
		return err
	}
	id, err := s.commit(fn)
	if err == nil {
		s.doubt.Store(false) // what was in doubt lies below this commit
	} else if id > 0 && s.visible(id) {
		s.doubt.Store(true)
	}
	return s.explain(err)
}

// commit returns the number of the transaction when it came so far that it may be in the file.
func (s *Store) commit(fn func(*change) error) (id int, err error) {
	defer s.guard(&err)()
	err = s.db.Update(func(tx *bbolt.Tx) error {
		c, err := newChange(tx)
		if err != nil {
			return err
		}
		if err := fn(c); err != nil {
			return err
		}
		id = tx.ID()
		return c.finish()
	})
	return id, err
}

// visible reports whether the transaction id, whose commit failed, can be read all the same: then only its last fsync
// failed, and it might be gone after a crash. No answer may rest on it until another commit has made it durable.
func (s *Store) visible(id int) (yes bool) {
	if s.dead.Load() != nil {
		return false
	}
	_ = s.read(func(v view) error {
		yes = v.tx.ID() >= id
		return nil
	})
	return yes
}

// enter begins a call; leave ends it.
func (s *Store) enter(ctx context.Context) (leave func(), err error) {
	s.life.RLock()
	if err := s.usable(ctx); err != nil {
		s.life.RUnlock()
		return nil, err
	}
	return s.life.RUnlock, nil
}

// usable says why a call cannot go on. A file that has become shorter is noticed here, before bbolt follows a page that
// is no longer there.
func (s *Store) usable(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if s.closed {
		return fmt.Errorf("%s: %w", s.path, fs.ErrClosed)
	}
	if err := s.dead.Load(); err != nil {
		return *err
	}
	ok, err := s.grown()
	if err == nil && !ok {
		err = s.die("it has been cut off while it was in use")
	}
	return err
}

// grown reports that the file is not smaller than it was, and notes its size.
func (s *Store) grown() (bool, error) {
	before := s.size.Load() // before the file is asked: it may grow in between
	now, err := fileSize(s.file)
	if err != nil {
		return false, fmt.Errorf("%s: %w", s.path, err)
	}
	if now > before {
		s.size.CompareAndSwap(before, now)
	}
	return now >= before, nil
}

// die makes every later call fail. bbolt may hold locks for ever once it has panicked.
func (s *Store) die(cause string) error {
	err := error(&damage{path: s.path, cause: cause})
	s.dead.CompareAndSwap(nil, &err)
	return err
}

// guard turns a panic of bbolt into damage, and so a fault on the mapped file (which is what a file that was cut off, or
// a disk that cannot be read, looks like). It is deferred together with its result.
func (s *Store) guard(err *error) func() {
	before := debug.SetPanicOnFault(true)
	return func() {
		debug.SetPanicOnFault(before)
		if r := recover(); r != nil {
			*err = s.die(fmt.Sprint(r))
		}
	}
}
