package authority

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/keyturn/keyturn/internal/access"
	"github.com/keyturn/keyturn/internal/credential"
	"github.com/keyturn/keyturn/internal/id"
	"github.com/keyturn/keyturn/internal/jwk"
	"github.com/keyturn/keyturn/internal/ledger"
	"github.com/keyturn/keyturn/internal/peer"
	"github.com/keyturn/keyturn/internal/token"
)

// JoinRequest is a host that wants to be a peer.
type JoinRequest struct {
	JoinKey   string // a JWT
	Name      string
	PublicKey jwk.Key // its identity, Ed25519
	TokenKey  jwk.Key // signs the tokens that it issues
	Proof     []byte  // see peer.ProofMessage
	Via       string  // the region whose authority has passed the request on; "" is none. It proves nothing
}

// Joined is what a new peer has to know. It checks the license itself.
type Joined struct {
	PeerID     id.ID
	ClusterID  id.ID
	Issuer     string
	LedgerKeys []jwk.Key
	License    json.RawMessage
	Region     string // where it belongs
}

// Join lets a host in that shows an unused join key and proves that it holds its identity. The same host with the same key
// gets the same answer as long as it is a peer, so that a lost answer burns no join key. It returns ErrJoinKey, ErrInput for
// keys that no peer can have and for a blank name, ErrLicenseExpired, ErrLicenseLimit, ErrNotHome or access.ErrNotBootstrapped.
func (a *Authority) Join(ctx context.Context, o Origin, r JoinRequest) (Joined, error) {
	if err := r.check(); err != nil {
		return Joined{}, err
	}
	if err := a.AtHome(ctx); err != nil {
		return Joined{}, err
	}
	c, err := a.Cluster(ctx)
	if err != nil {
		return Joined{}, err
	}
	key, err := provenKey(c, r)
	if err != nil {
		return Joined{}, err
	}
	if strings.TrimSpace(r.Name) == "" {
		return Joined{}, fmt.Errorf("%w: name is missing: people tell peers apart by it", ErrInput)
	}
	o.Actor = key.String() // who let it in
	j := joining{a: a, JoinRequest: r, key: key, self: id.New(id.Peer, o.At)}
	err = a.commit(ctx, o, change{
		// The cluster is among them so that its license is read again: another writer may have renewed it just now.
		touches: []string{c.ID.String(), key.String(), nodes, keyClaim(r.PublicKey), keyClaim(r.TokenKey)},
		decide:  j.decide,
	})
	if err != nil {
		return Joined{}, err // done may still be written to: who stops waiting does not stop the commit
	}
	return j.done, nil
}

func (r JoinRequest) check() error {
	switch {
	case r.PublicKey.Alg() != "EdDSA":
		return fmt.Errorf("%w: public_key has to be an Ed25519 key", ErrInput)
	case r.TokenKey.IsZero():
		return fmt.Errorf("%w: token_key is missing", ErrInput)
	case r.PublicKey.Equal(r.TokenKey):
		return fmt.Errorf("%w: public_key and token_key have to be two keys", ErrInput)
	}
	return credential.CheckName(r.Name)
}

// provenKey checks what needs no look at the ledger: who signed the join key, for which cluster, and the host's proof.
func provenKey(c *access.Cluster, r JoinRequest) (id.ID, error) {
	claims, err := token.NewKeySet(c.LedgerKeys).VerifyJoinKey(r.JoinKey)
	if err != nil || claims.ClusterID != c.ID.String() {
		return "", fmt.Errorf("%w: it is not one of this cluster", ErrJoinKey)
	}
	key, err := id.Parse(id.JoinKey, claims.ID)
	if err != nil {
		return "", fmt.Errorf("%w: %w", ErrJoinKey, err)
	}
	if err := peer.CheckProof(claims.ID, r.PublicKey, r.TokenKey, r.Proof); err != nil {
		return "", fmt.Errorf("%w: %w", ErrJoinKey, err)
	}
	return key, nil
}

// joining is one host's join.
type joining struct {
	JoinRequest
	a     *Authority
	key   id.ID // the join key
	self  id.ID // who the host will be
	tries int
	done  Joined
}

// decide looks at the records of the join key first: they outlive every claim, and come back with an import.
func (j *joining) decide(ctx context.Context, d *draft) error {
	c, err := j.a.Cluster(ctx)
	if err != nil {
		return err
	}
	k, err := j.a.joinKey(ctx, d.At, j.key)
	switch {
	case errors.Is(err, access.ErrUnknown):
		return fmt.Errorf("%w: there is no %s", ErrJoinKey, j.key)
	case err != nil:
		return err
	case k.UsedBy != "":
		return j.again(ctx, d.At, c, k)
	case k.Status(d.At) != peer.KeyActive:
		return fmt.Errorf("%w: %s is %s", ErrJoinKey, j.key, k.Status(d.At))
	}
	l, err := j.a.License(ctx)
	switch {
	case err != nil:
		return err
	case l.Expired(d.At):
		return fmt.Errorf("%w: it ended on %s", ErrLicenseExpired, l.ExpiresAt.Format(time.RFC3339))
	}
	if err := j.claim(ctx, d, c, k); err != nil {
		return err
	}
	j.tries++
	if err := j.a.room(ctx, d, l.MaxNodes, j.tries > 1); err != nil {
		return err
	}
	region, err := j.belongs(ctx, d, k)
	if err != nil {
		return err
	}
	j.draft(d, c, k, region)
	return nil
}

