package usage_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/keyturn/keyturn/internal/credential"
	"github.com/keyturn/keyturn/internal/id"
	"github.com/keyturn/keyturn/internal/usage"
)

const clientID = "cli_01jd6y0e00f2bvwrw0xk3y4t5z"

// rotated is a shared credential: made at 0, rotated at 100 and 200 minutes, with windows of a day.
func rotated() *credential.Credential {
	c := &credential.Credential{ID: id.ID(clientID), Kind: credential.Shared, CreatedAt: start}
	for i := range 3 {
		hash := credential.Hash{byte(i + 1)}
		v := credential.Version{Number: i + 1, Hash: &hash, Digest: hash.Digest(), CreatedAt: at(100 * i), Region: "local", Seq: uint64(10 * (i + 1))}
		if i < 2 {
			v.NotAfter = at(100*(i+1) + 24*60)
		}
		c.Versions = append(c.Versions, v)
	}
	return c
}

// seen is a reporter whose newest report is of that minute, with the whole ledger.
func seen(name string, minutes int, uses ...usage.Use) usage.Reporter {
	r := report("r", minutes, 99, uses...)
	r.From = "10.0.0.9"
	n := usage.Note{}.Merge(r, at(minutes), usage.Sources)
	return usage.Reporter{ID: id.ID("peer_" + name), Name: name, Note: &n}
}

// through is an authority that was asked through a sidecar at 250 minutes, from that address.
func through(sidecar, address string) usage.Reporter {
	r := seen("authority local", 299, shown(2, address+usage.Via+"peer_"+sidecar, 110, 250))
	r.Authority = true
	return r
}

// removed is a reporter that left at that minute.
func removed(r usage.Reporter, minutes int) usage.Reporter {
	r.LeftAt = at(minutes)
	return r
}

func shown(version int, source string, first, last int) usage.Use {
	return use(clientID+"-"+string(rune('0'+version)), version, source, first, last, 1)
}

