package verify

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/keyturn/keyturn/internal/httpapi"
	"github.com/keyturn/keyturn/internal/id"
)

// maxFeed is the size of an answer, in bytes, beyond which it is not read: a million dead credentials.
const maxFeed = 64 << 20

// feed is a sidecar's.
type feed struct {
	base string
	getter
}

func (*feed) pace() pace {
	return pace{wait: 20 * time.Second, every: time.Second, gap: time.Second, slow: 5 * time.Second}
}

func (f *feed) read(ctx context.Context, q httpapi.FeedQuery) (httpapi.Feed, error) {
	query := url.Values{"after": {q.After}, "wait_seconds": {strconv.Itoa(int(q.Wait / time.Second))}}
	if q.Ask {
		query.Set("ask", "true")
	}
	body, err := f.get(ctx, f.base+"/v1/sidecar/feed?"+query.Encode(), q.Wait, maxFeed)
	var r refusal
	switch {
	case errors.As(err, &r) && r.status == http.StatusBadRequest && q.After != "":
		return httpapi.Feed{}, fmt.Errorf("%w: %w", errCursor, err)
	case errors.As(err, &r) && r.wrong():
		return httpapi.Feed{}, fmt.Errorf("%w: there is no feed for this host", err)
	case err != nil:
		return httpapi.Feed{}, fmt.Errorf("read the feed: %w", err)
	}
	return decode(body)
}

// decode reads a feed. Members that it does not know are ignored: a newer sidecar may send more.
func decode(body []byte) (httpapi.Feed, error) {
	var f httpapi.Feed
	if err := json.Unmarshal(body, &f); err != nil {
		return f, fmt.Errorf("read the feed: %w", err)
	}
	_, err := id.Parse(id.Cluster, f.ClusterID)
	switch {
	case err != nil:
		return f, fmt.Errorf("read the feed: %w", err)
	case f.Issuer == "" || f.Cursor == "":
		return f, errors.New("read the feed: issuer or cursor is missing")
	case f.Age != nil && *f.Age < 0 || f.Bounds.Read < 0 || f.Bounds.Write < 0:
		return f, errors.New("read the feed: a negative duration")
	}
	return f, nil
}
