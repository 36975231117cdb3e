package boot_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	awskms "github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/google/go-cmp/cmp"

	"github.com/keyturn/keyturn/functions/internal/boot"
	"github.com/keyturn/keyturn/internal/dynamo"
	"github.com/keyturn/keyturn/internal/keys"
	"github.com/keyturn/keyturn/internal/keys/kms"
)

var errDenied = errors.New("AccessDeniedException: the role of template.yaml does not allow it")

// What a role's statements call the table and the key.
const (
	tableARN = "arn:aws:dynamodb:" + region + ":" + account12 + ":table/Table"
	keyARN   = "arn:Key"
)

// sealer holds a sealer to a role, by the conditions on the encryption context.
type sealer struct {
	keys.Sealer
	role
}

func (s sealer) Open(ctx context.Context, sealed []byte, labels map[string]string) ([]byte, error) {
	if !s.mayKMS("kms:Decrypt", labels) {
		return nil, errDenied
	}
	return s.Sealer.Open(ctx, sealed, labels)
}

func (s sealer) Seal(ctx context.Context, secret []byte, labels map[string]string) ([]byte, error) {
	if !s.mayKMS("kms:Encrypt", labels) {
		return nil, errDenied
	}
	return s.Sealer.Seal(ctx, secret, labels)
}

// mayKMS reports whether the role may make a call to KMS under an encryption context.
func (r role) mayKMS(action string, labels map[string]string) bool {
	about := map[string][]string{}
	for name, value := range labels {
		about["kms:EncryptionContext:"+name] = []string{value}
	}
	return r.allows(action, keyARN, about)
}

// table holds a client of DynamoDB to a role, by the partition keys of each request. IAM asks for the right to each action of
// a transaction.
type table struct {
	dynamo.API
	role
}

func (c table) check(action, pk string) error {
	if !c.allows("dynamodb:"+action, strings.Replace(tableARN, region, c.region, 1), map[string][]string{"dynamodb:LeadingKeys": {pk}}) {
		return fmt.Errorf("%w: %s of %s by %s", errDenied, action, pk, c.function)
	}
	return nil
}

func textOf(v types.AttributeValue) string {
	s, _ := v.(*types.AttributeValueMemberS)
	if s == nil {
		return ""
	}
	return s.Value
}

func (c table) Query(ctx context.Context, in *dynamodb.QueryInput, o ...func(*dynamodb.Options)) (*dynamodb.QueryOutput, error) {
	if err := c.check("Query", textOf(in.ExpressionAttributeValues[":pk"])); err != nil {
		return nil, err
	}
	return c.API.Query(ctx, in, o...)
}

func (c table) PutItem(ctx context.Context, in *dynamodb.PutItemInput, o ...func(*dynamodb.Options)) (*dynamodb.PutItemOutput, error) {
	if err := c.check("PutItem", textOf(in.Item["pk"])); err != nil {
		return nil, err
	}
	return c.API.PutItem(ctx, in, o...)
}

func (c table) TransactWriteItems(ctx context.Context, in *dynamodb.TransactWriteItemsInput, o ...func(*dynamodb.Options)) (*dynamodb.TransactWriteItemsOutput, error) {
	for _, a := range in.TransactItems {
		var err error
		switch {
		case a.Put != nil:
			err = c.check("PutItem", textOf(a.Put.Item["pk"]))
		case a.Update != nil:
			err = c.check("UpdateItem", textOf(a.Update.Key["pk"]))
		case a.ConditionCheck != nil:
			err = c.check("ConditionCheckItem", textOf(a.ConditionCheck.Key["pk"]))
		default:
			err = fmt.Errorf("%w: another action of a transaction", errDenied)
		}
		if err != nil {
			return nil, err
		}
	}
	return c.API.TransactWriteItems(ctx, in, o...)
}

func (c table) DescribeTable(ctx context.Context, in *dynamodb.DescribeTableInput, o ...func(*dynamodb.Options)) (*dynamodb.DescribeTableOutput, error) {
	return nil, errDenied
}

func (c table) DescribeTimeToLive(ctx context.Context, in *dynamodb.DescribeTimeToLiveInput, o ...func(*dynamodb.Options)) (*dynamodb.DescribeTimeToLiveOutput, error) {
	return nil, errDenied
}

