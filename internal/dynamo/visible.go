package dynamo

import (
	"bytes"
	"context"
	"errors"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/keyturn/keyturn/internal/authority"
)

// A query may see the head of a transaction before it sees the transaction's other items. Whoever then decides on what it
// read, and appends to that head, would win although somebody else has changed the subject. So:
//
//   - The head names the subjects of its batch. A store that has read the head answers for such a subject only once the
//     copy that the head names is there.
//   - A batch checks the copies of the batch before it, in its transaction: that cannot commit anywhere before the other one
//     has committed everywhere. So what an older head names need not be remembered.

// tip is a head, and what its batch touched.
type tip struct {
	head  authority.Head
	wrote map[string]uint64 // the last sequence of each subject in the head's batch; nil where all of it is known to be there
}

func readTip(it item) (tip, bool) {
	seq, ok := getNumber(it, attrNumber)
	t := tip{head: authority.Head{Seq: seq, Sum: getBytes(it, attrHash)}, wrote: map[string]uint64{}}
	if m, _ := it[attrWrote].(*types.AttributeValueMemberM); m != nil {
		for subject := range m.Value {
			n, is := getNumber(m.Value, subject)
			t.wrote[subject], ok = n, ok && is
		}
	}
	return t, ok
}

// wroteBy says what the head of a batch has to name. A copy that is to expire is left out: nobody may wait for it.
func wroteBy(entries []authority.Entry) item {
	wrote := item{}
	for _, e := range entries {
		delete(wrote, e.Subject)
		if e.CopyExpires.IsZero() {
			wrote[e.Subject] = number(e.Seq)
		}
	}
	return wrote
}

func sameHead(a, b authority.Head) bool { return a.Seq == b.Seq && bytes.Equal(a.Sum, b.Sum) }

// memory is what a store remembers of what it has read: it saves requests, and nothing goes wrong where it is empty.
type memory struct {
	mu    sync.Mutex
	tip   *tip     // of our own region
	heard []string // the other regions that have a head
	dates map[string]map[ref]dates
}

// ref names an entry.
type ref struct {
	region string
	seq    uint64
}

// dates are those of an entry as they were read. They are only ever moved forward, so what they rule out stays ruled out.
type dates struct {
	hashed       bool // it came with a hash, which may be gone by now
	secret, copy time.Time
}

// maxDates bounds how many subjects are remembered.
const maxDates = 256

func (m *memory) last() *tip {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.tip
}

// hear notes which other regions have written something. There are never fewer of them.
func (m *memory) hear(others []string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.heard = others
}

func (m *memory) others() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.heard
}

// learn notes a head that was read after before had been the last: an older one than that is one that was restored.
func (m *memory) learn(before *tip, now tip) {
	m.mu.Lock()
	defer m.mu.Unlock()
	switch {
	case m.tip != nil && sameHead(m.tip.head, now.head): // it may know more already
	case m.tip == before || now.head.Seq > m.tip.head.Seq:
		m.tip = &now
	}
}

// committed notes a head that this store has written: all of its batch is there.
func (m *memory) committed(head authority.Head) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.tip == nil || head.Seq > m.tip.head.Seq {
		m.tip = &tip{head: head}
	}
}

// whole says whether a subject's entries go as far as the last head demands.
func (m *memory) whole(region, subject string, found []authority.Entry) bool {
	t := m.last()
	if t == nil || t.wrote[subject] == 0 {
		return true
	}
	for _, e := range found {
		if e.Region == region && e.Seq >= t.wrote[subject] {
			return true
		}
	}
	return false
}

// note remembers the dates of a subject's entries, and which of them came with a hash.
func (m *memory) note(subject string, found []authority.Entry, hashed []bool) {
	if len(found) == 0 {
		return
	}
	seen := make(map[ref]dates, len(found))
	for i, e := range found {
		seen[ref{e.Region, e.Seq}] = dates{hashed[i], e.SecretExpires, e.CopyExpires}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.dates) >= maxDates || m.dates == nil {
		m.dates = map[string]map[ref]dates{}
	}
	m.dates[subject] = seen
}

// narrow leaves out of an expiry what is known to change nothing.
func (m *memory) narrow(x authority.Expiry) authority.Expiry {
	m.mu.Lock()
	defer m.mu.Unlock()
	d, known := m.dates[x.Subject][ref{x.Region, x.Seq}]
	if !known {
		return x
	}
	if !d.hashed || notBefore(x.Secret, d.secret) {
		x.Secret = time.Time{}
	}
	if notBefore(x.Copy, d.copy) {
		x.Copy = time.Time{}
	}
	return x
}

// notBefore says that there is a date already, and that t does not move it forward.
func notBefore(t, there time.Time) bool {
	return !there.IsZero() && !t.Before(there)
}

// visibly reads again until the table shows what has to be there.
func (s *Store) visibly(ctx context.Context, doing string, read func(context.Context) error) error {
	budget, cancel := context.WithTimeout(ctx, s.o.Patience)
	defer cancel()
	for tries := 1; ; tries++ {
		err := read(ctx)
		if !errors.Is(err, errLagging) {
			return err
		}
		if !pause(budget, tries) {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			return s.explain(doing, err)
		}
	}
}
