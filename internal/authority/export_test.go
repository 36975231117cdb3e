package authority

import (
	"time"

	"github.com/keyturn/keyturn/internal/credential"
	"github.com/keyturn/keyturn/internal/id"
)

// Patient lets a batch take so long, and returns how long it may take in production.
func Patient(d time.Duration) (production time.Duration) {
	production, commitBudget = commitBudget, d
	return production
}

// MemoryLimit is how many credentials one generation of a Memory holds.
const MemoryLimit = memoryLimit

// Memory is what an Authority remembers.
type Memory struct {
	m *memory[*credential.Credential]
}

// NewMemory returns an empty one.
func NewMemory() Memory { return Memory{newMemory[*credential.Credential]()} }

// Get, Put and Turn are those of memory; what is put holds at any time.
func (m Memory) Get(subject id.ID, at time.Time) (*credential.Credential, bool) {
	return m.m.get(subject, at)
}

func (m Memory) Put(subject id.ID, c *credential.Credential, turn uint64) {
	m.m.put(subject, remembered[*credential.Credential]{value: c}, turn)
}

func (m Memory) Turn() uint64 { return m.m.turn() }

// Begin and End are around a commit that changes subjects.
func (m Memory) Begin(subjects ...id.ID) {
	set := map[string]bool{}
	for _, s := range subjects {
		set[s.String()] = true
	}
	m.m.begin(set)
}

func (m Memory) End() { m.m.end() }

// Waiting is how many changes are queued behind the batch that is being written.
func Waiting(a *Authority) int {
	a.queue.mu.Lock()
	defer a.queue.mu.Unlock()
	return len(a.queue.waiting)
}
