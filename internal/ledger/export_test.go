package ledger

// Remembers is how many decoded records a Verifier keeps at least, and half of how many it keeps at most.
func (v *Verifier) Remembers() int { return v.opened.limit }

// Remember changes that number, before anything is opened.
func (v *Verifier) Remember(n int) { v.opened = newGenerations[*Record](n) }