func TestTemplate_EachFunctionHasARoleOfItsOwn(t *testing.T) {
	t.Parallel()
	tmpl := readTemplate(t, region)
	roles, functions := map[string]string{}, 0
	for _, r := range tmpl.Resources {
		if r.Type == "AWS::Serverless::Function" {
			functions++
		}
	}
	if all := len(boot.Functions()); functions != all {
		t.Errorf("%d functions in the template, %d in the code", functions, all)
	}
	for _, f := range boot.Functions() {
		p := tmpl.function(f.Name)
		if other := roles[p.Role]; other != "" || p.Role == "" {
			t.Errorf("%s has the role %q of %q", f.Name, p.Role, other)
		}
		roles[p.Role] = f.Name
		got := tmpl.Resources[strings.TrimPrefix(p.Role, "arn:")].Properties
		trust := got.AssumeRolePolicyDocument.Statement
		if len(trust) != 1 || !cmp.Equal(trust[0].Principal, map[string]oneOrMore{"Service": {"lambda.amazonaws.com"}}) || !cmp.Equal(trust[0].Action, oneOrMore{"sts:AssumeRole"}) {
			t.Errorf("%s: who takes its role: %+v", f.Name, trust)
		}
		if len(got.ManagedPolicyArns) > 0 || len(got.Policies) != 1 {
			t.Errorf("%s: %d policies of its own, managed ones: %v", f.Name, len(got.Policies), got.ManagedPolicyArns)
		}
		_, boots := p.Environment.Variables["KEYTURN_BOOTSTRAP_TOKEN"]
		if _, all := tmpl.Globals.Function.Environment.Variables["KEYTURN_BOOTSTRAP_TOKEN"]; all || boots != f.Boots {
			t.Errorf("%s knows the bootstrap token: %v, and all do: %v", f.Name, boots, all)
		}
	}
}

// What the API hands to a function are the routes that the function has.
func TestTemplate_RoutesAreThoseOfTheFunctions(t *testing.T) {
	t.Parallel()
	tmpl := readTemplate(t, region)
	for _, f := range boot.Functions() {
		var paths []string
		for _, e := range tmpl.function(f.Name).Events {
			if path := e.Properties.Path; path != "" && path != "/" && path != "/{proxy+}" {
				paths = append(paths, path)
			}
		}
		var want []string
		for _, r := range f.Routes {
			if strings.HasPrefix(r, "/.well-known/") {
				r = "/.well-known/{document}"
			}
			want = append(want, r)
		}
		slices.Sort(paths)
		slices.Sort(want)
		if diff := cmp.Diff(slices.Compact(want), paths); diff != "" {
			t.Errorf("%s: -code +template\n%s", f.Name, diff)
		}
	}
}

// A role names what it may, on what, and of that which part.
func TestTemplate_RolesNameWhatTheyMay(t *testing.T) {
	t.Parallel()
	needed := map[string]string{"dynamodb": "dynamodb:LeadingKeys", "kms": "kms:EncryptionContext:" + keys.LabelPurpose}
	tmpl := readTemplate(t, region)
	for _, f := range boot.Functions() {
		statements := tmpl.role(f.Name, nil).statements
		if len(statements) == 0 {
			t.Errorf("%s may do nothing", f.Name)
		}
		for _, s := range statements {
			if s.Effect != "Allow" || s.NotAction != nil || s.NotResource != nil || s.NotPrincipal != nil {
				t.Errorf("%s %s: says what is not", f.Name, s.Sid)
			}
			for _, action := range s.Action {
				service, verb, _ := strings.Cut(action, ":")
				if strings.ContainsAny(verb, "*?") || service == "*" {
					t.Errorf("%s %s: the action %s is many", f.Name, s.Sid, action)
				}
				key, parts := needed[service], 0
				for _, conditions := range s.Condition {
					for _, value := range conditions[key] {
						if parts++; strings.Trim(value, "*?") == "" {
							t.Errorf("%s %s: %s is anything", f.Name, s.Sid, key)
						}
					}
				}
				if key != "" && parts == 0 {
					t.Errorf("%s %s: %s of everything", f.Name, s.Sid, action)
				}
			}
			for _, resource := range s.Resource { // X-Ray's actions know no resource
				service, _, _ := strings.Cut(s.Action[0], ":")
				want := map[string]string{
					"dynamodb": tableARN, "kms": keyARN, "xray": "*", "logs": "arn:" + tmpl.function(f.Name).LoggingConfig.LogGroup,
				}[service]
				if resource != want {
					t.Errorf("%s %s: on %s, want %s", f.Name, s.Sid, resource, want)
				}
			}
		}
	}
}

