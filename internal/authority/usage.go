package authority

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/keyturn/keyturn/internal/access"
	"github.com/keyturn/keyturn/internal/credential"
	"github.com/keyturn/keyturn/internal/id"
	"github.com/keyturn/keyturn/internal/peer"
	"github.com/keyturn/keyturn/internal/usage"
)

// Limits of the notes on who uses which version.
const (
	usageKept  = 35 * 24 * time.Hour
	usageGuard = time.Second // in that time after a write there is no other, be it of a final report

	// usageSources is how many callers an authority tells apart for each version: a whole fleet may call it.
	usageSources = 1024
	// maxUsage is how many uses one report may hold.
	maxUsage = 2000
)

// TooSoonError says that a peer has reported within the minute: when it may do so again.
type TooSoonError struct{ Wait time.Duration }

// Error implements error.
func (e *TooSoonError) Error() string {
	return fmt.Sprintf("one report a minute is enough: the next one in %d seconds", int(e.Wait.Seconds()))
}

// usageKey is the claim under which a reporter's note lies.
func usageKey(reporter id.ID) string { return "usage:" + reporter.String() }

// usageKeyOf is the claim for one version, where several processes count for one authority.
func usageKeyOf(reporter id.ID, clientID string, version int) string {
	return fmt.Sprintf("usage:%s:%s:%d", reporter, clientID, version)
}

// ReportUsage keeps what a peer, the caller, tells of itself. A report that was kept before is no error; what is told again under
// its id, and more, counts once. It takes the scope ledger.read, and returns access.ErrForbidden, ErrInput, a *TooSoonError within
// a minute of the report before, or access.ErrUnavailable.
func (a *Authority) ReportUsage(ctx context.Context, caller access.Caller, at time.Time, r usage.Report) error {
	if err := caller.Require(credential.LedgerRead); err != nil {
		return err
	}
	if caller.Peer == nil {
		return access.ErrForbidden
	}
	if err := checkReport(r); err != nil {
		return err
	}
	return a.note(ctx, at, noted{key: usageKey(caller.Peer.ID), sources: usage.Sources, guard: usageGuard, paced: true}, r)
}

// noted says how a note is kept.
type noted struct {
	key     string
	sources int           // how many callers are told apart
	guard   time.Duration // it does not yield before
	paced   bool          // nor to a report of the same minute that is not final
}

// note merges a report into a note. A report that comes too soon is a *TooSoonError, and changes nothing.
func (a *Authority) note(ctx context.Context, at time.Time, where noted, r usage.Report) error {
	n, held, err := a.readNote(ctx, where.key)
	switch {
	case err != nil:
		return err
	case where.paced && n.Holds(r), !where.paced && r.ID != "" && n.Report == r.ID: // what is told here is sent again as it was
		return nil
	case where.paced && n.Early(r, at) > 0:
		return &TooSoonError{n.Early(r, at)}
	case held.Key != "" && !held.Gives(at):
		return &TooSoonError{max(held.Yields.Sub(at), time.Second)}
	}
	if _, err := a.usageBegun(ctx, at); err != nil {
		return err
	}
	n = n.Merge(r, at, where.sources)
	if !where.paced {
		n.Told = nil
	}
	value, err := n.Encode()
	if err != nil {
		return err
	}
	err = a.store.Claim(ctx, Claim{Key: where.key, Value: value, At: at, ExpiresAt: at.Add(usageKept), Yields: at.Add(where.guard)})
	if errors.Is(err, ErrConflict) {
		return &TooSoonError{where.guard} // another one was faster
	}
	if err != nil {
		return unavailable("note a use", err)
	}
	return nil
}

// readNote returns a note and the claim that holds it; both are zero where there is none. A note that cannot be read is none:
// it is a memory, and nothing is decided by it alone.
func (a *Authority) readNote(ctx context.Context, key string) (usage.Note, Claim, error) {
	held, err := a.store.Claimed(ctx, key)
	if errors.Is(err, ErrNotFound) {
		return usage.Note{}, Claim{}, nil
	}
	if err != nil {
		return usage.Note{}, Claim{}, unavailable("read a note of uses", err)
	}
	n, err := usage.DecodeNote(held.Value)
	if err != nil {
		return usage.Note{}, held, nil
	}
	return n, held, nil
}

