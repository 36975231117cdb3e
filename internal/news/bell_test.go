package news_test

import (
	"testing"

	"github.com/keyturn/keyturn/internal/news"
)

func rung(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

func TestBell_WakesAllWhoWaitAndNobodyWhoComesLater(t *testing.T) {
	t.Parallel()
	var b news.Bell
	b.Ring() // nobody hears it
	one, two := b.Wait(), b.Wait()
	if rung(one) || rung(two) {
		t.Fatal("it has rung before")
	}
	b.Ring()
	later := b.Wait()
	if !rung(one) || !rung(two) || rung(later) {
		t.Errorf("one %v, two %v, later %v", rung(one), rung(two), rung(later))
	}
	b.Ring()
	if !rung(later) {
		t.Error("it rings once only")
	}
}
