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

// claims are those of an access token, as a program without keyturn would write them down.
type claims struct {
	jwt.RegisteredClaims
	ClientID  string `json:"client_id"`
	Version   int    `json:"ver"`
	Scope     string `json:"scope"`
	ClusterID string `json:"cluster_id"`
	PeerID    string `json:"peer_id"`
}

func bareClaims(client string, jti []byte) claims {
	now := time.Now()
	return claims{
		RegisteredClaims: jwt.RegisteredClaims{
			Issuer: "http://127.0.0.1:8080", Subject: client, Audience: jwt.ClaimStrings{"http://127.0.0.1:8080"},
			ExpiresAt: jwt.NewNumericDate(now.Add(time.Hour)), IssuedAt: jwt.NewNumericDate(now), ID: fmt.Sprintf("%x", jti),
		},
		ClientID: client, Version: 1, Scope: "peers.read",
		ClusterID: "clu_01m810q42gffj9d47sesvppd8e", PeerID: "peer_01m810q42gfs3t0ksf32mv1wmt",
	}
}
