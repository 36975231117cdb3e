// Package disk writes files that must not be lost and reads files that nobody else may see: mode 0600, written to a
// temporary file beside the target, fsynced, renamed, and the directory fsynced, so that a crash at any instant leaves the
// old content or the new one. It knows nothing of what the files hold.
package disk
