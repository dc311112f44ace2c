package main

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"sync/atomic"
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
	for _, row := range []struct {
		name, dotenv string
		env          []string
		want         string
	}{
		{"defaults", "", []string{"ZITADEL_DOMAIN=https://zitadel.invalid", "CLIENT_ID=id",
			"CLIENT_SECRET=hush"}, "https://zitadel.invalid id hush localhost:5000 0s"},
		{".env", goodDotenv, nil, "https://zitadel.invalid id hush [::1]:1 30s"},
		{"environment before .env", goodDotenv, []string{"PORT=2"},
			"https://zitadel.invalid id hush [::1]:2 30s"},
		{"blank variable hides .env", goodDotenv, []string{"INTROSPECTION_CACHE_TTL= "},
			"https://zitadel.invalid id hush [::1]:1 0s"},
		{"white space", goodDotenv, []string{"CLIENT_SECRET= a\r\n"},
			"https://zitadel.invalid id a [::1]:1 30s"},
		{"http and a trailing slash", goodDotenv, []string{"ZITADEL_DOMAIN=http://localhost:8080/"},
			"http://localhost:8080 id hush [::1]:1 30s"},
		{"host and port", goodDotenv, []string{"ZITADEL_DOMAIN=a.invalid:8443"},
			"https://a.invalid:8443 id hush [::1]:1 30s"},
	} {
		t.Run(row.name, func(t *testing.T) {
			setConfig(t, row.dotenv, row.env...)
			cfg, err := loadConfig()
			if err != nil {
				t.Fatal(err)
			}
			got := fmt.Sprintf("%s %s %s %s %s", cfg.zitadelURL, cfg.clientID, cfg.clientSecret,
				net.JoinHostPort(cfg.host, cfg.port), cfg.cacheTTL)
			if got != row.want {
				t.Errorf("got %q, want %q", got, row.want)
			}
		})
	}
}

func TestBadConfig(t *testing.T) {
	example, err := os.ReadFile(".env.example")
	if err != nil {
		t.Fatal(err)
	}
	const (
		missing = ": set in neither the environment nor .env in the current folder (a blank " +
			"variable hides .env); copy .env.example to .env and fill it in, or try the demo: make demo"
		badURL = "ZITADEL_DOMAIN must be an http or https URL with a host and nothing after it, " +
			"such as https://my-instance-abcdef.zitadel.cloud"
		badTTL    = "INTROSPECTION_CACHE_TTL must be a duration such as 30s"
		badDotenv = ".env must be a readable file in UTF-8 without a byte order mark, with lines " +
			"NAME=value and closed quotes"
	)
	for _, row := range []struct {
		name, dotenv string
		env          []string
		want         string
	}{
		{".env.example", string(example), nil, "ZITADEL_DOMAIN, CLIENT_ID, CLIENT_SECRET" + missing},
		{"blank variable", goodDotenv, []string{"CLIENT_ID= "}, "CLIENT_ID" + missing},
		{"no URL", goodDotenv, []string{"ZITADEL_DOMAIN=https://zitadel .invalid"}, badURL},
		{"no host", goodDotenv, []string{"ZITADEL_DOMAIN=https://:8080"}, badURL},
		{"other scheme", goodDotenv, []string{"ZITADEL_DOMAIN=ftp://zitadel.invalid"}, badURL},
		{"user", goodDotenv, []string{"ZITADEL_DOMAIN=https://user:hush@zitadel.invalid"}, badURL},
		{"path", goodDotenv, []string{"ZITADEL_DOMAIN=zitadel.invalid/ui"}, badURL},
		{"query", goodDotenv, []string{"ZITADEL_DOMAIN=https://zitadel.invalid?a"}, badURL},
		{"fragment", goodDotenv, []string{"ZITADEL_DOMAIN=https://zitadel.invalid#a"}, badURL},
		{"negative TTL", goodDotenv, []string{"INTROSPECTION_CACHE_TTL=-1s"}, badTTL},
		{"TTL without a unit", goodDotenv, []string{"INTROSPECTION_CACHE_TTL=30"}, badTTL},
		{"open quote", goodDotenv + "CLIENT_SECRET='hush", nil, badDotenv},
	} {
		t.Run(row.name, func(t *testing.T) {
			setConfig(t, row.dotenv, row.env...)
			if _, err := loadConfig(); err == nil || err.Error() != row.want {
				t.Errorf("got error %v, want %q", err, row.want)
			}
		})
	}

	t.Run("unreadable .env", func(t *testing.T) {
		setConfig(t, "")
		if err := os.Mkdir(".env", 0o700); err != nil {
			t.Fatal(err)
		}
		if _, err := loadConfig(); err == nil || err.Error() != badDotenv {
			t.Errorf("got error %v, want %q", err, badDotenv)
		}
	})
}

