package authority

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"time"

	"github.com/keyturn/keyturn/internal/credential"
	"github.com/keyturn/keyturn/internal/id"
	"github.com/keyturn/keyturn/internal/jwk"
	"github.com/keyturn/keyturn/internal/ledger"
	"github.com/keyturn/keyturn/internal/peer"
)

// Errors of Import.
var (
	// ErrNotEmpty says that the store to import into holds a ledger already.
	ErrNotEmpty = errors.New("the store is not empty")
	// ErrNotVouched says that the imported ledger does not trust the ledger key of the store that is to take over.
	ErrNotVouched = errors.New("the ledger does not trust this store's ledger key")
)

// Line is one line of an export: a signed record, or a live hash.
type Line struct {
	Signed *ledger.Signed
	Region string // with Hash: where its record stands
	Seq    uint64
	Hash   []byte
}

// Imported is the outcome of an import.
type Imported struct {
	Cluster id.ID
	Records int
	Hashes  int
	Anchor  jwk.Key // the key that founded the cluster: what custody has to remember
}

// Import checks an export as a whole (signatures, trust, chains, hashes against their digests) and loads it into an empty
// store. next returns io.EOF at the end. Nothing is written before all of it has been checked. It returns ErrNotEmpty,
// ErrNotVouched, or an error of package ledger that says which record does not fit.
func Import(ctx context.Context, store Store, key jwk.Key, next func() (Line, error)) (Imported, error) {
	return load(ctx, store, next, func(context.Context, *importer) (jwk.Key, error) { return key, nil })
}

// ImportSealed is Import for a custody that keeps its keys in the ledger: the ledger has to carry one that the custody can
// open, and the custody's word that the key which founded this cluster did so. After ErrNotVouched, Imported.Anchor is the
// key that founded it.
func ImportSealed(ctx context.Context, store Store, custody Custody, next func() (Line, error)) (Imported, error) {
	return load(ctx, store, next, func(ctx context.Context, im *importer) (jwk.Key, error) {
		anchor, err := custody.Anchor(ctx, []jwk.Key{im.report.Anchor}, im.words)
		if err != nil || !anchor.Equal(im.report.Anchor) {
			return jwk.Key{}, errors.Join(ErrNotVouched, err)
		}
		s, err := custody.Ledger(ctx, ledger.Join(im.records).Cluster)
		if err != nil {
			return jwk.Key{}, errors.Join(ErrNotVouched, err)
		}
		return s.Key(), nil
	})
}

// load imports for the ledger key that own names once the export has been read.
func load(ctx context.Context, store Store, next func() (Line, error), own func(context.Context, *importer) (jwk.Key, error)) (Imported, error) {
	switch heads, err := store.Heads(ctx); {
	case err != nil:
		return Imported{}, unavailable("read the heads", err)
	case len(heads) > 0:
		return Imported{}, ErrNotEmpty
	}
	im := importer{ledgers: map[string][]Entry{}, hashes: map[place][]byte{}}
	if err := im.readAll(next); err != nil {
		return Imported{}, err
	}
	key, err := own(ctx, &im)
	if err != nil {
		return Imported{Anchor: im.report.Anchor}, err
	}
	if err := im.check(key); err != nil {
		return Imported{}, err
	}
	im.date()
	if err := im.write(ctx, store); err != nil {
		return Imported{}, err
	}
	return im.report, nil
}

type place struct {
	region string
	seq    uint64
}

type importer struct {
	ledgers map[string][]Entry
	hashes  map[place][]byte
	records []*ledger.Record
	words   [][]byte // of custodies, on who founded the cluster
	report  Imported
}

func (im *importer) readAll(next func() (Line, error)) error {
	var waiting [][]byte
	for {
		line, err := next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return err
		}
		if line.Signed == nil {
			im.hashes[place{line.Region, line.Seq}] = line.Hash
			continue
		}
		data, err := line.Signed.Encode()
		if err != nil {
			return err
		}
		waiting = append(waiting, data)
	}
	return im.open(waiting)
}

// open finds the founding record, trusts its key, and reads every record with the keys that trust comes to from there.
func (im *importer) open(data [][]byte) error {
	anchor, err := founder(data)
	if err != nil {
		return err
	}
	im.report.Anchor = anchor
	_, im.words = ledger.Founders(data)
	records, refused := ledger.NewVerifier(anchor).Trust(data)
	if refused > 0 {
		return fmt.Errorf("%w: %d records", ledger.ErrSignature, refused)
	}
	for i, r := range records {
		if i == 0 {
			im.report.Cluster = r.Cluster
		}
		if r.Cluster != im.report.Cluster {
			return fmt.Errorf("%w: %s:%d belongs to %s", ledger.ErrRecord, r.Region, r.Seq, r.Cluster)
		}
	}
	im.records, im.report.Records, im.report.Hashes = records, len(records), len(im.hashes)
	byPlace := map[place]*ledger.Record{}
	for _, r := range records {
		byPlace[place{r.Region, r.Seq}] = r
	}
	for _, d := range data {
		if err := im.place(d, byPlace); err != nil {
			return err
		}
	}
	return nil
}

// founder is the key that the first record names and is signed with.
func founder(data [][]byte) (jwk.Key, error) {
	for _, d := range data {
		signed, err := ledger.Decode(d)
		if err != nil {
			return jwk.Key{}, err
		}
		if key, ok := signed.FoundingKey(); ok {
			return key, nil
		}
	}
	return jwk.Key{}, fmt.Errorf("%w: no record founds a cluster: is this the whole export?", ledger.ErrRecord)
}

