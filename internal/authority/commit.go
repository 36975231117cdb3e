package authority

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/keyturn/keyturn/internal/access"
	"github.com/keyturn/keyturn/internal/backoff"
	"github.com/keyturn/keyturn/internal/id"
	"github.com/keyturn/keyturn/internal/ledger"
)

// change is one write. decide looks at fresh state and drafts records; it may be called again when another writer was
// faster. A draft without records writes nothing and is no error.
type change struct {
	by      access.Caller // whom it is refused where the caller has died meanwhile; none: the authority itself
	once    Once          // what it is answered under; the zero value: nothing
	touches []string      // subjects and claims: changes that share one never share a batch, so decide sees the other's outcome
	decide  func(ctx context.Context, d *draft) error

	anywhere bool // every region may do it; else only home
}

// Origin says where a write comes from: it goes into the record.
type Origin struct {
	At        time.Time // the operation's instant
	Actor     string    // client id
	Version   int       // the actor's version
	RequestID string
	Source    string // the caller's address
	Reason    string
}

// draft collects what a change will write.
type draft struct {
	Origin
	region   string // whose ledger it goes into
	founding id.ID  // the cluster that this draft founds; else ""
	facts    []fact
	expiries []Expiry
	claims   []Claim
	limits   []Limit
}

// fact is a record before it has a number and a signature.
type fact struct {
	kind    ledger.Kind
	subject id.ID
	body    any
	lists   []string
	secret  []byte
	until   time.Time // from then on nobody is accepted with secret; zero: not known yet
}

func (d *draft) add(f fact) { d.facts = append(d.facts, f) }

// committer numbers, signs and writes changes in batches: whoever comes while a batch is being written waits for the next
// one, and they share its fsync.
type committer struct {
	mu      sync.Mutex
	waiting []*pending
	leading bool
	closed  bool
	leaders sync.WaitGroup
}

type pending struct {
	change   change
	touches  []string // of the change, and its claim
	relies   []string // subjects that are only read: whoever touches one is in another batch
	draft    draft
	snapshot *snapshot // what its caller has read; nil: nothing
	done     chan error
}

// Budgets of one commit.
const (
	maxBatch   = 128
	firstPause = 5 * time.Millisecond // after another writer was faster, doubled each time
	maxPause   = 200 * time.Millisecond
)

// commitBudget is how long a batch may take. It is a variable for the tests of this package alone: they run on machines that
// stand still for as long.
var commitBudget = 5 * time.Second

// commit writes a change, and returns once it is on durable media. The error is the one of decide, or ErrUnavailable: then
// the change may or may not be there.
func (a *Authority) commit(ctx context.Context, o Origin, c change) error {
	if a.ClockBehind(o.At) {
		return access.ErrClock
	}
	p := &pending{
		change: c, touches: c.once.touching(c.touches), relies: relying(c.by),
		draft: draft{Origin: o}, snapshot: snapshotOf(ctx), done: make(chan error, 1),
	}
	defer p.snapshot.end()
	lead, err := a.queue.join(p)
	if err != nil {
		return err
	}
	if lead {
		go a.lead() // not the caller: it would go on writing for those who came later
	}
	select {
	case err := <-p.done:
		return err
	case <-ctx.Done():
		return unavailable("wait for the commit", ctx.Err())
	}
}

// join puts p into the queue and reports whether its caller has to start a leader. Once the queue is closed it returns
// access.ErrUnavailable.
func (q *committer) join(p *pending) (lead bool, err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed {
		return false, fmt.Errorf("%w: the authority is closed", access.ErrUnavailable)
	}
	q.waiting = append(q.waiting, p)
	if q.leading {
		return false, nil
	}
	q.leading = true
	q.leaders.Add(1)
	return true, nil
}

// close lets nobody in any more and waits for those who are.
func (q *committer) close() {
	q.mu.Lock()
	q.closed = true
	q.mu.Unlock()
	q.leaders.Wait()
}

// next takes changes that touch different things, in the order in which they came. The leader stops when there is none.
func (q *committer) next() []*pending {
	q.mu.Lock()
	defer q.mu.Unlock()
	var batch, later []*pending
	taken, read := map[string]bool{}, map[string]bool{}
	for _, p := range q.waiting {
		if len(batch) == maxBatch || anyOf(p.touches, taken) || anyOf(p.touches, read) || anyOf(p.relies, taken) {
			later = append(later, p)
		} else {
			batch = append(batch, p)
		}
		mark(taken, p.touches) // what waits keeps its place before whoever came after it
		mark(read, p.relies)
	}
	q.waiting = later
	q.leading = len(batch) > 0
	return batch
}

