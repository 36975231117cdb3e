package serve_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/url"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/keyturn/keyturn/internal/httpapi"
	"github.com/keyturn/keyturn/internal/testdose"
)

// kills is how often the program is killed in the middle of writes: each kind of them in its turn.
var kills = testdose.Dose{Least: 10, Most: 50, Within: 12 * time.Second}

// answered is what an authority has promised: each of it has to be there for ever.
type answered struct {
	mu      sync.Mutex
	created map[string]string           // client id -> secret
	revoked map[string]bool             // client id
	rotated map[string]httpapi.Rotation // client id -> the newest answer
}

// writer creates, rotates and revokes until it gets no answer any more.
type writer struct {
	client *httpapi.Client
	bearer string
	done   *answered
	own    string // what it rotates
}

func (w writer) work(ctx context.Context) {
	for i := 0; ; i++ {
		made, err := ask[httpapi.Created](ctx, w, httpapi.Request{Method: "POST", Path: "/v1/credentials", Body: httpapi.CreateRequest{Name: fmt.Sprint(i)}})
		if busy(err) {
			continue
		} else if err != nil {
			return
		}
		w.done.note(func() { w.done.created[made.ClientID] = made.ClientSecret })
		if i%2 == 0 {
			if _, err := ask[struct{}](ctx, w, httpapi.Request{Method: "DELETE", Path: "/v1/credentials/" + made.ClientID}); busy(err) {
				continue
			} else if err != nil {
				return
			}
			w.done.note(func() { w.done.revoked[made.ClientID] = true })
		}
		turned, err := ask[httpapi.Rotation](ctx, w, httpapi.Request{Method: "POST", Path: "/v1/credentials/" + w.own + "/rotate"})
		if busy(err) {
			continue
		} else if err != nil {
			return
		}
		w.done.note(func() { w.done.rotated[w.own] = turned })
	}
}

// busy reports whether the program could not promise anything in time, as where the machine stood still, and goes on.
func busy(err error) bool {
	var e *httpapi.Error
	return errors.As(err, &e) && e.Status == http.StatusServiceUnavailable
}

func (a *answered) note(what func()) {
	a.mu.Lock()
	defer a.mu.Unlock()
	what()
}

// size is how much of one kind has been answered; in each round it is another kind.
func (a *answered) size(round int, own string) (n int) {
	a.note(func() { n = []int{len(a.created), len(a.revoked), a.rotated[own].Version}[round%3] })
	return n
}

// growsBeyond waits until more of the round's kind has been answered, so that there is something to lose.
func (a *answered) growsBeyond(t *testing.T, before, round int, own string) {
	t.Helper()
	eventually(t, "a write is answered", func() bool { return a.size(round, own) > before })
}

func ask[T any](ctx context.Context, w writer, r httpapi.Request) (answer T, err error) {
	r.Bearer = w.bearer
	a, err := w.client.Call(ctx, r) // without an idempotency key it is sent once
	if err == nil && len(a.Body) > 0 {
		err = a.Decode(&answer)
	}
	return answer, err
}

func TestCrash_EveryAnsweredWriteIsThere(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "data")
	p := spawn(t, dir)
	b := bootstrap(t, p.host)
	bearer := token(t, p.host, b.ClientID, b.ClientSecret).AccessToken
	done := &answered{created: map[string]string{}, revoked: map[string]bool{}, rotated: map[string]httpapi.Rotation{}}
	var own []string
	for i := range 4 {
		made := do[httpapi.Created](t, p.host, httpapi.Request{
			Method: "POST", Path: "/v1/credentials", Bearer: bearer, Body: httpapi.CreateRequest{Name: fmt.Sprintf("rotated %d", i)},
		})
		own = append(own, made.ClientID)
		done.created[made.ClientID] = made.ClientSecret
	}
	killed := 0
	for round := range kills.Rounds(t) {
		before := done.size(round, own[0])
		var writers sync.WaitGroup
		for _, id := range own {
			writers.Go(func() { writer{p.Client, bearer, done, id}.work(t.Context()) })
		}
		time.Sleep(rand.N(100 * time.Millisecond)) // the instant of the crash
		done.growsBeyond(t, before, round, own[0]) // on a slow machine nothing may have been answered by then
		p.kill()
		writers.Wait()
		p = spawn(t, dir)
		done.verify(t, p.host, bearer)
		if t.Failed() {
			t.Fatalf("after kill %d", round+1)
		}
		killed++
	}
	if len(done.created) < killed/3 || len(done.revoked) < killed/3 || done.rotated[own[0]].Version < killed/3 {
		t.Errorf("there was little to lose: %d created, %d revoked, version %d", len(done.created), len(done.revoked), done.rotated[own[0]].Version)
	}
	t.Logf("%d created, %d revoked, rotated to version %d", len(done.created), len(done.revoked), done.rotated[own[0]].Version)
}

// verify looks for everything that was answered: by the list, and by the secrets of some.
func (a *answered) verify(t *testing.T, h *host, bearer string) {
	t.Helper()
	found := map[string]httpapi.Credential{}
	for cursor := ""; ; {
		query := url.Values{"limit": {"200"}, "include": {"revoked"}, "cursor": {cursor}}
		page := do[httpapi.CredentialPage](t, h, httpapi.Request{Path: "/v1/credentials", Query: query, Bearer: bearer})
		for _, c := range page.Credentials {
			found[c.ClientID] = c
		}
		if page.NextCursor == nil {
			break
		}
		cursor = *page.NextCursor
	}
	for id := range a.created {
		c, ok := found[id]
		if !ok || a.revoked[id] && c.Status != "revoked" {
			t.Errorf("%s: there %v, status %q, revocation answered: %v", id, ok, c.Status, a.revoked[id])
		}
	}
	for id, r := range a.rotated {
		if found[id].Version < r.Version {
			t.Errorf("%s is at version %d, and %d was answered", id, found[id].Version, r.Version)
		}
		token(t, h, id, r.ClientSecret)
	}
	checked := 0
	for id, secret := range maps.All(a.created) {
		if _, rotates := a.rotated[id]; rotates {
			continue
		}
		if e := refused(t, h, id, secret); (found[id].Status == "revoked") != (e.Status == 401) {
			t.Errorf("%s is %s, and its secret got %d", id, found[id].Status, e.Status)
		}
		if checked++; checked == 8 {
			break
		}
	}
}
