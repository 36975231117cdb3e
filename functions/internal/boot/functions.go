package boot

// The functions, and what each of them answers. What each may do stands in template.yaml, as its role.

// Token gives tokens and introspects them.
func Token() Function {
	return Function{Name: "token", Signs: true, Routes: []string{"/v1/oauth/token", "/v1/oauth/introspect"}}
}

// Credentials lists, makes and revokes credentials, and has the audit trail, the export and the license.
func Credentials() Function {
	return Function{Name: "credentials", Routes: []string{
		"/v1/credentials", "/v1/credentials/{client_id}", "/v1/cluster/credentials", "/v1/audit", "/v1/export", "/v1/license",
	}}
}

// Rotate rotates secrets and token keys.
func Rotate() Function {
	return Function{Name: "rotate", Routes: []string{
		"/v1/credentials/{client_id}/rotate", "/v1/cluster/credentials/rotate", "/v1/keys/rotate",
	}}
}

// Cluster founds the cluster, says what it is, looks after its peers and, by a schedule, after its token keys.
func Cluster() Function {
	return Function{Name: "cluster", Boots: true, Event: Tick, Routes: []string{
		"/v1/bootstrap", "/v1/cluster/identity", "/v1/cluster/home", "/v1/ledger-keys",
		"/v1/join-keys", "/v1/join-keys/{join_key_id}", "/v1/peers", "/v1/peers/join", "/v1/peers/{peer_id}",
		"/v1/ledger", "/v1/peers/self/usage",
	}}
}

// Discovery serves the well-known documents and the health, and answers for every path that does not exist.
func Discovery() Function {
	return Function{Name: "discovery", Routes: []string{
		"/.well-known/openid-configuration", "/.well-known/oauth-authorization-server", "/.well-known/jwks.json",
		"/livez", "/readyz",
	}}
}

// Recovery founds a cluster, or mints a secret where all are lost, for who may invoke it: it has no route.
func Recovery() Function {
	return Function{Name: "recover", Event: Recover}
}

// Functions are all of them.
func Functions() []Function {
	return []Function{Token(), Credentials(), Rotate(), Cluster(), Discovery(), Recovery()}
}
