package verify_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"time"

	"github.com/keyturn/keyturn/sidecar/verify"
)

// A service that lets in whoever may read peers, as the sidecar on its host knows it.
func Example() {
	sidecar, token := exampleSidecar() // http://127.0.0.1:8081 or unix:/run/keyturn.sock, on a real host
	defer sidecar.Close()

	v, err := verify.New(context.Background(), sidecar.URL, verify.Options{Issuer: "https://a.example"})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer v.Close()

	hello := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		caller, _ := verify.FromContext(r.Context())
		_, _ = fmt.Fprintln(w, "hello", caller.Credential)
	})
	service := httptest.NewServer(v.Middleware(verify.Want{Scopes: []string{"peers.read"}}, hello))
	defer service.Close()

	for _, shown := range []string{token, "something else"} {
		r, _ := http.NewRequest(http.MethodGet, service.URL, nil)
		r.Header.Set("Authorization", "Bearer "+shown)
		answer, err := http.DefaultClient.Do(r)
		if err != nil {
			fmt.Println(err)
			return
		}
		_ = answer.Body.Close()
		fmt.Println(answer.Status)
	}
	http.DefaultClient.CloseIdleConnections()

	_, err = v.Check(context.Background(), token, verify.Want{Scopes: []string{"peers.write"}})
	fmt.Println(err)

	// Output:
	// 200 OK
	// 401 Unauthorized
	// insufficient scope
}

// exampleSidecar is a sidecar's real handler over a made-up cluster, and a token of that.
func exampleSidecar() (*httptest.Server, string) {
	w := newWorld(unfailing{})
	c := claims()
	c.IssuedAt, c.ExpiresAt = time.Now().Unix(), time.Now().Add(time.Hour).Unix()
	return httptest.NewServer(w.handler()), sign(unfailing{}, w.signers[authorityI], c)
}

// unfailing is a tester where there is no test.
type unfailing struct{}

func (unfailing) Helper()                           {}
func (unfailing) Fatal(args ...any)                 { panic(fmt.Sprint(args...)) }
func (unfailing) Fatalf(format string, args ...any) { panic(fmt.Sprintf(format, args...)) }
