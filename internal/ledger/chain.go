package ledger

import "fmt"

// Chain follows one region's ledger record by record.
type Chain struct {
	Region string
	Seq    uint64 // of the last record, 0 before the first
	Sum    []byte // of the last record
}

// Next checks that r, whose signed bytes have that Sum, continues the chain, and moves on to it. It returns ErrFork, and does
// not move, where the region, the sequence or the predecessor does not fit.
func (c *Chain) Next(r *Record, sum []byte) error {
	if r.Region != c.Region || r.Seq != c.Seq+1 || r.Prev != PrevOf(c.Sum) {
		return fmt.Errorf("%w: after %s:%d came %s:%d, which does not name it as its predecessor",
			ErrFork, c.Region, c.Seq, r.Region, r.Seq)
	}
	c.Seq, c.Sum = r.Seq, sum
	return nil
}
