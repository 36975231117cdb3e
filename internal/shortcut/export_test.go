package shortcut

// Head is a plain head as it was read.
type Head struct {
	Length       int
	Target, Host string
	Values       map[string]string // of the fields of Route.Reads that are there
}

// ReadHead reads the plain head at the beginning of b; Length is 0 where there is none.
func ReadHead(b []byte, r Route) Head {
	var h head
	n := h.read(b, &r)
	if n == 0 {
		return Head{}
	}
	found := Head{Length: n, Target: string(h.target), Host: string(h.host), Values: map[string]string{}}
	for i, name := range r.Reads {
		if h.values[i] != nil {
			found.Values[name] = string(h.values[i])
		}
	}
	return found
}
