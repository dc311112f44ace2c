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

// run serves the API until a signal arrives, and then gives requests in flight 10 s to finish.
func run(cfg config) error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	listener, err := net.Listen("tcp", net.JoinHostPort(cfg.host, cfg.port))
	if err != nil {
		return fmt.Errorf("%w (PORT sets the port, HOST the address)", err)
	}
	if cfg.domain.Scheme == "http" && !isLoopback(cfg.domain.Hostname()) {
		slog.Warn("ZITADEL_DOMAIN is not https: tokens and the client secret are sent unencrypted")
	}
	server := newServer(cfg)
	serveErr := make(chan error, 1)
	go func() { serveErr <- server.Serve(listener) }()
	port := strconv.Itoa(listener.Addr().(*net.TCPAddr).Port) // PORT may be 0
	slog.Info("ready", "url", "http://"+net.JoinHostPort(cfg.host, port))

	select {
	case err := <-serveErr:
		return err
	case <-ctx.Done():
	}
	stop() // from here on, a signal kills the process
	slog.Info("stopping: waiting for requests in flight")
	drainCtx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := server.Shutdown(drainCtx); err != nil {
		return fmt.Errorf("requests cut off: %w", err)
	}
	return nil
}

// newServer returns the server of the API.
func newServer(cfg config) *http.Server {
	introspect := newIntrospector(cfg.domain.String(), cfg.clientID, cfg.clientSecret).introspect
	if cfg.cacheTTL > 0 {
		introspect = newCache(introspect, cfg.cacheTTL).introspect
	}
	return &http.Server{
		Handler:           newAPI(introspect),
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       30 * time.Second, // header and body
		WriteTimeout:      30 * time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    16 << 10,
		ErrorLog:          slog.NewLogLogger(slog.Default().Handler(), slog.LevelError),
	}
}

// config is the configuration of the API. .env.example explains its variables.
type config struct {
	domain                 *url.URL // of the ZITADEL instance
	clientID, clientSecret string
	host, port             string        // to listen on
	cacheTTL               time.Duration // 0 means no cache
}

// loadConfig reads the configuration from the environment and, for what is not set or blank
// there, from .env. Its error has a line for each variable that is missing or wrong.
func loadConfig() (config, error) {
	dotenv, err := readDotenv()
	if err != nil {
		return config{}, err
	}
	getenv := func(name, fallback string) string {
		return cmp.Or(strings.TrimSpace(os.Getenv(name)), strings.TrimSpace(dotenv[name]), fallback)
	}
	cfg := config{
		clientID:     getenv("CLIENT_ID", ""),
		clientSecret: getenv("CLIENT_SECRET", ""),
		host:         getenv("HOST", "localhost"),
		port:         getenv("PORT", "5000"),
	}

	var problems []error
	for _, name := range []string{"ZITADEL_DOMAIN", "CLIENT_ID", "CLIENT_SECRET"} {
		if getenv(name, "") == "" {
			problems = append(problems, errors.New(name+" is not set"))
		}
	}
	incomplete := len(problems) > 0
	if domain := getenv("ZITADEL_DOMAIN", ""); domain != "" {
		cfg.domain, err = parseDomain(domain)
		if err != nil {
			problems = append(problems, err)
		}
	}
	cfg.cacheTTL, err = time.ParseDuration(getenv("INTROSPECTION_CACHE_TTL", "0"))
	if err != nil || cfg.cacheTTL < 0 {
		problems = append(problems, errors.New("INTROSPECTION_CACHE_TTL must be a duration such as 30s"))
	}
	if incomplete && dotenv == nil {
		problems = append(problems, errors.New("copy .env.example to .env and fill it in, "+
			"or run make demo to try the API without a ZITADEL instance"))
	}
	if incomplete && dotenv != nil {
		problems = append(problems, errors.New("fill it in in .env"))
	}
	return cfg, errors.Join(problems...)
}

// readDotenv returns the variables in .env, or nil if there is no such file.
func readDotenv() (map[string]string, error) {
	dotenv, err := godotenv.Read()
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if _, ok := errors.AsType[*fs.PathError](err); ok {
		return nil, err
	}
	if err != nil { // err quotes the file, which has the client secret in it
		return nil, errors.New(".env cannot be parsed: its lines must look like NAME=value, " +
			"and the file must be UTF-8 without a byte order mark")
	}
	return dotenv, nil
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
	if u.String() != u.Scheme+"://"+u.Host {
		return nil, errors.New("ZITADEL_DOMAIN must have no path: only a scheme, a host name and a port")
	}
	return u, nil
}

// isLoopback reports whether host is the local machine.
func isLoopback(host string) bool {
	return host == "localhost" || net.ParseIP(host).IsLoopback()
}
