package dynamo_test

import (
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/keyturn/keyturn/internal/dynamo"
)

func TestCheck_NamesWhatIsWrong(t *testing.T) {
	t.Parallel()
	client := server.Client(t, "check", nil)
	str := types.ScalarAttributeTypeS
	for _, c := range []struct {
		name, hash, sort string
		typ              types.ScalarAttributeType
		ttl, want        string
	}{
		{"right", "pk", "sk", str, "expires_at", ""},
		{"missing", "", "", str, "", "there is no table missing"},
		{"other-key", "id", "sk", str, "expires_at", "has the key id (HASH, S) sk (RANGE, S)"},
		{"no-sort-key", "pk", "", str, "expires_at", "has the key pk (HASH, S), keyturn's has"},
		{"numbers", "pk", "sk", types.ScalarAttributeTypeN, "expires_at", "sk (RANGE, N), keyturn's has"},
		{"no-ttl", "pk", "sk", str, "", "has no time to live: switch it on for the attribute expires_at"},
		{"other-ttl", "pk", "sk", str, "ttl", "on the attribute ttl, not on expires_at"},
	} {
		makeTable(t, client, c.name, c.hash, c.sort, c.typ, c.ttl)
		err := openTable(t, client, c.name, dynamo.Options{}).Check(t.Context())
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: %v, want %q", c.name, err, c.want)
		}
	}
	_, err := openTable(t, client, "missing", dynamo.Options{}).Heads(t.Context())
	if err == nil || !strings.Contains(err.Error(), "there is no table missing in this account and region") {
		t.Errorf("reading a missing table: %v", err)
	}
}

func makeTable(t *testing.T, client *dynamodb.Client, name, hash, sort string, sortType types.ScalarAttributeType, ttl string) {
	t.Helper()
	if hash == "" {
		return
	}
	in := &dynamodb.CreateTableInput{
		TableName: &name, BillingMode: types.BillingModePayPerRequest,
		AttributeDefinitions: []types.AttributeDefinition{{AttributeName: &hash, AttributeType: types.ScalarAttributeTypeS}},
		KeySchema:            []types.KeySchemaElement{{AttributeName: &hash, KeyType: types.KeyTypeHash}},
	}
	if sort != "" {
		in.AttributeDefinitions = append(in.AttributeDefinitions, types.AttributeDefinition{AttributeName: &sort, AttributeType: sortType})
		in.KeySchema = append(in.KeySchema, types.KeySchemaElement{AttributeName: &sort, KeyType: types.KeyTypeRange})
	}
	_, err := client.CreateTable(t.Context(), in)
	if err == nil && ttl != "" {
		_, err = client.UpdateTimeToLive(t.Context(), &dynamodb.UpdateTimeToLiveInput{
			TableName:               &name,
			TimeToLiveSpecification: &types.TimeToLiveSpecification{AttributeName: &ttl, Enabled: aws.Bool(true)},
		})
	}
	if err != nil {
		t.Fatal(err)
	}
}
