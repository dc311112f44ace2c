// Example-api-go is an HTTP API that protects its routes with ZITADEL, an identity provider.
//
//	GET /api/public          any caller
//	GET /api/private         any caller with a valid access token
//	GET /api/private-scoped  any caller with a valid access token and the role read:messages
//
// It sends each token to ZITADEL's introspection endpoint (RFC 7662), which reports whether the
// token is active, who its user is, and which roles the user has.
//
// It is configured by environment variables or a .env file; see .env.example.
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
		slog.Error("bad configuration", "reason", err)
		os.Exit(1)
	}
	if err := run(cfg); err != nil {
		slog.Error("stopped", "reason", err)
		os.Exit(1)
	}
}

// run serves the API until SIGINT or SIGTERM, and then gives requests in flight 10 s to finish.
func run(cfg config) error {
	signaled, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	listener, err := net.Listen("tcp", net.JoinHostPort(cfg.host, cfg.port))
	if err != nil {
		return fmt.Errorf("%w (set PORT to another port, or HOST to another address)", err)
	}
	server := newServer(newAPI(newIntrospectFunc(cfg)))
	serveErr := make(chan error, 1)
	go func() { serveErr <- server.Serve(listener) }()
	port := listener.Addr().(*net.TCPAddr).Port // the system chooses one if PORT is 0
	slog.Info("ready", "url", "http://"+net.JoinHostPort(cfg.host, strconv.Itoa(port)))

	select {
	case err := <-serveErr:
		return err
	case <-signaled.Done():
	}
	stop() // a second signal kills the process
	slog.Info("stopping: waiting for requests in flight")
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := server.Shutdown(ctx); err != nil {
		return fmt.Errorf("requests cut off: %w", err)
	}
	return nil
}

// newIntrospectFunc returns the function that introspects tokens, with a cache if cfg has a TTL.
func newIntrospectFunc(cfg config) introspectFunc {
	introspect := newZitadelClient(cfg.zitadelURL, cfg.clientID, cfg.clientSecret).introspect
	if cfg.cacheTTL > 0 {
		introspect = newCache(introspect, cfg.cacheTTL).introspect
	}
	return introspect
}

// newServer returns an HTTP server that limits how long it waits for slow clients.
func newServer(handler http.Handler) *http.Server {
	return &http.Server{
		Handler:           handler,
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       30 * time.Second, // header and body
		WriteTimeout:      30 * time.Second, // for the response, counted from the request header
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    16 << 10, // enough for long tokens; the default is 1 MiB
		// Without this, slog would log net/http's errors, such as panics in handlers, at level INFO.
		ErrorLog: slog.NewLogLogger(slog.Default().Handler(), slog.LevelError),
	}
}

// config is the configuration of the API.
type config struct {
	zitadelURL             *url.URL
	clientID, clientSecret string
	host, port             string        // to listen on
	cacheTTL               time.Duration // 0 means no cache
}

// loadConfig reads the configuration from the environment and, for variables that are not set
// there, from the .env file in the current folder.
func loadConfig() (config, error) {
	if err := godotenv.Load(); err != nil && !errors.Is(err, fs.ErrNotExist) {
		// err is not wrapped: it can quote the file, and so the client secret.
		return config{}, errors.New(".env must be a readable file in UTF-8 without a byte order " +
			"mark, with lines NAME=value and closed quotes")
	}
	var missing []string
	for _, name := range []string{"ZITADEL_DOMAIN", "CLIENT_ID", "CLIENT_SECRET"} {
		if getenv(name) == "" {
			missing = append(missing, name)
		}
	}
	if len(missing) > 0 {
		return config{}, fmt.Errorf("%s: set in neither the environment nor .env in the current "+
			"folder (a blank variable hides .env); copy .env.example to .env and fill it in, or try "+
			"the demo: make demo", strings.Join(missing, ", "))
	}
	zitadelURL, err := parseDomain(getenv("ZITADEL_DOMAIN"))
	if err != nil {
		return config{}, err
	}
	cacheTTL, err := time.ParseDuration(cmp.Or(getenv("INTROSPECTION_CACHE_TTL"), "0"))
	if err != nil || cacheTTL < 0 {
		return config{}, errors.New("INTROSPECTION_CACHE_TTL must be a duration such as 30s")
	}
	return config{
		zitadelURL:   zitadelURL,
		clientID:     getenv("CLIENT_ID"),
		clientSecret: getenv("CLIENT_SECRET"),
		host:         cmp.Or(getenv("HOST"), "localhost"),
		port:         cmp.Or(getenv("PORT"), "5000"),
		cacheTTL:     cacheTTL,
	}, nil
}

// getenv returns an environment variable without the white space around it, such as the line break
// at the end of many a Kubernetes secret.
func getenv(name string) string {
	return strings.TrimSpace(os.Getenv(name))
}

// parseDomain parses the URL of a ZITADEL instance. A host name alone means https. Use http only on
// your own machine: it sends tokens and the client secret unencrypted.
func parseDomain(domain string) (*url.URL, error) {
	if !strings.Contains(domain, "://") {
		domain = "https://" + domain
	}
	u, err := url.Parse(strings.TrimSuffix(domain, "/"))
	ok := err == nil && (u.Scheme == "https" || u.Scheme == "http") && u.Hostname() != "" &&
		u.User == nil && u.Path == "" && u.RawQuery == "" && u.Fragment == ""
	if !ok {
		return nil, errors.New("ZITADEL_DOMAIN must be an http or https URL with a host and " +
			"nothing after it, such as https://my-instance-abcdef.zitadel.cloud")
	}
	return u, nil
}
