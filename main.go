// Example-api-go is an HTTP API that protects its routes with ZITADEL, an identity provider.
//
//	GET /api/public          any caller
//	GET /api/private         any caller with a valid access token
//	GET /api/private-scoped  any caller with a valid access token and the role read:messages
//
// It asks ZITADEL's introspection endpoint (RFC 7662) about each token: whether it is active, who
// its user is, and which roles the user has.
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
	"strings"
	"syscall"
	"time"

	"github.com/joho/godotenv"
)

func main() {
	slog.SetDefault(slog.New(slog.NewTextHandler(os.Stderr, nil)))
	signaled, restore := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	ctx, stop := context.WithCancel(context.Background())
	context.AfterFunc(signaled, func() {
		restore() // first, so that a second signal kills the process
		stop()
	})
	if err := run(ctx); err != nil {
		slog.Error("stopped", "reason", err)
		os.Exit(1)
	}
}

// run reads the configuration and serves the API until ctx is done.
func run(ctx context.Context) error {
	cfg, err := loadConfig()
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp", net.JoinHostPort(cfg.host, cfg.port))
	if err != nil {
		return fmt.Errorf("%w (set PORT to another port, or HOST to another address)", err)
	}
	port := listener.Addr().(*net.TCPAddr).Port // the system chooses one if PORT is 0
	slog.Info("ready", "url", "http://"+net.JoinHostPort(cfg.host, fmt.Sprint(port)))
	return serve(ctx, listener, newAPI(newIntrospectFunc(cfg)))
}

// newIntrospectFunc returns the function that introspects tokens, with a cache if cfg has a TTL.
func newIntrospectFunc(cfg config) introspectFunc {
	client := newZitadelClient(cfg.zitadelURL, cfg.clientID, cfg.clientSecret)
	if cfg.cacheTTL > 0 {
		return withCache(client.introspect, cfg.cacheTTL)
	}
	return client.introspect
}

// serve serves handler until ctx is done, and then gives requests in flight 10 s to finish.
func serve(ctx context.Context, listener net.Listener, handler http.Handler) error {
	server := newServer(handler)
	serveErr := make(chan error, 1)
	go func() { serveErr <- server.Serve(listener) }()

	select {
	case err := <-serveErr:
		return err
	case <-ctx.Done():
	}
	slog.Info("stopping: waiting for requests in flight")
	drainCtx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := server.Shutdown(drainCtx); err != nil {
		server.Close()
		return fmt.Errorf("requests cut off: %w", err)
	}
	return nil
}

// newServer returns an HTTP server that cuts off slow clients and large headers.
func newServer(handler http.Handler) *http.Server {
	return &http.Server{
		Handler:           handler,
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       30 * time.Second, // header and body
		WriteTimeout:      30 * time.Second, // from the end of the header to the end of the response
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    16 << 10, // enough for long tokens; the default is 1 MiB
		// Without this, slog would log net/http's errors, such as panics, at level INFO.
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
		return config{}, errors.New(".env must be readable, in UTF-8 without a byte order mark, " +
			"with lines NAME=value (names of letters, digits and _) and closed quotes")
	}
	domain := getenv("ZITADEL_DOMAIN")
	cfg := config{
		clientID:     getenv("CLIENT_ID"),
		clientSecret: getenv("CLIENT_SECRET"),
		host:         cmp.Or(getenv("HOST"), "localhost"),
		port:         cmp.Or(getenv("PORT"), "5000"),
	}
	var missing []string
	if domain == "" {
		missing = append(missing, "ZITADEL_DOMAIN")
	}
	if cfg.clientID == "" {
		missing = append(missing, "CLIENT_ID")
	}
	if cfg.clientSecret == "" {
		missing = append(missing, "CLIENT_SECRET")
	}
	if len(missing) > 0 {
		return config{}, fmt.Errorf("%s: not set, or blank (if .env has a name twice, the last line "+
			"counts; a blank environment variable hides .env); set them in the environment or in .env "+
			"in the current folder (copy .env.example), or try the demo: make demo",
			strings.Join(missing, ", "))
	}
	var err error
	if cfg.zitadelURL, err = parseDomain(domain); err != nil {
		return config{}, err
	}
	cfg.cacheTTL, err = time.ParseDuration(cmp.Or(getenv("INTROSPECTION_CACHE_TTL"), "0s"))
	if err != nil || cfg.cacheTTL < 0 {
		return config{}, errors.New("INTROSPECTION_CACHE_TTL must be a duration such as 30s")
	}
	return cfg, nil
}

// getenv returns an environment variable without white space around it, such as a line break.
func getenv(name string) string {
	return strings.TrimSpace(os.Getenv(name))
}

// parseDomain parses the URL of a ZITADEL instance. A host name alone means https. Use http only on
// your own machine, since tokens and the client secret are then sent unencrypted.
func parseDomain(domain string) (*url.URL, error) {
	if !strings.Contains(domain, "://") {
		domain = "https://" + domain
	}
	u, err := url.Parse(strings.TrimSuffix(domain, "/"))
	if err != nil || (u.Scheme != "https" && u.Scheme != "http") || u.Hostname() == "" ||
		*u != (url.URL{Scheme: u.Scheme, Host: u.Host}) { // anything besides scheme and host
		return nil, errors.New("ZITADEL_DOMAIN must be an http or https URL with a host and " +
			"nothing after it, such as https://my-instance-abcdef.zitadel.cloud")
	}
	return u, nil
}
