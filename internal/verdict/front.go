package verdict

import "sync/atomic"

const (
	// fronts is how many entries the table in front of ristretto holds: with pointers of 8 bytes each, 32 KiB a cache.
	fronts = 4096

	// learning is how many hits a lane counts from one that ristretto is told of to the next. Its policy keeps what is hot
	// and would take what the table answers for cold. Sampled alike, the hot stays hotter than what comes once in a while. A
	// prime, so that of tokens that take turns not always the same are counted.
	learning = 31
)

// front is a table of the entries that were found last, one for each of some hashes: a hit in it takes no lock. An entry in it
// has to be judged and compared as any other. What ristretto lets go of leaves the table too, so that it keeps no memory of
// its own alive. A reader that puts in what goes just then is the exception: such an entry stays until another one comes into
// its place, until it is found that often that ristretto is asked, or until it is swept. Those are few, and never more
// than there are places.
type front[K, V any] [fronts]atomic.Pointer[entry[K, V]]

func (f *front[K, V]) of(hash uint64) *atomic.Pointer[entry[K, V]] { return &f[hash%fronts] }

// drop takes out e, if it is there.
func (f *front[K, V]) drop(hash uint64, e *entry[K, V]) { f.of(hash).CompareAndSwap(e, nil) }

// sweep takes out what is not good any more.
func (f *front[K, V]) sweep(good func(*entry[K, V]) bool) {
	for i := range f {
		if e := f[i].Load(); e != nil && !good(e) {
			f[i].CompareAndSwap(e, nil)
		}
	}
}
