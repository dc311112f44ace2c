package main

import (
	"bufio"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"strings"
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
	if dotenv != "" {
		if err := os.WriteFile(".env", []byte(dotenv), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

const goodEnv = "ZITADEL_DOMAIN='https://zitadel.invalid'\nCLIENT_ID='id'\nCLIENT_SECRET='hush'\n"

func TestConfigErrors(t *testing.T) {
	example, err := os.ReadFile(".env.example")
	if err != nil {
		t.Fatal(err)
	}
	domain := func(value string) []string { return []string{"ZITADEL_DOMAIN=" + value} }
	for _, row := range []struct {
		name, dotenv string
		env          []string
		want         string // the variables in the error
	}{
		{"nothing set", "", nil, "ZITADEL_DOMAIN CLIENT_ID CLIENT_SECRET"},
		{"everything wrong", "", []string{"ZITADEL_DOMAIN=/", "CLIENT_ID= ", "CLIENT_SECRET=\n",
			"PORT=0", "INTROSPECTION_CACHE_TTL=1"},
			"ZITADEL_DOMAIN CLIENT_ID CLIENT_SECRET PORT INTROSPECTION_CACHE_TTL"},
		{".env.example", string(example), nil, "ZITADEL_DOMAIN CLIENT_ID CLIENT_SECRET"},
		{"blank values in .env", "ZITADEL_DOMAIN=\nCLIENT_ID=' '\nCLIENT_SECRET=hush", nil,
			"ZITADEL_DOMAIN CLIENT_ID"},

		{"domain without host", goodEnv, domain("https://"), "ZITADEL_DOMAIN"},
		{"domain with a port only", goodEnv, domain(":8080"), "ZITADEL_DOMAIN"},
		{"domain with another scheme", goodEnv, domain("ftp://zitadel.invalid"), "ZITADEL_DOMAIN"},
		{"domain without colon", goodEnv, domain("https//zitadel.invalid"), "ZITADEL_DOMAIN"},
		{"domain without slashes", goodEnv, domain("https:zitadel.invalid"), "ZITADEL_DOMAIN"},
		{"domain with a path", goodEnv, domain("https://zitadel.invalid/ui"), "ZITADEL_DOMAIN"},
		{"host name with a path", goodEnv, domain("zitadel.invalid/ui"), "ZITADEL_DOMAIN"},
		{"domain with a query", goodEnv, domain("https://zitadel.invalid?x"), "ZITADEL_DOMAIN"},
		{"domain with a fragment", goodEnv, domain("https://zitadel.invalid#x"), "ZITADEL_DOMAIN"},
		{"domain with a user", goodEnv, domain("https://hush@zitadel.invalid"), "ZITADEL_DOMAIN"},
		{"domain with a space", goodEnv, domain("https://zitadel .invalid"), "ZITADEL_DOMAIN"},

		{"port 0", goodEnv, []string{"PORT=0"}, "PORT"},
		{"port 65536", goodEnv, []string{"PORT=65536"}, "PORT"},
		{"negative port", goodEnv, []string{"PORT=-1"}, "PORT"},
		{"port in words", goodEnv, []string{"PORT=http"}, "PORT"},
		{"negative TTL", goodEnv, []string{"INTROSPECTION_CACHE_TTL=-1s"}, "INTROSPECTION_CACHE_TTL"},
		{"TTL without unit", goodEnv, []string{"INTROSPECTION_CACHE_TTL=30"}, "INTROSPECTION_CACHE_TTL"},
	} {
		t.Run(row.name, func(t *testing.T) {
			setConfig(t, row.dotenv, row.env...)
			_, err := loadConfig()
			if err == nil {
				t.Fatal("got no error, want one")
			}
			var got []string
			for line := range strings.Lines(err.Error()) {
				if name, _, found := strings.Cut(line, " must be "); found {
					got = append(got, name)
				}
			}
			if got := strings.Join(got, " "); got != row.want {
				t.Errorf("got error %q, want one about %s", err, row.want)
			}
			const advice = "\nCopy .env.example to .env and edit it, or run make demo"
			if !strings.HasSuffix(err.Error(), advice) {
				t.Errorf("got error %q, want it to end with %q", err, advice)
			}
			if strings.Contains(err.Error(), "hush") {
				t.Error("got an error with the client secret in it, want none")
			}
		})
	}
}

func TestConfig(t *testing.T) {
	example, err := os.ReadFile(".env.example")
	if err != nil {
		t.Fatal(err)
	}
	want := config{instanceURL: "https://zitadel.invalid", clientID: "id", clientSecret: "hush",
		address: "localhost:5000"}
	with := func(change func(*config)) config {
		changed := want
		change(&changed)
		return changed
	}
	address := func(address string) config { return with(func(c *config) { c.address = address }) }
	domain := func(domain string) config { return with(func(c *config) { c.instanceURL = domain }) }
	secret := func(secret string) config { return with(func(c *config) { c.clientSecret = secret }) }
	for _, row := range []struct {
		name, dotenv string
		env          []string
		want         config
	}{
		{".env", goodEnv, nil, want},
		{"environment", "", strings.Fields(strings.ReplaceAll(goodEnv, "'", "")), want},
		{"environment over .env", goodEnv + "PORT=1", []string{"PORT=2"}, address("localhost:2")},
		{".env over a blank variable", goodEnv + "PORT=1", []string{"PORT= "}, address("localhost:1")},
		{"every variable", goodEnv + "HOST='::1'\nPORT='65535'\nINTROSPECTION_CACHE_TTL='30s'", nil,
			with(func(c *config) { c.address, c.cacheTTL = "[::1]:65535", 30*time.Second })},
		{"spaces around =", strings.ReplaceAll(goodEnv, "=", " = "), nil, want},
		{"defaults in .env.example", goodEnv + uncommented(string(example)), nil, want},
		{"white space around a value", goodEnv, []string{"PORT= 1\r\n", "INTROSPECTION_CACHE_TTL= 0 "},
			address("localhost:1")},

		{"slash after the domain", goodEnv, []string{"ZITADEL_DOMAIN=https://a.invalid/"},
			domain("https://a.invalid")},
		{"host name", goodEnv, []string{"ZITADEL_DOMAIN=a.invalid"}, domain("https://a.invalid")},
		{"host name and port", goodEnv, []string{"ZITADEL_DOMAIN=a.invalid:8080 \n"},
			domain("https://a.invalid:8080")},

		{"secret in single quotes", goodEnv + `CLIENT_SECRET='$HOME #"\n+%: '`, nil,
			secret(`$HOME #"\n+%: `)},
		{"secret with # but no space", goodEnv + `CLIENT_SECRET=a#b`, nil, secret("a#b")},
		{"secret in the environment", goodEnv, []string{`CLIENT_SECRET= $HOME #"\n+%: `},
			secret(` $HOME #"\n+%: `)},
		{"secret from a file", goodEnv, []string{"CLIENT_SECRET= a \r\n"}, secret(" a ")},
	} {
		t.Run(row.name, func(t *testing.T) {
			setConfig(t, row.dotenv, row.env...)
			got, err := loadConfig()
			if err != nil {
				t.Fatal(err)
			}
			if got != row.want {
				t.Errorf("got %+v, want %+v", got, row.want)
			}
		})
	}
}

// uncommented returns the lines of an .env file that set a variable in a comment.
func uncommented(dotenv string) string {
	var lines []string
	comments := regexp.MustCompile(`(?m)^# (\w+ = '.*')$`)
	for _, match := range comments.FindAllStringSubmatch(dotenv, -1) {
		lines = append(lines, match[1])
	}
	return strings.Join(lines, "\n")
}

func TestUnreadableDotenv(t *testing.T) {
	const want = ".env cannot be read"
	for _, dotenv := range []string{
		"CLIENT_SECRET='hush", "CLIENT_SECRET hush\n", "hush\n" + goodEnv, "\ufeff" + goodEnv,
	} {
		setConfig(t, dotenv)
		log := captureLog(t)
		_, err := loadConfig()
		if err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("got error %v, want %s", err, want)
		}
		if err != nil && strings.Contains(log.String()+err.Error(), "hush") {
			t.Error("got the client secret in the error or the log, want it in neither")
		}
	}
	setConfig(t, "")
	if err := os.Mkdir(".env", 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := loadConfig(); err == nil || !strings.HasPrefix(err.Error(), want) {
		t.Errorf("got error %v, want %s", err, want)
	}
}

func TestUnencryptedWarning(t *testing.T) {
	for domain, want := range map[string]bool{
		"https://zitadel.invalid": false,
		"http://localhost:8080":   false,
		"http://127.0.0.2":        false,
		"http://[::1]:8080":       false,
		"http://zitadel.invalid":  true,
		"http://192.0.2.1":        true,
	} {
		setConfig(t, goodEnv, "ZITADEL_DOMAIN="+domain)
		log := captureLog(t)
		if _, err := loadConfig(); err != nil {
			t.Fatal(err)
		}
		got := strings.Contains(log.String(), `level=WARN msg="ZITADEL_DOMAIN is not https: `)
		if got != want || got != (log.String() != "") {
			t.Errorf("%s: got log %q, want a warning: %v", domain, log, want)
		}
	}
}

// pipes is a listener for connections in memory, which synctest can wait for.
type pipes chan net.Conn

func (p pipes) Accept() (net.Conn, error) {
	if conn, ok := <-p; ok {
		return conn, nil
	}
	return nil, net.ErrClosed
}
func (p pipes) Close() error   { return nil }
func (p pipes) Addr() net.Addr { return &net.UnixAddr{} }

func TestSlowClients(t *testing.T) {
	const get = "GET /api/public HTTP/1.1\r\nHost: localhost\r\n"
	for _, row := range []struct {
		name   string
		client func(*testing.T, net.Conn)
		want   time.Duration
	}{
		{"no request", func(*testing.T, net.Conn) {}, 5 * time.Second},
		{"part of a header", func(_ *testing.T, c net.Conn) {
			_, _ = io.WriteString(c, get)
		}, 5 * time.Second},
		{"slow header", func(_ *testing.T, c net.Conn) {
			go func() {
				for _, err := io.WriteString(c, get); err == nil; _, err = io.WriteString(c, "X: y\r\n") {
					time.Sleep(time.Second)
				}
			}()
		}, 5 * time.Second},
		{"no body", func(t *testing.T, c net.Conn) {
			_, _ = io.WriteString(c, get+"Content-Length: 9\r\n\r\n")
			readResponse(t, c)
		}, 10 * time.Second},
		{"no second request", func(t *testing.T, c net.Conn) {
			_, _ = io.WriteString(c, get+"\r\n")
			readResponse(t, c)
		}, 2 * time.Minute},
		{"part of a second header", func(t *testing.T, c net.Conn) {
			_, _ = io.WriteString(c, get+"\r\n")
			readResponse(t, c)
			time.Sleep(time.Minute)
			_, _ = io.WriteString(c, get)
		}, time.Minute + 5*time.Second},
		{"response not read", func(_ *testing.T, c net.Conn) {
			_, _ = io.WriteString(c, get+"\r\n")
			time.Sleep(16 * time.Second) // longer than WriteTimeout
		}, 16 * time.Second},
	} {
		t.Run(row.name, func(t *testing.T) {
			captureLog(t)
			synctest.Test(t, func(t *testing.T) {
				server := newServer(config{instanceURL: "https://zitadel.invalid"})
				listener := make(pipes)
				go func() { _ = server.Serve(listener) }()
				client, conn := net.Pipe()
				listener <- conn
				start := time.Now()
				row.client(t, client)
				_, _ = io.Copy(io.Discard, client) // until it is closed
				// net/http may take a moment more, to let the client read the response.
				if got := time.Since(start); got < row.want || got >= row.want+time.Second {
					t.Errorf("got the connection closed after %s, want %s", got, row.want)
				}
				close(listener)
				_ = server.Close()
				time.Sleep(time.Second) // for the goroutine of the slow header
			})
		})
	}
}

// readResponse reads a response with status 200.
func readResponse(t *testing.T, conn net.Conn) {
	t.Helper()
	response, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	_, _ = io.Copy(io.Discard, response.Body)
	if response.StatusCode != http.StatusOK {
		t.Errorf("got status %d, want 200", response.StatusCode)
	}
}

func TestRequestHeaderSize(t *testing.T) {
	captureLog(t)
	server := newServer(config{instanceURL: "https://zitadel.invalid"})
	listener, err := net.Listen("tcp", "localhost:0")
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	go func() { _ = server.Serve(listener) }()
	for size, want := range map[int]int{60 << 10: 200, 63 << 10: 200, 65 << 10: 431, 1 << 20: 431} {
		const start, end = "GET /api/public HTTP/1.1\r\nHost: localhost\r\nX: ", "\r\n\r\n"
		conn, err := net.Dial("tcp", listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		go func() { _, _ = io.WriteString(conn, start+strings.Repeat("x", size-len(start+end))+end) }()
		response, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			t.Fatal(err)
		}
		_ = conn.Close()
		if response.StatusCode != want {
			t.Errorf("header of %d bytes: got status %d, want %d", size, response.StatusCode, want)
		}
	}
}

func TestServerErrorLog(t *testing.T) {
	log := captureLog(t)
	newServer(config{}).ErrorLog.Print("some error")
	if !strings.Contains(log.String(), `level=ERROR msg="some error"`) {
		t.Errorf("got log %q, want the error at level ERROR", log)
	}
}

// A cacheTTL of 0 turns the cache off.
func TestServerCache(t *testing.T) {
	captureLog(t)
	for ttl, want := range map[time.Duration]int{0: 3, time.Hour: 1} {
		introspections := 0
		zitadel := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			introspections++
			_, _ = io.WriteString(w, readerResponse)
		}))
		defer zitadel.Close()
		server := newServer(config{instanceURL: zitadel.URL, clientID: "id", clientSecret: "hush",
			cacheTTL: ttl})
		for range 3 {
			checkStatus(t, "scoped route", get(server.Handler, "/api/private-scoped"), 200)
		}
		if introspections != want {
			t.Errorf("TTL %s: got %d introspections, want %d", ttl, introspections, want)
		}
	}
}

func TestPortInUse(t *testing.T) {
	listener, err := net.Listen("tcp", "localhost:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	_, port, _ := net.SplitHostPort(listener.Addr().String())
	setConfig(t, goodEnv, "PORT="+port)
	captureLog(t)
	err = run(t.Context())
	if _, ok := errors.AsType[*net.OpError](err); !ok ||
		!strings.HasSuffix(err.Error(), ": set PORT to another port, or HOST to another address") {
		t.Errorf("got error %v, want one of net that ends with what to set", err)
	}
}
