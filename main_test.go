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
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

const allSet = "ZITADEL_DOMAIN=https://zitadel.invalid\nCLIENT_ID=id\nCLIENT_SECRET=hush\n" +
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
		want         string // the configuration
		wantErr      string // the beginning of the error
	}{
		{"defaults", "", []string{"ZITADEL_DOMAIN=https://zitadel.invalid", "CLIENT_ID=id",
			"CLIENT_SECRET=hush"}, "https://zitadel.invalid id hush localhost:5000 0s", ""},
		{"environment before .env", allSet, []string{"PORT=2", "INTROSPECTION_CACHE_TTL= ",
			"CLIENT_SECRET= a\r\n"}, "https://zitadel.invalid id a [::1]:2 0s", ""},
		{"http", allSet, []string{"ZITADEL_DOMAIN=http://a:80/"}, "http://a:80 id hush [::1]:1 30s", ""},
		{"only a host", allSet, []string{"ZITADEL_DOMAIN=a"}, "https://a id hush [::1]:1 30s", ""},

		{"example", string(example), nil, "", "ZITADEL_DOMAIN, CLIENT_ID, CLIENT_SECRET: not set"},
		{"blank variable", allSet, []string{"CLIENT_ID= "}, "", "CLIENT_ID: not set, or blank"},
		{"no host", allSet, []string{"ZITADEL_DOMAIN=https://:8080"}, "", "ZITADEL_DOMAIN must be"},
		{"scheme", allSet, []string{"ZITADEL_DOMAIN=ftp://a.invalid"}, "", "ZITADEL_DOMAIN must be"},
		{"user", allSet, []string{"ZITADEL_DOMAIN=https://hush@a"}, "", "ZITADEL_DOMAIN must be"},
		{"path", allSet, []string{"ZITADEL_DOMAIN=a.invalid/ui"}, "", "ZITADEL_DOMAIN must be"},
		{"query", allSet, []string{"ZITADEL_DOMAIN=a.invalid?a"}, "", "ZITADEL_DOMAIN must be"},
		{"fragment", allSet, []string{"ZITADEL_DOMAIN=a.invalid#a"}, "", "ZITADEL_DOMAIN must be"},
		{"negative TTL", allSet, []string{"INTROSPECTION_CACHE_TTL=-1s"}, "", "INTROSPECTION_CACHE_TTL"},
		{"no unit", allSet, []string{"INTROSPECTION_CACHE_TTL=30"}, "", "INTROSPECTION_CACHE_TTL"},
		{"open quote", allSet + "CLIENT_SECRET='hush", nil, "", ".env must be"},
	} {
		t.Run(row.name, func(t *testing.T) {
			setConfig(t, row.dotenv, row.env...)
			cfg, err := loadConfig()
			if row.wantErr != "" {
				got := fmt.Sprint(err)
				if !strings.HasPrefix(got, row.wantErr) || strings.Contains(got, "hush") {
					t.Errorf("got error %s, want one that begins with %s, and no secret", got, row.wantErr)
				}
				return
			}
			got := fmt.Sprintf("%s %s %s %s %s", cfg.zitadelURL, cfg.clientID, cfg.clientSecret,
				net.JoinHostPort(cfg.host, cfg.port), cfg.cacheTTL)
			if err != nil || got != row.want {
				t.Errorf("got %q, error %v, want %q", got, err, row.want)
			}
		})
	}
}

// The address is another machine's.
func TestListenError(t *testing.T) {
	setConfig(t, allSet, "HOST=2001:db8::1")
	ctx, stop := context.WithTimeout(t.Context(), patience)
	defer stop()
	got := fmt.Sprint(run(ctx))
	want := "listen tcp [2001:db8::1]:1: "
	if !strings.HasPrefix(got, want) || !strings.Contains(got, "set PORT") {
		t.Errorf("got error %s, want one that begins with %q, and what to set", got, want)
	}
}

