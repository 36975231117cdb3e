package boot_test

import (
	"context"
	"encoding/json"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/keyturn/keyturn/internal/authority"
)

// Budget of a warm token request, without the store.
const maxAllocations = 250

// instant is a store that answers what it was asked before out of memory, so that what is measured is not the store.
type instant struct {
	authority.Store
	mu   sync.Mutex
	seen map[string][]authority.Entry
}

func (s *instant) Subject(ctx context.Context, subject string) ([]authority.Entry, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.seen[subject]; !ok {
		entries, err := s.Store.Subject(ctx, subject)
		if err != nil {
			return nil, err
		}
		s.seen[subject] = entries
	}
	return slices.Clone(s.seen[subject]), nil
}

// warm returns how to make one token request of a function that has answered before.
func warm(t testing.TB) func() {
	t.Helper()
	store := &instant{Store: openBolt(t), seen: map[string][]authority.Entry{}}
	s := newStack(t, store)
	done := s.bootstrap()
	clear(store.seen)
	form := url.Values{"grant_type": {"client_credentials"}, "client_id": {done.ClientID}, "client_secret": {done.ClientSecret}}
	headers := map[string]string{
		"Accept": "*/*", "CloudFront-Viewer-Country": "DE", "Content-Type": "application/x-www-form-urlencoded",
		"Host": "a1b2c3d4e5.execute-api.eu-central-1.amazonaws.com", "User-Agent": "curl/8.14.1",
		"X-Amzn-Trace-Id": "Root=1-6a3f2b10-0123456789abcdef01234567", "X-Forwarded-For": "203.0.113.7",
		"X-Forwarded-Port": "443", "X-Forwarded-Proto": "https",
	}
	multi := map[string][]string{}
	for name, value := range headers {
		multi[name] = []string{value}
	}
	event, err := json.Marshal(map[string]any{
		"resource": "/v1/oauth/token", "path": "/v1/oauth/token", "httpMethod": "POST", "headers": headers, "multiValueHeaders": multi,
		"queryStringParameters": nil, "pathParameters": nil, "body": form.Encode(), "isBase64Encoded": false,
		"requestContext": map[string]any{
			"path": "/prod/v1/oauth/token", "stage": "prod", "requestId": "7e3c4a0e-1d5b-4a0b-9a52-0c7cf2f2a001",
			"identity": map[string]any{"sourceIp": "203.0.113.7", "userAgent": "curl/8.14.1"},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	f := s.apps["token"].Lambda()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	request := func() {
		out, err := f.Invoke(ctx, event)
		if err != nil || !strings.Contains(string(out), `"statusCode":200`) {
			t.Fatalf("%s, %v", out, err)
		}
	}
	request()
	return request
}

func TestWarmToken_Allocations(t *testing.T) {
	if n := testing.AllocsPerRun(200, warm(t)); n > maxAllocations {
		t.Errorf("%v allocations, at most %d", n, maxAllocations)
	} else {
		t.Logf("%v allocations", n)
	}
}

// BenchmarkWarmToken is one token request in the handler, from the event to the answer, without the store. The budget is 1 ms
// and 250 allocations.
func BenchmarkWarmToken(b *testing.B) {
	request := warm(b)
	b.ReportAllocs()
	for b.Loop() {
		request()
	}
}
