package agent

import (
	"context"
	"crypto"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/keyturn/keyturn/internal/credential"
	"github.com/keyturn/keyturn/internal/disk"
	"github.com/keyturn/keyturn/internal/httpapi"
	"github.com/keyturn/keyturn/internal/id"
	"github.com/keyturn/keyturn/internal/jwk"
	"github.com/keyturn/keyturn/internal/license"
	"github.com/keyturn/keyturn/internal/peer"
	"github.com/keyturn/keyturn/internal/token"
)

// enter joins the cluster. A join key works once, and a peer counts: what can be known to keep the sidecar from starting is
// known before. A host that has joined, and did not accept the license, looks at it again first.
func (a *Agent) enter(ctx context.Context) error {
	if a.who.joined != nil {
		if err := a.who.reconsider(a.c, a.now()); err == nil || a.c.JoinKey == "" {
			return err
		}
	}
	a.c.Name = strings.TrimSpace(a.c.Name)
	if a.c.Name == "" {
		host, _ := os.Hostname()
		a.c.Name = strings.TrimSpace(host)
	}
	if a.c.Name == "" {
		return fmt.Errorf("%w: this host has no name: give this peer one with --name", ErrSettings)
	}
	if err := credential.CheckName(a.c.Name); err != nil {
		return fmt.Errorf("%w: --name: %w", ErrSettings, err)
	}
	if err := a.Listen(ctx); err != nil {
		return err
	}
	if err := a.who.join(ctx, a.c, a.now()); err != nil {
		return err
	}
	a.log.Info().Str("peer_id", a.Self().String()).Str("cluster_id", a.who.joined.ClusterID.String()).Msg("joined")
	return nil
}

// join makes this host a peer of the cluster. The keys are on disk before the authority hears of them, and the authority
// gives the same answer to the same keys: a crash at any instant is healed by joining again with the same join key.
func (i *identity) join(ctx context.Context, c Config, at time.Time) error {
	text := strings.TrimSpace(c.JoinKey)
	if text == "" {
		return fmt.Errorf("%w: make one with `keyturn join-keys create`, and give it with --join-key-file or KEYTURN_JOIN_KEY", ErrJoinKey)
	}
	key, err := token.UnverifiedJoinKey(text)
	if err != nil {
		return fmt.Errorf("%w: what was given is none; make one with `keyturn join-keys create`", ErrJoinKey)
	}
	signature, err := i.raw.Sign(nil, peer.ProofMessage(key.ID, i.peer.Key(), i.token.Key()), crypto.Hash(0))
	if err != nil {
		return err
	}
	answer, err := askToJoin(ctx, c, httpapi.JoinRequest{
		JoinKey: text, Name: c.Name, PublicKey: marshalled(i.peer.Key()), TokenKey: marshalled(i.token.Key()),
		Proof: base64.RawURLEncoding.EncodeToString(signature),
	})
	if err != nil {
		return refusedKey(err, key, at)
	}
	told, err := answered(answer, key)
	if err != nil {
		return err
	}
	declined := checkLicense(answer.License, c.VendorKeys, at) // only a peer is shown the license
	told.Declined = declined != nil
	if err := disk.Write(filepath.Join(c.DataDir, licenseFile), append([]byte(answer.License), '\n')); err != nil {
		return err
	}
	if err := writeJSON(filepath.Join(c.DataDir, peerFile), told); err != nil {
		return err
	}
	i.joined = told
	return told.decline(declined)
}

// reconsider looks again at a license that this host did not accept when it joined.
func (i *identity) reconsider(c Config, at time.Time) error {
	text, err := disk.ReadPrivate(filepath.Join(c.DataDir, licenseFile))
	if err != nil {
		return err
	}
	if err := checkLicense(text, c.VendorKeys, at); err != nil {
		return i.joined.decline(err)
	}
	accepted := *i.joined
	accepted.Declined = false
	if err := writeJSON(filepath.Join(c.DataDir, peerFile), accepted); err != nil {
		return err
	}
	i.joined = &accepted
	return nil
}

