package serve

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/keyturn/keyturn/internal/access"
	"github.com/keyturn/keyturn/internal/authority"
	"github.com/keyturn/keyturn/internal/bolt"
	"github.com/keyturn/keyturn/internal/credential"
	"github.com/keyturn/keyturn/internal/httpapi"
	"github.com/keyturn/keyturn/internal/jwk"
	"github.com/keyturn/keyturn/internal/keys"
	"github.com/keyturn/keyturn/internal/ledger"
	"github.com/keyturn/keyturn/internal/replica"
	"github.com/keyturn/keyturn/internal/token"
)

// fleetFile is the store in which the copies of a fleet are put together.
const fleetFile = storeFile + ".fleet"

// Errors of ImportFleet.
var (
	// ErrNoLedgerKey says that a data directory has no ledger key, without which no sidecar shows its copy.
	ErrNoLedgerKey = errors.New("without the ledger key no sidecar shows its copy: restore the key from a backup")
	// ErrForeign says that a sidecar does not trust the ledger key: it belongs to another cluster.
	ErrForeign = errors.New("it does not trust the ledger key of this data directory: it belongs to another cluster")
	// ErrContradiction says that two copies have different records at one place.
	ErrContradiction = errors.New("the copies contradict each other")
)

// Copy is a sidecar that is asked for its copy of the ledgers.
type Copy struct {
	Name   string // what people call it: its URL
	Client *httpapi.Client
}

// Rebuilt is the outcome of ImportFleet.
type Rebuilt struct {
	authority.Imported
	// Complete is the instant of the newest proof of freshness that the copies bear out: all that the home region knew then is
	// there, and what it wrote later may be missing. Zero: there is no such proof.
	Complete time.Time
}

// ImportFleet loads into a data directory that lost its store what sidecars have of it: the union of their copies, each checked
// record by record from the key that founded the cluster. The directory's ledger key signs a token for each request, which
// the sidecar takes for a minute at most. Of all that is Import's, too. It returns ErrNoLedgerKey, and, with the name of the
// copy, ErrForeign, ErrContradiction, what does not fit in it, or an error of package httpapi.
func ImportFleet(ctx context.Context, path string, copies []Copy, now func() time.Time) (Rebuilt, error) {
	if _, err := keys.Open(path); errors.Is(err, keys.ErrMissing) { // and none is made
		return Rebuilt{}, fmt.Errorf("%w: %s is missing", ErrNoLedgerKey, filepath.Join(path, keys.LedgerFile))
	}
	var f *fleet
	done, err := load(ctx, path, func(d *dir) (lines, error) {
		var err error
		if f, err = openFleet(ctx, d, now); err != nil {
			return nil, err
		}
		for _, c := range copies {
			if err := f.add(ctx, c); err != nil {
				return nil, fmt.Errorf("%s: %w", c.Name, err)
			}
		}
		return f.lines(ctx), nil
	})
	r := Rebuilt{Imported: done}
	if f != nil {
		r.Complete = f.union.Fresh()
		err = errors.Join(err, f.close())
	}
	return r, err
}

// fleet puts copies together. A replica does that: it takes whatever goes on from what it has, in any order and twice, and
// calls a fork a fork.
type fleet struct {
	union  *replica.Replica
	path   string
	own    jwk.Key // the ledger key of the data directory
	signer *token.Signer
	now    func() time.Time
	names  []string // of the copies that are in it
	hashes map[spot][]byte
}

// spot is where a record stands.
type spot struct {
	region string
	seq    uint64
}

func openFleet(ctx context.Context, d *dir, now func() time.Time) (*fleet, error) {
	signer, err := d.custody.Ledger(ctx, nil)
	if err != nil {
		return nil, err
	}
	tokens, err := token.NewSigner(signer.Crypto())
	if err != nil {
		return nil, err
	}
	anchor, err := d.custody.Anchor(ctx, nil, nil)
	if err != nil {
		return nil, err
	}
	path := filepath.Join(d.path, fleetFile)
	if err := os.RemoveAll(path); err != nil { // of an import that was broken off
		return nil, err
	}
	store, err := bolt.Open(path, bolt.Options{})
	if err != nil {
		return nil, err
	}
	union, err := replica.Open(ctx, store, anchor, replica.Options{Now: now})
	if err != nil {
		return nil, errors.Join(err, store.Close(), os.RemoveAll(path))
	}
	return &fleet{
		union: union, path: path, own: signer.Key(), signer: tokens, now: now, hashes: map[spot][]byte{},
	}, nil
}

func (f *fleet) close() error { return errors.Join(f.union.Close(), os.RemoveAll(f.path)) }

func (f *fleet) at() time.Time { return f.now().UTC().Truncate(time.Second) }

// add reads one copy from its beginning, also where others have brought the same: so that what differs is found.
func (f *fleet) add(ctx context.Context, c Copy) error {
	who, err := f.identify(ctx, c)
	if err != nil {
		return err
	}
	err = httpapi.ReadLedgers(ctx, func(ctx context.Context, after authority.Cursor) (authority.LedgerPage, error) {
		bearer, err := f.bearer(who)
		if err != nil {
			return authority.LedgerPage{}, err
		}
		return c.Client.Ledger(ctx, bearer, after.String(), authority.MaxLedgerPage, 0)
	}, func(after authority.Cursor, p authority.LedgerPage) (authority.Cursor, error) {
		return f.take(ctx, after, p)
	})
	if err != nil {
		return err
	}
	f.names = append(f.names, c.Name)
	return nil
}

