package ledger

import "fmt"

// Link is a record of a chain, decoded, with its Sum.
type Link struct {
	Signed Signed
	Record *Record
	Sum    []byte
}

// NewLink decodes the bytes of a signed record without checking its signature. It returns ErrRecord.
func NewLink(data []byte) (Link, error) {
	s, err := Decode(data)
	if err != nil {
		return Link{}, err
	}
	r, err := s.Record()
	if err != nil {
		return Link{}, err
	}
	return Link{s, r, Sum(data)}, nil
}

// follows reports whether l names before as its predecessor, and the same key as its signer.
func (l *Link) follows(before *Link) bool {
	return l.Record.Region == before.Record.Region && l.Record.Seq == before.Record.Seq+1 &&
		l.Signed.KeyID == before.Signed.KeyID && l.Record.Prev == PrevOf(before.Sum)
}

// CheckChain is Check for many records, those of a region in the order of their sequences: an error for each, nil for what
// Check takes.
//
// It checks far fewer signatures. A record names the sum of its predecessor, whose signature and key are in that sum. So a good
// signature speaks for the whole stretch of the chain before it: nobody without the key could have put another byte there. A
// stretch ends where the key changes: it was trusted before, and vouches for nothing but what it signs. Where the signature at
// the end of a stretch is no good, each of its records is checked by its own.
func (v *Verifier) CheckChain(links []Link) []error {
	errs := make([]error, len(links))
	for from, to := 0, 0; from < len(links); from = to {
		to = from + 1
		for to < len(links) && links[to].follows(&links[to-1]) {
			to++
		}
		vouched := v.signedByTrusted(links[to-1].Signed)
		for i := from; i < to; i++ {
			if l := &links[i]; vouched {
				errs[i] = v.belongs(l.Record)
			} else {
				errs[i] = v.Check(l.Signed, l.Record)
			}
		}
	}
	return errs
}

// ExamineChain is CheckChain for a walk over what is stored. It returns the first error with the place of its record, and
// remembers that what comes before has a good signature, so that Open does not check it again.
func (v *Verifier) ExamineChain(links []Link) error {
	for i, err := range v.CheckChain(links) {
		if err != nil {
			return fmt.Errorf("record %s:%d: %w", links[i].Record.Region, links[i].Record.Seq, err)
		}
		v.mu.Lock()
		v.checked.put([32]byte(links[i].Sum), struct{}{})
		v.mu.Unlock()
	}
	return nil
}
