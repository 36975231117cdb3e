package httpapi_test

import (
	"bytes"
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/keyturn/keyturn/internal/authority"
	"github.com/keyturn/keyturn/internal/e2e"
	"github.com/keyturn/keyturn/internal/id"
	"github.com/keyturn/keyturn/internal/jwk"
	"github.com/keyturn/keyturn/internal/license"
)

// example is a command of docs/api.md and the answer that is printed for it.
type example struct {
	line    int
	command string
	status  int
	answer  string // "" for none
}

func examples(t *testing.T) []example {
	t.Helper()
	text, err := os.ReadFile("../../docs/api.md")
	if err != nil {
		t.Fatal(err)
	}
	var list []example
	says := regexp.MustCompile("^Answer `([0-9]{3})`(:|, no body.)$")
	fence, block := "", []string{}
	for i, line := range strings.Split(string(text), "\n") {
		switch {
		case fence == "" && strings.HasPrefix(line, "```"):
			fence, block = line, nil
		case line == "```":
			last := len(list) - 1
			switch fence {
			case "```sh":
				list = append(list, example{line: i + 1, command: strings.Join(block, "\n")})
			case "```json":
				if last < 0 || list[last].status == 0 || list[last].answer != "" {
					t.Fatalf("line %d: an answer that no command is for", i+1)
				}
				list[last].answer = strings.Join(block, "\n")
			}
			fence = ""
		case fence != "":
			block = append(block, line)
		case says.MatchString(line):
			list[len(list)-1].status, _ = strconv.Atoi(says.FindStringSubmatch(line)[1])
		}
	}
	return list
}

// reader is somebody who reads docs/api.md and does what it says.
type reader struct {
	*fixture
	vars  map[string]string
	files map[string]string
	host  *e2e.Host // the one that joins
}

// words splits a command as a shell would: single quotes, double quotes with variables and \", and spaces.
func (r *reader) words(command string) []string {
	var words []string
	var word strings.Builder
	var quote rune
	escaped := false
	for _, c := range command + " " {
		switch {
		case escaped:
			word.WriteRune(c)
			escaped = false
		case c == '\\' && quote != '\'':
			escaped = true
		case quote != 0 && c == quote:
			quote = 0
		case quote == 0 && (c == '\'' || c == '"'):
			quote = c
		case quote == 0 && c == ' ':
			words = append(words, word.String())
			word.Reset()
		case c == '$' && quote == '\'':
			r.T.Fatalf("%s: a variable in single quotes", command)
		default:
			word.WriteRune(c)
		}
	}
	for i, w := range words {
		words[i] = os.Expand(w, func(name string) string {
			value, ok := r.vars[name]
			if !ok {
				r.T.Fatalf("%s: $%s is not known here", command, name)
			}
			return value
		})
	}
	return words
}

// curl does what curl would: GET, or POST of a form where there is data.
func (r *reader) curl(command string) (path string, a e2e.Answer) {
	r.T.Helper()
	words := r.words(command)
	if words[0] != "curl" {
		r.T.Fatalf("%s: not curl", command)
	}
	method, data, options := "", []string{}, []e2e.Option{}
	media := "application/x-www-form-urlencoded"
	for i := 1; i < len(words); i++ {
		next := func() string { i++; return words[i] }
		switch w := words[i]; w {
		case "-X":
			method = next()
		case "-I":
			method = "HEAD"
		case "-u":
			user, password, _ := strings.Cut(next(), ":")
			options = append(options, e2e.Basic(user, password))
		case "-H":
			name, value, _ := strings.Cut(next(), ": ")
			if name == "Content-Type" {
				media = value
			}
			options = append(options, e2e.Header(name, value))
		case "-d":
			text := next()
			if file, ok := strings.CutPrefix(text, "@"); ok {
				text = r.files[file]
			}
			data = append(data, text)
		default:
			path = strings.TrimPrefix(w, r.URL)
			if path == w {
				r.T.Fatalf("%s: %s is not known here", command, w)
			}
		}
	}
	if len(data) > 0 {
		options = append(options, e2e.Body(media, strings.Join(data, "&")))
	}
	if method == "" {
		method = map[bool]string{true: "POST", false: "GET"}[len(data) > 0]
	}
	a = r.Do(method, path, options...)
	r.learn(a)
	return method + " " + strings.Split(path, "?")[0], a
}

