package verify

import "time"

// PatienceOfOne is how long one request may take, besides what it waits for news.
const PatienceOfOne = patienceOfOne

// Pings is after how much silence a connection of one's own is pinged, and how long the answer may take; 0: never.
func Pings(o Options) (send, wait time.Duration) {
	c := newGetter(o, nil).own.HTTP2
	if c == nil {
		return 0, 0
	}
	return c.SendPingTimeout, c.PingTimeout
}
