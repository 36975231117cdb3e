package storetest

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/keyturn/keyturn/internal/authority"
)

var subjectFacts = []fact{
	{"UnknownIsNotFound", func(t *testing.T, u *user) {
		u.grow(t, "local", "ab")
		for _, name := range []string{"a", "abc", "b"} {
			if _, err := u.Subject(u.ctx, name); !errors.Is(err, authority.ErrNotFound) {
				t.Errorf("subject %s: %v, want ErrNotFound", name, err)
			}
		}
	}},
	{"HasAllThatWasAppended", func(t *testing.T, u *user) {
		b := batch("local", authority.Head{}, "a", "b", "a")
		b.Entries[0].Secret, b.Entries[0].SecretExpires = []byte{0, 1, 0xff}, future
		b.Entries[2].CopyExpires = future
		u.append(t, b)
		want := plain(b.Entries)
		sameEntries(t, u.subject(t, "a"), []authority.Entry{want[0], want[2]})
		sameEntries(t, u.subject(t, "b"), []authority.Entry{want[1]})
	}},
	{"IsOrderedByRegionAndSequence", func(t *testing.T, u *user) {
		var want []authority.Entry
		for _, region := range []string{"us-east-1", "eu-central-1", "us-east-10", "local"} {
			for range 4 { // past 9, where text would sort otherwise
				want = append(want, plain(u.grow(t, region, "a", "a", "a").Entries)...)
			}
		}
		slices.SortStableFunc(want, func(x, y authority.Entry) int {
			return bytes.Compare(fmt.Appendf(nil, "%s\x00%09d", x.Region, x.Seq), fmt.Appendf(nil, "%s\x00%09d", y.Region, y.Seq))
		})
		sameEntries(t, u.subject(t, "a"), want)
	}},
	{"TakesLargeRecords", func(t *testing.T, u *user) {
		b := batch("local", authority.Head{}, "a", "a", "a")
		for i := range b.Entries {
			b.Entries[i].Data = bytes.Repeat([]byte{byte(i), 0xfe}, 25_000)
		}
		u.append(t, b)
		sameEntries(t, u.subject(t, "a"), plain(b.Entries))
		sameEntries(t, u.ledger(t, "local"), plain(b.Entries))
	}},
	{"SeesEachAppendAtOnce", func(t *testing.T, u *user) {
		for n := 1; n <= 20; n++ {
			u.grow(t, "local", "a")
			if got := len(u.subject(t, "a")); got != n {
				t.Fatalf("%d entries after %d appends", got, n)
			}
		}
	}},
}

var ledgerFacts = []fact{
	{"UnknownRegionIsEmpty", func(t *testing.T, u *user) {
		u.grow(t, "us-east-1", "a")
		for _, region := range []string{"us-east", "us-east-11", "local"} {
			if es := u.ledger(t, region); len(es) != 0 {
				t.Errorf("ledger of %s: %+v", region, es)
			}
		}
	}},
	{"IsInOrderWithoutHoles", func(t *testing.T, u *user) {
		var want []authority.Entry
		for n := range 7 {
			want = append(want, plain(u.grow(t, "local", slices.Repeat([]string{"a", "b"}, n/2+1)...).Entries)...)
		}
		sameEntries(t, u.ledger(t, "local"), want)
	}},
	{"StartsAfterTheCursor", func(t *testing.T, u *user) {
		b := u.grow(t, "local", "a", "b", "c", "d", "e")
		u.grow(t, "locale", "f", "g", "h", "i", "j", "k")
		want := plain(b.Entries)
		for after := range uint64(8) {
			for _, limit := range []int{1, 2, 5, 100} {
				es, err := u.Ledger(u.ctx, "local", after, limit)
				if err != nil {
					t.Fatal(err)
				}
				from := min(int(after), len(want))
				sameEntries(t, es, want[from:min(from+limit, len(want))])
			}
		}
	}},
	{"BringsSecrets", func(t *testing.T, u *user) {
		b := batch("local", authority.Head{}, "a", "b", "c")
		b.Entries[0].Secret = []byte("hash of a")
		b.Entries[2].Secret, b.Entries[2].SecretExpires = []byte("hash of c"), future
		u.append(t, b)
		sameEntries(t, u.ledger(t, "local"), plain(b.Entries))
	}},
}

var pageFacts = []fact{
	{"UnknownListIsEmpty", func(t *testing.T, u *user) {
		b := batch("local", authority.Head{}, "a")
		b.Entries[0].Lists = []string{"credentials"}
		u.append(t, b)
		for _, list := range []string{"credential", "credentials2", "peers"} {
			if names := u.page(t, list, "", 5); len(names) != 0 {
				t.Errorf("list %s: %v", list, names)
			}
		}
	}},
	{"IsAscendingAndPaged", func(t *testing.T, u *user) {
		want := u.fillList(t, "list")
		for limit := 1; limit <= len(want)+1; limit++ {
			var got []string
			for after := ""; ; after = got[len(got)-1] {
				names := u.page(t, "list", after, limit)
				if len(names) > limit {
					t.Fatalf("%d names where %d were asked", len(names), limit)
				}
				if len(names) == 0 {
					break
				}
				got = append(got, names...)
			}
			if !slices.Equal(got, want) {
				t.Errorf("in pages of %d:\n got %v\nwant %v", limit, got, want)
			}
		}
	}},
	{"AfterNeedNotBeThere", func(t *testing.T, u *user) {
		want := u.fillList(t, "list")
		if got := u.page(t, "list", "cli_03x", 100); !slices.Equal(got, want[4:]) {
			t.Errorf("after cli_03x: %v, want %v", got, want[4:])
		}
		if got := u.page(t, "list", "zzz", 100); len(got) != 0 {
			t.Errorf("after the last: %v", got)
		}
	}},
	{"NamesASubjectOnce", func(t *testing.T, u *user) {
		for range 3 {
			b := batch("local", u.heads(t)["local"], "a", "b", "a")
			for i := range b.Entries {
				b.Entries[i].Lists = []string{"list"}
			}
			u.append(t, b)
		}
		if got := u.page(t, "list", "", 100); !slices.Equal(got, []string{"a", "b"}) {
			t.Errorf("list: %v", got)
		}
	}},
	{"ListsAreApart", func(t *testing.T, u *user) {
		b := batch("local", authority.Head{}, "a", "b", "c")
		b.Entries[0].Lists, b.Entries[1].Lists = []string{"one", "two"}, []string{"two"}
		u.append(t, b)
		if got := u.page(t, "one", "", 9); !slices.Equal(got, []string{"a"}) {
			t.Errorf("list one: %v", got)
		}
		if got := u.page(t, "two", "", 9); !slices.Equal(got, []string{"a", "b"}) {
			t.Errorf("list two: %v", got)
		}
	}},
}

// fillList puts ten subjects into a list, the last first, and returns them in order.
func (u *user) fillList(t *testing.T, list string) []string {
	t.Helper()
	var names []string
	for i := range 10 {
		names = append(names, fmt.Sprintf("cli_%02d", i))
		b := batch("local", u.heads(t)["local"], fmt.Sprintf("cli_%02d", 9-i))
		b.Entries[0].Lists = []string{list}
		u.append(t, b)
	}
	return names
}