func TestJudge_Verdict(t *testing.T) {
	t.Parallel()
	now := at(300)
	silent := usage.Reporter{ID: "peer_s", Name: "silent"}
	office := seen("authority local", 0, shown(1, "10.0.0.9", 5, 290))
	office.Authority = true
	for _, c := range []struct {
		name      string
		reporters []usage.Reporter
		locked    []string // by closing version 2
		unknown   []string
	}{
		{"NoPeers", nil, nil, nil},
		{"NobodyUsesIt", []usage.Reporter{seen("a", 299)}, nil, nil},
		{"LatestUseIsOfTheOld", []usage.Reporter{seen("a", 299, shown(2, "x", 110, 250))}, []string{"a (x)"}, nil},
		{"ANewerOneWasUsedSince", []usage.Reporter{seen("a", 299, shown(2, "x", 110, 250), shown(3, "x", 260, 290))}, nil, []string{"a (x)"}},
		{"ANewerOneWasUsedInTheSameSecond", []usage.Reporter{seen("a", 299, shown(2, "x", 110, 250), shown(3, "x", 250, 250))}, nil, []string{"a (x)"}},
		{"ForAsLongAsATokenLives", []usage.Reporter{seen("a", 299, shown(2, "x", 110, 226), shown(3, "x", 227, 290))}, nil, []string{"a (x)"}},
		{"ForLonger", []usage.Reporter{seen("a", 299, shown(2, "x", 110, 225), shown(3, "x", 226, 290))}, nil, nil},
		{"NobodyCameForLonger", []usage.Reporter{seen("a", 299, shown(2, "x", 110, 203), shown(3, "x", 204, 205))}, nil, []string{"a (x)"}},
		{"WentBack", []usage.Reporter{seen("a", 299, shown(2, "x", 110, 290), shown(3, "x", 260, 261))}, []string{"a (x)"}, nil},
		{"TwoProgramsAtOneAddress", []usage.Reporter{seen("a", 299, shown(2, "x", 110, 270), shown(3, "x", 260, 290))}, nil, []string{"a (x)"}},
		{"OneOfTwoProgramsIsGone", []usage.Reporter{seen("a", 299, shown(2, "x", 110, 225), shown(3, "x", 220, 290))}, nil, nil},
		{"AnOlderVersionIsNoMove", []usage.Reporter{seen("a", 299, shown(1, "x", 255, 298), shown(2, "x", 200, 250))}, []string{"a (x)"}, nil},
		{"AnotherPlaceMovedOn", []usage.Reporter{seen("a", 299, shown(2, "x", 110, 250), shown(3, "y", 260, 290))}, []string{"a (x)"}, nil},
		{"TheSamePlaceElsewhereMovedOn", []usage.Reporter{
			seen("a", 299, shown(2, "x", 110, 250)), seen("b", 299, shown(3, "x", 260, 290)),
		}, []string{"a (x)"}, nil},
		{"OfOthersNobodyKnowsWho", []usage.Reporter{seen("a", 299, shown(2, usage.Others, 110, 250), shown(3, usage.Others, 260, 290))}, nil, []string{"a (others)"}},
		{"OthersCameBackForLonger", []usage.Reporter{seen("a", 299, shown(2, usage.Others, 110, 220), shown(3, usage.Others, 215, 290))}, nil, nil},
		{"ADifferentCredential", []usage.Reporter{seen("a", 299, use("cli_other-2", 2, "x", 110, 250, 1))}, nil, nil},
		{"NeverReported", []usage.Reporter{silent}, nil, []string{"silent"}},
		{"ReportedBeforeTheRotationOnly", []usage.Reporter{seen("a", 199)}, nil, []string{"a"}},
		{"SilentForTenMinutes", []usage.Reporter{seen("a", 290)}, nil, nil},
		{"SilentForLonger", []usage.Reporter{seen("a", 289)}, nil, []string{"a"}},
		{"ASidecarHasCountedItToo", []usage.Reporter{seen("a", 299, shown(2, "x", 110, 250)), through("a", "10.0.0.9")}, []string{"a (x)"}, nil},
		{"AndSawANewerOneSince", []usage.Reporter{seen("a", 299, shown(2, "x", 110, 250), shown(3, "x", 260, 290)), through("a", "10.0.0.9")}, nil, []string{"a (x)"}},
		{
			"WhatTheSidecarDoesNotHold",
			[]usage.Reporter{seen("a", 291, shown(2, "x", 110, 240)), through("a", "10.0.0.9")},
			[]string{"a (x)", "authority local (10.0.0.9 via a)"},
			nil,
		},
		{"WhatTheSidecarLost", []usage.Reporter{seen("a", 299, shown(3, "x", 260, 290)), through("a", "10.0.0.9")}, nil, []string{"authority local (10.0.0.9 via a)"}},
		{"WhatTheSidecarLostAndSawMoveOn", []usage.Reporter{seen("a", 315, shown(3, "x", 260, 315)), through("a", "10.0.0.9")}, nil, nil},
		{"WhoNamesASidecarThatIsNone", []usage.Reporter{seen("a", 299), through("b", "10.0.0.9")}, []string{"authority local (10.0.0.9 via peer_b)"}, nil},
		{"ARemovedHost", []usage.Reporter{removed(seen("a", 280, shown(2, "x", 110, 250)), 281)}, nil, nil},
		{"ThroughARemovedHost", []usage.Reporter{removed(seen("a", 240), 281), through("a", "10.0.0.9")}, nil, nil},
		{
			"ThroughAHostThatWasRemovedBefore",
			[]usage.Reporter{removed(seen("a", 240), 241), through("a", "10.0.0.9")},
			[]string{"authority local (10.0.0.9 via a (removed))"},
			nil,
		},
		{"AuthorityIsNeverUnknown", []usage.Reporter{office}, nil, nil},
		{"Both", []usage.Reporter{silent, seen("b", 299, shown(2, "", 110, 250)), seen("a", 299, shown(2, "x", 110, 250))}, []string{"a (x)", "b"}, []string{"silent"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			list := usage.Judge(rotated(), now, start, c.reporters)
			if list[2].Verdict != nil || list[0].Verdict == nil {
				t.Fatal("a verdict is for what is superseded")
			}
			v := list[1].Verdict
			if d := cmp.Diff(append([]string{}, c.locked...), v.WouldLockOut); d != "" {
				t.Error("locked out:", d)
			}
			if d := cmp.Diff(append([]string{}, c.unknown...), v.Unknown); d != "" {
				t.Error("unknown:", d)
			}
			if v.Safe != (len(c.locked)+len(c.unknown) == 0) || strings.HasPrefix(v.Text, "safe") != v.Safe {
				t.Errorf("safe %v: %s", v.Safe, v.Text)
			}
		})
	}
}

