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
	slog.SetLogLoggerLevel(slog.LevelDebug) // hides log.Printf: net/http quotes responses in it
	if err := run(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, err) // not slog, which would escape the line breaks
		os.Exit(1)
	}
}

// run serves the API until ctx is done or a signal arrives. It gives open requests 10 s to finish.
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
	drainCtx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := server.Shutdown(drainCtx); err != nil {
		slog.Error("requests cut off", "reason", err)
		return errors.Join(err, server.Close())
	}
	return nil
}

// newServer returns the server of the API.
func newServer(cfg config) *http.Server {
	introspect := newIntrospect(cfg.instanceURL, cfg.clientID, cfg.clientSecret)
	if cfg.cacheTTL > 0 {
		introspect = cached(introspect, cfg.cacheTTL)
	}
	return &http.Server{
		Addr:              cfg.address,
		Handler:           newAPI(introspect),
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       10 * time.Second, // header and body
		WriteTimeout:      15 * time.Second, // longer: net/http reads the body before it responds
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    64<<10 - 4096, // net/http accepts 4096 bytes more
		ErrorLog:          slog.NewLogLogger(slog.Default().Handler(), slog.LevelError),
	}
}

// config holds the settings that loadConfig reads.
type config struct {
	instanceURL, clientID, clientSecret string
	address                             string        // to listen on, host:port
	cacheTTL                            time.Duration // 0 means no cache
}

// loadConfig copies .env into the blank variables of the environment and reads the configuration
// from there. Its error names every variable that is missing or wrong, but no value.
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
	cfg.instanceURL = strings.TrimSuffix(getenv("ZITADEL_DOMAIN", ""), "/")
	if !strings.Contains(cfg.instanceURL, "://") {
		cfg.instanceURL = "https://" + cfg.instanceURL
	}
	u, err := url.Parse(cfg.instanceURL)
	check(err == nil && (u.Scheme == "https" || u.Scheme == "http") && u.Hostname() != "" &&
		strings.EqualFold(cfg.instanceURL, u.Scheme+"://"+u.Host), // no path and no query
		"ZITADEL_DOMAIN must be a URL without a path: https://my-instance-abcdef.zitadel.cloud")
	// Keep spaces, but not the line break of a value that was read from a file.
	cfg.clientID = strings.TrimRight(os.Getenv("CLIENT_ID"), "\r\n")
	cfg.clientSecret = strings.TrimRight(os.Getenv("CLIENT_SECRET"), "\r\n")
	check(getenv("CLIENT_ID", "") != "", "CLIENT_ID must be the client ID of the application")
	check(getenv("CLIENT_SECRET", "") != "", "CLIENT_SECRET must be the application's client secret")
	port := getenv("PORT", "5000")
	number, err := strconv.ParseUint(port, 10, 16)
	check(err == nil && number > 0, "PORT must be a number from 1 to 65535")
	cfg.address = net.JoinHostPort(getenv("HOST", "localhost"), port)
	cfg.cacheTTL, err = time.ParseDuration(getenv("INTROSPECTION_CACHE_TTL", "0"))
	check(err == nil && cfg.cacheTTL >= 0, "INTROSPECTION_CACHE_TTL must be a duration such as 30s")
	if problems != nil {
		return cfg, fmt.Errorf("%w\nCopy .env.example to .env and edit it, or run make demo", problems)
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