// Two requests with the same token come one after the other, 2 ms apart.
func TestRun(t *testing.T) {
	for ttl, want := range map[string]int64{"0s": 2, "1ms": 2, "1h": 1} {
		if !t.Run(ttl, func(t *testing.T) {
			var introspections atomic.Int64
			zitadel := startZITADEL(t, func(w http.ResponseWriter, r *http.Request) {
				introspections.Add(1)
				if id, secret, _ := r.BasicAuth(); id != "id" || secret != "hush" {
					t.Errorf("got client %s with secret %s, want id with hush", id, secret)
				}
				io.WriteString(w, `{"active":true,"sub":"42"}`)
			})
			setConfig(t, allSet, "ZITADEL_DOMAIN="+zitadel.String(), "HOST= ", "PORT=0",
				"INTROSPECTION_CACHE_TTL="+ttl)
			log, w := io.Pipe()
			captureLog(t) // and restore it when the test ends
			slog.SetDefault(slog.New(slog.NewTextHandler(w, nil)))
			ctx, stop := context.WithTimeout(t.Context(), patience)
			stopped := make(chan error, 1)
			go func() { stopped <- run(ctx); w.Close() }()
			line, err := bufio.NewReader(log).ReadString('\n')
			_, url, ok := strings.Cut(line, "level=INFO msg=ready url=")
			if !ok || !strings.HasPrefix(url, "http://localhost:") {
				t.Errorf("got log %s, error %v, want a ready line with a URL of localhost", line, err)
			}
			go io.Copy(io.Discard, log)
			for range 2 {
				req, err := http.NewRequestWithContext(ctx, "GET", strings.TrimSpace(url)+private, nil)
				if err != nil {
					t.Fatal(err)
				}
				req.Header.Set("Authorization", bearer)
				if _, err := http.DefaultClient.Do(req); err != nil {
					t.Error(err)
				}
				time.Sleep(2 * time.Millisecond)
			}
			if got := introspections.Load(); got != want {
				t.Errorf("got %d introspections, want %d", got, want)
			}
			stop()
			if err := <-stopped; err != nil {
				t.Errorf("got error %v of run, want none", err)
			}
		}) {
			return // the others would wait, too
		}
	}
}

// A client that sends too much or too slowly is cut off, and so is a handler that takes too long.
// After the signal, requests in flight have a while to finish. A missing body takes less.
func TestServe(t *testing.T) {
	const get = "GET / HTTP/1.1\r\nHost: a\r\n"
	for _, row := range []struct {
		name, request string
		drain         bool   // with this request in flight
		response, log string // a part, or nothing
	}{
		{"part of the header", get, false, "", ""},
		{"one request", get + "\r\n", false, "200 OK", ""},
		{"long token", get + "A: " + strings.Repeat("a", 8<<10) + "\r\n\r\n", false, "200 OK", ""},
		{"endless header", get + "A: " + strings.Repeat("a", 512<<10), false, "431", ""},
		{"slow handler", get + "Takes: 1h\r\n\r\n", false, "", ""},
		{"panic", get + "Takes: -1s\r\n\r\n", false, "", "level=ERROR msg="},
		{"drain", get + "Takes: 1s\r\n\r\n", true, "200 OK", ""},
		{"drain of a body", get + "Content-Length: 9\r\n\r\n", true, "200 OK", ""},
		{"cut off", get + "Takes: 1h\r\n\r\n", true, "", "requests cut off"},
	} {
		t.Run(row.name, func(t *testing.T) {
			log := captureLog(t)
			synctest.Test(t, func(t *testing.T) {
				handler := http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
					takes, _ := time.ParseDuration(r.Header.Get("Takes"))
					if takes < 0 {
						panic("oops")
					}
					time.Sleep(takes)
				})
				ctx, stop := context.WithCancel(t.Context())
				listener, stopped := make(pipes), make(chan error, 1)
				go func() { stopped <- serve(ctx, listener, handler) }()
				conn, server := net.Pipe()
				listener <- server
				go io.WriteString(conn, row.request)
				start, limit := time.Now(), time.Hour
				synctest.Wait()
				if row.drain {
					limit = drainTimeout
					stop()
				}
				got, err := io.ReadAll(conn)
				if !strings.Contains(string(got), row.response) || (row.response == "" && len(got) > 0) {
					t.Errorf("got response %s, error %v, want %q", got, err, row.response)
				}
				stop()
				if err := <-stopped; err != nil {
					slog.Error("stopped", "reason", err)
				}
				if got := time.Since(start); got > limit {
					t.Errorf("got serve ended after %s, want at most %s", got, limit)
				}
				time.Sleep(time.Hour) // until the handler ends
			})
			if got := log.String(); !strings.Contains(got, row.log) ||
				strings.Contains(got, "ERROR") != (row.log != "") {
				t.Errorf("got log %s, want %q in it", got, row.log)
			}
		})
	}
}