// learn keeps what later commands need, as a reader would.
func (r *reader) learn(a e2e.Answer) {
	switch {
	case a.Status >= 300:
	case a.Text("client_secret") != "" && strings.Contains(a.Text("client_id"), "-"):
		r.vars["OLD_ID"], r.vars["OLD_SECRET"] = r.vars["CLIENT_ID"], r.vars["CLIENT_SECRET"]
		r.vars["CLIENT_ID"], r.vars["CLIENT_SECRET"] = a.Text("client_id"), a.Text("client_secret")
	case a.Text("client_secret") != "":
		r.vars["ID"] = a.Text("client_id")
	case a.Text("kind") == "standard" && a.Text("client_id") != r.vars["ID"]:
		r.vars["ASSERTION"] = r.assertion(a.Text("client_id"))
	case a.Text("scope") == "admin" && a.Text("secret_expires_at") == "" && a.Text("access_token") != "":
		r.vars["TOKEN"] = a.Text("access_token")
	case a.Text("license_id") != "" && a.Text("cluster_id") != "":
		return
	case a.Text("join_key") != "":
		r.vars["JOIN_KEY_ID"] = a.Text("join_key_id")
		r.host = e2e.NewHost(r.T)
		body, err := json.Marshal(r.host.Join(r.T, a.Text("join_key")))
		if err != nil {
			r.T.Fatal(err)
		}
		r.files["join.json"] = string(body)
		r.clock.Advance(time.Second) // so that the host is younger than the authority
	case a.Text("peer_id") != "":
		r.vars["PEER_ID"] = a.Text("peer_id")
		if a.Text("cluster_id") != "" {
			r.vars["PEER_TOKEN"] = r.peerToken(r.host, a.Text("peer_id"))
		}
	}
}

var docKey = ed25519.NewKeyFromSeed(bytes.Repeat([]byte{7}, ed25519.SeedSize))

func (r *reader) assertion(client string) string {
	now := r.clock.Now().Unix()
	j := jwt.NewWithClaims(jwt.SigningMethodEdDSA, jwt.MapClaims{"iss": client, "sub": client, "aud": r.URL, "exp": now + 60, "jti": rand.Text()})
	text, err := j.SignedString(crypto.Signer(docKey))
	if err != nil {
		r.T.Fatal(err)
	}
	return text
}

// shape says which members a value has, all the way down. Of a list, the first element stands for all. What people name
// themselves has no shape.
func shape(name string, value any, into map[string]bool) {
	switch v := value.(type) {
	case map[string]any:
		for member, inner := range v {
			into[name+"."+member] = true
			if member != "labels" {
				shape(name+"."+member, inner, into)
			}
		}
	case []any:
		if len(v) > 0 {
			shape(name+"[]", v[0], into)
		}
	}
}

// lines decodes each JSON value of a text and returns the shapes that occur, without those of what is in empty lists.
func shapes(t *testing.T, text string) map[string]bool {
	t.Helper()
	into := map[string]bool{}
	d := json.NewDecoder(strings.NewReader(text))
	for {
		var value any
		err := d.Decode(&value)
		if err == io.EOF {
			return into
		}
		if err != nil {
			t.Fatalf("%v: %s", err, text)
		}
		shape("", value, into)
	}
}

// lacks are the members that set does not have and other has. Of an empty list nothing can be said.
func lacks(set, other map[string]bool) (list []string) {
	for member := range other {
		in := strings.LastIndex(member, "[]")
		empty := in >= 0 && !slices.ContainsFunc(keysIn(set), func(m string) bool { return strings.HasPrefix(m, member[:in+2]) })
		if !set[member] && !empty {
			list = append(list, member)
		}
	}
	return list
}