func anyOf(list []string, set map[string]bool) bool {
	for _, s := range list {
		if set[s] {
			return true
		}
	}
	return false
}

func mark(set map[string]bool, list []string) {
	for _, s := range list {
		set[s] = true
	}
}

// lead writes batches until nobody waits. A caller who goes away does not end a commit that others share.
func (a *Authority) lead() {
	defer a.queue.leaders.Done()
	for batch := a.queue.next(); batch != nil; batch = a.queue.next() {
		ctx, cancel := context.WithTimeout(context.Background(), commitBudget)
		a.write(ctx, batch)
		cancel()
	}
}

// write decides and appends one batch, again and again while other writers are faster.
func (a *Authority) write(ctx context.Context, batch []*pending) {
	for tries := 1; ; tries++ {
		ctx := a.looking(ctx, batch)
		head, err := a.head(ctx)
		if err != nil {
			finish(batch, unavailable("read the head", err))
			return
		}
		batch = a.fit(a.decide(ctx, batch))
		if len(batch) == 0 {
			return
		}
		var b Batch
		if b, batch = a.seal(ctx, head, batch); len(batch) == 0 {
			return
		}
		err = a.append(ctx, b)
		if err == nil {
			a.settle(batch)
			return
		}
		if !errors.Is(err, ErrConflict) {
			a.changed.Ring() // it may be there all the same, and who asks again may have nothing left to write
		}
		if !errors.Is(err, ErrConflict) || !backoff.Wait(ctx, backoff.Jitter(backoff.Grown(tries, firstPause, maxPause), backoff.Half)) {
			finish(batch, unavailable("commit", err))
			return
		}
		for _, p := range batch {
			p.snapshot.end() // somebody was faster
		}
	}
}

// looking is ctx with what the caller of a batch has read already, where one change is all of it.
func (a *Authority) looking(ctx context.Context, batch []*pending) context.Context {
	if len(batch) != 1 || batch[0].snapshot == nil {
		return ctx
	}
	return context.WithValue(ctx, snapshotKey{}, batch[0].snapshot)
}

// fit sends changes back to the head of the queue that would make a batch touch more than MaxItems. What is too large by
// itself stays: the store says so.
func (a *Authority) fit(batch []*pending) []*pending {
	items := 1 // the head
	for i, p := range batch {
		items += p.draft.items()
		if a.o.MaxItems > 0 && items > a.o.MaxItems && i > 0 {
			a.queue.back(batch[i:])
			return batch[:i]
		}
	}
	return batch
}

// back puts changes before all who wait.
func (q *committer) back(batch []*pending) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.waiting = append(slices.Clone(batch), q.waiting...)
}

// items is how many items a store that keeps each thing apart writes for a draft, at most: a record and its subject's copy,
// the hash beside each, and so on.
func (d *draft) items() int {
	n := 3*len(d.expiries) + len(d.claims) + len(d.limits)
	for _, f := range d.facts {
		n += 2 + len(f.lists)
		if f.secret != nil {
			n += 2
		}
	}
	return n
}

func (a *Authority) head(ctx context.Context) (Head, error) {
	heads, err := a.readHeads(ctx)
	a.hear(heads)
	return heads[a.o.Region], err
}

// decide runs each change on fresh state and answers those that end here: refused, or with nothing to write.
func (a *Authority) decide(ctx context.Context, batch []*pending) []*pending {
	if c := a.cluster.Load(); c != nil && !a.o.SoleWriter && touched(batch, c.ID.String()) {
		a.clusterWritten.Add(1) // another writer may have changed the cluster's records meanwhile
	}
	var going []*pending
	for _, p := range batch {
		p.draft = draft{Origin: p.draft.Origin, region: a.o.Region}
		err := a.mayWrite(ctx, p)
		if err == nil {
			err = p.change.decide(ctx, &p.draft)
		}
		if err != nil || len(p.draft.facts) == 0 {
			p.done <- err
			continue
		}
		going = append(going, p)
	}
	return going
}

