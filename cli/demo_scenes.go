package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/keyturn/keyturn/internal/backoff"
	"github.com/keyturn/keyturn/internal/httpapi"
	"github.com/keyturn/keyturn/internal/jwk"
	"github.com/keyturn/keyturn/internal/license"
	"github.com/keyturn/keyturn/internal/token"
)

func (d *demo) showLicense() error {
	l, err := d.cluster.License()
	if err != nil {
		return err
	}
	vendor := []jwk.Key{d.cluster.Vendor()}
	if err := l.Verify(vendor); err != nil {
		return err
	}
	if err := d.holds("%s for up to %d peers, until %s: the vendor's Ed25519 signature fits", l.LicenseID, l.MaxNodes, l.ExpiresAt.Format(time.DateOnly)); err != nil {
		return err
	}
	forged := l
	forged.MaxNodes *= 10
	return d.check(errors.Is(forged.Verify(vendor), license.ErrUntrusted), "the same license with %d peers is refused: the signature covers every member", forged.MaxNodes)
}

func (d *demo) showBootstrap() error {
	var who httpapi.Identity
	if err := d.call(&who, httpapi.Request{Path: "/v1/cluster/identity"}); err != nil {
		return err
	}
	l, err := d.cluster.License()
	if err != nil {
		return err
	}
	if err := d.check(who.LicenseID == l.LicenseID.String(), "cluster %s runs under that license at %s", who.ClusterID, d.client.Server()); err != nil {
		return err
	}
	text, err := l.MarshalJSON()
	if err != nil {
		return err
	}
	err = d.call(nil, httpapi.Request{Method: http.MethodPost, Path: "/v1/bootstrap", Body: text})
	return d.refusal(err, httpapi.AlreadyBootstrapped, "whoever comes second")
}

func (d *demo) showPeers() error {
	t, err := d.token(d.first, "")
	if err != nil {
		return err
	}
	d.admin = t.AccessToken
	var list httpapi.Peers
	if err := d.call(&list, httpapi.Request{Path: "/v1/peers", Bearer: d.admin}); err != nil {
		return err
	}
	sidecars := 0
	for _, p := range list.Peers {
		if p.Role == "sidecar" {
			sidecars++
		}
	}
	if err := d.check(sidecars == demoPeers, "%d sidecars and the region's authority are peers of the cluster", sidecars); err != nil {
		return err
	}
	return d.onSidecars(fmt.Sprintf("each of them publishes the same %d keys", 1+demoPeers), d.publishesAll)
}

// publishesAll waits until a sidecar has heard of all peers: those that joined after it, too.
func (d *demo) publishesAll(c *httpapi.Client) error {
	for deadline := d.Now().Add(heard); ; {
		var set jwk.Set
		a, err := c.Call(d, httpapi.Request{Path: "/.well-known/jwks.json"})
		if err == nil {
			err = a.Decode(&set)
		}
		if err != nil || len(set.Keys) == 1+demoPeers {
			return err
		}
		if d.Now().After(deadline) {
			return fmt.Errorf("it has %d", len(set.Keys))
		}
		if err := d.pause(10 * time.Millisecond); err != nil {
			return err
		}
	}
}

func (d *demo) showToken() error {
	t, err := d.token(d.first, "")
	if err != nil {
		return err
	}
	d.admin = t.AccessToken
	if err := d.check(t.Scope == "admin" && t.ExpiresIn == 3600, "%s has a token with scope %s for %d seconds", d.first.id, t.Scope, t.ExpiresIn); err != nil {
		return err
	}
	var set jwk.Set
	if err := d.call(&set, httpapi.Request{Path: "/.well-known/jwks.json"}); err != nil {
		return err
	}
	claims, keyID, err := token.NewKeySet(set.Keys).Verify(t.AccessToken)
	if err != nil {
		return err
	}
	return several(
		func() error {
			return d.check(claims.ClientID == d.first.id && claims.Version == 1, "anybody can check it with the published key %s: it says version %d of %s", keyID, claims.Version, claims.Subject)
		},
		func() error { return d.worksOnSidecars(d.first, "every sidecar issues one too, with a key of its own") },
		func() error {
			return d.onSidecars("every sidecar lets it through at /authz", func(c *httpapi.Client) error { return d.authz(c, t.AccessToken) })
		},
	)
}

