package shortcut

import (
	"bufio"
	"bytes"
	"io"
	"net/http"
	"time"
)

// clock is a Date field (RFC 9110 §6.6.1), made once a second.
type clock struct {
	second int64
	text   []byte
}

func (d *clock) at(now time.Time) []byte {
	if s := now.Unix(); s != d.second || d.text == nil {
		d.second = s
		d.text = now.UTC().AppendFormat(d.text[:0], http.TimeFormat)
	}
	return d.text
}

// end ends the header of an answer without a body.
func (c *conn) end(out []byte) []byte {
	c.last = c.l.stopping.Load()
	out = append(out, "Date: "...)
	out = append(out, c.date.at(c.now)...)
	out = append(out, "\r\nContent-Length: 0\r\n"...)
	if c.last {
		out = append(out, "Connection: close\r\n"...) // RFC 9112 §9.6
	}
	return append(out, "\r\n"...)
}

// record appends what a handler answers to the request in raw, as net/http would write it. It returns nil where net/http would
// not have taken the request.
func (c *conn) record(out, raw []byte, h http.Handler) []byte {
	r, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(raw)))
	if err != nil {
		return nil
	}
	r = r.WithContext(c.l.base)
	r.RemoteAddr = c.request.RemoteAddr
	w := &recorder{header: http.Header{}}
	h.ServeHTTP(w, r)
	w.WriteHeader(http.StatusOK)
	c.now, c.last = c.l.o.Now(), c.l.stopping.Load() // it may have taken a moment
	w.sent.Set("Date", string(c.date.at(c.now)))
	text := bytes.NewBuffer(out)
	_ = (&http.Response{
		StatusCode: w.status, ProtoMajor: 1, ProtoMinor: 1, Header: w.sent, Close: c.last,
		ContentLength: int64(w.body.Len()), Body: io.NopCloser(&w.body), Request: r,
	}).Write(text) // to memory: it does not fail
	return text.Bytes()
}

// recorder is a ResponseWriter that keeps an answer.
type recorder struct {
	header, sent http.Header // sent: as it was when the status was given
	status       int         // 0: none yet
	body         bytes.Buffer
}

// Header implements http.ResponseWriter.
func (w *recorder) Header() http.Header { return w.header }

// WriteHeader implements http.ResponseWriter: the first one counts.
func (w *recorder) WriteHeader(status int) {
	if w.status == 0 {
		w.status, w.sent = status, w.header.Clone()
	}
}

// Write implements http.ResponseWriter.
func (w *recorder) Write(b []byte) (int, error) {
	w.WriteHeader(http.StatusOK)
	return w.body.Write(b)
}
