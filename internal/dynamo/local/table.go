package local

import (
	"fmt"
	"net/http"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
)

// Client returns a client for one region of the server; each region has tables of its own. transport carries its requests;
// nil is a new one.
func (s *Server) Client(t testing.TB, region string, transport http.RoundTripper) *dynamodb.Client {
	t.Helper()
	endpoint := s.Endpoint(t)
	if transport == nil {
		fresh := http.DefaultTransport.(*http.Transport).Clone()
		fresh.MaxIdleConnsPerHost = 32
		t.Cleanup(fresh.CloseIdleConnections)
		transport = fresh
	}
	return dynamodb.New(dynamodb.Options{
		Region: region, BaseEndpoint: &endpoint, HTTPClient: &http.Client{Transport: transport},
		Credentials: credentials.NewStaticCredentialsProvider("test", "test", ""),
	})
}

// Table makes a table as template.yaml does, deleted when t ends, and returns its name. The same name can be made in
// several regions by Replica.
func (s *Server) Table(t testing.TB, client *dynamodb.Client) string {
	t.Helper()
	s.mu.Lock()
	s.tables++
	name := fmt.Sprintf("keyturn-%d", s.tables)
	s.mu.Unlock()
	s.Replica(t, client, name)
	return name
}

// Replica makes a table of a given name, deleted when t ends.
func (s *Server) Replica(t testing.TB, client *dynamodb.Client, name string) {
	t.Helper()
	_, err := client.CreateTable(t.Context(), &dynamodb.CreateTableInput{
		TableName: &name, BillingMode: types.BillingModePayPerRequest,
		AttributeDefinitions: []types.AttributeDefinition{
			{AttributeName: aws.String("pk"), AttributeType: types.ScalarAttributeTypeS},
			{AttributeName: aws.String("sk"), AttributeType: types.ScalarAttributeTypeS},
		},
		KeySchema: []types.KeySchemaElement{
			{AttributeName: aws.String("pk"), KeyType: types.KeyTypeHash},
			{AttributeName: aws.String("sk"), KeyType: types.KeyTypeRange},
		},
	})
	if err == nil {
		_, err = client.UpdateTimeToLive(t.Context(), &dynamodb.UpdateTimeToLiveInput{
			TableName: &name,
			TimeToLiveSpecification: &types.TimeToLiveSpecification{
				AttributeName: aws.String("expires_at"), Enabled: aws.Bool(true),
			},
		})
	}
	if err != nil {
		t.Fatalf("make table %s: %v", name, err)
	}
}
