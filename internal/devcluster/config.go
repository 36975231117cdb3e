package devcluster

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/url"

	"github.com/keyturn/keyturn/internal/disk"
)

// contextName is the name of the cluster in its config file.
const contextName = "dev"

// config is what the CLI's config file (contract §2) says of the cluster. The CLI may have changed the file since it was
// written, and what it holds beside that stays.
type config struct {
	Server       string
	ClientID     string
	ClientSecret string

	file map[string]any // all of it
}

// readConfig returns a config without a server where there is no file.
func readConfig(path string) (c config, err error) {
	text, err := disk.ReadPrivate(path)
	if errors.Is(err, fs.ErrNotExist) {
		return config{}, nil
	}
	if err != nil {
		return config{}, err
	}
	if err := json.Unmarshal(text, &c.file); err != nil { // the cause could repeat the secret
		return config{}, fmt.Errorf("%s is not a config file: restore it from a backup, or move it away", path)
	}
	own := c.context()
	c.Server, _ = own["server"].(string)
	c.ClientID, _ = own["client_id"].(string)
	c.ClientSecret, _ = own["client_secret"].(string)
	return c, nil
}

// context is the cluster's own context in the file, nil where there is none.
func (c config) context() map[string]any {
	contexts, _ := c.file["contexts"].(map[string]any)
	own, _ := contexts[contextName].(map[string]any)
	return own
}

// write puts the cluster into the file, and touches nothing where it says the same already.
func (c config) write(path string) error {
	own := c.context()
	if own["server"] == any(c.Server) && own["client_id"] == any(c.ClientID) {
		return nil
	}
	if own == nil {
		own = map[string]any{"client_secret": c.ClientSecret}
	}
	own["server"], own["client_id"] = c.Server, c.ClientID
	if c.file == nil {
		c.file = map[string]any{"current_context": contextName}
	}
	contexts, _ := c.file["contexts"].(map[string]any)
	if contexts == nil {
		contexts = map[string]any{}
	}
	contexts[contextName] = own
	c.file["contexts"] = contexts
	text, err := json.MarshalIndent(c.file, "", "  ")
	if err != nil {
		return err
	}
	return disk.Write(path, append(text, '\n'))
}

// listen is the address at which the cluster answered before: its issuer names it. A new one takes any free port.
func (c config) listen() string {
	if u, err := url.Parse(c.Server); err == nil && u.Host != "" {
		return u.Host
	}
	return "127.0.0.1:0"
}
