package main

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// setConfig changes to an empty directory, writes dotenv to .env unless it is empty, and sets env.
func setConfig(t *testing.T, dotenv string, env ...string) {
	t.Helper()
	t.Chdir(t.TempDir())
	for _, name := range []string{"ZITADEL_DOMAIN", "CLIENT_ID", "CLIENT_SECRET", "HOST", "PORT",
		"INTROSPECTION_CACHE_TTL"} {
		t.Setenv(name, "")
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

const goodDotenv = "ZITADEL_DOMAIN=https://zitadel.invalid\nCLIENT_ID=id\nCLIENT_SECRET=hush\n"

func TestConfig(t *testing.T) {
	example, err := os.ReadFile(".env.example")
	if err != nil {
		t.Fatal(err)
	}
	const (
		copyExample = "\ncopy .env.example to .env and fill it in, or try the demo: make demo"
		fillIn      = "\nset the missing variables in .env"
		nothing     = "ZITADEL_DOMAIN is not set\nCLIENT_ID is not set\nCLIENT_SECRET is not set"

		noURL    = "ZITADEL_DOMAIN must be a URL such as https://my-instance-abcdef.zitadel.cloud"
		noScheme = "ZITADEL_DOMAIN must have the scheme https or http"
		hasPath  = "ZITADEL_DOMAIN must have no path, only a scheme, a host name and a port, " +
			"as in https://my-instance-abcdef.zitadel.cloud"
		noTTL    = "INTROSPECTION_CACHE_TTL must be a duration such as 30s"
		noDotenv = ".env cannot be parsed: its lines must look like NAME=value, " +
			"quotes must be closed, and the file must be UTF-8 without a byte order mark"
	)
	for _, row := range []struct {
		name, dotenv string
		env          []string
		want         string // the error or, if there is none, the configuration
	}{
		{"nothing", "", nil, nothing + copyExample},
		{"no .env, one value", "", []string{"CLIENT_ID=id"},
			"ZITADEL_DOMAIN is not set\nCLIENT_SECRET is not set" + copyExample},
		{".env.example", string(example), nil, nothing + fillIn},
		{"blank values", "ZITADEL_DOMAIN=\nCLIENT_ID=' '\nCLIENT_SECRET=hush", nil,
			"ZITADEL_DOMAIN is not set\nCLIENT_ID is not set" + fillIn},
		{"one missing, two wrong", "ZITADEL_DOMAIN=ftp://zitadel.invalid\nCLIENT_ID=id", []string{
			"INTROSPECTION_CACHE_TTL=x"},
			"CLIENT_SECRET is not set\n" + noScheme + "\n" + noTTL + fillIn},

		{"no host", goodDotenv, []string{"ZITADEL_DOMAIN=https://"}, noURL},
		{"space in the host", goodDotenv, []string{"ZITADEL_DOMAIN=https://zitadel .invalid"}, noURL},
		{"misspelled scheme", goodDotenv, []string{"ZITADEL_DOMAIN=htps://zitadel.invalid"}, noScheme},
		{"path", goodDotenv, []string{"ZITADEL_DOMAIN=https://zitadel.invalid/ui/console"}, hasPath},
		{"host and path", goodDotenv, []string{"ZITADEL_DOMAIN=zitadel.invalid/ui"}, hasPath},
		{"query", goodDotenv, []string{"ZITADEL_DOMAIN=https://zitadel.invalid?a"}, hasPath},
		{"user", goodDotenv, []string{"ZITADEL_DOMAIN=https://hush@zitadel.invalid"}, hasPath},
		{"negative TTL", goodDotenv, []string{"INTROSPECTION_CACHE_TTL=-1s"}, noTTL},
		{"TTL without a unit", goodDotenv, []string{"INTROSPECTION_CACHE_TTL=30"}, noTTL},

		{"unquoted line", "CLIENT_SECRET hush\n", nil, noDotenv},
		{"open quote", "CLIENT_SECRET='hush", nil, noDotenv},
		{"byte order mark", "\ufeff" + string(example), nil, noDotenv},
		{"UTF-16", "\xff\xfeA\x00=\x00h\x00u\x00s\x00h\x00\n\x00", nil, noDotenv},

		{".env", goodDotenv, nil, "https://zitadel.invalid id hush localhost:5000 0s"},
		{"environment", "", strings.Fields(goodDotenv),
			"https://zitadel.invalid id hush localhost:5000 0s"},
		{"environment before .env", goodDotenv + "PORT=1\n", []string{"PORT=2"},
			"https://zitadel.invalid id hush localhost:2 0s"},
		{".env before a blank variable", goodDotenv + "PORT=1\n", []string{"PORT= "},
			"https://zitadel.invalid id hush localhost:1 0s"},
		{"every variable", goodDotenv + "HOST=::1\nPORT=0\nINTROSPECTION_CACHE_TTL=30s\n", nil,
			"https://zitadel.invalid id hush [::1]:0 30s"},
		{"white space", goodDotenv, []string{"CLIENT_ID= a ", "CLIENT_SECRET=b\r\n"},
			"https://zitadel.invalid a b localhost:5000 0s"},
		{"quotes", goodDotenv + `CLIENT_SECRET='$a #"\n+%: b'`, nil,
			`https://zitadel.invalid id $a #"\n+%: b localhost:5000 0s`},
		{"trailing slash", goodDotenv, []string{"ZITADEL_DOMAIN=http://localhost:8080/"},
			"http://localhost:8080 id hush localhost:5000 0s"},
		{"host and port", goodDotenv, []string{"ZITADEL_DOMAIN=a.invalid:8443"},
			"https://a.invalid:8443 id hush localhost:5000 0s"},
	} {
		t.Run(row.name, func(t *testing.T) {
			setConfig(t, row.dotenv, row.env...)
			cfg, err := loadConfig()
			got := fmt.Sprint(err)
			if err == nil {
				got = fmt.Sprintf("%s %s %s %s %s", cfg.domain, cfg.clientID, cfg.clientSecret,
					net.JoinHostPort(cfg.host, cfg.port), cfg.cacheTTL)
			}
			if got != row.want {
				t.Errorf("got %q, want %q", got, row.want)
			}
		})
	}
}

func TestUnreadableDotenv(t *testing.T) {
	setConfig(t, "")
	if err := os.Mkdir(".env", 0o700); err != nil {
		t.Fatal(err)
	}
	_, err := loadConfig()
	if err == nil || !strings.HasPrefix(err.Error(), "read .env: ") {
		t.Errorf("got error %v, want the reason why .env cannot be read", err)
	}
}

func TestIsLoopback(t *testing.T) {
	for host, want := range map[string]bool{
		"localhost": true, "127.0.0.2": true, "::1": true,
		"zitadel.invalid": false, "192.0.2.1": false, "localhost.invalid": false,
	} {
		if got := isLoopback(host); got != want {
			t.Errorf("%s: got loopback %t, want %t", host, got, want)
		}
	}
}

// newTestServer returns the server of the API with a ZITADEL instance at domain.
func newTestServer(domain *url.URL, cacheTTL time.Duration) *http.Server {
	return newServer(config{domain: domain, clientID: "id", clientSecret: "hush", cacheTTL: cacheTTL})
}

// pipes is a listener for connections in memory, on which synctest can wait.
type pipes chan net.Conn

func (p pipes) Accept() (net.Conn, error) {
	if conn, ok := <-p; ok {
		return conn, nil
	}
	return nil, net.ErrClosed
}
func (p pipes) Close() error   { return nil }
func (p pipes) Addr() net.Addr { return &net.UnixAddr{} }

// exchange sends a request to a server over a connection in memory, and returns when the server
// has closed it.
func exchange(server *http.Server, request string) {
	listener := make(pipes)
	go server.Serve(listener)
	client, conn := net.Pipe()
	listener <- conn
	io.WriteString(client, request)
	io.Copy(io.Discard, client)
	close(listener)
	server.Close()
}

func TestSlowClients(t *testing.T) {
	const header = "GET /api/public HTTP/1.1\r\nHost: localhost\r\n"
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
				exchange(newTestServer(mustParse(t, "zitadel.invalid"), 0), row.sent)
				// net/http may take a moment more, to let the client read the response.
				if got := time.Since(start); got < row.want || got >= row.want+time.Second {
					t.Errorf("got the connection closed after %s, want %s", got, row.want)
				}
			})
		})
	}
}