// mayWrite returns ErrNotHome for what only home may do, where it has moved meanwhile. An earlier answer is given again, and a
// caller whose credential or version has died, or whose token's issuer was removed, since its token was checked is refused. That
// is decided under the head's compare-and-swap, so nothing that the dead made comes after their tombstone.
func (a *Authority) mayWrite(ctx context.Context, p *pending) error {
	if !p.change.anywhere {
		if err := a.AtHome(ctx); err != nil {
			return err
		}
	}
	if err := a.Replay(ctx, p.draft.At, p.change.once); err != nil {
		return err
	}
	return a.stillIn(ctx, p.draft.At, p.change.by)
}

func touched(batch []*pending, subject string) bool {
	return slices.ContainsFunc(batch, func(p *pending) bool { return slices.Contains(p.touches, subject) })
}

func finish(batch []*pending, err error) {
	for _, p := range batch {
		p.done <- err
	}
}

// seal numbers and signs the records of a batch. A change whose records cannot be signed gets its error and leaves; the
// others go on.
func (a *Authority) seal(ctx context.Context, head Head, batch []*pending) (Batch, []*pending) {
	signer, err := a.ledgerKey(ctx)
	if err != nil {
		finish(batch, err)
		return Batch{}, nil
	}
	b := Batch{Region: a.o.Region, After: head}
	var going []*pending
	for _, p := range batch {
		entries, err := a.entries(signer, head, &p.draft)
		if err != nil {
			p.done <- err
			continue
		}
		last := entries[len(entries)-1]
		head = Head{Seq: last.Seq, Sum: last.Sum}
		b.Entries = append(b.Entries, entries...)
		b.Expiries = append(b.Expiries, p.draft.expiries...)
		b.Claims = append(b.Claims, p.draft.claims...)
		b.Limits = append(b.Limits, p.draft.limits...)
		going = append(going, p)
	}
	return b, going
}

// entries numbers and signs the records of one draft.
func (a *Authority) entries(signer ledger.Signer, head Head, d *draft) ([]Entry, error) {
	list := make([]Entry, 0, len(d.facts))
	for _, f := range d.facts {
		e, err := a.entry(signer, head, d, f)
		if err != nil {
			return nil, err
		}
		list = append(list, e)
		head = Head{Seq: e.Seq, Sum: e.Sum}
	}
	return list, nil
}

func (a *Authority) entry(signer ledger.Signer, head Head, d *draft, f fact) (Entry, error) {
	cluster := d.founding
	if c := a.cluster.Load(); c != nil {
		cluster = c.ID
	}
	data, err := signer.Sign(ledger.Record{
		Cluster: cluster, Region: a.o.Region, Seq: head.Seq + 1, Prev: ledger.PrevOf(head.Sum), At: d.At,
		Kind: f.kind, Subject: f.subject, Actor: d.Actor, ActorVersion: d.Version,
		RequestID: d.RequestID, Reason: d.Reason, Source: d.Source,
	}, f.body)
	if err != nil {
		return Entry{}, err
	}
	return Entry{
		Region: a.o.Region, Seq: head.Seq + 1, Subject: f.subject.String(), Data: data, Sum: ledger.Sum(data),
		Lists: f.lists, Secret: f.secret, SecretExpires: f.until,
	}, nil
}

// append writes the batch. Where the store fails, the ledger itself tells whether the batch is there. Should that fail, too,
// it may be there all the same: nobody goes on with what was read before it.
func (a *Authority) append(ctx context.Context, b Batch) error {
	changed := map[string]bool{}
	for _, e := range b.Entries {
		changed[e.Subject] = true
	}
	done := a.reader.Writing(changed)
	defer a.written(changed, done)
	err := a.store.Append(ctx, b)
	if err == nil || errors.Is(err, ErrConflict) {
		return err
	}
	first := b.Entries[0]
	entries, readErr := a.store.Ledger(ctx, b.Region, b.After.Seq, 1)
	if readErr == nil && len(entries) == 1 && bytes.Equal(entries[0].Data, first.Data) {
		return nil // failed, yet committed
	}
	return err
}

// written lets what was changed be remembered again, and has the cluster read again where it was.
func (a *Authority) written(changed map[string]bool, done func()) {
	for subject := range changed {
		switch id.ID(subject).Kind() {
		case id.Cluster:
			a.clusterWritten.Add(1)
		case id.Peer:
			a.keySet.changed.Add(1)
		}
	}
	done()
}

// settle wakes who waits for news and answers the callers.
func (a *Authority) settle(batch []*pending) {
	for _, p := range batch {
		a.newest.Store(max(a.newest.Load(), p.draft.At.Unix())) // only the leader writes it
	}
	a.changed.Ring()
	finish(batch, nil)
}

var _ access.View = (*Authority)(nil)
