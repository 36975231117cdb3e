package authority

import (
	"sync"
	"time"

	"github.com/keyturn/keyturn/internal/id"
)

// memory keeps joined subjects of one kind where nobody else writes to the store. Its size is bounded: what was used since the last
// turn survives the next one.
type memory[T any] struct {
	mu         sync.RWMutex
	young, old map[id.ID]remembered[T]
	turns      uint64          // counts commits, so that a read which a commit overtook is not kept
	writing    map[string]bool // subjects of the batch that is being committed: nobody knows which side of it a read is on
}

// remembered is a joined subject, and when it is what a read would say: a clock that jumps must not decide for later.
type remembered[T any] struct {
	value T
	span
}

const memoryLimit = 4 << 10

func newMemory[T any]() *memory[T] { return &memory[T]{young: map[id.ID]remembered[T]{}} }

func (m *memory[T]) get(subject id.ID, at time.Time) (value T, ok bool) {
	if m == nil {
		return value, false
	}
	m.mu.RLock()
	r, known := m.young[subject]
	_, old := m.old[subject]
	m.mu.RUnlock()
	if !known && old {
		r, known = m.renew(subject)
	}
	if !known || !r.holds(at) {
		return value, false
	}
	return r.value, true
}

// renew keeps an old one for another turn. What was forgotten meanwhile is none.
func (m *memory[T]) renew(subject id.ID) (remembered[T], bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if r, young := m.young[subject]; young {
		return r, true
	}
	r, old := m.old[subject]
	if old {
		m.insert(subject, r)
	}
	return r, old
}

func (m *memory[T]) turn() uint64 {
	if m == nil {
		return 0
	}
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.turns
}

func (m *memory[T]) put(subject id.ID, r remembered[T], turn uint64) {
	if m == nil {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.turns == turn && !m.writing[subject.String()] {
		m.insert(subject, r)
	}
}

func (m *memory[T]) insert(subject id.ID, r remembered[T]) {
	if len(m.young) >= memoryLimit {
		m.old, m.young = m.young, map[id.ID]remembered[T]{}
	}
	m.young[subject] = r
}

// begin drops what a commit is about to change, and remembers nothing of it until end: from the instant of the commit on
// somebody may hold its answer (a replay finds it in the store), so no reader may go on with what was before.
func (m *memory[T]) begin(subjects map[string]bool) {
	if m == nil {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.turns++
	m.writing = subjects
	for s := range subjects {
		delete(m.young, id.ID(s))
		delete(m.old, id.ID(s))
	}
}

// end says that the commit is over, whatever came of it.
func (m *memory[T]) end() {
	if m == nil {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.turns++
	m.writing = nil
}