func TestRequestHeaderSize(t *testing.T) {
	server := httptest.NewUnstartedServer(nil)
	server.Config = newTestServer(mustParse(t, "zitadel.invalid"), 0)
	server.Start()
	defer server.Close()
	for size, want := range map[int]int{15 << 10: 200, 24 << 10: 431} {
		r, err := http.NewRequest("GET", server.URL+"/api/public", nil)
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
	server := newTestServer(mustParse(t, "zitadel.invalid"), 0)
	server.Handler = logRequests(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		panic("some reason")
	}))
	synctest.Test(t, func(t *testing.T) {
		exchange(server, "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
	})
	checkLog(t, log, `level=ERROR msg="http: panic serving pipe: some reason\n`)
}

// Two concurrent requests with the same token: with the cache off, neither waits for the other.
func TestCacheIsOffByDefault(t *testing.T) {
	asked := make(chan struct{})
	domain := startZITADEL(t, func(w http.ResponseWriter, r *http.Request) {
		r.ParseForm() // reads the body: only then net/http notices that the API leaves
		select {
		case asked <- struct{}{}:
		case <-asked:
		case <-r.Context().Done():
		}
		io.WriteString(w, readerJSON)
	})
	server := newTestServer(domain, 0)
	var requests sync.WaitGroup
	for range 2 {
		requests.Go(func() {
			checkStatus(t, "scoped route", get(server.Handler, "/api/private-scoped"), 200)
		})
	}
	requests.Wait()
}

func TestCacheIsOn(t *testing.T) {
	introspections := 0
	domain := startZITADEL(t, func(w http.ResponseWriter, _ *http.Request) {
		introspections++
		io.WriteString(w, readerJSON)
	})
	server := newTestServer(domain, time.Hour)
	for range 3 {
		checkStatus(t, "scoped route", get(server.Handler, "/api/private-scoped"), 200)
	}
	if introspections != 1 {
		t.Errorf("got %d introspections, want 1", introspections)
	}
}