// identify asks a sidecar who it is, before it is shown anything.
func (f *fleet) identify(ctx context.Context, c Copy) (who httpapi.Identity, err error) {
	a, err := c.Client.Call(ctx, httpapi.Request{Path: "/v1/cluster/identity"})
	if err == nil {
		err = a.Decode(&who)
	}
	if err == nil && !slices.ContainsFunc(who.LedgerKeys, f.own.Equal) {
		err = ErrForeign
	}
	return who, err
}

// bearer is a token for one request to one sidecar.
func (f *fleet) bearer(who httpapi.Identity) (string, error) {
	at := f.at().Unix()
	return f.signer.SignImport(token.ImportToken{
		Issuer: who.Issuer, ClusterID: who.ClusterID, Audience: who.PeerID, ID: rand.Text(), IssuedAt: at, ExpiresAt: at + token.MaxImport,
	})
}

// take puts one page to the others, and returns from where this copy goes on. A record that another region's makes readable
// may have to be asked for again.
func (f *fleet) take(ctx context.Context, after authority.Cursor, p authority.LedgerPage) (authority.Cursor, error) {
	before := f.union.Refused()
	_, misfit := f.union.Apply(ctx, f.at(), p)
	switch {
	case misfit == nil && f.union.Refused() > before: // at a place where there is a good one already
		return nil, fmt.Errorf("%w: no ledger key of this cluster signed some of its copy", ledger.ErrSignature)
	case errors.Is(misfit, replica.ErrBroken):
		return nil, f.contradiction()
	case misfit != nil && !errors.Is(misfit, replica.ErrRefused):
		return nil, misfit
	}
	next, err := httpapi.Advance(after, p)
	if err != nil {
		return nil, err
	}
	progress, reached := len(p.Records) == 0, f.union.Cursors()
	for region := range next {
		next[region] = min(next[region], reached[region])
		progress = progress || next[region] > after[region]
	}
	if !progress {
		return nil, errors.Join(misfit, fmt.Errorf("%w: its copy does not hold together", ledger.ErrRecord))
	}
	return next, f.keep(p)
}

// keep remembers the hashes of a page. One copy may have what another one has lost.
func (f *fleet) keep(p authority.LedgerPage) error {
	list, err := httpapi.Lines(p)
	for _, l := range list {
		if l.Signed == nil {
			f.hashes[spot{l.Region, l.Seq}] = l.Hash
		}
	}
	return err
}

// contradiction names the copies that do not go together: those before agree with each other.
func (f *fleet) contradiction() error {
	where := strings.TrimPrefix(f.union.Broken().Error(), replica.ErrBroken.Error()+": ")
	if len(f.names) == 0 {
		return fmt.Errorf("%w: its copy does not hold together: %s", ledger.ErrFork, where)
	}
	return fmt.Errorf("%w: it and %s: %s: one comes from a ledger that was rolled back or restored; leave out what is wrong",
		ErrContradiction, strings.Join(f.names, ", "), where)
}

// lines are those of an export of all that was put together.
func (f *fleet) lines(ctx context.Context) lines {
	after, have, ended := authority.Cursor{}, []authority.Line(nil), false
	return func() (authority.Line, error) {
		for len(have) == 0 {
			if ended {
				return authority.Line{}, io.EOF
			}
			p, err := f.union.Page(ctx, f.at(), after, authority.MaxLedgerPage)
			if err != nil {
				return authority.Line{}, err
			}
			if have, err = f.whole(ctx, p); err != nil {
				return authority.Line{}, err
			}
			ended = len(p.Records) == 0
			if after, err = httpapi.Advance(after, p); err != nil {
				return authority.Line{}, err
			}
		}
		line := have[0]
		have = have[1:]
		return line, nil
	}
}

// whole fills in the hashes that the union lacks and another copy has. What has ended stays away.
func (f *fleet) whole(ctx context.Context, p authority.LedgerPage) ([]authority.Line, error) {
	missing := map[spot]int{}
	for i, h := range p.Hashes {
		if at := (spot{h.Region, h.Seq}); h.Hash == nil && f.hashes[at] != nil {
			missing[at] = i
		}
	}
	for i := 0; i < len(p.Records) && len(missing) > 0; i++ {
		r, err := p.Records[i].Record()
		if err != nil {
			return nil, err
		}
		at := spot{r.Region, r.Seq}
		if i, ok := missing[at]; ok {
			delete(missing, at)
			live, err := f.live(ctx, r)
			if err != nil {
				return nil, err
			}
			if live {
				p.Hashes[i].Hash = f.hashes[at]
			}
		}
	}
	return httpapi.Lines(p)
}

// live reports whether the version that r states can be accepted still.
func (f *fleet) live(ctx context.Context, r *ledger.Record) (bool, error) {
	at := f.at()
	c, err := f.union.Credential(ctx, at, r.Subject)
	if errors.Is(err, access.ErrUnknown) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	live := slices.ContainsFunc(c.Versions, func(v credential.Version) bool { return v.Region == r.Region && v.Seq == r.Seq })
	for _, x := range authority.Ends(c) {
		if x.Region == r.Region && x.Seq == r.Seq && !x.Secret.IsZero() && !at.Before(x.Secret) {
			live = false
		}
	}
	return live, nil
}
