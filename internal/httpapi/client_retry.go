package httpapi

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/keyturn/keyturn/internal/backoff"
)

// The wait before the first and before any later repetition.
const (
	firstWait = 100 * time.Millisecond
	maxWait   = 2 * time.Second
)

// send sends s until an answer came that repeating it would not change, or the time is over. The error is then the last
// attempt's: it says more than that the time was over.
func (c *Client) send(ctx context.Context, s sending) (Answer, error) {
	ctx, cancel := context.WithTimeout(ctx, c.o.Timeout)
	defer cancel()
	for tries := 1; ; tries++ {
		a, err := c.once(ctx, s)
		if err == nil || !s.again || !passing(err) || ctx.Err() != nil {
			return a, c.inTime(ctx, err)
		}
		pause := max(backoff.Jitter(backoff.Grown(tries, firstWait, maxWait), backoff.Half), retryAfter(err))
		if deadline, _ := ctx.Deadline(); deadline.Sub(c.o.Now()) < pause {
			return a, err
		}
		if c.o.Retrying != nil {
			c.o.Retrying(err, pause)
		}
		if !backoff.Wait(ctx, pause) {
			return a, err
		}
	}
}

// inTime names the bound where it was the client's own.
func (c *Client) inTime(ctx context.Context, err error) error {
	if errors.Is(err, context.DeadlineExceeded) && ctx.Err() != nil {
		return fmt.Errorf("%w: no answer within %s", ErrUnreachable, c.o.Timeout)
	}
	return err
}

func retryAfter(err error) time.Duration {
	var e *Error
	if errors.As(err, &e) {
		return e.RetryAfter
	}
	return 0
}

// passing reports whether the same request may fare better in a moment. A cluster that is not there, a name that does not
// exist and a certificate that is not trusted stay so.
func passing(err error) bool {
	var e *Error
	if errors.As(err, &e) {
		return e.Status == http.StatusServiceUnavailable && e.Code != NotBootstrapped
	}
	var name *net.DNSError
	if errors.As(err, &name) && name.IsNotFound || distrusted(err) {
		return false
	}
	return errors.Is(err, ErrUnreachable)
}

func distrusted(err error) bool {
	var (
		authority x509.UnknownAuthorityError
		host      x509.HostnameError
		invalid   x509.CertificateInvalidError
	)
	return errors.As(err, &authority) || errors.As(err, &host) || errors.As(err, &invalid)
}