// decline says what came of it that this host does not accept the license: the authority knows nothing of that.
func (j *joined) decline(why error) error {
	if why == nil {
		return nil
	}
	return fmt.Errorf("%w; that was this host's own check, against its --vendor-key and its clock: the authority has admitted it as %s, which "+
		"counts; run this again with the right --vendor-key and the same data directory, or give the place free with `keyturn peers remove %s`",
		why, j.PeerID, j.PeerID)
}

// refusedKey says what it may be that a join key was refused for: the authority tells nobody, for whoever made one up would
// learn from it too.
func refusedKey(err error, key token.JoinKey, at time.Time) error {
	var answer *httpapi.Error
	if !errors.As(err, &answer) || answer.Status != http.StatusUnauthorized {
		return err
	}
	end := time.Unix(key.ExpiresAt, 0).UTC()
	if at.After(end) {
		return fmt.Errorf("%w: the join key expired on %s, and it is %s here: make a new one with `keyturn join-keys create`",
			err, end.Format(time.RFC3339), at.Format(time.RFC3339))
	}
	return fmt.Errorf("%w: the join key was used by another host, was revoked, or is not of this cluster: see `keyturn join-keys list "+
		"--include-terminal` for %s, or make a new one with `keyturn join-keys create`", err, printableID(key.ID))
}

// printableID is the id of a join key, which has not been verified, or what stands for one.
func printableID(text string) string {
	if key, err := id.Parse(id.JoinKey, text); err == nil {
		return key.String()
	}
	return "its id"
}

func marshalled(k jwk.Key) json.RawMessage {
	text, _ := k.MarshalJSON() // a key of ours
	return text
}

func askToJoin(ctx context.Context, c Config, r httpapi.JoinRequest) (httpapi.Joined, error) {
	client, err := httpapi.NewClient(c.Authority, httpapi.ClientOptions{Transport: c.Transport, UserAgent: "keyturn-sidecar"})
	if err != nil {
		return httpapi.Joined{}, fmt.Errorf("%w: --authority: %w", ErrSettings, err)
	}
	a, err := client.Call(ctx, httpapi.Request{Method: http.MethodPost, Path: "/v1/peers/join", Body: r})
	var refused *httpapi.Error
	if errors.As(err, &refused) && refused.Status < 500 {
		return httpapi.Joined{}, fmt.Errorf("%w: %w", ErrRefused, err)
	}
	if err != nil {
		return httpapi.Joined{}, err
	}
	var joined httpapi.Joined
	return joined, a.Decode(&joined)
}

// answered checks that the cluster is the one that the join key is for. Whoever handed out the key has said which ledger key
// founded it: an authority in between cannot say otherwise.
func answered(a httpapi.Joined, key token.JoinKey) (*joined, error) {
	told := &joined{Issuer: a.Issuer, Region: a.Region}
	var err error
	if told.PeerID, err = id.Parse(id.Peer, a.PeerID); err != nil {
		return nil, fmt.Errorf("the authority's answer to the join: %w", err)
	}
	if told.ClusterID, err = id.Parse(id.Cluster, a.ClusterID); err != nil {
		return nil, fmt.Errorf("the authority's answer to the join: %w", err)
	}
	if a.ClusterID != key.ClusterID {
		return nil, fmt.Errorf("%w: this is the authority of %s, and the join key is for %s", ErrRefused, a.ClusterID, key.ClusterID)
	}
	for _, k := range a.LedgerKeys {
		if k.ID() == key.Anchor {
			told.Anchor = k
		}
	}
	if told.Anchor.IsZero() {
		return nil, fmt.Errorf("%w: it does not show the ledger key %s that founded the cluster of this join key", ErrRefused, key.Anchor)
	}
	return told, nil
}

// checkLicense is the peer's own look at the cluster's license: signed by a vendor that it trusts or, where it was told of
// none, whole and in force.
func checkLicense(text []byte, vendors []jwk.Key, at time.Time) error {
	l, err := license.Parse(text)
	if err == nil && len(vendors) > 0 {
		err = l.Verify(vendors)
	}
	if err != nil {
		return fmt.Errorf("%w: %w", ErrLicense, err)
	}
	if l.Expired(at) {
		return fmt.Errorf("%w: it ended on %s", ErrLicense, l.ExpiresAt.Format(time.RFC3339))
	}
	return nil
}