// A reader who runs each command of docs/api.md in order gets the answers that are printed.
func TestDocs_CommandsAndAnswers(t *testing.T) {
	t.Parallel()
	var custody authority.Custody
	f := newFixture(t, setup{bare: true, custody: func(c authority.Custody) authority.Custody { custody = c; return c }})
	public, err := jwk.New(docKey.Public())
	if err != nil {
		t.Fatal(err)
	}
	text, err := public.MarshalJSON()
	if err != nil {
		t.Fatal(err)
	}
	r := &reader{fixture: f, vars: map[string]string{"URL": f.URL, "PUBLIC_JWK": string(text)}, files: map[string]string{}}
	seen := map[string]bool{}
	for _, e := range examples(t) {
		if strings.Contains(e.command, "@license.json") {
			r.files["license.json"] = renewal(t, f, custody)
		}
		call, a := r.curl(e.command)
		seen[call] = true
		if a.Status != e.status {
			t.Fatalf("line %d: %s: %d, want %d: %s", e.line, e.command, a.Status, e.status, a.Body)
		}
		want, got := shapes(t, e.answer), shapes(t, string(a.Body))
		for _, member := range lacks(got, want) {
			t.Errorf("line %d: %s: the answer has no %s: %s", e.line, e.command, member, a.Body)
		}
		for _, member := range lacks(want, got) {
			t.Errorf("line %d: %s: %s is not documented", e.line, e.command, member)
		}
		if e.status >= 400 || e.status == 200 && strings.Contains(e.answer, `"active": false`) {
			var compacted bytes.Buffer
			if json.Compact(&compacted, []byte(e.answer)) != nil || compacted.String() != string(a.Body) {
				t.Errorf("line %d: %s: %s, printed is %s", e.line, e.command, a.Body, compacted.String())
			}
		}
	}
	for path, methods := range sortedRoutes() {
		for _, method := range methods {
			pattern := regexp.MustCompile("^(" + method + "|HEAD) " + regexp.MustCompile(`\\\{[a-z_]+\\\}`).ReplaceAllString(regexp.QuoteMeta(path), "[^/]+") + "$")
			if method != "HEAD" && !slices.ContainsFunc(keysIn(seen), pattern.MatchString) {
				t.Errorf("docs/api.md has no example of %s %s", method, path)
			}
		}
	}
}

func keysIn(set map[string]bool) (list []string) {
	for k := range set {
		list = append(list, k)
	}
	return list
}

// renewal is a license for the same customer, signed with the key of an authority that is its own vendor.
func renewal(t *testing.T, f *fixture, custody authority.Custody) string {
	t.Helper()
	current, err := f.authority.License(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	at := f.clock.Now()
	signer, err := custody.Ledger(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	l, err := license.Issue(signer.Crypto(), license.License{
		LicenseID: id.New(id.License, at), CustomerID: current.CustomerID, IssuedAt: at, ExpiresAt: at.Add(365 * 24 * time.Hour),
		MaxNodes: 100, MaxServices: 100,
	})
	if err != nil {
		t.Fatal(err)
	}
	text, err := l.MarshalJSON()
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// The table of errors has every code of the API with its status, and no other.
func TestDocs_EveryCode(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../docs/api.md")
	if err != nil {
		t.Fatal(err)
	}
	table, _, _ := strings.Cut(string(text), "### When an answer got lost")
	codes, _ := theSpec(t).at("components", "schemas", "Error", "properties", "code", "enum")
	for _, code := range codes.([]any) {
		if !strings.Contains(table, fmt.Sprintf("`%s`", code)) {
			t.Errorf("docs/api.md does not explain %s", code)
		}
	}
	actions, _ := theSpec(t).at("components", "schemas", "Event", "properties", "action", "enum")
	if got, want := len(actions.([]any)), len(authority.Actions()); got != want {
		t.Errorf("%d actions, and there are %d", got, want)
	}
	for _, action := range authority.Actions() {
		if !slices.Contains(actions.([]any), any(action)) {
			t.Errorf("the schema does not know %s", action)
		}
		if !strings.Contains(string(text), fmt.Sprintf("`%s`", action)) {
			t.Errorf("docs/api.md does not list %s", action)
		}
	}
}
