package global_test

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/google/go-cmp/cmp"

	"github.com/keyturn/keyturn/internal/authority"
	"github.com/keyturn/keyturn/internal/authority/storetest"
	"github.com/keyturn/keyturn/internal/dynamo"
	"github.com/keyturn/keyturn/internal/dynamo/global"
	"github.com/keyturn/keyturn/internal/dynamo/local"
	"github.com/keyturn/keyturn/internal/testdose"
)

var server local.Server

func TestMain(m *testing.M) {
	code := m.Run()
	server.Stop()
	os.Exit(code)
}

// start is far from the clock that DynamoDB Local deletes by.
var start = time.Date(2081, 3, 1, 12, 0, 0, 0, time.UTC)

func store(t testing.TB, api dynamo.API, table, region string) *dynamo.Store {
	t.Helper()
	s, err := dynamo.Open(t.Context(), api, table, region, patient)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func TestMemory_Suite(t *testing.T) {
	storetest.Run(t, func(t *testing.T) authority.Store {
		s, err := dynamo.Open(t.Context(), &global.Memory{}, "memory", "local", dynamo.Options{})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = s.Close() })
		return s
	})
}

// The same random batches and claims leave the same items, and get the same answers.
func TestMemory_DoesWhatDynamoDBLocalDoes(t *testing.T) {
	t.Parallel()
	client := server.Client(t, "local", nil)
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	for range (testdose.Dose{Least: 1, Most: 3, Within: 4 * time.Second}).Rounds(t) {
		memory, real := &global.Memory{}, &global.Local{Client: client, Name: server.Table(t, client)}
		stores := []*dynamo.Store{store(t, memory, "memory", "local"), store(t, client, real.Name, "local")}
		var head authority.Head
		for range 12 {
			b, claim := randomBatch(rng, head), randomClaim(rng)
			var said [2]string
			for i, s := range stores {
				appended, claimed := s.Append(t.Context(), b), s.Claim(t.Context(), claim)
				said[i] = fmt.Sprint(kind(appended), kind(claimed), map[bool]error{true: appended}[kind(appended) == "other "])
			}
			if said[0] != said[1] {
				t.Fatalf("memory: %s, DynamoDB Local: %s", said[0], said[1])
			}
			heads, err := stores[0].Heads(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			head = heads["local"]
			if diff := cmp.Diff(plain(t, real), plain(t, memory)); diff != "" {
				t.Fatalf("memory (+) differs from DynamoDB Local (-):\n%s", diff)
			}
		}
	}
}

func kind(err error) string {
	switch {
	case err == nil:
		return "done "
	case errors.Is(err, authority.ErrConflict):
		return "conflict "
	}
	return "other "
}

// plain is a table without what each store makes up.
func plain(t *testing.T, table global.Table) map[global.Key]map[string]string {
	t.Helper()
	items, err := table.Items(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	all := map[global.Key]map[string]string{}
	for _, it := range items {
		out := map[string]string{}
		for name, value := range it {
			out[name] = printed(value)
		}
		delete(out, "o")
		all[global.KeyOf(it)] = out
	}
	return all
}

func printed(v types.AttributeValue) string {
	switch v := v.(type) {
	case *types.AttributeValueMemberS:
		return v.Value
	case *types.AttributeValueMemberN:
		return v.Value
	case *types.AttributeValueMemberB:
		return string(v.Value)
	case *types.AttributeValueMemberM:
		parts := map[string]string{}
		for k := range maps.Keys(v.Value) {
			parts[k] = printed(v.Value[k])
		}
		return fmt.Sprint(parts)
	}
	return fmt.Sprint(v)
}

func randomBatch(r *rand.Rand, after authority.Head) authority.Batch {
	if r.IntN(6) == 0 {
		after.Seq++ // a head that is not
	}
	b := authority.Batch{Region: "local", After: after}
	name := func() string { return string(rune('a' + r.IntN(4))) }
	date := func() time.Time {
		if r.IntN(2) == 0 {
			return time.Time{}
		}
		return start.Add(time.Duration(r.IntN(8)) * time.Hour)
	}
	for i := range 1 + r.IntN(3) {
		e := authority.Entry{Region: "local", Seq: after.Seq + uint64(i) + 1, Subject: name(), Data: []byte(fmt.Sprint(r.Uint32()))}
		e.Sum = append([]byte("sum of "), e.Data...)
		if r.IntN(2) == 0 {
			e.Secret, e.SecretExpires = []byte("hash"), date()
		}
		if r.IntN(2) == 0 {
			e.Lists = []string{"list"}
		}
		b.Entries = append(b.Entries, e)
	}
	for range r.IntN(4) {
		x := authority.Expiry{Subject: name(), Region: "local", Seq: 1 + r.Uint64N(after.Seq+1), Secret: date(), Copy: date()}
		b.Expiries = append(b.Expiries, x)
	}
	if r.IntN(3) == 0 {
		b.Claims = []authority.Claim{randomClaim(r)}
	}
	for range r.IntN(3) {
		b.Limits = append(b.Limits, authority.Limit{Name: name(), Delta: r.IntN(5) - 2, Max: r.IntN(4)})
	}
	return b
}

func randomClaim(r *rand.Rand) authority.Claim {
	at := start.Add(time.Duration(r.IntN(6)) * time.Hour)
	c := authority.Claim{Key: string(rune('x' + r.IntN(3))), Value: []byte("v"), At: at, ExpiresAt: at.Add(2 * time.Hour)}
	if r.IntN(3) == 0 {
		c.Yields = at.Add(time.Hour)
	}
	return c
}