// Two concurrent requests have the same token. ZITADEL responds when it has all introspections that
// are to come: two, or one that the requests share.
func TestCacheIsOptional(t *testing.T) {
	for ttl, want := range map[time.Duration]int64{0: 2, time.Hour: 1} {
		var introspections atomic.Int64
		all := make(chan struct{})
		instance := startZITADEL(t, func(w http.ResponseWriter, r *http.Request) {
			if introspections.Add(1) == want {
				close(all)
			}
			select {
			case <-all:
				io.WriteString(w, `{"active":true}`)
			case <-r.Context().Done():
			}
		})
		introspect := newIntrospectFunc(config{zitadelURL: instance, cacheTTL: ttl})
		var callers sync.WaitGroup
		for range 2 {
			callers.Go(func() {
				if _, err := introspect(t.Context(), testToken); err != nil {
					t.Errorf("TTL %s: got error %v, want none", ttl, err)
				}
			})
		}
		callers.Wait()
		if got := introspections.Load(); got != want {
			t.Errorf("TTL %s: got %d introspections, want %d", ttl, got, want)
		}
	}
}

func TestSlowClients(t *testing.T) {
	const header = "GET / HTTP/1.1\r\nHost: localhost\r\n"
	for _, row := range []struct {
		name, sent string
		want       time.Duration
	}{
		{"no request", "", 5 * time.Second},
		{"part of a header", header, 5 * time.Second},
		{"no body", header + "Content-Length: 9\r\n\r\n", 30 * time.Second},
		{"no second request", header + "\r\n", 2 * time.Minute},
	} {
		t.Run(row.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				start := time.Now()
				exchange(t, newServer(message("hello")), row.sent)
				// net/http may take a moment more, to let the client read the response.
				if got := time.Since(start); got < row.want || got >= row.want+time.Second {
					t.Errorf("got the connection closed after %s, want %s", got, row.want)
				}
			})
		})
	}
}

// A client does not read the response.
func TestStuckClient(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var written time.Duration
		handler := func(w http.ResponseWriter, _ *http.Request) {
			start := time.Now()
			for _, err := w.Write(nil); err == nil; {
				_, err = w.Write(make([]byte, 1<<10))
			}
			written = time.Since(start)
		}
		conn, err := listen(t, newServer(http.HandlerFunc(handler))).dial(t.Context(), "", "")
		if err != nil {
			t.Fatal(err)
		}
		io.WriteString(conn, "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
		time.Sleep(time.Minute)
		synctest.Wait()
		if written != 30*time.Second {
			t.Errorf("got an error of Write after %s, want 30s", written)
		}
	})
}

func TestRequestHeaderSize(t *testing.T) {
	server := httptest.NewUnstartedServer(nil)
	server.Config = newServer(message("hello"))
	server.Start()
	defer server.Close()
	for size, want := range map[int]int{15 << 10: 200, 24 << 10: 431} {
		r, err := http.NewRequest("GET", server.URL, nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("X", strings.Repeat("x", size))
		resp, err := server.Client().Do(r)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		checkStatus(t, fmt.Sprint(size, " bytes"), resp, want)
	}
}

func TestPanic(t *testing.T) {
	log := captureLog(t)
	synctest.Test(t, func(t *testing.T) {
		handler := http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic("some reason") })
		exchange(t, newServer(logRequests(handler)), "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
	})
	checkLog(t, log, `level=ERROR msg="http: panic serving pipe: some reason\n`)
}
