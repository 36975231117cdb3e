package authority_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/keyturn/keyturn/internal/access"
	"github.com/keyturn/keyturn/internal/authority"
	"github.com/keyturn/keyturn/internal/authority/storetest"
	"github.com/keyturn/keyturn/internal/credential"
	"github.com/keyturn/keyturn/internal/id"
)

// request is a rotation of the shared credential by itself, in a snapshot, over a store whose calls are counted. between is
// what others do once its token has been checked.
func (w *world) request(t *testing.T, between func(others *world)) (authority.Rotation, []string, error) {
	t.Helper()
	others := *w
	others.over(w.file)
	behind := &swap{w.file}
	w.over(behind)
	token := w.token(w.founded.Credential.ClientID(1), w.founded.Secret, "")
	if _, err := w.a.Shared(ctx, w.at); err != nil { // its name is known from now on
		t.Fatal(err)
	}
	counted := storetest.Faulty(w.file)
	behind.Store = counted
	ctx := w.a.Snapshot(ctx)
	by, err := w.a.Check(ctx, w.at, token, "")
	if err != nil {
		t.Fatal(err)
	}
	between(&others)
	done, err := w.a.RotateShared(ctx, by, w.origin(by), authority.RotateRequest{Window: day}, authority.Once{
		Key: "key", Caller: "caller", Render: func(any) ([]byte, error) { return []byte("answer"), nil },
	})
	if err == nil {
		if _, err := w.a.Credential(ctx, w.at, w.shared().Credential); err != nil { // the snapshot is over
			t.Error(err)
		}
	}
	return done, counted.Calls(), err
}

func TestSnapshot_ReadsNothingTwice(t *testing.T) {
	t.Parallel()
	w := found(t)
	done, calls, err := w.request(t, func(*world) {})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"Heads", "Subject", "Append", "Subject"}
	if diff := cmp.Diff(want, calls); diff != "" {
		t.Errorf("calls: -want +got\n%s", diff)
	}
	w.accepts(true, done.Secret, done.ClientID)
}

func TestSnapshot_IsDecidedAgainWhereOthersWrote(t *testing.T) {
	t.Parallel()
	w := found(t)
	_, calls, err := w.request(t, func(others *world) { others.create(others.root, nil) })
	if err != nil {
		t.Fatal(err)
	}
	if n := slices.Index(calls, "Append"); n != 2 || !slices.Contains(calls[3:], "Append") {
		t.Errorf("calls: %s", strings.Join(calls, " "))
	}
}

func TestSnapshot_SeesWhatOthersHaveDoneMeanwhile(t *testing.T) {
	t.Parallel()
	w := found(t)
	if _, _, err := w.request(t, func(others *world) {
		others.rotate(others.root, others.shared(), authority.RotateRequest{Window: day})
	}); !errors.Is(err, authority.ErrRaced) {
		t.Errorf("rotated by somebody else: %v, want ErrRaced", err)
	}
	w = found(t)
	if _, _, err := w.request(t, func(others *world) {
		spare := others.create(others.root, nil)
		if err := others.revoke(others.caller(spare.client, spare.secret), others.shared()); err != nil {
			t.Fatal(err)
		}
	}); !errors.Is(err, access.ErrToken) {
		t.Errorf("revoked by somebody else: %v, want ErrToken", err)
	}
}

// A claim is not read before it is taken. Who has it already gets the answer of then, and no second rotation.
func TestSnapshot_FindsTheAnswerOfThen(t *testing.T) {
	t.Parallel()
	w := found(t)
	made := w.create(w.root, nil)
	once := func(request string) authority.Once {
		return authority.Once{
			Key: "key", Caller: "caller", Request: []byte(request),
			Render: func(any) ([]byte, error) { return []byte("answer"), nil },
		}
	}
	rotate := func(once authority.Once) ([]string, error) {
		counted := storetest.Faulty(w.file)
		w.over(counted)
		before := len(counted.Calls())
		_, err := w.a.Rotate(w.a.Snapshot(ctx), w.root, w.origin(w.root), clientID(t, made.client), authority.RotateRequest{Window: day}, once)
		return counted.Calls()[before:], err
	}
	calls, err := rotate(once("request"))
	if diff := cmp.Diff([]string{"Heads", "Subject", "Subject", "Append"}, calls); err != nil || diff != "" {
		t.Fatalf("the first: %v, calls: -want +got\n%s", err, diff)
	}
	head := w.head()
	var replayed *authority.Replayed
	if calls, err := rotate(once("request")); !errors.As(err, &replayed) || string(replayed.Answer) != "answer" {
		t.Errorf("again: %v, calls: %s", err, strings.Join(calls, " "))
	}
	if _, err := rotate(once("another")); !errors.Is(err, authority.ErrMismatch) {
		t.Errorf("another request under that key: %v, want ErrMismatch", err)
	}
	if w.head() != head {
		t.Error("it was rotated again")
	}
	// Nothing will be written, so nothing tells but the claim itself.
	if err := w.revoke(w.root, id.ClientID{Credential: clientID(t, made.client).Credential}); err != nil {
		t.Fatal(err)
	}
	if _, err := rotate(once("request")); !errors.As(err, &replayed) {
		t.Errorf("after its revocation: %v", err)
	}
	under := w.a.Snapshot(ctx)
	if _, err := w.a.Former(under, w.at, "not a token"); !errors.Is(err, access.ErrToken) {
		t.Errorf("former: %v", err)
	}
	if err := w.a.Replay(under, w.at, once("request")); !errors.As(err, &replayed) {
		t.Errorf("to a token that is dead: %v", err)
	}
}

// itemsOf counts what a store that keeps each thing apart writes for a batch.
func itemsOf(b authority.Batch) int {
	n := 1 + 3*len(b.Expiries) + len(b.Claims) + len(b.Limits)
	for _, e := range b.Entries {
		n += 2 + len(e.Lists)
		if e.Secret != nil {
			n += 2
		}
	}
	return n
}

// narrow is a store that takes small batches, as DynamoDB does.
type narrow struct {
	authority.Store
	most    int
	entered chan struct{} // gets a value for each batch
	release chan struct{} // each batch takes one
}

func (n *narrow) Append(c context.Context, b authority.Batch) error {
	n.entered <- struct{}{}
	<-n.release
	if items := itemsOf(b); items > n.most {
		return errors.New("too many items")
	}
	return n.Store.Append(c, b)
}

func TestCommitter_KeepsBatchesBelowMaxItems(t *testing.T) {
	t.Parallel()
	const most, writers = 30, 20
	w := found(t, private, func(o *authority.Options) { o.MaxItems = most })
	s := &narrow{Store: w.file, most: most, entered: make(chan struct{}, 100), release: make(chan struct{}, 100)}
	w.over(s)
	var wg sync.WaitGroup
	create := func() {
		if _, err := w.a.Create(ctx, w.root, w.origin(w.root), authority.CreateRequest{Scopes: scopes(credential.PeersRead)}, authority.Once{}); err != nil {
			t.Error(err)
		}
	}
	wg.Go(create)
	<-s.entered
	for range writers {
		wg.Go(create) // they queue, and would come as one batch
	}
	for range writers + 1 {
		s.release <- struct{}{}
	}
	wg.Wait()
	if got := w.head(); got < 2*(writers+1) {
		t.Errorf("%d records", got)
	}
}
