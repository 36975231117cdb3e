package boot

import (
	"context"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	awskms "github.com/aws/aws-sdk-go-v2/service/kms"

	"github.com/keyturn/keyturn/internal/authority"
	"github.com/keyturn/keyturn/internal/dynamo"
	"github.com/keyturn/keyturn/internal/keys"
	"github.com/keyturn/keyturn/internal/keys/kms"
)

// config is made by hand: the runtime says all that there is to know in the environment, and the SDK's own search for it
// (files, sign-on, instance metadata) would be half of the program.
func (a awsSettings) config() aws.Config {
	return aws.Config{Region: a.region, Credentials: credentials.NewStaticCredentialsProvider(a.id, a.secret, a.session)}
}

func (a awsSettings) base(service string) *string {
	if url := a.endpoint[service]; url != "" {
		return &url
	}
	return nil
}

func (s settings) openStore() (authority.Store, error) {
	client := dynamodb.NewFromConfig(s.aws.config(), func(o *dynamodb.Options) { o.BaseEndpoint = s.aws.base("DYNAMODB") })
	return dynamo.Open(context.Background(), client, s.table, s.aws.region, dynamo.Options{})
}

func (s settings) sealer() keys.Sealer {
	client := awskms.NewFromConfig(s.aws.config(), func(o *awskms.Options) { o.BaseEndpoint = s.aws.base("KMS") })
	return kms.New(client, s.key)
}
