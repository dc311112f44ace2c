// Example-api-go is an HTTP API that protects its routes with ZITADEL: it asks the
// introspection endpoint about each access token. README.md says how to run it.
//
//	GET /api/public          for everyone
//	GET /api/private         with a valid access token
//	GET /api/private-scoped  with a valid access token whose user has the role read:messages
package main

import (
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
	if err := run(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// run serves the API until ctx is done or a signal comes; requests in flight then finish.
func run(ctx context.Context) error {
	server, err := newServer()
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp", server.Addr)
	if err != nil {
		return fmt.Errorf("%w: PORT changes the port, HOST the address", err)
	}
	// Windows has Ctrl-C (os.Interrupt) and no other signal.
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	serving, failed := context.WithCancelCause(ctx)
	go func() { failed(server.Serve(listener)) }()
	slog.Info("ready", "url", "http://"+server.Addr)
	<-serving.Done()
	if ctx.Err() == nil {
		return context.Cause(serving)
	}
	stop() // catching signals: a second one ends the program at once
	slog.Info("stopping: no new connections, requests in flight finish")
	time.AfterFunc(10*time.Second, func() { slog.Warn("requests cut off"); _ = server.Close() })
	return server.Shutdown(context.Background())
}

// newServer returns the server that .env and the environment, which wins, ask for. Its error
// names every variable that is missing or wrong, and no value: that could be the secret.
func newServer() (server *http.Server, wrong error) {
	file, err := godotenv.Read()
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, errors.New(".env can't be read: is it a file, with lines as in .env.example?")
	}
	for name, value := range file {
		if getenv(name, "") == "" {
			_ = os.Setenv(name, value)
		}
	}

	check := func(ok bool, problem string) {
		if !ok {
			wrong = errors.Join(wrong, errors.New(problem))
		}
	}
	instance := getenv("ZITADEL_DOMAIN", "")
	if !strings.Contains(instance, "://") {
		instance = "https://" + instance
	}
	domain, err := url.Parse(strings.TrimRight(instance, "/"))
	check(err == nil && (domain.Scheme == "https" || domain.Scheme == "http") &&
		domain.Hostname() != "" && *domain == url.URL{Scheme: domain.Scheme, Host: domain.Host},
		"ZITADEL_DOMAIN must be a URL without a path: https://my-instance-abcdef.zitadel.cloud")
	id, secret := getenv("CLIENT_ID", ""), getenv("CLIENT_SECRET", "")
	check(id != "", "CLIENT_ID must be the client ID of your API application")
	check(secret != "", "CLIENT_SECRET must be the client secret of your API application")
	port := getenv("PORT", "5000")
	number, err := strconv.ParseUint(port, 10, 16)
	check(err == nil && number > 0, "PORT must be a number from 1 to 65535")
	ttl, err := time.ParseDuration(getenv("INTROSPECTION_CACHE_TTL", "0"))
	check(err == nil && ttl >= 0, "INTROSPECTION_CACHE_TTL must be a duration such as 30s")
	if wrong != nil {
		return nil, fmt.Errorf("%w\nCopy .env.example to .env and fill it in, or: make demo", wrong)
	}

	host := domain.Hostname()
	if domain.Scheme == "http" && host != "localhost" && !net.ParseIP(host).IsLoopback() {
		slog.Warn("ZITADEL_DOMAIN is not https: the client secret and tokens travel unencrypted")
	}
	introspect := newIntrospect(domain, id, secret)
	if ttl > 0 {
		introspect = cached(introspect, ttl)
	}
	return &http.Server{
		Addr:              net.JoinHostPort(getenv("HOST", "localhost"), port),
		Handler:           newAPI(introspect),
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       10 * time.Second, // of the header and the body
		WriteTimeout:      15 * time.Second, // longer: who never sends the body gets an answer
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    60 << 10, // net/http allows 4 KiB more, 64 KiB in all
	}, nil
}

// getenv returns the value of a variable, or fallback if it is blank or as in .env.example.
func getenv(name, fallback string) string {
	value := strings.TrimRight(os.Getenv(name), "\r\n") // as a Secret made of a file ends
	if strings.TrimSpace(value) == "" || strings.Contains(value, "....") {
		return fallback
	}
	return value
}
