// Package localstack_test runs the whole end-to-end suite against a deployed stack. localstack/deploy says where it is.
package localstack_test

import (
	"context"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/keyturn/keyturn/internal/e2e"
)

func TestDeployed(t *testing.T) {
	url := os.Getenv("KEYTURN_E2E_URL")
	if url == "" {
		t.Skip("no deployed stack: `make localstack` makes one and runs this")
	}
	license, err := os.ReadFile(os.Getenv("KEYTURN_E2E_LICENSE"))
	if err != nil {
		t.Fatal(err)
	}
	e2e.Run(t, e2e.Target{URL: url, License: string(license), BootstrapToken: os.Getenv("KEYTURN_E2E_BOOTSTRAP_TOKEN")})
	t.Run("TimeToLive", func(t *testing.T) { expires(t, os.Getenv("KEYTURN_E2E_TABLE")) })
}

// expires lets the table's TTL delete what is past its date, and sees the superseded hashes gone: the suite before it has
// closed several windows.
func expires(t *testing.T, table string) {
	client := dynamo(t)
	before, _ := hashes(t, client, table)
	if before == 0 {
		t.Fatal("no hash has a date: the suite has rotated nothing")
	}
	r, err := http.NewRequestWithContext(t.Context(), http.MethodDelete, os.Getenv("AWS_ENDPOINT_URL")+"/_aws/dynamodb/expired", nil)
	if err != nil {
		t.Fatal(err)
	}
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	if err := res.Body.Close(); err != nil {
		t.Fatal(err)
	}
	after, overdue := hashes(t, client, table)
	if overdue != 0 || after >= before {
		t.Errorf("%d hashes had a date, %d still have one, %d of them are overdue", before, after, overdue)
	}
	t.Logf("%d hashes had a date, %d still have one", before, after)
}

func dynamo(t *testing.T) *dynamodb.Client {
	t.Helper()
	c, err := config.LoadDefaultConfig(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return dynamodb.NewFromConfig(c)
}

// hashes counts the items of secrets' hashes that have a date, and those whose date has passed.
func hashes(t *testing.T, client *dynamodb.Client, table string) (dated, overdue int) {
	t.Helper()
	pages := dynamodb.NewScanPaginator(client, &dynamodb.ScanInput{TableName: &table})
	for pages.HasMorePages() {
		page, err := pages.NextPage(context.WithoutCancel(t.Context()))
		if err != nil {
			t.Fatal(err)
		}
		for _, item := range page.Items {
			sk, _ := item["sk"].(*types.AttributeValueMemberS)
			date, _ := item["expires_at"].(*types.AttributeValueMemberN)
			if sk == nil || !strings.HasSuffix(sk.Value, "#h") || date == nil {
				continue
			}
			dated++
			if end, err := time.ParseDuration(date.Value + "s"); err == nil && time.Unix(int64(end.Seconds()), 0).Before(time.Now()) {
				overdue++
			}
		}
	}
	return dated, overdue
}
