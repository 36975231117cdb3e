package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// serveBare is what no token endpoint can do without: read the form, hash the secret, sign the claims, write JSON.
func serveBare() error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	fmt.Println(l.Addr())
	return http.Serve(l, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := r.ParseForm(); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		sum := sha256.Sum256([]byte(r.PostForm.Get("client_secret")))
		text, err := jwt.NewWithClaims(jwt.SigningMethodES256, bareClaims(r.PostForm.Get("client_id"), sum[:4])).SignedString(key)
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprintf(w, `{"access_token":%q,"token_type":"Bearer","expires_in":3600,"scope":"peers.read"}`, text)
	}))
}

func bareClaims(client string, jti []byte) jwt.MapClaims {
	now := time.Now().Unix()
	return jwt.MapClaims{
		"iss": "http://127.0.0.1:8080", "sub": client, "client_id": client, "ver": 1, "aud": "http://127.0.0.1:8080",
		"exp": now + 3600, "iat": now, "jti": fmt.Sprintf("%x", jti), "scope": "peers.read",
		"cluster_id": "clu_01m810q42gffj9d47sesvppd8e", "peer_id": "peer_01m810q42gfs3t0ksf32mv1wmt",
	}
}
