package shortcut_test

import (
	"bufio"
	"bytes"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/keyturn/keyturn/internal/shortcut"
)

// asked is a route as a sidecar has it.
func asked() shortcut.Route {
	return shortcut.Route{Path: "/authz", Reads: []string{"Authorization", "X-Request-Id", "X-Forwarded-For"}}
}

// get is a plain request with these lines after its Host.
func get(target string, lines ...string) string {
	return "GET " + target + " HTTP/1.1\r\nHost: sidecar:8081\r\n" + strings.Join(append(lines, "", ""), "\r\n")
}

// plain are requests that are answered here.
func plain() map[string]string {
	return map[string]string{
		"Bare":           get("/authz"),
		"Below":          get("/authz/bills/1/"),
		"DotSegments":    get("/authz/../v1/credentials"),
		"Slashes":        get("/authz//x"),
		"Query":          get("/authz?scope=billing.read+billing.write&audience=https://x.example/%7E"),
		"EmptyQuery":     get("/authz?"),
		"OddQuery":       get("/authz?a=?/;:@!$'()*,%zz&&=="),
		"Token":          get("/authz", "Authorization: Bearer a.b.c", "X-Request-Id: one"),
		"NoSpace":        get("/authz", "authorization:Bearer a.b.c"),
		"Blanks":         get("/authz", "AUTHORIZATION:\t  Bearer  a.b.c \t"),
		"KeptAlive":      get("/authz", "Connection: Keep-Alive"),
		"OthersRepeated": get("/authz", "Cookie: a", "Cookie: b", "Accept:", "X_Odd!#$%&'*+.^`|~: 1"),
		"Forwarded":      get("/authz", "X-Forwarded-For: 192.0.2.1, 198.51.100.7"),
		"Browser":        get("/authz", "User-Agent: Mozilla/5.0 (X11)", "Accept: text/html,*/*;q=0.8", `If-None-Match: "x"`, "Pragma: no-cache"),
		"AddressAsHost":  "GET /authz HTTP/1.1\r\nHost: [::1]:8081\r\n\r\n",
		"ManyFields":     get("/authz", many(63)...),
	}
}

