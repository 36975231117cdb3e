package serve_test

import (
	"sync/atomic"
	"testing"
	"time"

	"github.com/keyturn/keyturn/internal/httpapi"
)

// clock is one that a test turns.
type clock struct{ at atomic.Int64 }

func newClock() *clock {
	c := &clock{}
	c.at.Store(time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC).Unix())
	return c
}

func (c *clock) now() time.Time       { return time.Unix(c.at.Load(), 0) }
func (c *clock) turn(d time.Duration) { c.at.Add(int64(d / time.Second)) }

func ready(t *testing.T, h *host) (int, map[string]string) {
	t.Helper()
	a, err := h.transport.RoundTrip(newRequest(t, h.URL()+"/readyz"))
	if err != nil {
		t.Fatal(err)
	}
	defer a.Body.Close() //nolint:errcheck // only read
	return a.StatusCode, decode[httpapi.Health](t, a.Body).Checks
}

func TestClock_BehindTheLedgerJudgesNoDeadline(t *testing.T) {
	t.Parallel()
	clock := newClock()
	c := config(t)
	c.Now = clock.now
	h := run(t, c)
	b := bootstrap(t, h)
	bearer := token(t, h, b.ClientID, b.ClientSecret).AccessToken
	clock.turn(10 * time.Minute)
	rotated := rotate(t, h, bearer, 60)
	clock.turn(2 * time.Minute)
	if e := refused(t, h, b.ClientID, b.ClientSecret); e.Status != 401 {
		t.Fatalf("past its window: %v", e)
	}
	if status, _ := ready(t, h); status != 200 {
		t.Fatalf("readyz is %d with a good clock", status)
	}

	judge := func(h *host) {
		t.Helper()
		if status, checks := ready(t, h); status != 503 || checks["clock"] == "" {
			t.Errorf("readyz is %d, %v", status, checks)
		}
		if e := refused(t, h, b.ClientID, b.ClientSecret); e.Status != 503 || e.Code != httpapi.Unavailable {
			t.Errorf("the superseded secret: %v", e)
		}
		fresh := token(t, h, rotated.ClientID, rotated.ClientSecret).AccessToken
		_, err := h.Call(t.Context(), httpapi.Request{Method: "POST", Path: "/v1/credentials", Bearer: fresh, Body: httpapi.CreateRequest{Name: "x"}})
		if e := apiError(t, err); e.Status != 503 {
			t.Errorf("a write: %v", e)
		}
	}
	clock.turn(-(3 * time.Minute))
	judge(h)
	if err := h.stop(); err != nil {
		t.Fatal(err)
	}
	h = run(t, c) // a restart does not make the clock right
	judge(h)
	eventually(t, "the log says so", func() bool {
		return len(h.log.lines(t, "the clock is behind the newest record: set it right, or start with --accept-clock")) == 1
	})
	if err := h.stop(); err != nil {
		t.Fatal(err)
	}

	c.AcceptClock = true
	h = run(t, c)
	if status, checks := ready(t, h); status != 200 {
		t.Errorf("readyz is %d, %v although the clock is accepted", status, checks)
	}
	fresh := token(t, h, rotated.ClientID, rotated.ClientSecret).AccessToken
	do[httpapi.Created](t, h, httpapi.Request{Method: "POST", Path: "/v1/credentials", Bearer: fresh, Body: httpapi.CreateRequest{Name: "x"}})
}

func TestClock_RightAgainIsEnough(t *testing.T) {
	t.Parallel()
	clock := newClock()
	c := config(t)
	c.Now = clock.now
	h := run(t, c)
	bootstrap(t, h)
	clock.turn(-time.Hour)
	if status, _ := ready(t, h); status != 503 {
		t.Errorf("readyz is %d", status)
	}
	clock.turn(time.Hour - 30*time.Second)
	if status, checks := ready(t, h); status != 200 {
		t.Errorf("readyz is %d, %v within the leeway", status, checks)
	}
}
