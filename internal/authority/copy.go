package authority

import (
	"time"

	"github.com/keyturn/keyturn/internal/credential"
)

// Ends says when what the versions of c left behind in a store ends: a secret's hash when nobody is accepted with it any
// more, a subject's copy 30 days after the last deadline that it or a version before it has. A version without any end is
// left out.
func Ends(c *credential.Credential) []Expiry {
	var list []Expiry
	latest := time.Time{}
	for i := range c.Versions {
		v := &c.Versions[i]
		if v.NotAfter.After(latest) {
			latest = v.NotAfter
		}
		x := Expiry{Subject: c.ID.String(), Region: v.Region, Seq: v.Seq, Secret: ended(c, v)}
		if !v.NotAfter.IsZero() {
			x.Copy = latest.Add(copiesKept)
		}
		if !x.Secret.IsZero() || !x.Copy.IsZero() {
			list = append(list, x)
		}
	}
	return list
}
