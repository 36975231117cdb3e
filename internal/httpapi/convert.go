package httpapi

import (
	"time"

	"github.com/keyturn/keyturn/internal/authority"
	"github.com/keyturn/keyturn/internal/credential"
)

func optional(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

func reveal(s credential.Secret) string {
	if s.IsZero() {
		return ""
	}
	return s.Reveal() // the one answer in which the secret is shown
}

func credentialWire(c *credential.Credential, at time.Time) Credential {
	number, current := 0, c.Current() // not the highest number: that one can be revoked while an older one is not
	if current != nil {
		number = current.Number
	}
	w := Credential{
		ClientID: c.ClientID(number), ID: c.ID.String(), Name: optional(c.Name), Kind: string(c.Kind),
		Scopes: c.Scopes.Strings(), LicenseID: optional(c.LicenseID.String()), Version: number, Status: string(c.Status(at)),
		CreatedAt: Time{c.CreatedAt}, CreatedBy: optional(c.CreatedBy), ExpiresAt: Time{c.ExpiresAt}, RevokedAt: Time{c.RevokedAt},
		Labels: c.Labels, Previous: previousWire(c, c.Superseded(at)),
	}
	if w.Labels == nil {
		w.Labels = map[string]string{}
	}
	if number > 1 {
		w.RotatedAt = Time{current.CreatedAt}
	}
	return w
}

func previousWire(c *credential.Credential, versions []*credential.Version) []Previous {
	list := make([]Previous, 0, len(versions))
	for _, v := range versions {
		list = append(list, Previous{c.ClientID(v.Number), v.Number, Time{v.NotAfter}})
	}
	return list
}

func createdWire(r authority.Created) Created {
	return Created{credentialWire(r.Credential, r.Credential.CreatedAt), reveal(r.Secret)}
}

// RotationOf is the answer to a rotation that was not asked for over HTTP. It holds the secret.
func RotationOf(r authority.Rotation) Rotation { return rotationWire(r) }

// BootstrappedOf is the answer to a bootstrap that was not asked for over HTTP. It holds the secret.
func BootstrappedOf(r authority.Bootstrapped) Bootstrapped { return bootstrappedWire(r) }

func bootstrappedWire(r authority.Bootstrapped) Bootstrapped {
	return Bootstrapped{
		ClusterID: r.ClusterID.String(), PeerID: r.PeerID.String(), LicenseID: r.LicenseID.String(),
		ClientID: r.Credential.ClientID(1), ClientSecret: reveal(r.Secret), Version: 1, Scopes: r.Credential.Scopes.Strings(),
	}
}

func rotationWire(r authority.Rotation) Rotation {
	w := Rotation{
		ClientID: r.ClientID, ClientSecret: reveal(r.Secret), Version: r.Version, RotatedAt: Time{r.At},
		Previous: previousWire(r.Credential, r.Previous),
	}
	if r.Emergency {
		killed, created := append([]string{}, r.Killed...), append([]string{}, r.CreatedByKilled...)
		w.Killed, w.CreatedByKilled = &killed, &created
	}
	return w
}

func eventWire(e authority.Event) Event {
	return Event{
		At: Time{e.At}, Actor: optional(e.Actor), Action: e.Action, Subject: e.Subject, Reason: optional(e.Reason),
		RequestID: optional(e.RequestID), Source: optional(e.Source), Region: e.Region, Seq: e.Seq,
	}
}