// The table of docs/deploy.md.
func TestTemplate_WhoOpensAndSealsWhat(t *testing.T) {
	t.Parallel()
	all := []string{"ledger", "token", "anchor"}
	want := map[string][2][]string{
		"token": {{"token", "anchor"}}, "discovery": {{"token", "anchor"}}, "credentials": {{"ledger", "anchor"}},
		"rotate": {{"ledger", "anchor"}, {"token"}}, "cluster": {all, all}, "recover": {{"ledger", "anchor"}, all},
	}
	tmpl := readTemplate(t, region)
	for _, f := range boot.Functions() {
		role := tmpl.role(f.Name, nil)
		var got [2][]string
		for i, action := range []string{"kms:Decrypt", "kms:Encrypt"} {
			for _, purpose := range append([]string{"", "other"}, all...) {
				labels := map[string]string{keys.LabelPurpose: purpose, keys.LabelKey: "k"}
				if role.mayKMS(action, labels) {
					got[i] = append(got[i], purpose)
				}
			}
		}
		if diff := cmp.Diff(want[f.Name], got); diff != "" {
			t.Errorf("%s: -want +got\n%s", f.Name, diff)
		}
		for _, action := range []string{"kms:Decrypt", "kms:Encrypt"} {
			if role.mayKMS(action, nil) {
				t.Errorf("%s: %s without an encryption context", f.Name, action)
			}
		}
	}
}

// client is KMS as a role sees it: the policy first, then KMS itself.
type client struct {
	kms.API
	role
}

func (c client) Decrypt(ctx context.Context, in *awskms.DecryptInput, o ...func(*awskms.Options)) (*awskms.DecryptOutput, error) {
	if !c.mayKMS("kms:Decrypt", in.EncryptionContext) {
		return nil, errDenied
	}
	return c.API.Decrypt(ctx, in, o...)
}

// Who has the token function has everything that it may ask for, and still no way to the ledger key: its role lets no request
// pass that names the ledger, and KMS opens nothing under another name than that under which it was sealed.
func TestRole_TokenFunctionCannotOpenTheLedgerKey(t *testing.T) {
	t.Parallel()
	tmpl := readTemplate(t, region)
	moto, key := aws.kms.Key(t, region)
	whole := kms.New(moto, key)
	thief := kms.New(client{moto, tmpl.role("token", nil)}, key)
	sealed := func(purpose string) ([]byte, map[string]string) {
		labels := map[string]string{keys.LabelPurpose: purpose, keys.LabelKey: "k1"}
		blob, err := whole.Seal(t.Context(), []byte("private"), labels)
		if err != nil {
			t.Fatal(err)
		}
		return blob, labels
	}
	own, labels := sealed(keys.PurposeToken)
	if text, err := thief.Open(t.Context(), own, labels); err != nil || string(text) != "private" {
		t.Fatalf("its own key: %q, %v", text, err)
	}
	blob, labels := sealed(keys.PurposeLedger)
	if text, err := kms.New(client{moto, tmpl.role("rotate", nil)}, key).Open(t.Context(), blob, labels); err != nil || string(text) != "private" {
		t.Fatalf("the rotate function: %q, %v", text, err)
	}
	for name, try := range map[string]struct {
		labels map[string]string
		want   error
	}{
		"AsWhatItIs":     {labels, errDenied},
		"AsATokenKey":    {map[string]string{keys.LabelPurpose: keys.PurposeToken, keys.LabelKey: "k1"}, keys.ErrNotSealed},
		"AsAnAnchor":     {map[string]string{keys.LabelPurpose: keys.PurposeAnchor}, keys.ErrNotSealed},
		"OfAnotherName":  {map[string]string{"Keyturn:purpose": keys.PurposeLedger, keys.LabelKey: "k1"}, errDenied},
		"OfTwoNames":     {map[string]string{keys.LabelPurpose: keys.PurposeToken, keys.LabelKey: "k1", "purpose": keys.PurposeLedger}, keys.ErrNotSealed},
		"WithoutPurpose": {map[string]string{keys.LabelKey: "k1"}, errDenied},
		"WithoutContext": {nil, errDenied},
	} {
		if text, err := thief.Open(t.Context(), blob, try.labels); !errors.Is(err, try.want) {
			t.Errorf("%s: %q, %v, want %v", name, text, err, try.want)
		}
	}
}
