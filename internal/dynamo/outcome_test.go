package dynamo_test

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/keyturn/keyturn/internal/access"
	"github.com/keyturn/keyturn/internal/authority"
	"github.com/keyturn/keyturn/internal/credential"
	"github.com/keyturn/keyturn/internal/dynamo"
	"github.com/keyturn/keyturn/internal/dynamo/local"
)

// impatient gives up within the time of a test; sometimes where nothing is wrong but that others use the machine.
var impatient = dynamo.Options{Patience: 120 * time.Millisecond, Attempt: 80 * time.Millisecond}

// inTime is within what an authority gives a commit (5 s). On a machine that stood still for longer, nothing can be expected of it.
const inTime = 4 * time.Second

// Every request of a rotation goes wrong in turn, once or from then on, in every way. Whatever the answer, there is no half
// rotation and no secret without its version; and the same request again, once DynamoDB is well, gives the one new secret.
func TestRotation_SurvivesEveryFault(t *testing.T) {
	t.Parallel()
	for _, fault := range local.AllFaults() {
		for _, lasting := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/lasting=%t", fault, lasting), func(t *testing.T) {
				t.Parallel()
				survives(t, fault, lasting)
			})
		}
	}
}

func survives(t *testing.T, fault local.Fault, lasting bool) {
	o := certain
	switch {
	case lasting:
		o = impatient
	case fault == local.Slow:
		o = quick
	}
	client, f := server.Client(t, region, nil), &local.Faults{Next: transport(t)}
	table := server.Table(t, client)
	s := openTable(t, server.Client(t, region, f), table, o)
	healthy := openTable(t, client, table, dynamo.Options{})
	w := found(t, healthy)
	for bad, more := 1, true; more; bad++ {
		before := w.credential().Number()
		f.Forget()
		f.Plan = func(n int, _ string) local.Fault {
			if n == bad || lasting && n > bad {
				return fault
			}
			return ""
		}
		key := fmt.Sprintf("key-%032d", bad)
		w.view.Store = s
		began := time.Now()
		given, err := w.rotate(t.Context(), authority.RotateRequest{Window: time.Hour}, key)
		more = f.Fired() > 0
		f.Plan = nil
		if err != nil && !given.IsZero() {
			t.Errorf("request %d: a secret beside %v", bad, err)
		}
		if err != nil && !lasting && time.Since(began) < inTime {
			t.Errorf("request %d: one fault was too much: %v", bad, err)
		}
		w.view.Store = healthy
		if err == nil {
			w.gives(given, before+1)
		}
		if n := w.credential().Number(); n != before && n != before+1 {
			t.Errorf("request %d: version %d after %d", bad, n, before)
		}
		healed, err := w.rotate(t.Context(), authority.RotateRequest{Window: time.Hour}, key)
		for again := 0; errors.Is(err, access.ErrUnavailable) && again < 20; again++ {
			healed, err = w.rotate(t.Context(), authority.RotateRequest{Window: time.Hour}, key)
		}
		if err != nil {
			t.Fatalf("request %d: running it again does not heal: %v", bad, err)
		}
		if !given.IsZero() && given.Reveal() != healed.Reveal() {
			t.Errorf("request %d: the same request has two secrets", bad)
		}
		w.gives(healed, before+1)
	}
	if err := w.a.CheckLedger(t.Context()); err != nil {
		t.Error(err)
	}
}

// gives checks that a secret is that of the newest version, which is the wanted one.
func (w *world) gives(secret credential.Secret, version int) {
	w.t.Helper()
	c := w.credential()
	client, err := w.authenticate(c.ID.String(), secret)
	if err != nil {
		w.t.Errorf("the secret that was given out: %v", err)
		return
	}
	if c.Number() != version || client.Version.Number != version {
		w.t.Errorf("version %d of %d, want %d", client.Version.Number, c.Number(), version)
	}
}

// A first attempt that comes through late, after its caller has given it up and tried again: written once.
func TestAppend_LostAnswerIsNoConflict(t *testing.T) {
	t.Parallel()
	for _, fault := range []local.Fault{local.Lost, local.Failed, local.Garbled} {
		for _, again := range []local.Fault{local.Lost, local.Conflicted, local.Unready, local.Throttled} {
			s, f := faulty(t, certain)
			f.Plan = func(n int, operation string) local.Fault {
				switch {
				case operation != "TransactWriteItems":
				case n <= 2: // a query for the head comes first
					return fault
				case n == 3:
					return again
				}
				return ""
			}
			b := batch(authority.Head{}, "a")
			b.Limits = []authority.Limit{{Name: "c", Delta: 1, Max: 1}}
			if err := s.Append(t.Context(), b); err != nil {
				t.Errorf("%s, then %s: %v", fault, again, err)
			}
			f.Plan = nil
			if err := s.Append(t.Context(), b); !errors.Is(err, authority.ErrConflict) {
				t.Errorf("%s, then %s: the same batch again: %v", fault, again, err)
			}
		}
	}
}

