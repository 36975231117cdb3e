package httpapi

import (
	"crypto/subtle"
	"net/http"
	"net/netip"
	"strconv"
	"time"

	"github.com/keyturn/keyturn/internal/access"
	"github.com/keyturn/keyturn/internal/jwk"
)

// FeedQuery is what a verifier asks for.
type FeedQuery struct {
	After string        // the cursor of the answer before; "": everything
	Wait  time.Duration // for news, where there are none
	Ask   bool          // the authority is to be asked first whether there are any
}

// Feed is what verifiers in other processes live on: the keys, and what is dead for ever.
type Feed struct {
	ClusterID string   `json:"cluster_id"`
	Issuer    string   `json:"issuer"`
	Keys      jwk.Set  `json:"keys"`
	Peers     []Grant  `json:"peers"` // whose keys are among them
	Dead      []Dead   `json:"dead"`
	Cursor    string   `json:"cursor"`
	Age       *int     `json:"age_seconds"` // since the last proof of freshness; null: there was none
	Bounds    Bounds   `json:"bounds"`
	Denied    []string `json:"denied"` // on this host

	// Complete says that FeedQuery.Ask was set and that the authority at home has answered since: a key or a peer of which nothing
	// was told does not exist. Without it, it may.
	Complete bool `json:"complete"`
}

// Grant says whose key a key is, and what its owner may grant; null for whatever a credential has.
type Grant struct {
	KeyID     string    `json:"kid"`
	PeerID    string    `json:"peer_id"`
	MaxScopes *[]string `json:"max_scopes"`
}

// Dead is a credential whose tokens are refused: all of them where Versions is null.
type Dead struct {
	ID       string `json:"id"`
	Versions []int  `json:"versions"`
}

// Bounds are how old the last proof of freshness may be.
type Bounds struct {
	Read  int `json:"read_seconds"`  // for scopes that only read
	Write int `json:"write_seconds"` // for all else
}

// SidecarStatus is the answer of GET /v1/sidecar/status.
type SidecarStatus struct {
	PeerID    string            `json:"peer_id"`
	ClusterID string            `json:"cluster_id"`
	Authority string            `json:"authority"`
	Version   string            `json:"version"`
	Cursors   map[string]uint64 `json:"cursors"`
	Heads     map[string]uint64 `json:"heads"`
	Age       *int              `json:"age_seconds"` // null: there was no proof of freshness yet
	Bounds    Bounds            `json:"bounds"`
	Denied    []string          `json:"denied"`
	Cache     CacheStatus       `json:"cache"`
	Refused   uint64            `json:"refused_records"`
	Problem   string            `json:"problem"` // "": none
}

// CacheStatus counts what the caches have answered.
type CacheStatus struct {
	TokenHits   uint64 `json:"token_hits"`
	TokenMisses uint64 `json:"token_misses"`
	PairHits    uint64 `json:"pair_hits"`
	PairMisses  uint64 `json:"pair_misses"`
}

// longestWait is how long a request may wait for news.
const longestWait = 30 * time.Second

// feed is GET /v1/sidecar/feed, for this host only.
func (s sidecar) feed(c *call) (answer, error) {
	if !FromThisHost(c.Request) {
		return answer{}, refuse(http.StatusNotFound, NotFound, "there is no such path")
	}
	query, err := c.query()
	if err != nil {
		return answer{}, err
	}
	wait, err := waiting(query.Get("wait_seconds"))
	if err != nil {
		return answer{}, err
	}
	ask, err := flag("ask", query.Get("ask"))
	if err != nil {
		return answer{}, err
	}
	f, err := s.node.Feed(c.Context(), c.at, FeedQuery{After: query.Get("after"), Wait: wait, Ask: ask})
	return answer{body: f}, err
}

// flag reads a parameter that is true or false; "" is false.
func flag(name, text string) (bool, error) {
	switch text {
	case "", "false":
		return false, nil
	case "true":
		return true, nil
	}
	return false, refuse(http.StatusBadRequest, InvalidRequest, name+" has to be true or false")
}

// waiting reads wait_seconds; "" is no wait.
func waiting(text string) (time.Duration, error) {
	if text == "" {
		return 0, nil
	}
	seconds, err := strconv.Atoi(text)
	if err != nil || seconds < 0 || time.Duration(seconds)*time.Second > longestWait {
		return 0, refuse(http.StatusBadRequest, InvalidRequest, "wait_seconds has to be 0 to "+strconv.Itoa(int(longestWait/time.Second)))
	}
	return time.Duration(seconds) * time.Second, nil
}

// status is GET /v1/sidecar/status.
func (s sidecar) status(c *call) (answer, error) {
	body := s.node.Status(c.at)
	if !FromThisHost(c.Request) {
		body.Problem = "" // what it says to an operator may name files of this host
	}
	return answer{body: body}, nil
}

// ControlRequest is the body of deny and allow; resync takes none.
type ControlRequest struct {
	ID string `json:"id"`
}

// control lets in who can read the sidecar's data directory, on this host.
func (s sidecar) control(do func(c *call, id string) error) handler {
	return func(c *call) (answer, error) {
		shown := []byte(c.Header.Get(HeaderControl))
		if s.o.Control == "" || subtle.ConstantTimeCompare(shown, []byte(s.o.Control)) != 1 || !FromThisHost(c.Request) {
			return answer{}, access.ErrToken
		}
		body, err := c.bodyOf("application/json")
		if err != nil {
			return answer{}, err
		}
		var w ControlRequest
		if err := decodeBody(body, &w); err != nil {
			return answer{}, err
		}
		if err := do(c, w.ID); err != nil {
			return answer{}, err
		}
		return answer{body: s.node.Status(c.at)}, nil
	}
}

// FromThisHost reports whether a process of this host asks, as far as can be told: a proxy on this host that does not say for
// whom it asks (nginx does not, unless it is told to) must not pass on what is for this host alone.
func FromThisHost(r *http.Request) bool {
	for _, forwarded := range []string{"Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Real-Ip", "Via"} {
		if len(r.Header.Values(forwarded)) > 0 {
			return false
		}
	}
	ap, err := netip.ParseAddrPort(r.RemoteAddr)
	return err != nil || ap.Addr().Unmap().IsLoopback() // a unix socket has no address
}

// NamesThisHost reports whether a Host header is one that a caller on this host would use.
func NamesThisHost(host string) bool { return namesThisHost(host) }