// place makes the entry of a record's bytes.
func (im *importer) place(data []byte, known map[place]*ledger.Record) error {
	signed, err := ledger.Decode(data)
	if err != nil {
		return err
	}
	region, seq, err := signed.Place()
	if err != nil {
		return err
	}
	r := known[place{region, seq}]
	im.ledgers[region] = append(im.ledgers[region], Entry{
		Region: region, Seq: seq, Subject: r.Subject.String(), Data: data, Sum: ledger.Sum(data), Lists: listsOf(r),
		Secret: im.hashes[place{region, seq}],
	})
	return nil
}

// listsOf says which lists a record puts its subject into.
func listsOf(r *ledger.Record) []string {
	switch b := r.Decoded().(type) {
	case *ledger.ClusterBody:
		return []string{listClusters}
	case *ledger.PeerBody:
		return []string{listPeers}
	case *ledger.JoinKeyBody:
		return []string{listJoinKeys}
	case *ledger.CredentialBody:
		return credentialLists(b)
	}
	return nil
}

// check follows each region's chain from its first record, and holds each hash against its version's digest.
func (im *importer) check(key jwk.Key) error {
	trusted := ledger.Join(im.records).Cluster.LedgerKeys
	if !slices.ContainsFunc(trusted, func(k jwk.Key) bool { return k.ID() == key.ID() }) {
		return ErrNotVouched
	}
	byPlace := map[place]*ledger.Record{}
	for _, r := range im.records {
		byPlace[place{r.Region, r.Seq}] = r
	}
	for region, entries := range im.ledgers {
		slices.SortFunc(entries, func(a, b Entry) int { return int(a.Seq) - int(b.Seq) })
		chain := ledger.Chain{Region: region}
		for _, e := range entries {
			if err := chain.Next(byPlace[place{region, e.Seq}], e.Sum); err != nil {
				return err
			}
		}
	}
	for at, hash := range im.hashes {
		if !fits(byPlace[at], hash) {
			return fmt.Errorf("%w: the hash at %s:%d is not the one of that record", ledger.ErrRecord, at.region, at.seq)
		}
	}
	return nil
}

func fits(r *ledger.Record, hash []byte) bool {
	if r == nil || len(hash) != len(credential.Hash{}) {
		return false
	}
	b, ok := r.Decoded().(*ledger.VersionBody)
	return ok && credential.Hash(hash).Digest() == b.Digest
}

// date gives hashes and copies the ends that they had: from the join, which knows every deadline.
func (im *importer) date() {
	dates := map[place]Expiry{}
	for _, c := range ledger.Join(im.records).Credentials {
		for _, x := range Ends(c) {
			dates[place{x.Region, x.Seq}] = x
		}
	}
	for _, entries := range im.ledgers {
		for i := range entries {
			e := &entries[i]
			d := dates[place{e.Region, e.Seq}]
			e.SecretExpires, e.CopyExpires = d.Secret, d.Copy
		}
	}
}

// ended is when a version's secret stops to be accepted, by deadline, by its credential's end or by tombstone; zero for
// never.
func ended(c *credential.Credential, v *credential.Version) time.Time {
	end := v.NotAfter
	for _, t := range []time.Time{v.DeadSince, c.RevokedAt, c.ExpiresAt} {
		if !t.IsZero() && (end.IsZero() || t.Before(end)) {
			end = t
		}
	}
	return end
}

func (im *importer) write(ctx context.Context, store Store) error {
	claims := im.claims()
	limits := im.limits()
	for _, region := range slices.Sorted(maps.Keys(im.ledgers)) {
		head := Head{}
		for chunk := range slices.Chunk(im.ledgers[region], importBatch) {
			b := Batch{Region: region, After: head, Entries: chunk, Limits: limits}
			for _, e := range chunk {
				b.Claims = append(b.Claims, claims[place{e.Region, e.Seq}]...)
			}
			limits = nil
			if err := store.Append(ctx, b); err != nil {
				return fmt.Errorf("load %s:%d: %w", region, head.Seq+1, err)
			}
			last := chunk[len(chunk)-1]
			head = Head{Seq: last.Seq, Sum: last.Sum}
		}
	}
	return nil
}

// importBatch keeps a batch of three items an entry, and two claims a peer, under the 100 actions of a transaction.
const importBatch = 16

// limits is the counter of sidecars as it was.
func (im *importer) limits() []Limit {
	active := 0
	for _, p := range ledger.Join(im.records).Peers {
		if p.Role == peer.Sidecar && p.Status() == peer.Active {
			active++
		}
	}
	if active == 0 {
		return nil
	}
	return []Limit{{Name: nodes, Delta: active, Max: active}}
}

// claims are those of the peers' keys: they belong to them for ever. Each is claimed once, should two regions have let one
// host in. Which join keys are used is in the records.
func (im *importer) claims() map[place][]Claim {
	claims, taken := map[place][]Claim{}, map[string]bool{}
	for _, r := range im.records {
		b, ok := r.Decoded().(*ledger.PeerBody)
		if !ok {
			continue
		}
		for _, key := range []jwk.Key{b.PublicKey, b.TokenKey} {
			if !key.IsZero() && !taken[key.ID()] {
				taken[key.ID()] = true
				at := place{r.Region, r.Seq}
				claims[at] = append(claims[at], claimKey(key, r.Subject, r.At))
			}
		}
	}
	return claims
}
