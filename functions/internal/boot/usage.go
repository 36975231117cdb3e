package boot

import (
	"context"
	"time"

	"github.com/keyturn/keyturn/internal/httpapi"
)

// noteBudget is how long a token request may take longer once a minute, to note who uses which version.
const noteBudget = 100 * time.Millisecond

// count counts the use of a secret and notes it, once a minute and version: nothing goes on in a function after its answer.
// What cannot be noted is counted on.
func (a *App) count(o httpapi.Observation) {
	use, ok := o.Use()
	if !ok || a.authority == nil {
		return
	}
	if !a.authority.CountUse(use, o.At) {
		return
	}
	ctx, cancel := context.WithTimeout(o.Context, noteBudget)
	defer cancel()
	_ = a.authority.StoreUsage(ctx, o.At)
}
