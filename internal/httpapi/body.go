package httpapi

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"reflect"
	"strings"
	"unicode/utf8"
)

// maxBody is the largest body of a request, in bytes.
const maxBody = 64 << 10

// receive reads the whole body, of whatever path and method: 413 where it is too large.
func (c *call) receive() error {
	if c.Body == nil || c.Body == http.NoBody {
		return nil
	}
	body, err := io.ReadAll(io.LimitReader(c.Body, maxBody+1))
	if err != nil {
		return refuse(http.StatusBadRequest, InvalidRequest, "the body could not be read to its end")
	}
	if len(body) > maxBody {
		return refuse(http.StatusRequestEntityTooLarge, TooLarge, fmt.Sprintf("the body is larger than %d bytes", maxBody))
	}
	c.sent = body
	return nil
}

// bodyOf returns the body; 415 where there is one of another type.
func (c *call) bodyOf(media string) ([]byte, error) {
	if len(c.sent) == 0 {
		return nil, nil
	}
	if !c.sends(media) {
		return nil, refuse(http.StatusUnsupportedMediaType, UnsupportedMediaType, "send the body as "+media+", not compressed")
	}
	return c.sent, nil
}

// sends reports whether the body is said to be of that type. Parameters such as charset are not looked at.
func (c *call) sends(media string) bool {
	types := c.Header.Values("Content-Type")
	coding := c.Header.Get("Content-Encoding")
	if len(types) != 1 || coding != "" && !strings.EqualFold(coding, "identity") {
		return false
	}
	got, _, _ := strings.Cut(types[0], ";")
	return strings.EqualFold(strings.TrimSpace(got), media)
}

// decodeBody reads one JSON object strictly: no unknown, no repeated and no differently spelled member, nothing behind it.
// No body is an empty object.
func decodeBody(body []byte, into any) error {
	if len(body) == 0 {
		return nil
	}
	if err := checkMembers(body, memberNames(into)); err != nil {
		return refuse(http.StatusBadRequest, InvalidRequest, "invalid body: "+err.Error())
	}
	if err := json.Unmarshal(body, into); err != nil {
		var wrong *json.UnmarshalTypeError
		if errors.As(err, &wrong) {
			return refuse(http.StatusBadRequest, InvalidRequest, fmt.Sprintf("invalid body: %s cannot be a %.64s", wrong.Field, wrong.Value))
		}
		return refuse(http.StatusBadRequest, InvalidRequest, "invalid body: it is not valid JSON")
	}
	return nil
}

var errJSON = errors.New("it is not valid JSON")

// checkMembers looks at the names of the object: encoding/json alone would take the last of two equal members, and match
// names in any case.
func checkMembers(body []byte, known map[string]bool) error {
	if !utf8.Valid(body) {
		return errors.New("it is not UTF-8") // RFC 8259 §8.1; the decoder would replace what is not
	}
	d := json.NewDecoder(bytes.NewReader(body))
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return errors.New("it has to be a JSON object")
	}
	if err := checkObject(d, known); err != nil {
		return err
	}
	if _, err := d.Token(); err != io.EOF {
		return errors.New("there is something behind the object")
	}
	return nil
}

// checkObject reads an object to its end. known are its members; nil for any.
func checkObject(d *json.Decoder, known map[string]bool) error {
	seen := map[string]bool{}
	for d.More() {
		t, err := d.Token()
		name, ok := t.(string)
		switch {
		case err != nil || !ok:
			return errJSON
		case known != nil && !known[name]:
			return fmt.Errorf("unknown member %.64q", name)
		case seen[name]:
			return fmt.Errorf("member %.64q is there twice", name)
		}
		seen[name] = true
		if err := checkValue(d); err != nil {
			return err
		}
	}
	return closed(d)
}

// checkValue reads one value. What bounds its depth is the size of a body.
func checkValue(d *json.Decoder) error {
	t, err := d.Token()
	switch {
	case err != nil:
		return errJSON
	case t == json.Delim('{'):
		return checkObject(d, nil)
	case t != json.Delim('['):
		return nil
	}
	for d.More() {
		if err := checkValue(d); err != nil {
			return err
		}
	}
	return closed(d)
}

func closed(d *json.Decoder) error {
	if _, err := d.Token(); err != nil {
		return errJSON
	}
	return nil
}

func memberNames(of any) map[string]bool {
	names := map[string]bool{}
	t := reflect.TypeOf(of).Elem()
	for i := range t.NumField() {
		name, _, _ := strings.Cut(t.Field(i).Tag.Get("json"), ",")
		names[name] = true
	}
	return names
}

// form reads the parameters of an OAuth endpoint from the body. One that is there twice is refused, one without a value
// counts as left out (RFC 6749 §3.2).
func (c *call) form() (url.Values, error) {
	body, err := c.bodyOf("application/x-www-form-urlencoded")
	if err != nil {
		return nil, err
	}
	values, err := url.ParseQuery(string(body))
	if err != nil {
		return nil, refuse(http.StatusBadRequest, InvalidRequest, "the body is not a valid form")
	}
	return values, unrepeated(values)
}

// unrepeated refuses a parameter that is there twice.
func unrepeated(values url.Values) error {
	for name, list := range values {
		if len(list) > 1 {
			return refuse(http.StatusBadRequest, InvalidRequest, fmt.Sprintf("parameter %.64q is there twice", name))
		}
	}
	return nil
}