// The token makes an attempt the same one for DynamoDB. Should that forget it, the ledger still tells.
func TestAppend_LostAnswerAndForgottenToken(t *testing.T) {
	t.Parallel()
	f := &local.Faults{Next: transport(t)}
	plain := server.Client(t, region, nil)
	forgets := &forgetful{API: server.Client(t, region, f)}
	s := openTable(t, forgets, server.Table(t, plain), certain)
	f.Plan = func(n int, _ string) local.Fault {
		if n == 2 {
			return local.Lost
		}
		return ""
	}
	if err := s.Append(t.Context(), batch(authority.Head{}, "a")); err != nil {
		t.Error(err)
	}
	if n := forgets.n.Load(); n != 2 {
		t.Errorf("%d attempts, want 2", n)
	}
}

func TestAppend_UnknownOutcomeIsNoneOfTheContractsErrors(t *testing.T) {
	t.Parallel()
	for _, fault := range local.AllFaults() {
		s, f := faulty(t, impatient)
		f.Plan = func(_ int, operation string) local.Fault {
			if operation == "TransactWriteItems" || operation == "PutItem" {
				return fault
			}
			return ""
		}
		b := batch(authority.Head{}, "a")
		err := s.Append(t.Context(), b)
		if err == nil || errors.Is(err, authority.ErrConflict) {
			t.Errorf("%s: append: %v", fault, err)
		}
		c := authority.Claim{Key: "k", At: start, ExpiresAt: start.Add(day)}
		if err := s.Claim(t.Context(), c); err == nil || errors.Is(err, authority.ErrConflict) {
			t.Errorf("%s: claim: %v", fault, err)
		}
	}
}

func TestInsist_EndsWithItsContext(t *testing.T) {
	t.Parallel()
	s, f := faulty(t, certain)
	for _, fault := range []local.Fault{local.Slow, local.Throttled} {
		f.Plan = func(int, string) local.Fault { return fault }
		ctx, end := context.WithTimeout(t.Context(), 50*time.Millisecond)
		if _, err := s.Heads(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%s: %v, want context.DeadlineExceeded", fault, err)
		}
		end()
	}
}

func TestInsist_DoesNotRepeatWhatCannotGetBetter(t *testing.T) {
	t.Parallel()
	f := &local.Faults{Next: transport(t)}
	s := openTable(t, server.Client(t, region, f), "nowhere", certain)
	if _, err := s.Heads(t.Context()); err == nil || len(f.Calls()) != 1 {
		t.Errorf("%d requests for a missing table: %v", len(f.Calls()), err)
	}
}

// forgetful is DynamoDB more than ten minutes later: it does not know a token again.
type forgetful struct {
	dynamo.API
	n atomic.Int64
}

func (f *forgetful) TransactWriteItems(ctx context.Context, in *dynamodb.TransactWriteItemsInput, o ...func(*dynamodb.Options)) (*dynamodb.TransactWriteItemsOutput, error) {
	again := *in
	again.ClientRequestToken = aws.String(fmt.Sprint("token-", f.n.Add(1)))
	return f.API.TransactWriteItems(ctx, &again, o...)
}

// recorder keeps the tokens of transactions.
type recorder struct {
	dynamo.API
	tokens []string
}

func (r *recorder) TransactWriteItems(ctx context.Context, in *dynamodb.TransactWriteItemsInput, o ...func(*dynamodb.Options)) (*dynamodb.TransactWriteItemsOutput, error) {
	r.tokens = append(r.tokens, aws.ToString(in.ClientRequestToken))
	return r.API.TransactWriteItems(ctx, in, o...)
}

func TestAppend_AttemptsShareATokenUntilTheBatchIsRevised(t *testing.T) {
	t.Parallel()
	f := &local.Faults{Next: transport(t)}
	r := &recorder{API: server.Client(t, region, f)}
	s := openTable(t, r, server.Table(t, server.Client(t, region, nil)), certain)
	transactions := 0
	f.Plan = func(_ int, operation string) local.Fault {
		if operation != "TransactWriteItems" {
			return ""
		}
		if transactions++; transactions > 2 {
			return ""
		}
		return local.Broken
	}
	b := batch(authority.Head{}, "a")
	b.Limits = []authority.Limit{{Name: "c", Delta: -1}} // the first guess is that the counter is not at zero
	if err := s.Append(t.Context(), b); err != nil {
		t.Fatal(err)
	}
	if n := len(r.tokens); n != 4 || r.tokens[0] == "" || r.tokens[0] != r.tokens[1] || r.tokens[1] != r.tokens[2] || r.tokens[3] == r.tokens[0] {
		t.Errorf("tokens: %q", r.tokens)
	}
}

// The comparison is made in the transaction, whatever a store remembers.
func TestAppend_ComparesTheHeadThatIsThere(t *testing.T) {
	t.Parallel()
	client := server.Client(t, region, nil)
	table := server.Table(t, client)
	s := openTable(t, client, table, dynamo.Options{})
	head := mustAppend(t, s, batch(authority.Head{}, "a"))
	it := items(t, client, table)["H / local"]
	it["x"] = &types.AttributeValueMemberB{Value: []byte("another sum")}
	if _, err := client.PutItem(t.Context(), &dynamodb.PutItemInput{TableName: &table, Item: it}); err != nil {
		t.Fatal(err)
	}
	if err := s.Append(t.Context(), batch(head, "b")); !errors.Is(err, authority.ErrConflict) {
		t.Errorf("%v, want ErrConflict", err)
	}
}
