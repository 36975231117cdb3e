package boot

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/rs/zerolog"

	"github.com/keyturn/keyturn/internal/authority"
	"github.com/keyturn/keyturn/internal/dynamo"
	"github.com/keyturn/keyturn/internal/httpapi"
	"github.com/keyturn/keyturn/internal/id"
	"github.com/keyturn/keyturn/internal/jwk"
)

// minBootstrapToken is the least length of a bootstrap token, in characters.
const minBootstrapToken = 20

// settings are what a function is told by its environment.
type settings struct {
	table, key string // of DynamoDB and of KMS
	options    authority.Options
	forward    map[string]*httpapi.Forward // to the authorities of other regions
	level      zerolog.Level
	aws        awsSettings
}

// awsSettings are what the Lambda runtime tells every function.
type awsSettings struct {
	function                    string // its name in the account
	region, id, secret, session string
	endpoint                    map[string]string // by service; "" is Amazon's own
}

// readSettings reads the environment. The error names everything that is wrong with it.
func readSettings(env func(name string) string, bootstraps bool) (settings, error) {
	r := reader{env: env}
	s := settings{table: r.needed("KEYTURN_TABLE"), key: r.needed("KEYTURN_KEY"), aws: r.aws()}
	s.options = authority.Options{
		Region: s.aws.region, MaxItems: dynamo.MaxActions, Issuer: env("KEYTURN_ISSUER"), LicenseID: id.ID(env("KEYTURN_LICENSE_ID")),
		TokenAlg:   r.oneOf("KEYTURN_TOKEN_ALG", "ES256", "EdDSA", "RS256"),
		PeerIssuer: r.oneOf("KEYTURN_TOKEN_ISS", "url", "peer_id") == "peer_id", VendorKeys: r.vendorKeys(),
	}
	s.forward = r.regions()
	s.options.Regions = slices.Sorted(maps.Keys(s.forward))
	s.options.Joins = r.oneOf("KEYTURN_JOINS", "false", "true") == "true"
	if s.options.Issuer != "" {
		r.wrong("KEYTURN_ISSUER", authority.CheckIssuer(s.options.Issuer))
	}
	if l := s.options.LicenseID; l != "" {
		_, err := id.Parse(id.License, l.String())
		r.wrong("KEYTURN_LICENSE_ID", err)
	}
	if bootstraps {
		s.options.BootstrapToken = r.bootstrapToken()
	}
	level, err := zerolog.ParseLevel(r.oneOf("KEYTURN_LOG_LEVEL", "info", "debug", "warn", "error"))
	r.wrong("KEYTURN_LOG_LEVEL", err)
	s.level = level
	return s, errors.Join(r.errs...)
}

// bootstrapToken reads a token or its digest.
func (r *reader) bootstrapToken() string {
	token := r.env("KEYTURN_BOOTSTRAP_TOKEN")
	digest, hashed := strings.CutPrefix(token, "sha256:")
	sum, err := hex.DecodeString(digest)
	switch {
	case hashed && (err != nil || len(sum) != sha256.Size || digest != strings.ToLower(digest)):
		r.wrong("KEYTURN_BOOTSTRAP_TOKEN", errors.New("after sha256: it has to have 64 of 0-9 a-f"))
	case len(token) < minBootstrapToken:
		r.wrong("KEYTURN_BOOTSTRAP_TOKEN", fmt.Errorf("it has to have at least %d characters", minBootstrapToken))
	}
	return token
}

// regions reads the addresses of the authorities of other regions: {"us-east-1":"https://…"}.
func (r *reader) regions() map[string]*httpapi.Forward {
	text := r.env("KEYTURN_REGIONS")
	if text == "" {
		return nil
	}
	var list map[string]string
	if err := json.Unmarshal([]byte(text), &list); err != nil {
		r.wrong("KEYTURN_REGIONS", errors.New("it has to be a JSON object of URLs by regions"))
		return nil
	}
	forward := map[string]*httpapi.Forward{}
	for name, base := range list {
		f, err := httpapi.NewForward(base, httpapi.ForwardOptions{})
		r.wrong("KEYTURN_REGIONS", err)
		forward[name] = f
	}
	return forward
}

// reader reads an environment and collects what is wrong with it.
type reader struct {
	env  func(name string) string
	errs []error
}

// wrong notes a mistake. A value is not repeated: it could be a secret in the wrong place.
func (r *reader) wrong(name string, err error) {
	if err != nil {
		r.errs = append(r.errs, fmt.Errorf("%s: %w", name, err))
	}
}

func (r *reader) needed(name string) string {
	value := r.env(name)
	if value == "" {
		r.wrong(name, errors.New("it is not set"))
	}
	return value
}

// oneOf returns a setting that is one of few words; the first where it is not set.
func (r *reader) oneOf(name string, words ...string) string {
	value := r.env(name)
	for _, w := range words {
		if value == w {
			return value
		}
	}
	if value != "" {
		r.wrong(name, fmt.Errorf("it has to be one of %q", words))
	}
	return words[0]
}

func (r *reader) vendorKeys() []jwk.Key {
	text := r.env("KEYTURN_VENDOR_KEYS")
	if text == "" {
		return nil
	}
	var list []jwk.Key
	if err := json.Unmarshal([]byte(text), &list); err != nil {
		r.wrong("KEYTURN_VENDOR_KEYS", fmt.Errorf("it has to be a JSON array of public JWKs: %w", err))
	} else if slices.ContainsFunc(list, jwk.Key.IsZero) {
		r.wrong("KEYTURN_VENDOR_KEYS", errors.New("there is a null between the keys"))
	}
	return list
}

func (r *reader) aws() awsSettings {
	a := awsSettings{
		region: r.needed("AWS_REGION"), id: r.needed("AWS_ACCESS_KEY_ID"), secret: r.needed("AWS_SECRET_ACCESS_KEY"),
		session: r.env("AWS_SESSION_TOKEN"), function: r.env("AWS_LAMBDA_FUNCTION_NAME"), endpoint: map[string]string{},
	}
	for _, service := range []string{"DYNAMODB", "KMS"} {
		a.endpoint[service] = r.env("AWS_ENDPOINT_URL_" + service)
		if a.endpoint[service] == "" {
			a.endpoint[service] = r.env("AWS_ENDPOINT_URL")
		}
	}
	return a
}