// belongs is where the new peer belongs: where its join key says, else where it has asked.
func (j *joining) belongs(ctx context.Context, d *draft, k *peer.JoinKey) (string, error) {
	if k.Region != "" || j.Via == "" {
		return cmp.Or(k.Region, d.region), nil
	}
	known, err := j.a.regions(ctx)
	if err == nil && slices.Contains(known, j.Via) {
		return j.Via, nil
	}
	return d.region, err
}

// again answers a host that has joined with this key before.
func (j *joining) again(ctx context.Context, at time.Time, c *access.Cluster, k *peer.JoinKey) error {
	p, err := j.a.Peer(ctx, at, k.UsedBy)
	switch {
	case errors.Is(err, access.ErrUnknown):
		return unavailable("look for "+k.UsedBy.String(), errors.New("it has not arrived yet"))
	case err != nil:
		return err
	case p.Status() != peer.Active || !p.PublicKey.Equal(j.PublicKey) || !p.TokenKey.Equal(j.TokenKey):
		return fmt.Errorf("%w: %s is used", ErrJoinKey, j.key)
	}
	j.answer(c, p.ID, p.Region)
	return nil
}

func (j *joining) draft(d *draft, c *access.Cluster, k *peer.JoinKey, region string) {
	d.add(fact{kind: ledger.KindPeer, subject: j.self, lists: []string{listPeers}, body: ledger.PeerBody{
		Name: j.Name, Role: peer.Sidecar, PublicKey: j.PublicKey, TokenKey: j.TokenKey,
		Region: region, MaxScopes: k.MaxScopes, JoinKey: k.ID,
	}})
	d.add(fact{kind: ledger.KindJoinKeyUsed, subject: k.ID, body: ledger.JoinKeyUsedBody{PeerID: j.self}})
	j.answer(c, j.self, region)
}

func (j *joining) answer(c *access.Cluster, self id.ID, region string) {
	j.done = Joined{
		PeerID: self, ClusterID: c.ID, Issuer: c.Issuer, LedgerKeys: c.LedgerKeys, License: c.License, Region: region,
	}
}

// claim takes the join key, and both keys of the host, for this host alone. The claims are looked at before: a store does
// not say which condition of a write did not hold.
func (j *joining) claim(ctx context.Context, d *draft, c *access.Cluster, k *peer.JoinKey) error {
	use := Claim{Key: "join:" + k.ID.String(), At: d.At, ExpiresAt: k.ExpiresAt.Add(2 * access.Leeway)}
	switch held, err := j.a.held(ctx, use.Key, d.At); {
	case err != nil:
		return err
	case held != nil: // in another region, whose records are on their way
		return unavailable("use "+k.ID.String(), errors.New("somebody has joined with it, and who has not arrived yet"))
	}
	var err error
	use.Value, err = json.Marshal(map[string]string{
		"peer_id": j.self.String(), "public_key": j.PublicKey.ID(), "token_key": j.TokenKey.ID(),
	})
	if err != nil {
		return err
	}
	d.claims = append(d.claims, use)
	for name, key := range map[string]jwk.Key{"public_key": j.PublicKey, "token_key": j.TokenKey} {
		if ofCluster(c, key) {
			return fmt.Errorf("%w: %s is a key of the cluster: a host makes keys of its own", ErrInput, name)
		}
		held, err := j.a.held(ctx, keyClaim(key), d.At)
		switch {
		case err != nil:
			return err
		case held != nil:
			return fmt.Errorf("%w: %s is or was a key of %.31s: a host makes new keys to join", ErrInput, name, held)
		}
		d.claims = append(d.claims, claimKey(key, j.self, d.At))
	}
	return nil
}

// held is the value of a claim that somebody holds; nil for nobody.
func (a *Authority) held(ctx context.Context, key string, at time.Time) ([]byte, error) {
	claim, err := a.readClaim(ctx, key)
	switch {
	case errors.Is(err, ErrNotFound):
		return nil, nil
	case err != nil:
		return nil, unavailable("read a claim", err)
	case !at.Before(claim.ExpiresAt):
		return nil, nil
	}
	return append([]byte{}, claim.Value...), nil
}

// keyClaimed is how long a key stays its peer's: longer than the peer lives.
const keyClaimed = 100 * 365 * 24 * time.Hour

// claimKey keeps a key for one peer, be it removed: nobody else is ever known by it.
func claimKey(key jwk.Key, owner id.ID, at time.Time) Claim {
	return Claim{Key: keyClaim(key), Value: []byte(owner), At: at, ExpiresAt: at.Add(keyClaimed)}
}

func keyClaim(key jwk.Key) string { return "key:" + key.ID() }

// ofCluster reports whether a key is, or was, one of the authority's.
func ofCluster(c *access.Cluster, key jwk.Key) bool {
	for _, own := range c.LedgerKeys {
		if own.Equal(key) {
			return true
		}
	}
	return published(c, key.ID())
}
