package httpapi

// CredentialDetail is one credential with all its versions, the newest first.
type CredentialDetail struct {
	Credential
	Versions []Version `json:"versions"`
}

// Version is one version of a credential, and who uses it.
type Version struct {
	Version   int    `json:"version"`
	ClientID  string `json:"client_id"`
	Status    string `json:"status"`
	CreatedAt Time   `json:"created_at"`
	ExpiresAt Time   `json:"expires_at"`

	KnownSince Time         `json:"known_since"` // of who used it before nothing is known; null: all of 30 days is
	AcceptedBy []Acceptance `json:"accepted_by"` // peers that have told so
	LastUsed   []Sighting   `json:"last_used"`   // the latest first
	Unreported []PeerName   `json:"unreported"`  // unknown, not "no use"
	Unsettled  []Unsettled  `json:"unsettled"`   // unknown, too: a newer one was used there since, but not for long enough
	Verdict    *Verdict     `json:"verdict"`     // null unless the version is superseded
}

// Acceptance says that a peer accepts a version, and since when as far as it has told.
type Acceptance struct {
	PeerID string `json:"peer_id"`
	Name   string `json:"name"`
	Since  Time   `json:"since"`
}

// Sighting is when a secret was shown last, and accepted, from one place: at a peer, or at an authority, which has no peer_id.
type Sighting struct {
	PeerID  *string `json:"peer_id"`
	Name    string  `json:"name"`
	Source  string  `json:"source"` // the caller's address; "" through a unix socket
	At      Time    `json:"at"`
	Count   uint64  `json:"count"`   // in the last 30 days
	Removed bool    `json:"removed"` // at a host that has been removed since
}

// Unsettled is a place where a version was used last at, and a newer one since.
type Unsettled struct {
	PeerID *string `json:"peer_id"`
	Name   string  `json:"name"`
	Source string  `json:"source"`
	At     Time    `json:"at"`
	Until  Time    `json:"until"` // a use of a newer one at that time or later, and none of this one, settles it
}

// PeerName names a peer.
type PeerName struct {
	PeerID string `json:"peer_id"`
	Name   string `json:"name"`
}

// Verdict says whether a superseded version can be closed.
type Verdict struct {
	Safe         bool     `json:"safe"`
	WouldLockOut []string `json:"would_lock_out"`
	Unknown      []string `json:"unknown"`
	Text         string   `json:"text"`
}

// UsageReport is what a peer tells of the secrets that were shown to it and accepted, since its report before.
type UsageReport struct {
	ID      string       `json:"report"`            // 16 to 64 characters; the same until one has arrived
	At      Time         `json:"at"`                // when it was made
	Cursor  string       `json:"cursor"`            // how far the peer has applied each region's ledger, as in GET /v1/ledger
	Partial bool         `json:"partial,omitempty"` // there was more than could be counted
	Final   bool         `json:"final,omitempty"`   // the peer stops: the report does not wait for the minute
	Uses    []UsageEntry `json:"uses"`
}

// UsageEntry is how often one version was used from one place.
type UsageEntry struct {
	ClientID string `json:"client_id"`
	Version  int    `json:"version"`
	Source   string `json:"source"`
	FirstAt  Time   `json:"first_at"`
	LastAt   Time   `json:"last_at"`
	Count    uint64 `json:"count"`
}
