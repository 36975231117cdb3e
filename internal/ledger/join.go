package ledger

import (
	"bytes"
	"cmp"
	"slices"

	"github.com/keyturn/keyturn/internal/credential"
	"github.com/keyturn/keyturn/internal/id"
	"github.com/keyturn/keyturn/internal/peer"
)

// State is what a set of records says together.
type State struct {
	Cluster     *Cluster // nil: not bootstrapped, or its records are not in the set
	Credentials map[id.ID]*credential.Credential
	Peers       map[id.ID]*peer.Peer
	JoinKeys    map[id.ID]*peer.JoinKey
}

// Join turns a set of records into state. It depends on the set alone: neither order nor duplicates change the answer.
func Join(records []*Record) State {
	bySubject := map[id.ID][]*Record{}
	for _, r := range records {
		bySubject[r.Subject] = append(bySubject[r.Subject], r)
	}
	s := State{
		Credentials: map[id.ID]*credential.Credential{}, Peers: map[id.ID]*peer.Peer{}, JoinKeys: map[id.ID]*peer.JoinKey{},
	}
	for subject, own := range bySubject {
		switch subject.Kind() {
		case id.Cluster:
			s.Cluster = olderCluster(s.Cluster, JoinCluster(own))
		case id.Client:
			if c := JoinCredential(own); c != nil {
				s.Credentials[subject] = c
			}
		case id.Peer:
			if p := JoinPeer(own); p != nil {
				s.Peers[subject] = p
			}
		case id.JoinKey:
			if k := JoinJoinKey(own); k != nil {
				s.JoinKeys[subject] = k
			}
		}
	}
	return s
}

// olderCluster chooses by id, should a set ever hold two clusters: records of another cluster are refused long before.
func olderCluster(a, b *Cluster) *Cluster {
	if a == nil || b != nil && b.ID < a.ID {
		return b
	}
	return a
}

// inOrder returns the records without duplicates in the one order that every reader agrees on.
func inOrder(records []*Record) []*Record {
	set := slices.Clone(records)
	slices.SortFunc(set, compareRecords)
	return slices.CompactFunc(set, func(a, b *Record) bool { return compareRecords(a, b) == 0 })
}

// compareRecords looks at all that a join reads. The chain refuses a second record of one region and sequence, but not
// every reader follows the chain, and the state must not depend on which of the two came first.
func compareRecords(a, b *Record) int {
	return cmp.Or(
		a.At.Compare(b.At), cmp.Compare(a.Region, b.Region), cmp.Compare(a.Seq, b.Seq),
		cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Subject, b.Subject), cmp.Compare(a.Actor, b.Actor),
		bytes.Compare(a.Body, b.Body),
	)
}