// Two programs share one address, as all do on a host. The first uses the old secret at 255, the second, which has moved on, the
// new one at 260: nobody knows then whether the first has moved on, too, and nobody says so.
func TestJudge_TwoProgramsOnOneHost(t *testing.T) {
	t.Parallel()
	const host = "127.0.0.1"
	unsettled := "not certain yet of 1 where a newer one was used since: a (127.0.0.1) used this one last at 2026-03-01T16:15:00Z (wait until %s)"
	for _, c := range []struct {
		name string
		now  int
		uses []usage.Use
		text string
	}{
		{"OnlyTheOldOne", 258, []usage.Use{shown(2, host, 110, 255)}, "would lock out 1: a (127.0.0.1)"},
		{"OneMovesOn", 262, []usage.Use{shown(2, host, 110, 255), shown(3, host, 260, 260)}, fmt.Sprintf(unsettled, "2026-03-01T17:20:00Z")},
		{"TheOtherComesBack", 312, []usage.Use{shown(2, host, 110, 310), shown(3, host, 260, 260)}, "would lock out 1: a (127.0.0.1)"},
		{"OrDoesNot", 322, []usage.Use{shown(2, host, 110, 255), shown(3, host, 260, 320)}, "safe to close: nobody who was seen in 30 days needs it"},
		{"OrNobodyDoes", 322, []usage.Use{shown(2, host, 110, 255), shown(3, host, 260, 260)}, fmt.Sprintf(unsettled, "a newer one is used there again")},
	} {
		v := usage.Judge(rotated(), at(c.now), start, []usage.Reporter{seen("a", c.now-1, c.uses...)})[1]
		if v.Verdict.Text != c.text || v.Verdict.Safe != strings.HasPrefix(c.text, "safe") {
			t.Errorf("%s: safe %v: %s", c.name, v.Verdict.Safe, v.Verdict.Text)
		}
		if want := strings.Contains(c.text, "not certain"); want != (len(v.Unsettled) == 1) || want && !v.Unsettled[0].Until.Equal(at(320)) {
			t.Errorf("%s: %+v", c.name, v.Unsettled)
		}
	}
}

// The moment of reporting counts from when that version was superseded, not a later one.
func TestJudge_EachVersionHasItsOwnMoment(t *testing.T) {
	t.Parallel()
	c := rotated()
	list := usage.Judge(c, at(202), start, []usage.Reporter{seen("a", 199)})
	if len(list[0].Verdict.Unknown) != 0 || len(list[1].Verdict.Unknown) != 1 || len(list[2].Unreported) != 1 {
		t.Errorf("%+v", list)
	}
}

func TestJudge_AcceptedBySince(t *testing.T) {
	t.Parallel()
	early, late := usage.Note{}, usage.Note{}
	for i, seq := range []uint64{10, 20, 30} {
		early = early.Merge(report(string(rune('a'+i)), 100*i, seq), at(100*i), usage.Sources)
	}
	late = late.Merge(report("x", 150, 25), at(150), usage.Sources)
	reporters := []usage.Reporter{
		{ID: "peer_2", Name: "late", Note: &late},
		{ID: "peer_1", Name: "early", Note: &early},
		{ID: "peer_0", Name: "authority local", Authority: true, Note: &early},
		{ID: "peer_3", Name: "silent"},
	}
	want := [][]string{{"early 12:00", "late 14:30"}, {"early 13:40", "late 14:30"}, {"early 15:20"}}
	for i, v := range usage.Judge(rotated(), at(201), start, reporters) {
		var got []string
		for _, a := range v.AcceptedBy {
			got = append(got, a.Name+" "+a.Since.Format("15:04"))
		}
		if d := cmp.Diff(want[i], got); d != "" {
			t.Errorf("version %d: %s", v.Number, d)
		}
	}
}

