package httpapi

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"reflect"
	"strings"
)

// maxBody is the largest body of a request, in bytes.
const maxBody = 64 << 10

// readBody reads the whole body; 413 where it is too large, 415 where there is one of another type.
func (c *call) readBody(media string) ([]byte, error) {
	body, err := io.ReadAll(io.LimitReader(c.Body, maxBody+1))
	if err != nil {
		return nil, refuse(http.StatusBadRequest, InvalidRequest, "the body could not be read to its end")
	}
	if len(body) > maxBody {
		return nil, refuse(http.StatusRequestEntityTooLarge, TooLarge, fmt.Sprintf("the body is larger than %d bytes", maxBody))
	}
	if len(body) == 0 {
		return nil, nil
	}
	if got, _, err := mime.ParseMediaType(c.Header.Get("Content-Type")); err != nil || got != media {
		return nil, refuse(http.StatusUnsupportedMediaType, UnsupportedMediaType, "send the body as "+media)
	}
	return body, nil
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
			return refuse(http.StatusBadRequest, InvalidRequest, fmt.Sprintf("invalid body: %s cannot be a %s", wrong.Field, wrong.Value))
		}
		return refuse(http.StatusBadRequest, InvalidRequest, "invalid body: it is not valid JSON")
	}
	return nil
}

// checkMembers looks at the names of the outermost object.
func checkMembers(body []byte, known map[string]bool) error {
	d := json.NewDecoder(bytes.NewReader(body))
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return errors.New("it has to be a JSON object")
	}
	seen := map[string]bool{}
	for d.More() {
		t, err := d.Token()
		name, ok := t.(string)
		if err != nil || !ok {
			return errors.New("it is not valid JSON")
		}
		if !known[name] {
			return fmt.Errorf("unknown member %.64q", name)
		}
		if seen[name] {
			return fmt.Errorf("member %q is there twice", name)
		}
		seen[name] = true
		var skipped json.RawMessage
		if err := d.Decode(&skipped); err != nil {
			return errors.New("it is not valid JSON")
		}
	}
	if _, err := d.Token(); err != nil {
		return errors.New("it is not valid JSON")
	}
	if _, err := d.Token(); err != io.EOF {
		return errors.New("there is something behind the object")
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
	body, err := c.readBody("application/x-www-form-urlencoded")
	if err != nil {
		return nil, err
	}
	values, err := url.ParseQuery(string(body))
	if err != nil {
		return nil, refuse(http.StatusBadRequest, InvalidRequest, "the body is not a valid form")
	}
	for name, list := range values {
		if len(list) > 1 {
			return nil, refuse(http.StatusBadRequest, InvalidRequest, fmt.Sprintf("parameter %.64q is there twice", name))
		}
	}
	return values, nil
}
