package serve

import (
	"context"
	"errors"
	"math"
	"strings"
	"time"

	"github.com/rs/zerolog"

	"github.com/keyturn/keyturn/internal/access"
	"github.com/keyturn/keyturn/internal/httpapi"
	"github.com/keyturn/keyturn/internal/metrics"
)

// observe counts an answered request and writes its log line.
func (s *Server) observe(o httpapi.Observation) {
	s.metrics.Request(metrics.Request{Method: o.Method, Route: o.Route, Status: o.Status, Code: o.Code, Took: o.Took})
	if o.Route == "/v1/oauth/token" && o.Status == 200 {
		s.metrics.Token(o.Superseded)
	}
	if use, ok := o.Use(); ok {
		_ = s.authority.CountUse(use, o.At) // the round notes it
	}
	level := zerolog.InfoLevel
	if o.Status >= 500 {
		level = zerolog.ErrorLevel
	}
	e := s.c.Log.WithLevel(level).Time("time", o.At).Str("request_id", o.RequestID).
		Str("method", o.Method).Str("route", o.Route).Int("status", o.Status)
	if o.Code != "" {
		e = e.Str("code", o.Code)
	}
	e = e.Float64("ms", millis(o.Took)).Str("source", o.Source)
	if o.ClientID != "" {
		e = e.Str("client_id", o.ClientID).Int("version", o.Version)
	}
	if o.Superseded {
		e = e.Bool("superseded", true)
	}
	e.Err(o.Err).Send()
}

// millis is a duration in milliseconds, to the microsecond.
func millis(d time.Duration) float64 { return math.Round(float64(d)/1e3) / 1e3 }

// sayStart says where the server listens, and what to do where there is no cluster yet.
func (s *Server) sayStart(ctx context.Context) {
	e := s.log.Info().Str("url", s.URL()).Str("data_dir", s.dir.path).Str("version", s.c.Version)
	c, err := s.authority.Cluster(ctx)
	if err == nil {
		e = e.Str("cluster_id", c.ID.String()).Str("issuer", c.Issuer)
	}
	e.Msg("listening")
	if errors.Is(err, access.ErrNotBootstrapped) {
		s.sayBootstrap()
	}
	if s.c.InsecureHTTP && !s.http.Private() {
		s.log.Warn().Msg("plain HTTP off loopback: secrets travel unencrypted unless a proxy in front speaks TLS")
	}
	if failed := s.authority.Ready(ctx, s.now()); failed["clock"] != "" {
		s.log.Error().Msg(failed["clock"])
	}
}

func (s *Server) sayBootstrap() {
	own := len(s.c.VendorKeys) == 0
	if own && s.c.BootstrapToken == "" && !s.c.options(s.http).Private {
		s.log.Warn().Msg("there is no cluster, and nobody may bootstrap one: this authority is its own vendor and other hosts " +
			"can reach it, so start it with --bootstrap-token-file, or with a --vendor-key")
		return
	}
	command := []string{"keyturn bootstrap --server", s.URL()}
	if !own {
		command = append(command, "--license FILE")
	}
	if s.c.BootstrapToken != "" {
		command = append(command, "--bootstrap-token-file FILE")
	}
	s.log.Info().Msg("there is no cluster yet: run " + strings.Join(command, " "))
}

func (s *Server) sayStop(err error) {
	if err != nil {
		s.log.Error().Err(err).Msg("stopped")
		return
	}
	s.log.Info().Msg("stopped")
}
