package authority

import (
	"context"
	"fmt"
	"time"

	"github.com/keyturn/keyturn/internal/access"
	"github.com/keyturn/keyturn/internal/credential"
	"github.com/keyturn/keyturn/internal/id"
	"github.com/keyturn/keyturn/internal/peer"
)

// Cluster implements access.View. After a commit that changed the cluster's records it reads them again, and nobody gets
// what was true before.
func (a *Authority) Cluster(ctx context.Context) (*access.Cluster, error) {
	if c := a.cluster.Load(); c != nil && a.clusterRead.Load() == a.clusterWritten.Load() {
		return c, nil
	}
	a.clusterMu.Lock()
	defer a.clusterMu.Unlock()
	written := a.clusterWritten.Load() // before the records are read: a later write counts again
	if a.cluster.Load() == nil || a.clusterRead.Load() != written {
		if err := a.loadCluster(ctx); err != nil {
			return nil, fmt.Errorf("%w: %w", access.ErrUnavailable, err)
		}
		a.clusterRead.Store(written)
	}
	if c := a.cluster.Load(); c != nil {
		return c, nil
	}
	return nil, access.ErrNotBootstrapped
}

// refreshEvery is how long an authority that is not the only writer relies on the cluster's records that it has read.
const refreshEvery = time.Minute

// Refresh reads the cluster's records again where they were read a minute before instant at, or where there was no cluster
// yet. What can change meanwhile is announced longer before than that (token keys), or is decided on fresh records. Where the
// store cannot be read, what was read before stands, and the next call tries again. An authority that is the only writer
// needs no Refresh.
func (a *Authority) Refresh(ctx context.Context, at time.Time) {
	if a.cluster.Load() != nil && at.Unix() < a.clusterLooked.Load()+int64(refreshEvery/time.Second) {
		return
	}
	a.clusterMu.Lock()
	defer a.clusterMu.Unlock()
	written := a.clusterWritten.Load()
	if a.loadCluster(ctx) == nil {
		a.clusterRead.Store(written)
		a.clusterLooked.Store(at.Unix())
	}
}

// Credential implements access.View: one strongly consistent read, or what is remembered of it.
func (a *Authority) Credential(ctx context.Context, at time.Time, subject id.ID) (*credential.Credential, error) {
	return a.reader.Credential(ctx, at, subject)
}

// Peer implements access.View, like Credential.
func (a *Authority) Peer(ctx context.Context, at time.Time, subject id.ID) (*peer.Peer, error) {
	return a.reader.Peer(ctx, at, subject)
}
