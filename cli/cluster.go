package main

import (
	"github.com/keyturn/keyturn/internal/credential"
	"github.com/keyturn/keyturn/internal/httpapi"
)

// clusters are the verbs of the noun.
type clusters struct {
	Home HomeCmd `cmd:"" help:"Make the region that is asked the home, where the old one is lost or given up."`
}

// HomeCmd moves the home.
type HomeCmd struct {
	Region string `arg:"" help:"The region that becomes home: that of the server that is asked (--server)."`
	Reason string `help:"Why, for the audit trail." placeholder:"TEXT"`
}

// Run moves it, and prints who is home from now on.
func (c *HomeCmd) Run(a *App) error {
	if err := credential.CheckReason(c.Reason); err != nil {
		return usage("--reason: " + err.Error())
	}
	r := httpapi.Request{Method: "POST", Path: "/v1/cluster/home", Body: httpapi.HomeRequest{Region: c.Region, Reason: c.Reason}}
	return show(a, "make "+c.Region+" the home", r, func(home httpapi.Home) string {
		if home.HomeRegion == home.PreviousRegion {
			a.screen.note("%s is home already: nothing has changed", plain(home.HomeRegion))
		}
		return table([][]string{
			{"home_region", plain(home.HomeRegion)},
			{"previous_region", plain(home.PreviousRegion)},
			{"since", moment(home.Since.Time, a.Now())},
		})
	})
}
