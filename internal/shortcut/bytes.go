package shortcut

// set is a set of places where a byte may stand.
type set uint8

const (
	inPath  set = 1 << iota // of a target: RFC 3986 unreserved and "/"; what is encoded or odd is net/http's business
	inQuery                 // RFC 3986 §3.4
	inName                  // of a field: tchar (RFC 9110 §5.6.2)
	inValue                 // of a field: visible ASCII, SP and HTAB; no obs-text (RFC 9110 §5.5)
	inHost                  // a name or an address, and a port
)

// places says where each byte may stand.
var places = allowed()

func allowed() (t [256]set) {
	const letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
	for s, bytes := range map[set]string{
		inPath:  letters + "-._~/",
		inQuery: letters + "-._~/?%!$&'()*+,;=:@",
		inName:  letters + "!#$%&'*+-.^_`|~",
		inValue: "\t",
		inHost:  letters + "-._:[]",
	} {
		for _, c := range []byte(bytes) {
			t[c] |= s
		}
	}
	for c := ' '; c <= '~'; c++ {
		t[c] |= inValue
	}
	return t
}

// all reports whether every byte may stand at a place.
func all(b []byte, s set) bool {
	for _, c := range b {
		if places[c]&s == 0 {
			return false
		}
	}
	return true
}
