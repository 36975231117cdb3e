package listen

import (
	"context"
	"net"
)

// Bind binds a place, and does no more: what others could see before the mode is set.
func Bind(ctx context.Context, at string) (net.Listener, error) {
	p, err := parsePlace(ctx, at)
	if err != nil {
		return nil, err
	}
	return p.listen(ctx)
}