// odd are requests that are net/http's, the smuggler's among them. Some are answered there like plain ones.
func odd() map[string]string {
	return map[string]string{
		"Nothing":              "\r\n",
		"EmptyLineFirst":       "\r\n" + get("/authz"),
		"OtherPath":            get("/authzz"),
		"OtherRoot":            get("/"),
		"Encoded":              get("/%61uthz"),
		"EncodedBelow":         get("/authz/%2e%2e"),
		"OddPath":              get("/authz/a;b"),
		"Fragment":             get("/authz?a#b"),
		"Quote":                get(`/authz?"`),
		"NotASCII":             get("/authz?\xc3\xa9"),
		"ControlInTarget":      get("/authz?\x01"),
		"NulInTarget":          get("/authz?\x00"),
		"SpaceInTarget":        get("/authz? x"),
		"TwoSpaces":            get(" /authz"),
		"TabInLine":            strings.Replace(get("/authz"), " HTTP", "\tHTTP", 1),
		"SpaceAtTheEnd":        strings.Replace(get("/authz"), "1.1\r", "1.1 \r", 1),
		"Absolute":             get("http://other.example/authz"),
		"Asterisk":             strings.Replace(get("*"), "GET", "OPTIONS", 1),
		"Connect":              strings.Replace(get("sidecar:8081"), "GET", "CONNECT", 1),
		"Post":                 strings.Replace(get("/authz", "Content-Length: 0"), "GET", "POST", 1),
		"Head":                 strings.Replace(get("/authz"), "GET", "HEAD", 1),
		"SmallMethod":          strings.Replace(get("/authz"), "GET", "get", 1),
		"Version10":            strings.Replace(get("/authz"), "HTTP/1.1", "HTTP/1.0", 1),
		"Version10KeptAlive":   strings.Replace(get("/authz", "Connection: keep-alive"), "HTTP/1.1", "HTTP/1.0", 1),
		"Version12":            strings.Replace(get("/authz"), "HTTP/1.1", "HTTP/1.2", 1),
		"Version2":             strings.Replace(get("/authz"), "HTTP/1.1", "HTTP/2.0", 1),
		"SmallVersion":         strings.Replace(get("/authz"), "HTTP/1.1", "http/1.1", 1),
		"NoVersion":            "GET /authz\r\n\r\n",
		"Preface":              "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
		"NoHost":               "GET /authz HTTP/1.1\r\n\r\n",
		"EmptyHost":            "GET /authz HTTP/1.1\r\nHost:\r\n\r\n",
		"TwoHosts":             get("/authz", "Host: sidecar:8081"),
		"OddHost":              "GET /authz HTTP/1.1\r\nHost: a/b\r\n\r\n",
		"ListAsHost":           "GET /authz HTTP/1.1\r\nHost: a, b\r\n\r\n",
		"UserInHost":           "GET /authz HTTP/1.1\r\nHost: u@a\r\n\r\n",
		"LengthZero":           get("/authz", "Content-Length: 0"),
		"Length":               get("/authz", "Content-Length: 5") + "hello",
		"TwoLengths":           get("/authz", "Content-Length: 5", "Content-Length: 6") + "hello!",
		"LengthSigned":         get("/authz", "Content-Length: +5") + "hello",
		"LengthAndChunked":     get("/authz", "Content-Length: 4", "Transfer-Encoding: chunked") + "0\r\n\r\n" + get("/authz", "Authorization: yes"),
		"Chunked":              get("/authz", "Transfer-Encoding: chunked") + "5\r\nhello\r\n0\r\n\r\n",
		"ChunkedSpaced":        get("/authz", "Transfer-Encoding : chunked") + "0\r\n\r\n",
		"ChunkedTab":           get("/authz", "Transfer-Encoding:\tchunked") + "0\r\n\r\n",
		"ChunkedTwice":         get("/authz", "Transfer-Encoding: chunked", "Transfer-Encoding: identity") + "0\r\n\r\n",
		"ChunkedOdd":           get("/authz", "Transfer-Encoding: xchunked") + "0\r\n\r\n",
		"ChunkedVerticalTab":   get("/authz", "Transfer-Encoding: \vchunked") + "0\r\n\r\n",
		"ChunkedSmall":         get("/authz", "transfer-encoding: chunked") + "0\r\n\r\n",
		"Expect":               get("/authz", "Expect: 100-continue"),
		"ExpectOther":          get("/authz", "expect: wonders"),
		"Upgrade":              get("/authz", "Upgrade: websocket"),
		"UpgradeConnection":    get("/authz", "Connection: Upgrade", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAAQAAP__"),
		"Settings":             get("/authz", "HTTP2-Settings: AAMAAABkAAQAAP__"),
		"Close":                get("/authz", "Connection: close"),
		"CloseAmongOthers":     get("/authz", "Connection: keep-alive, close"),
		"ConnectionNames":      get("/authz", "Connection: authorization"),
		"ConnectionEmpty":      get("/authz", "Connection:"),
		"Trailer":              get("/authz", "Trailer: Authorization"),
		"TE":                   get("/authz", "TE: trailers"),
		"TwoTokens":            get("/authz", "Authorization: yes", "Authorization: no"),
		"TwoTokensApart":       get("/authz", "Authorization: yes", "X: 1", "authorization: yes"),
		"TwoRequestIDs":        get("/authz", "X-Request-Id: a", "X-Request-ID: b"),
		"TwoForwarded":         get("/authz", "X-Forwarded-For: 192.0.2.1", "X-Forwarded-For: 192.0.2.2"),
		"EmptyToken":           get("/authz", "Authorization:  "),
		"Fold":                 get("/authz", "Authorization: yes", " and more"),
		"FoldTab":              get("/authz", "Authorization:", "\tyes"),
		"FoldFirst":            "GET /authz HTTP/1.1\r\n Host: x\r\n\r\n",
		"SpaceBeforeColon":     get("/authz", "Authorization : yes"),
		"SpaceInName":          get("/authz", "Autho rization: yes"),
		"NoColon":              get("/authz", "Authorization"),
		"NoName":               get("/authz", ": yes"),
		"ControlInName":        get("/authz", "Author\x00ization: yes"),
		"NotASCIIName":         get("/authz", "Authoriz\xc3\xa4tion: yes"),
		"NulInValue":           get("/authz", "Authorization: y\x00es"),
		"DeleteInValue":        get("/authz", "X: \x7f"),
		"ObsText":              get("/authz", "X: \xe4"),
		"CarriageReturn":       get("/authz", "X: a\rAuthorization: yes"),
		"CarriageReturnTwice":  get("/authz", "X: a\r"),
		"LineFeed":             get("/authz", "X: a\nAuthorization: yes"),
		"LineFeeds":            strings.ReplaceAll(get("/authz"), "\r\n", "\n"),
		"LineFeedAtTheEnd":     strings.TrimSuffix(get("/authz"), "\r\n") + "\n",
		"CarriageReturnsAlone": strings.ReplaceAll(get("/authz"), "\r\n", "\r"),
		"TooManyFields":        get("/authz", many(64)...),
		"TooLong":              get("/authz", "X: "+strings.Repeat("x", 17<<10)),
		"MuchTooLong":          get("/authz", "X: "+strings.Repeat("x", 64<<10)),
		"LongTarget":           get("/authz?" + strings.Repeat("x", 32<<10)),
		"Garbage":              "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
	}
}

func many(n int) []string {
	lines := make([]string, n)
	for i := range lines {
		lines[i] = "Cookie: a"
	}
	return lines
}

func TestHead_PlainOnesAreRead(t *testing.T) {
	t.Parallel()
	for name, text := range plain() {
		h := shortcut.ReadHead([]byte(text+"GET /next"), asked())
		if h.Length != len(text) {
			t.Errorf("%s: %d of %d bytes are read", name, h.Length, len(text))
		}
		agrees(t, []byte(text+"GET /next"))
		for n := range len(text) {
			if h := shortcut.ReadHead([]byte(text[:n]), asked()); h.Length != 0 {
				t.Fatalf("%s: the first %d bytes are taken for a head", name, n)
			}
		}
	}
}

func TestHead_OddOnesAreNot(t *testing.T) {
	t.Parallel()
	for name, text := range odd() {
		if name == "TooLong" || name == "MuchTooLong" || name == "LongTarget" {
			continue // for the buffer to say
		}
		if h := shortcut.ReadHead([]byte(text), asked()); h.Length != 0 {
			t.Errorf("%s is read: %+v", name, h)
		}
	}
}

func TestHead_NoByteIsReadWhereItDoesNotBelong(t *testing.T) {
	t.Parallel()
	const template = "GET /authz/a?b HTTP/1.1\r\nHost: c\r\nX-d: e\r\nAuthorization: f\r\n\r\n"
	for i := range template {
		for c := range 256 {
			text := []byte(template)
			text[i] = byte(c)
			agrees(t, text)
		}
	}
}

// agrees: what is read here, net/http reads too, and finds the same in the same bytes.
func agrees(t *testing.T, b []byte) {
	t.Helper()
	h := shortcut.ReadHead(b, asked())
	if h.Length == 0 {
		return
	}
	in := bytes.NewReader(b)
	buffered := bufio.NewReader(in)
	r, err := http.ReadRequest(buffered)
	if err != nil {
		t.Fatalf("%q: net/http refuses it: %v", b, err)
	}
	if n := len(b) - in.Len() - buffered.Buffered(); n != h.Length {
		t.Errorf("%q: net/http reads %d bytes, and here it is %d", b, n, h.Length)
	}
	if r.Method != "GET" || r.Proto != "HTTP/1.1" || r.RequestURI != h.Target || r.Host != h.Host {
		t.Errorf("%q: net/http reads %s %s %s of %q, and here it is %+v", b, r.Method, r.RequestURI, r.Proto, r.Host, h)
	}
	if r.ContentLength != 0 || r.Body != http.NoBody || r.TransferEncoding != nil || r.Trailer != nil || r.Close {
		t.Errorf("%q: net/http sees more than a head", b)
	}
	if r.URL.Path != "/authz" && !strings.HasPrefix(r.URL.Path, "/authz/") || r.URL.RawPath != "" || r.URL.Host != "" {
		t.Errorf("%q: its path is %q, %q", b, r.URL.Path, r.URL.RawPath)
	}
	read := map[string]string{}
	for _, name := range asked().Reads {
		if values := r.Header.Values(name); len(values) > 0 {
			read[name] = strings.Join(values, "|")
		}
	}
	if diff := cmp.Diff(read, h.Values); diff != "" {
		t.Errorf("%q: (-net/http +here)\n%s", b, diff)
	}
	for _, name := range []string{"Content-Length", "Transfer-Encoding", "Expect", "Upgrade", "Trailer", "Te", "Http2-Settings"} {
		if r.Header.Values(name) != nil {
			t.Errorf("%q: it has %s", b, name)
		}
	}
}

func FuzzHead_AgreesWithNetHTTP(f *testing.F) {
	for _, text := range plain() {
		f.Add([]byte(text))
	}
	for _, text := range odd() {
		if len(text) < 2<<10 {
			f.Add([]byte(text))
		}
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		agrees(t, b)
		// The same bytes where a value stands, so that more of them come that far.
		agrees(t, []byte(get("/authz", "Authorization: "+string(b))))
		agrees(t, []byte(get("/authz?"+string(b), "X-Request-Id: 1")))
		agrees(t, []byte("GET /authz HTTP/1.1\r\n"+string(b)+"\r\n\r\n"))
	})
}
