// Example-api-go is an HTTP API that protects its routes with ZITADEL's token introspection.
//
//	GET /api/public          anyone
//	GET /api/private         any caller with a valid access token
//	GET /api/private-scoped  any caller with a valid access token and the role read:messages
package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
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
	log.SetOutput(io.Discard) // net/http's client writes parts of odd responses to it
	if err := run(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// run serves the API until ctx is done or the process gets SIGINT or SIGTERM. Requests in
// flight then have 10 seconds to finish; it is an error if they do not.
func run(ctx context.Context) error {
	cfg, err := loadConfig()
	if err != nil {
		return err
	}
	server := newServer(cfg)
	listener, err := net.Listen("tcp", server.Addr)
	if err != nil {
		return fmt.Errorf("%w: set PORT to another port, or HOST to another address", err)
	}
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	serveError := make(chan error, 1)
	go func() { serveError <- server.Serve(listener) }()
	slog.Info("ready", "url", "http://"+server.Addr)
	select {
	case err := <-serveError:
		return err
	case <-ctx.Done():
	}
	stop() // a second signal kills the process
	slog.Info("stopping: waiting for requests in flight")
	drain, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := server.Shutdown(drain); err != nil {
		slog.Error("requests cut off: they did not finish in time")
		return errors.Join(err, server.Close())
	}
	return nil
}

// newServer returns the server of the API.
func newServer(cfg config) *http.Server {
	introspect := newIntrospect(cfg.domain, cfg.clientID, cfg.clientSecret)
	if cfg.cacheTTL > 0 {
		introspect = cached(introspect, cfg.cacheTTL)
	}
	return &http.Server{
		Addr:              cfg.address,
		Handler:           newAPI(introspect),
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       10 * time.Second, // header and body
		WriteTimeout:      15 * time.Second, // longer, so that a late body gets a response
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    64<<10 - 4096, // net/http accepts 4096 bytes more
		ErrorLog:          slog.NewLogLogger(slog.Default().Handler(), slog.LevelError),
	}
}

// config is the configuration of the program.
type config struct {
	domain, clientID, clientSecret string        // domain is a URL without a path
	address                        string        // to listen on, host:port
	cacheTTL                       time.Duration // 0 means no cache
}

// loadConfig reads the configuration from .env and the environment, which wins. Its error names
// every variable that is missing or wrong, but no value.
func loadConfig() (cfg config, err error) {
	dotenv, err := godotenv.Read()
	if err != nil && !errors.Is(err, os.ErrNotExist) { // err quotes the file, secret included
		return cfg, errors.New(".env cannot be read: is it a file with lines as in .env.example?")
	}
	for name, value := range dotenv {
		if getenv(name, "") == "" {
			_ = os.Setenv(name, value)
		}
	}

	var problems error
	check := func(ok bool, problem string) {
		if !ok {
			problems = errors.Join(problems, errors.New(problem))
		}
	}
	domain := getenv("ZITADEL_DOMAIN", "")
	if !strings.Contains(domain, "://") {
		domain = "https://" + domain
	}
	cfg.domain = strings.TrimRight(domain, "/")
	u, err := url.Parse(cfg.domain)
	check(err == nil && u.Hostname() != "" && strings.EqualFold(cfg.domain, u.Scheme+"://"+u.Host) &&
		(u.Scheme == "https" || u.Scheme == "http"),
		"ZITADEL_DOMAIN must be a URL without a path: https://my-instance-abcdef.zitadel.cloud")
	// Spaces may belong to these two. A line break at the end comes from a file.
	cfg.clientID = strings.TrimRight(os.Getenv("CLIENT_ID"), "\r\n")
	cfg.clientSecret = strings.TrimRight(os.Getenv("CLIENT_SECRET"), "\r\n")
	check(getenv("CLIENT_ID", "") != "", "CLIENT_ID must be the client ID of your API application")
	check(getenv("CLIENT_SECRET", "") != "", "CLIENT_SECRET must be its client secret")
	port := getenv("PORT", "5000")
	number, err := strconv.ParseUint(port, 10, 16)
	check(err == nil && number > 0, "PORT must be a number from 1 to 65535")
	cfg.address = net.JoinHostPort(getenv("HOST", "localhost"), port)
	cfg.cacheTTL, err = time.ParseDuration(getenv("INTROSPECTION_CACHE_TTL", "0"))
	check(err == nil && cfg.cacheTTL >= 0, "INTROSPECTION_CACHE_TTL must be a duration such as 30s")
	if problems != nil {
		return cfg, fmt.Errorf("%w\nCopy .env.example to .env and fill it in, or: make demo", problems)
	}
	if u.Scheme == "http" && u.Hostname() != "localhost" && !net.ParseIP(u.Hostname()).IsLoopback() {
		slog.Warn("ZITADEL_DOMAIN is not https: the client secret and tokens are sent unencrypted")
	}
	return cfg, nil
}

// getenv returns the value of a variable, or fallback if it is blank.
func getenv(name, fallback string) string {
	return cmp.Or(strings.TrimSpace(os.Getenv(name)), fallback)
}
