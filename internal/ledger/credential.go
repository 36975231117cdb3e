package ledger

import (
	"cmp"
	"slices"
	"time"

	"github.com/keyturn/keyturn/internal/credential"
)

// JoinCredential joins the records of one credential. It returns nil where none of them creates it. Hashes are not in
// records: AttachHash adds them.
func JoinCredential(records []*Record) *credential.Credential {
	j := credentialJoin{
		versions:    map[proof]*credential.Version{},
		deadline:    map[proof]time.Time{},
		dead:        map[int]time.Time{},
		emergencies: map[credential.Digest]time.Time{},
	}
	for _, r := range inOrder(records) {
		j.add(r)
	}
	return j.finish()
}

type credentialJoin struct {
	created     *credential.Credential
	versions    map[proof]*credential.Version
	deadline    map[proof]time.Time             // the earliest not_after of each
	dead        map[int]time.Time               // versions revoked by number
	emergencies map[credential.Digest]time.Time // when each was, or at the latest
	revoked     time.Time
}

// proof names a version. The digest alone would not do: a client may come back to a public key that it had before.
type proof struct {
	number int
	digest credential.Digest
}

func (j *credentialJoin) add(r *Record) {
	switch b := r.body.(type) {
	case *CredentialBody:
		if j.created == nil {
			j.created = created(r, b)
		}
	case *VersionBody:
		j.addVersion(r, b)
	case *RevokedBody:
		if b.Version == 0 {
			j.revoked = earliest(j.revoked, r.At)
		} else {
			j.dead[b.Version] = earliest(j.dead[b.Version], r.At)
		}
	}
}

func created(r *Record, b *CredentialBody) *credential.Credential {
	c := &credential.Credential{
		ID: r.Subject, Name: b.Name, Kind: b.Kind, Scopes: b.Scopes, LicenseID: b.LicenseID,
		CreatedAt: r.At, CreatedBy: r.Actor, Labels: b.Labels,
	}
	if b.ExpiresAt != nil {
		c.ExpiresAt = *b.ExpiresAt
	}
	return c
}

func (j *credentialJoin) addVersion(r *Record, b *VersionBody) {
	for _, old := range b.Retires {
		p := proof{old.Version, old.Digest}
		j.deadline[p] = earliest(j.deadline[p], old.NotAfter)
	}
	j.addEmergencies(r, b)
	name := proof{b.Version, b.Digest}
	if _, known := j.versions[name]; known {
		return
	}
	v := &credential.Version{
		Number: b.Version, Digest: b.Digest, Trunk: b.Trunk, CreatedAt: r.At, CreatedBy: r.Actor, Region: r.Region, Seq: r.Seq,
	}
	if b.Key != nil {
		v.Key = *b.Key
	}
	j.versions[name] = v
}

// addEmergencies takes a descendant's word for an emergency whose own record may have expired from the subject's copy:
// else what that emergency killed would live again.
func (j *credentialJoin) addEmergencies(r *Record, b *VersionBody) {
	if b.Emergency {
		j.emergencies[b.Digest] = earliest(j.emergencies[b.Digest], r.At)
	}
	for _, digest := range b.Trunk {
		j.emergencies[digest] = earliest(j.emergencies[digest], r.At)
	}
}

func (j *credentialJoin) finish() *credential.Credential {
	c := j.created
	if c == nil {
		return nil
	}
	c.RevokedAt = j.revoked
	for name, v := range j.versions {
		v.NotAfter = j.deadline[name]
		v.DeadSince = j.dead[v.Number]
		for by, at := range j.emergencies {
			if v.Digest != by && !slices.Contains(v.Trunk, by) {
				v.DeadSince = earliest(v.DeadSince, at)
			}
		}
		c.Versions = append(c.Versions, *v)
	}
	slices.SortFunc(c.Versions, func(a, b credential.Version) int {
		return cmp.Or(cmp.Compare(a.Number, b.Number), a.CreatedAt.Compare(b.CreatedAt), cmp.Compare(a.Digest, b.Digest))
	})
	return c
}

// earliest of two instants, where zero is none.
func earliest(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

// AttachHash gives a version its secret's hash. A hash that does not fit the version's digest is left out: whoever wrote
// it there, it was not the authority.
func AttachHash(c *credential.Credential, region string, seq uint64, hash []byte) {
	for i := range c.Versions {
		v := &c.Versions[i]
		if v.Region != region || v.Seq != seq || len(hash) != len(credential.Hash{}) {
			continue
		}
		if h := credential.Hash(hash); h.Digest() == v.Digest {
			v.Hash = &h
		}
	}
}