func TestJudge_WhatIsClosedHasNoVerdict(t *testing.T) {
	t.Parallel()
	c := rotated()
	reporters := []usage.Reporter{seen("a", 100*60, shown(1, "x", 0, 90), shown(1, "y", 0, 95))}
	v := usage.Judge(c, at(100*60), start, reporters)[0]
	if v.Verdict != nil || v.AcceptedBy != nil || v.Unreported != nil {
		t.Errorf("%+v", v)
	}
	if len(v.LastUsed) != 2 || v.LastUsed[0].Source != "y" || !v.LastUsed[0].At.Equal(at(95)) {
		t.Errorf("last used: %+v", v.LastUsed)
	}
}

func TestJudge_PartialReportsOfStandardCredentials(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		kind    credential.Kind
		partial int // minutes after the beginning; -1: never
		unknown bool
	}{
		{credential.Standard, -1, false},
		{credential.Standard, 250, true},
		{credential.Shared, 250, false},
		{credential.Standard, -24 * 60, false}, // before it was made
	} {
		one := rotated()
		one.Kind = c.kind
		r := seen("a", 299)
		if c.partial != -1 {
			r.Note.Partial = at(c.partial)
		}
		if got := len(usage.Judge(one, at(300), start, []usage.Reporter{r})[1].Unreported) > 0; got != c.unknown {
			t.Errorf("%s, partial at %d: unknown %v", c.kind, c.partial, got)
		}
		later := at(250).Add(24*time.Hour + time.Minute)
		r.Note.At = later
		if len(usage.Judge(one, later, start, []usage.Reporter{r})[2].Unreported) > 0 {
			t.Errorf("%s, partial at %d: still unknown a day later", c.kind, c.partial)
		}
	}
}

// What was used before the notes began is unknown, and never "no use".
func TestJudge_NotesThatBeganLate(t *testing.T) {
	t.Parallel()
	const day = 24 * 60
	a := func(minutes int, uses ...usage.Use) []usage.Reporter {
		return []usage.Reporter{seen("a", minutes, uses...)}
	}
	for _, c := range []struct {
		name       string
		now, begun int
		reporters  []usage.Reporter
		safe       bool
		unknown    []string
		text       string // of version 2, which was made at 100 and superseded at 200
	}{
		{"WithTheCredential", 300, 0, a(299), true, nil, "safe to close: nobody who was seen in 30 days needs it"},
		{"WithTheVersion", 300, 100, a(299), true, nil, "safe to close: nobody who was seen in 30 days needs it"},
		{
			"AfterItWasSuperseded", 300, 201, a(299), false,
			[]string{"whoever used it before 2026-03-01T15:21:00Z"},
			"unknown who used it before 2026-03-01T15:21:00Z: the notes of before are gone",
		},
		{
			"EvenIfWhoCameSinceHasMovedOn", 300, 201, a(299, shown(2, "x", 210, 220), shown(3, "x", 230, 285)), false,
			[]string{"whoever used it before 2026-03-01T15:21:00Z"},
			"unknown who used it before 2026-03-01T15:21:00Z: the notes of before are gone",
		},
		{
			"AndADayLater", 201 + day, 201, a(200 + day), false,
			[]string{"whoever used it before 2026-03-01T15:21:00Z"},
			"unknown who used it before 2026-03-01T15:21:00Z: the notes of before are gone",
		},
		{
			"WhoCameSinceIsNamed", 300, 201, a(299, shown(2, "x", 210, 220)), false,
			[]string{"whoever used it before 2026-03-01T15:21:00Z"},
			"would lock out 1: a (x); unknown who used it before 2026-03-01T15:21:00Z: the notes of before are gone",
		},
		{
			"WhoIsSilentToo", 300, 201, nil, false,
			[]string{"s", "whoever used it before 2026-03-01T15:21:00Z"},
			"1 peer has not reported: s; unknown who used it before 2026-03-01T15:21:00Z: the notes of before are gone",
		},
		{
			"BeforeItWasSuperseded", 300, 199, a(299), false,
			[]string{"whoever used it before 2026-03-01T15:19:00Z"},
			"unknown who used it before 2026-03-01T15:19:00Z: the notes of before are gone",
		},
		{
			"ADayOfNotes", 199 + day, 199, a(198 + day), true, nil,
			"safe to close: nobody who was seen since 2026-03-01T15:19:00Z, when the notes begin, needs it",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			if c.reporters == nil {
				c.reporters = []usage.Reporter{{ID: "peer_s", Name: "s"}}
			}
			credential := rotated()
			credential.Versions[1].NotAfter = at(7 * day)
			v := usage.Judge(credential, at(c.now), at(c.begun), c.reporters)[1]
			want := &usage.Verdict{Safe: c.safe, Unknown: append([]string{}, c.unknown...), Text: c.text, WouldLockOut: v.Verdict.WouldLockOut}
			if d := cmp.Diff(want, v.Verdict); d != "" {
				t.Error(d)
			}
			if known := v.KnownSince; known.IsZero() != (c.begun <= 100) || !known.IsZero() && !known.Equal(at(c.begun)) {
				t.Errorf("known since %s", known)
			}
		})
	}
	if v := usage.Judge(rotated(), at(201).Add(usage.Kept), at(201), nil)[2]; !v.KnownSince.IsZero() {
		t.Errorf("after 30 days: known since %s", v.KnownSince)
	}
}

