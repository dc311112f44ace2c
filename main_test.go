package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

const goodDotenv = "ZITADEL_DOMAIN=https://zitadel.invalid\nCLIENT_ID=id\nCLIENT_SECRET=hush\n" +
	"HOST=::1\nPORT=1\nINTROSPECTION_CACHE_TTL=30s\n"

// setConfig changes to an empty directory, writes dotenv to .env unless it is empty, and sets env
// as the only variables of the configuration.
func setConfig(t *testing.T, dotenv string, env ...string) {
	t.Helper()
	t.Chdir(t.TempDir())
	for _, name := range []string{"ZITADEL_DOMAIN", "CLIENT_ID", "CLIENT_SECRET", "HOST", "PORT",
		"INTROSPECTION_CACHE_TTL"} {
		t.Setenv(name, "") // restores it when the test ends
		os.Unsetenv(name)
	}
	for _, variable := range env {
		name, value, _ := strings.Cut(variable, "=")
		t.Setenv(name, value)
	}
	if dotenv == "" {
		return
	}
	if err := os.WriteFile(".env", []byte(dotenv), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestConfig(t *testing.T) {
	example, err := os.ReadFile(".env.example")
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range []struct {
		name, dotenv string
		env          []string
		want         string // the configuration, or the beginning of the error
	}{
		{"defaults", "", []string{"ZITADEL_DOMAIN=https://zitadel.invalid", "CLIENT_ID=id",
			"CLIENT_SECRET=hush"}, "https://zitadel.invalid id hush localhost:5000 0s"},
		{"environment before .env", goodDotenv, []string{"PORT=2", "INTROSPECTION_CACHE_TTL= ",
			"CLIENT_SECRET= a\r\n"}, "https://zitadel.invalid id a [::1]:2 0s"},
		{"http", goodDotenv, []string{"ZITADEL_DOMAIN=http://a:80/"}, "http://a:80 id hush [::1]:1 30s"},
		{"only a host", goodDotenv, []string{"ZITADEL_DOMAIN=a"}, "https://a id hush [::1]:1 30s"},

		{"example", string(example), nil, "ZITADEL_DOMAIN, CLIENT_ID, CLIENT_SECRET: not set, or blank"},
		{"blank variable", goodDotenv, []string{"CLIENT_ID= "}, "CLIENT_ID: not set, or blank"},
		{"no host", goodDotenv, []string{"ZITADEL_DOMAIN=https://:8080"}, "ZITADEL_DOMAIN must be"},
		{"scheme", goodDotenv, []string{"ZITADEL_DOMAIN=ftp://a.invalid"}, "ZITADEL_DOMAIN must be"},
		{"user", goodDotenv, []string{"ZITADEL_DOMAIN=https://hush@a.invalid"}, "ZITADEL_DOMAIN must be"},
		{"path", goodDotenv, []string{"ZITADEL_DOMAIN=a.invalid/ui"}, "ZITADEL_DOMAIN must be"},
		{"negative TTL", goodDotenv, []string{"INTROSPECTION_CACHE_TTL=-1s"}, "INTROSPECTION_CACHE_TTL"},
		{"no unit", goodDotenv, []string{"INTROSPECTION_CACHE_TTL=30"}, "INTROSPECTION_CACHE_TTL must"},
		{"open quote", goodDotenv + "CLIENT_SECRET='hush", nil, ".env must be"},
	} {
		t.Run(row.name, func(t *testing.T) {
			setConfig(t, row.dotenv, row.env...)
			cfg, err := loadConfig()
			got := fmt.Sprintf("%s %s %s %s %s", cfg.zitadelURL, cfg.clientID, cfg.clientSecret,
				net.JoinHostPort(cfg.host, cfg.port), cfg.cacheTTL)
			if err != nil {
				got = err.Error()
			}
			if !strings.HasPrefix(got, row.want) || err != nil && strings.Contains(got, "hush") {
				t.Errorf("got %q, want %q, and no secret in an error", got, row.want)
			}
		})
	}
}

// Port 1 of another machine's address.
func TestHostAndPort(t *testing.T) {
	setConfig(t, goodDotenv, "HOST=2001:db8::1")
	ctx, stop := context.WithCancel(t.Context())
	stop() // or run would not return without an error
	err := run(ctx)
	if want := "listen tcp [2001:db8::1]:1: "; !strings.HasPrefix(fmt.Sprint(err), want) {
		t.Errorf("got error %v, want one that begins with %q", err, want)
	}
}

func TestRun(t *testing.T) {
	setConfig(t, goodDotenv, "HOST= ", "PORT=0")
	captureLog(t) // and restore it when the test ends
	log, w := io.Pipe()
	slog.SetDefault(slog.New(slog.NewTextHandler(w, nil)))
	ctx, stop := context.WithCancel(t.Context())
	stopped := make(chan error, 1)
	go func() { stopped <- run(ctx) }()
	line, err := bufio.NewReader(log).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	_, url, _ := strings.Cut(strings.TrimSpace(line), "level=INFO msg=ready url=")
	resp, err := http.Get(url)
	if err != nil || !strings.HasPrefix(url, "http://localhost:") {
		t.Fatalf("got URL %s and error %v, want a URL of localhost that is served", url, err)
	}
	resp.Body.Close()
	go io.Copy(io.Discard, log)
	stop()
	if err := <-stopped; err != nil {
		t.Errorf("got error %v, want none", err)
	}
}

func TestCacheIsOptional(t *testing.T) {
	for ttl, want := range map[time.Duration]int{0: 2, time.Hour: 1} {
		got := 0
		zitadel := startZITADEL(t, func(w http.ResponseWriter, _ *http.Request) {
			got++
			io.WriteString(w, `{"active":true}`)
		})
		introspect := newIntrospectFunc(config{zitadelURL: zitadel, cacheTTL: ttl})
		for range 2 {
			if _, err := introspect(t.Context(), testToken); err != nil {
				t.Error(err)
			}
		}
		if got != want {
			t.Errorf("TTL %s: got %d introspections, want %d", ttl, got, want)
		}
	}
}

// net/http itself honors these settings.
func TestServerSettings(t *testing.T) {
	log := captureLog(t)
	server := newServer(nil)
	if server.ReadHeaderTimeout == 0 || server.ReadTimeout == 0 || server.WriteTimeout == 0 ||
		server.IdleTimeout == 0 || server.MaxHeaderBytes == 0 {
		t.Errorf("got %+v, want timeouts and a limit of the header", server)
	}
	server.ErrorLog.Print("panic")
	if !strings.Contains(log.String(), "level=ERROR msg=panic") {
		t.Errorf("got log %s, want an error", log.String())
	}
}

// After the signal, requests in flight have 10 s to finish. The others are cut off.
func TestServerDrain(t *testing.T) {
	for takes, finishes := range map[time.Duration]bool{9 * time.Second: true, time.Hour: false} {
		synctest.Test(t, func(t *testing.T) {
			handler := http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
				select {
				case <-time.After(takes):
				case <-r.Context().Done():
				}
			})
			ctx, stop := context.WithCancel(t.Context())
			listener := make(pipes)
			stopped := make(chan error, 1)
			go func() { stopped <- serve(ctx, listener, handler) }()
			conn := listener.dial()
			io.WriteString(conn, "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
			synctest.Wait()
			start := time.Now()
			stop()
			if _, err := http.ReadResponse(bufio.NewReader(conn), nil); (err == nil) != finishes {
				t.Errorf("%s: got error %v for the request, want one: %t", takes, err, !finishes)
			}
			if err := <-stopped; (err == nil) != finishes {
				t.Errorf("%s: got error %v of serve, want one: %t", takes, err, !finishes)
			}
			if got := time.Since(start); got < 9*time.Second || got > 10*time.Second {
				t.Errorf("%s: got serve stopped after %s, want 9s to 10s", takes, got)
			}
		})
	}
}
