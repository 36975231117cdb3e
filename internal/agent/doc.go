// Package agent is the sidecar: it joins a cluster, keeps a copy of its ledgers up to date, and answers token,
// introspection and forward-auth requests from that copy, with or without its authority, within bounds of age that an
// operator chose.
//
// Who may get in is decided by access, over the copy that replica keeps, behind the caches of verdict; httpapi speaks HTTP.
// What agent adds is when an answer may be given at all: how old the copy may be, what is denied on this host, and what only
// the authority can answer. It writes log lines, never with a secret or a token in them. Its errors are for people.
package agent