// A use that a sidecar has passed on counts once, and hosts are told by their names.
func TestJudge_OneUseIsSeenOnce(t *testing.T) {
	t.Parallel()
	tell := func(reporters ...usage.Reporter) (places []string, text string) {
		v := usage.Judge(rotated(), at(300), start, reporters)[1]
		for _, s := range v.LastUsed {
			places = append(places, s.Place())
		}
		return places, v.Verdict.Text
	}
	both := []usage.Reporter{seen("a", 299, shown(2, "x", 110, 250)), through("a", "10.0.0.9")}
	for _, c := range []struct {
		name      string
		reporters []usage.Reporter
		places    []string
		text      string
	}{
		{"TheSidecarHasToldIt", both, []string{"a (x)"}, "would lock out 1: a (x)"},
		{
			"ItHasNotToldYet",
			[]usage.Reporter{seen("a", 291), both[1]},
			[]string{"authority local (10.0.0.9 via a)"},
			"would lock out 1: authority local (10.0.0.9 via a)",
		},
		{
			"SomebodyElseNamesIt",
			[]usage.Reporter{both[0], through("a", "10.6.6.6")},
			[]string{"a (x)", "authority local (10.6.6.6 via a)"},
			"would lock out 1: a (x)",
		},
		{
			"ItWasRemoved",
			[]usage.Reporter{removed(both[0], 281), both[1]},
			[]string{"a (x)"},
			"safe to close: nobody who was seen in 30 days needs it; it was used last at hosts that are removed: a (x)",
		},
		{
			"ItWasRemovedBeforeItTold",
			[]usage.Reporter{removed(seen("a", 240), 281), both[1]},
			[]string{"authority local (10.0.0.9 via a (removed))"},
			"safe to close: nobody who was seen in 30 days needs it; it was used last at hosts that are removed: authority local (10.0.0.9 via a (removed))",
		},
		{
			"ItWasRemovedBeforeItWasSettled",
			[]usage.Reporter{removed(seen("a", 280, shown(2, "x", 110, 250), shown(3, "x", 251, 260)), 281)},
			[]string{"a (x)"},
			"safe to close: nobody who was seen in 30 days needs it; it was used last at hosts that are removed: a (x)",
		},
		{
			"ARemovedHostMovedOn",
			[]usage.Reporter{removed(seen("a", 280, shown(2, "x", 110, 210), shown(3, "x", 211, 275)), 281)},
			[]string{"a (x)"},
			"safe to close: nobody who was seen in 30 days needs it",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			places, text := tell(c.reporters...)
			if d := cmp.Diff(c.places, places); d != "" || text != c.text {
				t.Errorf("%s; %s", text, d)
			}
		})
	}
	r := removed(seen("a", 280), 281)
	if v := usage.Judge(rotated(), at(300), start, []usage.Reporter{r})[1]; len(v.AcceptedBy)+len(v.Unreported) != 0 {
		t.Errorf("a removed host accepts nothing: %+v", v)
	}
}