// checkReport refuses what cannot be true, and what could not be printed.
func checkReport(r usage.Report) error {
	if len(r.ID) < 16 || len(r.ID) > 64 || len(r.Uses) > maxUsage {
		return fmt.Errorf("%w: report has to be 16 to 64 characters, with at most %d uses", ErrInput, maxUsage)
	}
	if err := credential.CheckName(r.ID); err != nil {
		return err
	}
	for _, u := range r.Uses {
		c, err := id.ParseClientID(u.ClientID)
		switch {
		case err != nil || u.Version < 1 || !c.Bare() && c.Version != u.Version:
			return fmt.Errorf("%w: %.64q and version %d name no version of a credential", ErrInput, u.ClientID, u.Version)
		case u.Count < 1 || u.First.IsZero() || u.Last.Before(u.First):
			return fmt.Errorf("%w: a use is counted once at the least, and its last time is not before its first", ErrInput)
		}
		if err := credential.CheckName(u.Source); err != nil {
			return err
		}
	}
	return nil
}

// Usage says who uses each version of a credential, in the order of c.Versions, as far as peers and authorities have told until
// instant at. It takes credentials.read, and returns access.ErrForbidden or ErrUnavailable.
func (a *Authority) Usage(ctx context.Context, caller access.Caller, at time.Time, c *credential.Credential) ([]usage.Version, error) {
	if err := caller.Require(credential.CredentialsRead); err != nil {
		return nil, err
	}
	peers, err := a.allPeers(ctx, at)
	if err != nil {
		return nil, err
	}
	begun, err := a.usageBegun(ctx, at)
	if err != nil {
		return nil, err
	}
	reporters := reportersOf(peers)
	if err := a.readNotes(ctx, at, c, reporters); err != nil {
		return nil, err
	}
	return usage.Judge(c, at, begun, reporters), nil
}

// reportersOf are peers under names that tell them apart; of those that were removed, the name alone is not enough where
// another has it.
func reportersOf(peers []*peer.Peer) []usage.Reporter {
	reporters := make([]usage.Reporter, 0, len(peers))
	names := map[string]bool{}
	for _, status := range []peer.Status{peer.Active, peer.Removed} {
		for _, p := range peers {
			if p.Status() != status {
				continue
			}
			r := usage.Reporter{ID: p.ID, Name: p.Name, Authority: p.Role == peer.Authority, LeftAt: p.LeftAt}
			if r.Authority {
				r.Name = "authority " + p.Region
			}
			if r.Name == "" || names[r.Name] {
				r.Name = strings.TrimSpace(r.Name + " " + p.ID.String())
			}
			names[r.Name] = true
			reporters = append(reporters, r)
		}
	}
	return reporters
}

// readNotes fills in what the reporters have told.
func (a *Authority) readNotes(ctx context.Context, at time.Time, c *credential.Credential, reporters []usage.Reporter) error {
	errs := make([]error, len(reporters))
	atOnce(len(reporters), func(i int) { errs[i] = a.readReporter(ctx, at, c, &reporters[i]) })
	return errors.Join(errs...)
}

func (a *Authority) readReporter(ctx context.Context, at time.Time, c *credential.Credential, r *usage.Reporter) error {
	if !r.LeftAt.IsZero() && at.Sub(r.LeftAt) > usage.Kept {
		return nil // all that it told is older
	}
	var pending []usage.Use
	if r.ID == a.Self() {
		pending = a.used.pending() // before the note is read: what moves from here to there meanwhile is not overlooked
	}
	n, held, err := a.readNote(ctx, usageKey(r.ID))
	if err != nil {
		return err
	}
	if len(held.Value) > 0 && !n.At.IsZero() {
		r.Note = &n
	}
	if !r.Authority {
		return nil
	}
	uses := n.Uses
	if !a.o.SoleWriter {
		for _, key := range usageKeys(r.ID, c, at) {
			more, _, err := a.readNote(ctx, key)
			if err != nil {
				return err
			}
			uses = usage.Merge(uses, more.Uses)
		}
	}
	r.Note = &usage.Note{At: at, Uses: usage.Merge(uses, pending)}
	return nil
}

// usageKeys are the claims of an authority's versions of c that may have been used lately.
func usageKeys(reporter id.ID, c *credential.Credential, at time.Time) []string {
	var keys []string
	seen := map[int]bool{}
	for i := len(c.Versions) - 1; i >= 0; i-- {
		v := &c.Versions[i]
		if seen[v.Number] || !v.NotAfter.IsZero() && at.Sub(v.NotAfter) > usage.Kept || v.Dead() && at.Sub(v.DeadSince) > usage.Kept {
			continue
		}
		seen[v.Number] = true
		keys = append(keys, usageKeyOf(reporter, c.ClientID(v.Number), v.Number))
	}
	return keys
}