func (d *demo) showCreate() error {
	var made httpapi.Created
	err := d.call(&made, httpapi.Request{
		Method: http.MethodPost, Path: "/v1/credentials", Bearer: d.admin,
		Body: httpapi.CreateRequest{Name: "dashboard", Scopes: []string{"services.read"}, Reason: "the demo's client"},
	})
	if err != nil {
		return err
	}
	d.scoped = pair{made.ClientID, made.ClientSecret}
	t, err := d.token(d.scoped, "")
	if err != nil {
		return err
	}
	d.scopedToken = t.AccessToken
	return several(
		func() error {
			return d.check(t.Scope == "services.read", "%s may do %s and has a token", d.scoped.id, t.Scope)
		},
		func() error {
			err := d.call(nil, httpapi.Request{Path: "/v1/credentials", Bearer: d.scopedToken})
			return d.refusal(err, httpapi.Forbidden, "listing credentials with it")
		},
	)
}

// introspect asks what a token is worth, as the shared credential (RFC 7662 §2.1).
func (d *demo) introspect(text string) (seen httpapi.Introspection, err error) {
	form := strings.NewReader(url.Values{"token": {text}}.Encode())
	r, err := http.NewRequestWithContext(d, http.MethodPost, d.client.Server()+"/v1/oauth/introspect", form)
	if err != nil {
		return seen, err
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.Header.Set("Authorization", "Bearer "+d.admin)
	a, err := d.transport.RoundTrip(r)
	if err != nil {
		return seen, err
	}
	defer a.Body.Close() //nolint:errcheck // only read
	if a.StatusCode != http.StatusOK {
		return seen, fmt.Errorf("introspection was answered %s", a.Status)
	}
	return seen, json.NewDecoder(a.Body).Decode(&seen)
}

func (d *demo) showIntrospection() error {
	good, err := d.introspect(d.scopedToken)
	if err != nil {
		return err
	}
	if err := d.check(good.Active && good.ClientID == d.scoped.id, "introspection says: active, of %s, scope %s", good.ClientID, good.Scope); err != nil {
		return err
	}
	altered := d.scopedToken[:len(d.scopedToken)-8] + strings.Repeat("A", 8)
	bad, err := d.introspect(altered)
	if err != nil {
		return err
	}
	return d.check(!bad.Active, "with an altered signature: not active")
}

func (d *demo) showNarrow() error {
	t, err := d.token(d.first, "credentials.read")
	if err != nil {
		return err
	}
	return several(
		func() error {
			if err := d.call(nil, httpapi.Request{Path: "/v1/credentials", Bearer: t.AccessToken}); err != nil {
				return err
			}
			return d.holds("the shared credential asks for %s only, and can list credentials", t.Scope)
		},
		func() error {
			err := d.call(nil, httpapi.Request{Method: http.MethodPost, Path: "/v1/credentials", Bearer: t.AccessToken, Body: struct{}{}})
			return d.refusal(err, httpapi.Forbidden, "creating one with that token")
		},
		func() error {
			_, err := d.token(d.scoped, "admin")
			return d.refusal(err, httpapi.InvalidScope, "a client that asks for more than it has")
		},
	)
}

// rotate asks for the next version of the shared credential.
func (d *demo) rotate(r httpapi.RotateRequest) (done httpapi.Rotation, err error) {
	err = d.call(&done, httpapi.Request{Method: http.MethodPost, Path: "/v1/cluster/credentials/rotate", Bearer: d.admin, Body: r})
	return done, err
}

func (d *demo) showRotation() error {
	window := int64(demoWindow / time.Second)
	done, err := d.rotate(httpapi.RotateRequest{WindowSeconds: &window, Reason: "every month"})
	if err != nil {
		return err
	}
	d.second = pair{done.ClientID, done.ClientSecret}
	if len(done.Previous) != 1 || done.Previous[0].ClientID != d.first.id {
		return fmt.Errorf("the answer does not name the version before: %v", done.Previous)
	}
	d.deadline = done.Previous[0].ExpiresAt.Time
	return d.check(done.Version == 2, "version %d is %s; %s is accepted until %s", done.Version, d.second.id, d.first.id, clock(d.deadline))
}

func (d *demo) showWindow() error {
	fresh, err := d.token(d.second, "")
	if err != nil {
		return err
	}
	d.admin, d.killed = fresh.AccessToken, fresh.AccessToken
	old, err := d.token(d.first, "")
	if err != nil {
		return err
	}
	if old.SecretExpiresAt == nil {
		return errors.New("the answer to the old secret does not say until when it is accepted")
	}
	return several(
		func() error { return d.check(fresh.SecretExpiresAt == nil, "the new secret gets a token") },
		func() error { return d.worksOnSidecars(d.second, "on every sidecar as well, at once") },
		func() error { return d.worksOnSidecars(d.first, "and so does the old one, on every sidecar") },
		func() error {
			return d.check(old.SecretExpiresAt.Equal(d.deadline) && old.SecretVersionCurrent == 2,
				"the old secret gets one too, and hears: until %s, version %d is current", clock(old.SecretExpiresAt.Time), old.SecretVersionCurrent)
		},
		func() error {
			_, err := d.token(pair{d.first.id, d.second.secret}, "")
			if err != nil {
				return err
			}
			return d.holds("the new secret works beside the old client id: who pasted only the secret is in")
		},
	)
}

// showEnd asks with both secrets until the old one is refused: never before its time, and the new one never.
func (d *demo) showEnd() error {
	var late error
	asked := 0
	err := d.screen.during("waiting for the window to close", func() error {
		for late == nil {
			if _, err := d.token(d.second, ""); err != nil {
				return fmt.Errorf("the new secret was refused: %w", err)
			}
			asked++
			_, late = d.token(d.first, "")
			if left := d.deadline.Sub(d.Now()); late != nil && left > 0 {
				return fmt.Errorf("the old secret was refused %s too early: %w", left, late)
			}
			d.screen.relabel("waiting for the window to close: %s left", max(0, d.deadline.Sub(d.Now())).Round(time.Second))
			if err := d.pause(100 * time.Millisecond); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	var e *httpapi.Error
	precise := errors.As(late, &e) && strings.Contains(e.Message, "retired on "+d.deadline.UTC().Format(time.RFC3339)) && strings.Contains(e.Message, "version 2 is current")
	return several(
		func() error { return d.refusal(late, httpapi.Unauthorized, "the host that came late") },
		func() error {
			return d.diesOnSidecars(d.first, "", "no sidecar takes it any more: each has a clock of its own")
		},
		func() error { return d.worksOnSidecars(d.second, "every sidecar takes the new one") },
		func() error { return d.check(precise, "the refusal says when it was retired, and what to use instead") },
		func() error {
			return d.check(asked > 3, "%d times in a row both were asked: nobody was locked out", asked)
		},
	)
}

// pause waits, unless the performance is broken off.
func (d *demo) pause(t time.Duration) error {
	backoff.Wait(d, t)
	return d.Err()
}

func (d *demo) showEmergency() error {
	done, err := d.rotate(httpapi.RotateRequest{Emergency: true, Reason: "a secret in a public log"})
	if err != nil {
		return err
	}
	d.third = pair{done.ClientID, done.ClientSecret}
	var killed, created []string
	if done.Killed != nil && done.CreatedByKilled != nil {
		killed, created = *done.Killed, *done.CreatedByKilled
	}
	fresh, err := d.token(d.third, "")
	if err != nil {
		return err
	}
	d.admin = fresh.AccessToken
	return several(
		func() error {
			return d.check(slices.Contains(killed, d.second.id), "version %d is %s; killed: %s", done.Version, d.third.id, words(killed))
		},
		func() error {
			return d.check(slices.Contains(created, d.scoped.id), "what the killed versions created, for the next decision: %s", words(created))
		},
		func() error { return d.refusedAs(d.second, "the leaked secret") },
		func() error {
			return d.diesOnSidecars(d.second, d.killed, "secret and tokens are dead on every sidecar, "+atOnce)
		},
		func() error {
			err := d.call(nil, httpapi.Request{Path: "/v1/credentials", Bearer: d.killed})
			return d.refusal(err, httpapi.Unauthorized, "a token that was issued before, good for an hour yet")
		},
	)
}

// refusedAs checks that a secret gets no token.
func (d *demo) refusedAs(p pair, what string) error {
	_, err := d.token(p, "")
	return d.refusal(err, httpapi.Unauthorized, what)
}

func (d *demo) showRevocation() error {
	path := "/v1/credentials/" + d.scoped.id
	err := d.call(nil, httpapi.Request{Method: http.MethodDelete, Path: path, Bearer: d.admin, Query: url.Values{"reason": {"the client is gone"}}})
	if err != nil {
		return err
	}
	return several(
		func() error {
			seen, err := d.introspect(d.scopedToken)
			if err != nil {
				return err
			}
			return d.check(!seen.Active, "its token is not active any more, at once")
		},
		func() error {
			err := d.call(nil, httpapi.Request{Path: "/v1/credentials", Bearer: d.scopedToken})
			return d.refusal(err, httpapi.Unauthorized, "calling with it")
		},
		func() error { return d.refusedAs(d.scoped, "its secret") },
		func() error {
			return d.diesOnSidecars(d.scoped, d.scopedToken, "both are dead on every sidecar, "+atOnce)
		},
	)
}

func (d *demo) showOutage() error {
	if err := d.cluster.Down(); err != nil {
		return err
	}
	stranger := pair{d.third.id, d.second.secret[:len(d.second.secret)-6] + "AAAAAA"}
	return several(
		func() error {
			return d.worksOnSidecars(d.third, "the authority has stopped; the current secret gets tokens on every sidecar")
		},
		func() error { return d.diesOnSidecars(d.second, d.killed, "what leaked stays dead on every sidecar") },
		func() error {
			return d.diesOnSidecars(d.scoped, d.scopedToken, "what was revoked stays dead on every sidecar")
		},
		func() error {
			_, err := d.tokenAt(d.sidecars[0], stranger, "")
			return d.refusal(err, httpapi.Unauthorized, "what cannot be a secret")
		},
	)
}

func (d *demo) showRestart() error {
	if err := d.cluster.Up(d); err != nil {
		return err
	}
	if d.cluster.URL() != d.client.Server() {
		return fmt.Errorf("it listens on %s now", d.cluster.URL())
	}
	return several(
		func() error {
			if err := d.call(nil, httpapi.Request{Path: "/v1/cluster/credentials", Bearer: d.admin}); err != nil {
				return err
			}
			return d.holds("a token from before the restart is good")
		},
		func() error {
			if _, err := d.token(d.third, ""); err != nil {
				return err
			}
			return d.holds("the current secret gets a token")
		},
		func() error { return d.refusedAs(d.first, "the retired secret") },
		func() error { return d.refusedAs(d.second, "the leaked secret") },
		func() error { return d.refusedAs(d.scoped, "the revoked secret") },
	)
}

func (d *demo) showAudit() error {
	var page httpapi.AuditPage
	if err := d.call(&page, httpapi.Request{Path: "/v1/audit", Bearer: d.admin, Query: url.Values{"limit": {"500"}}}); err != nil {
		return err
	}
	rows := [][]string{}
	var actions []string
	for _, e := range page.Events {
		rows = append(rows, []string{"     ", strconv.FormatUint(e.Seq, 10), e.Action, or(deref(e.Actor)), or(plain(deref(e.Reason)))})
		actions = append(actions, e.Action+" by "+deref(e.Actor))
	}
	if err := d.data(table(rows)); err != nil {
		return err
	}
	for _, want := range []string{
		"cluster.bootstrap by ", "credential.create by " + d.first.id, "credential.rotate by " + d.first.id,
		"credential.rotate by " + d.second.id, "credential.revoke by " + d.third.id,
	} {
		if !slices.Contains(actions, want) {
			return fmt.Errorf("the trail has no %s", want)
		}
	}
	return d.holds("%d events, signed and chained: each write of this demo is there with its actor", len(page.Events))
}

// clock is a time of day for a person.
func clock(at time.Time) string { return at.UTC().Format("15:04:05 UTC") }
