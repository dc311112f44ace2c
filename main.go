// Example-api-go is an HTTP API that protects its routes with ZITADEL, an identity provider.
//
//	GET /api/public          any caller
//	GET /api/private         any caller with a valid access token
//	GET /api/private-scoped  any caller with a valid access token and the role read:messages
//
// It is configured by environment variables or a file .env; see .env.example.
package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/joho/godotenv"
)

func main() {
	slog.SetDefault(slog.New(slog.NewTextHandler(os.Stderr, nil)))
	cfg, err := loadConfig()
	if err != nil {
		fmt.Fprintln(os.Stderr, err) // one problem per line; the log would escape line breaks
		os.Exit(1)
	}
	if err := run(cfg); err != nil {
		slog.Error("stopped", "reason", err)
		os.Exit(1)
	}
}

// run serves the API until SIGINT or SIGTERM, and then gives requests in flight 10 s to finish.
func run(cfg config) error {
	if cfg.domain.Scheme == "http" && !isLoopback(cfg.domain.Hostname()) {
		slog.Warn("ZITADEL_DOMAIN is not https: tokens and the client secret are sent unencrypted")
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	listener, err := net.Listen("tcp", net.JoinHostPort(cfg.host, cfg.port))
	if err != nil {
		return fmt.Errorf("%w (set PORT to another port, or HOST to another address)", err)
	}
	server := newServer(cfg)
	serveErr := make(chan error, 1)
	go func() { serveErr <- server.Serve(listener) }()
	port := strconv.Itoa(listener.Addr().(*net.TCPAddr).Port) // the real one if PORT is 0
	slog.Info("ready", "url", "http://"+net.JoinHostPort(cfg.host, port))

	select {
	case err := <-serveErr:
		return err
	case <-ctx.Done():
	}
	stop() // a second signal kills the process
	slog.Info("stopping: waiting for requests in flight")
	drainCtx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := server.Shutdown(drainCtx); err != nil {
		return fmt.Errorf("requests cut off: %w", err)
	}
	return nil
}

// newServer returns the HTTP server of the API.
func newServer(cfg config) *http.Server {
	introspect := newIntrospector(cfg.domain, cfg.clientID, cfg.clientSecret).introspect
	if cfg.cacheTTL > 0 {
		introspect = newCache(introspect, cfg.cacheTTL).introspect
	}
	return &http.Server{
		Handler:           newAPI(introspect),
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       30 * time.Second, // header and body
		WriteTimeout:      30 * time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    16 << 10, // net/http adds 4 KiB; the default is 1 MiB
		// By default, net/http's errors, such as panics in handlers, are logged at level INFO.
		ErrorLog: slog.NewLogLogger(slog.Default().Handler(), slog.LevelError),
	}
}

// config is the configuration of the API.
type config struct {
	domain                 *url.URL // of the ZITADEL instance, without a path
	clientID, clientSecret string
	host, port             string        // to listen on
	cacheTTL               time.Duration // 0 means no cache
}

// loadConfig reads the configuration from the environment. A variable that is unset or blank in
// the environment is taken from .env. The error has a line for each variable that is missing or
// wrong and, if one is missing, a line that says what to do.
func loadConfig() (config, error) {
	dotenv, err := readDotenv()
	if err != nil {
		return config{}, err
	}
	getenv := func(name, fallback string) string {
		return cmp.Or(strings.TrimSpace(os.Getenv(name)), strings.TrimSpace(dotenv[name]), fallback)
	}
	var problems []error
	incomplete := false
	require := func(name string) string {
		value := getenv(name, "")
		if value == "" {
			problems = append(problems, errors.New(name+" is not set"))
			incomplete = true
		}
		return value
	}
	domain := require("ZITADEL_DOMAIN")
	cfg := config{
		clientID:     require("CLIENT_ID"),
		clientSecret: require("CLIENT_SECRET"),
		host:         getenv("HOST", "localhost"),
		port:         getenv("PORT", "5000"),
	}
	if domain != "" { // an empty one is already reported
		cfg.domain, err = parseDomain(domain)
		if err != nil {
			problems = append(problems, err)
		}
	}
	cfg.cacheTTL, err = time.ParseDuration(getenv("INTROSPECTION_CACHE_TTL", "0"))
	if err != nil || cfg.cacheTTL < 0 {
		problems = append(problems, errors.New("INTROSPECTION_CACHE_TTL must be a duration such as 30s"))
	}
	if incomplete {
		advice := "set the missing variables in .env"
		if dotenv == nil {
			advice = "copy .env.example to .env and fill it in, or try the demo: make demo"
		}
		problems = append(problems, errors.New(advice))
	}
	return cfg, errors.Join(problems...)
}

// readDotenv returns the variables in .env, or nil if there is no such file. godotenv.Load would
// not do: it leaves a variable alone that is set but blank in the environment.
func readDotenv() (map[string]string, error) {
	dotenv, err := godotenv.Read()
	if err == nil {
		return dotenv, nil
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if _, ok := errors.AsType[*fs.PathError](err); ok {
		return nil, err // the file cannot be opened or read
	}
	// godotenv's own error quotes the file, including the client secret.
	return nil, errors.New(".env cannot be parsed: its lines must look like NAME=value, " +
		"quotes must be closed, and the file must be UTF-8 without a byte order mark")
}

// parseDomain parses the URL of a ZITADEL instance. A bare host name means https.
func parseDomain(domain string) (*url.URL, error) {
	if !strings.Contains(domain, "://") {
		domain = "https://" + domain
	}
	u, err := url.Parse(strings.TrimSuffix(domain, "/"))
	if err != nil || u.Hostname() == "" {
		return nil, errors.New(
			"ZITADEL_DOMAIN must be a URL such as https://my-instance-abcdef.zitadel.cloud")
	}
	if u.Scheme != "https" && u.Scheme != "http" {
		return nil, errors.New("ZITADEL_DOMAIN must have the scheme https or http")
	}
	if u.User != nil || u.Path != "" || u.RawQuery != "" || u.Fragment != "" {
		return nil, errors.New("ZITADEL_DOMAIN must have no path, only a scheme, a host " +
			"name and a port, as in https://my-instance-abcdef.zitadel.cloud")
	}
	return u, nil
}

// isLoopback reports whether host is localhost or a loopback address.
func isLoopback(host string) bool {
	// For a name, ParseIP returns nil, which is no loopback address.
	return host == "localhost" || net.ParseIP(host).IsLoopback()
}
