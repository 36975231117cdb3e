package dynamo_test

import (
	"os"
	"testing"

	"github.com/keyturn/keyturn/internal/authority"
	"github.com/keyturn/keyturn/internal/authority/storetest"
	"github.com/keyturn/keyturn/internal/dynamo"
	"github.com/keyturn/keyturn/internal/dynamo/local"
)

var server local.Server

func TestMain(m *testing.M) {
	code := m.Run()
	server.Stop()
	os.Exit(code)
}

// region is that of the stores in these tests: the one that most batches of the suite are for.
const region = "local"

// open returns a store in a new table.
func open(t testing.TB) *dynamo.Store {
	t.Helper()
	client := server.Client(t, region, nil)
	return openTable(t, client, server.Table(t, client), dynamo.Options{})
}

// openTable opens the store in a table and closes it when t ends.
func openTable(t testing.TB, api dynamo.API, table string, o dynamo.Options) *dynamo.Store {
	t.Helper()
	s, err := dynamo.Open(t.Context(), api, table, region, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func TestStore_Suite(t *testing.T) {
	storetest.Run(t, func(t *testing.T) authority.Store { return open(t) })
}
