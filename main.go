// Example-api-go is an HTTP API that protects its routes with ZITADEL, an identity provider.
//
//	GET /api/public          any caller
//	GET /api/private         any caller with a valid access token
//	GET /api/private-scoped  any caller with a valid access token and the role read:messages
//
// It sends each token to ZITADEL's introspection endpoint (RFC 7662), which says whether the token
// is active, who its user is, and which roles the user has.
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
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // after the first signal, a second one kills the process
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
	introspect := newIntrospectFunc(newZitadelClient(), cfg.zitadelURL, cfg.clientID, cfg.clientSecret)
	if cfg.cacheTTL > 0 {
		introspect = withCache(introspect, cfg.cacheTTL)
	}
	listener, err := net.Listen("tcp", net.JoinHostPort(cfg.host, cfg.port))
	if err != nil {
		return fmt.Errorf("%w (set PORT to another port, or HOST to another address)", err)
	}
	port := listener.Addr().(*net.TCPAddr).Port // the system has chosen one if PORT is 0
	slog.Info("ready", "url", "http://"+net.JoinHostPort(cfg.host, fmt.Sprint(port)))
	return serve(ctx, listener, newAPI(introspect))
}

// drainTimeout is how long requests in flight may take when the API stops. What takes longer is cut
// off. For slower handlers, raise it, and the grace period of your deployment.
const drainTimeout = 10 * time.Second

// serve serves handler over plain HTTP until ctx is done. For TLS, put a proxy in front.
func serve(ctx context.Context, listener net.Listener, handler http.Handler) error {
	server := &http.Server{
		Handler:        handler,
		ReadTimeout:    8 * time.Second,  // to receive a request, header and body
		WriteTimeout:   30 * time.Second, // to respond, from the end of the request's header
		IdleTimeout:    2 * time.Minute,
		MaxHeaderBytes: 16 << 10, // enough for long tokens; the default is 1 MiB
		// Without this, slog would log net/http's errors, such as a handler's panic, at level INFO.
		ErrorLog: slog.NewLogLogger(slog.Default().Handler(), slog.LevelError),
	}
	serveErr := make(chan error, 1)
	go func() { serveErr <- server.Serve(listener) }()

	select {
	case err := <-serveErr:
		return err
	case <-ctx.Done():
	}
	slog.Info("stopping: waiting for requests in flight")
	drainCtx, cancel := context.WithTimeout(context.Background(), drainTimeout)
	defer cancel()
	if err := server.Shutdown(drainCtx); err != nil {
		closeErr := server.Close() // cuts them off
		return fmt.Errorf("requests cut off: %w", errors.Join(err, closeErr))
	}
	return nil
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
		return config{}, errors.New(".env must be a readable file, UTF-8 without a byte order mark, " +
			"with lines NAME=value (names of letters, digits and _), its quotes closed")
	}
	var missing []string
	for _, name := range []string{"ZITADEL_DOMAIN", "CLIENT_ID", "CLIENT_SECRET"} {
		if getenv(name) == "" {
			missing = append(missing, name)
		}
	}
	if len(missing) > 0 {
		return config{}, fmt.Errorf("%s: not set, or blank; set them in the environment, or in .env "+
			"in the current folder (copy .env.example)", strings.Join(missing, ", "))
	}
	zitadelURL, err := parseDomain(getenv("ZITADEL_DOMAIN"))
	if err != nil {
		return config{}, err
	}
	cacheTTL, err := time.ParseDuration(cmp.Or(getenv("INTROSPECTION_CACHE_TTL"), "0s"))
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
		u.User != nil || u.Path != "" || u.RawQuery != "" || u.Fragment != "" {
		return nil, errors.New("ZITADEL_DOMAIN must be an http or https URL with a host and " +
			"nothing after it, such as https://my-instance-abcdef.zitadel.cloud")
	}
	return u, nil
}
