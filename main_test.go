package main

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// What this test binary is when it is started again as another process.
const roleVariable = "EXAMPLE_API_TEST_ROLE"

func TestMain(m *testing.M) {
	switch os.Getenv(roleVariable) {
	case "api":
		main()
		os.Exit(0)
	case "floor":
		floor()
	case "zitadel":
		zitadel()
	}
	os.Exit(m.Run())
}

// process is this test binary, running as another process in a folder of its own.
type process struct {
	cmd *exec.Cmd
	url string // what the ready line says
	log *logBuffer
}

// start starts a process and waits until its log says that it is ready. The process is
// killed at the end of the test.
func start(t testing.TB, role string, env ...string) *process {
	t.Helper()
	binary, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return startBinary(t, binary, role, env...)
}

// startBinary is start for another binary than this one.
func startBinary(t testing.TB, binary, role string, env ...string) *process {
	t.Helper()
	p := launch(t, binary, role, newLogBuffer(), env...)
	p.url = p.log.waitFor(t, `msg=ready url=(\S+)`)
	return p
}

// launch is startBinary for a process that may not become ready.
func launch(t testing.TB, binary, role string, log io.Writer, env ...string) *process {
	t.Helper()
	p := &process{cmd: exec.Command(binary)}
	p.log, _ = log.(*logBuffer)
	p.cmd.Dir = t.TempDir()
	p.cmd.Env = append(os.Environ(), roleVariable+"="+role, "ZITADEL_DOMAIN=", "CLIENT_ID=",
		"CLIENT_SECRET=", "HOST=", "PORT=", "INTROSPECTION_CACHE_TTL=")
	p.cmd.Env = append(p.cmd.Env, env...)
	p.cmd.Stderr = log
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.cmd.Process.Kill(); _ = p.cmd.Wait() })
	return p
}

// signal sends the process a signal. On Windows there is none that a test could send.
func (p *process) signal(t testing.TB, sig os.Signal) {
	t.Helper()
	if err := p.cmd.Process.Signal(sig); err != nil {
		t.Fatal(err)
	}
}

// needSignals skips a test where there are none.
func needSignals(t testing.TB) {
	t.Helper()
	if runtime.GOOS == "windows" {
		t.Skip("SKIPPED: Windows has Ctrl-C and no signal that a test could send")
	}
}

// logBuffer keeps what is written to it, and lets a test wait for a line.
type logBuffer struct {
	mu      sync.Mutex
	text    strings.Builder
	changed chan struct{}
}

func newLogBuffer() *logBuffer { return &logBuffer{changed: make(chan struct{})} }

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	close(l.changed)
	l.changed = make(chan struct{})
	return l.text.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// waitFor waits until a line of the log matches pattern and returns the first group, or the
// whole match without one.
func (l *logBuffer) waitFor(t testing.TB, pattern string) string {
	t.Helper()
	re := regexp.MustCompile(pattern)
	deadline := time.After(time.Minute)
	for searched := 0; ; {
		l.mu.Lock()
		text, changed := l.text.String(), l.changed
		l.mu.Unlock()
		if match := re.FindStringSubmatch(text[searched:]); match != nil {
			return match[len(match)-1]
		}
		searched = strings.LastIndexByte(text, '\n') + 1
		select {
		case <-changed:
		case <-deadline:
			t.Fatalf("got log:\n%s\nwant a match of %q", l, pattern)
		}
	}
}

// freePort returns a port that nothing listens on.
func freePort(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "localhost:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, port, _ := net.SplitHostPort(l.Addr().String())
	return port
}

// apiEnv is an environment in which the API is ready to ask the instance at domain.
func apiEnv(t testing.TB, domain string, more ...string) []string {
	return append([]string{"ZITADEL_DOMAIN=" + domain, "CLIENT_ID=id", "CLIENT_SECRET=secret",
		"PORT=" + freePort(t)}, more...)
}

// configure returns what newServer makes of a .env file and of an environment, and the log.
func configure(t *testing.T, dotenv string, env ...string) (*http.Server, *logBuffer, error) {
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
	log := newLogBuffer()
	setLog(t, log)
	server, err := newServer()
	return server, log, err
}

const goodEnv = "ZITADEL_DOMAIN='https://zitadel.invalid'\nCLIENT_ID='id'\nCLIENT_SECRET='hush'\n"

func TestConfigurationErrorsNameEachVariableAtOnce(t *testing.T) {
	example, err := os.ReadFile(".env.example")
	if err != nil {
		t.Fatal(err)
	}
	domain := func(value string) []string { return []string{"ZITADEL_DOMAIN=" + value} }
	ttl := func(value string) []string { return []string{"INTROSPECTION_CACHE_TTL=" + value} }
	for _, row := range []struct {
		name, dotenv string
		env          []string
		want         string // what is named
	}{
		{"nothing is set", "", nil, "ZITADEL_DOMAIN CLIENT_ID CLIENT_SECRET"},
		{"all is wrong", "", []string{"ZITADEL_DOMAIN=/", "CLIENT_ID= ", "PORT=0",
			"CLIENT_SECRET=\n", "INTROSPECTION_CACHE_TTL=1"},
			"ZITADEL_DOMAIN CLIENT_ID CLIENT_SECRET PORT INTROSPECTION_CACHE_TTL"},
		{"an unchanged .env.example", string(example), nil, "ZITADEL_DOMAIN CLIENT_ID CLIENT_SECRET"},
		{"blank values in .env", "ZITADEL_DOMAIN=\nCLIENT_ID=' '\nCLIENT_SECRET=hush", nil,
			"ZITADEL_DOMAIN CLIENT_ID"},

		{"no domain", goodEnv, domain("https://"), "ZITADEL_DOMAIN"},
		{"a port alone", goodEnv, domain(":8080"), "ZITADEL_DOMAIN"},
		{"another scheme", goodEnv, domain("ftp://zitadel.invalid"), "ZITADEL_DOMAIN"},
		{"a typo in the scheme", goodEnv, domain("https//zitadel.invalid"), "ZITADEL_DOMAIN"},
		{"half a scheme", goodEnv, domain("https:zitadel.invalid"), "ZITADEL_DOMAIN"},
		{"a path", goodEnv, domain("https://zitadel.invalid/ui"), "ZITADEL_DOMAIN"},
		{"a path without scheme", goodEnv, domain("zitadel.invalid/ui"), "ZITADEL_DOMAIN"},
		{"a query", goodEnv, domain("https://zitadel.invalid?x"), "ZITADEL_DOMAIN"},
		{"a fragment", goodEnv, domain("https://zitadel.invalid#x"), "ZITADEL_DOMAIN"},
		{"a user", goodEnv, domain("https://hush@zitadel.invalid"), "ZITADEL_DOMAIN"},
		{"a space", goodEnv, domain("https://zitadel .invalid"), "ZITADEL_DOMAIN"},

		{"port 0", goodEnv, []string{"PORT=0"}, "PORT"},
		{"port 65536", goodEnv, []string{"PORT=65536"}, "PORT"},
		{"a negative port", goodEnv, []string{"PORT=-1"}, "PORT"},
		{"a port in words", goodEnv, []string{"PORT=http"}, "PORT"},
		{"a negative TTL", goodEnv, ttl("-1s"), "INTROSPECTION_CACHE_TTL"},
		{"a TTL without unit", goodEnv, ttl("30"), "INTROSPECTION_CACHE_TTL"},
	} {
		t.Run(row.name, func(t *testing.T) {
			_, _, err := configure(t, row.dotenv, row.env...)
			if err == nil {
				t.Fatal("got no error, want one")
			}
			var named []string
			for line := range strings.Lines(err.Error()) {
				if name, _, must := strings.Cut(line, " must be "); must {
					named = append(named, name)
				}
			}
			if got := strings.Join(named, " "); got != row.want {
				t.Errorf("got %q named, want %q:\n%v", got, row.want, err)
			}
			if !strings.Contains(err.Error(), "Copy .env.example to .env") ||
				!strings.Contains(err.Error(), "make demo") {
				t.Errorf("got no word of .env.example and the demo:\n%v", err)
			}
			if strings.Contains(err.Error(), "hush") {
				t.Error("got an error with the secret in it, want none")
			}
		})
	}
}

func TestConfigurationsThatWork(t *testing.T) {
	const required = "CLIENT_ID=id\nCLIENT_SECRET=hush\n"
	for _, row := range []struct {
		name, dotenv string
		env          []string
		address      string
		unencrypted  bool
	}{
		{".env alone", goodEnv, nil, "localhost:5000", false},
		{"the environment alone", "", strings.Fields(strings.ReplaceAll(goodEnv, "'", "")),
			"localhost:5000", false},
		{"the environment wins", goodEnv + "PORT=1", []string{"PORT=2"}, "localhost:2", false},
		{"a blank value does not win", goodEnv + "PORT=1", []string{"PORT= "}, "localhost:1", false},
		{"all of them", goodEnv + "HOST='::1'\nPORT='65535'\nINTROSPECTION_CACHE_TTL='30s'", nil,
			"[::1]:65535", false},
		{"as the original writes them", "ZITADEL_DOMAIN = \"https://zitadel.invalid\"\n" +
			"CLIENT_ID = \"id\"\nCLIENT_SECRET = \"hush\"\n", nil, "localhost:5000", false},
		{"a slash behind the domain", required + "ZITADEL_DOMAIN=https://zitadel.invalid/", nil,
			"localhost:5000", false},
		{"a bare host name", required + "ZITADEL_DOMAIN=zitadel.invalid", nil, "localhost:5000", false},
		{"a line end, as a mounted file has", goodEnv, []string{"ZITADEL_DOMAIN=zitadel.invalid\r\n",
			"CLIENT_ID=id\n", "PORT=1\n"}, "localhost:1", false},
		{"no encryption to this machine", goodEnv, []string{"ZITADEL_DOMAIN=http://localhost:8080"},
			"localhost:5000", false},
		{"nor to its IPv4 address", goodEnv, []string{"ZITADEL_DOMAIN=http://127.0.0.2"},
			"localhost:5000", false},
		{"nor to its IPv6 address", goodEnv, []string{"ZITADEL_DOMAIN=http://[::1]:8080"},
			"localhost:5000", false},
		{"no encryption to another", goodEnv, []string{"ZITADEL_DOMAIN=http://zitadel.invalid"},
			"localhost:5000", true},
		{"nor to its address", goodEnv, []string{"ZITADEL_DOMAIN=http://192.0.2.1"},
			"localhost:5000", true},
	} {
		t.Run(row.name, func(t *testing.T) {
			server, log, err := configure(t, row.dotenv, row.env...)
			if err != nil {
				t.Fatal(err)
			}
			if server.Addr != row.address {
				t.Errorf("got address %s, want %s", server.Addr, row.address)
			}
			warned := strings.Contains(log.String(), "level=WARN msg=\"ZITADEL_DOMAIN is not https")
			if warned != row.unencrypted || strings.Contains(log.String(), "hush") {
				t.Errorf("got a log of %d bytes, want a warning and no secret: %v",
					len(log.String()), row.unencrypted)
			}
		})
	}
}

// What the instance is asked shows which values the API took.
func TestTheEnvironmentAndDotenvGiveTheClientCredentials(t *testing.T) {
	var credentials string
	zitadel := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		id, secret, _ := r.BasicAuth()
		credentials = id + ":" + secret
		_, _ = io.WriteString(w, reader)
	}))
	defer zitadel.Close()
	for _, row := range []struct{ name, dotenv, env, want string }{
		{"single quotes take all as it is", `'$HOME #"\n+%: '`, "", "%24HOME+%23%22%5Cn%2B%25%3A+"},
		{"a # without a space before it", `a#b`, "", "a%23b"},
		{"the environment wins", `'dotenv'`, "environment", "environment"},
		{"a blank one doesn't", `'dotenv'`, " ", "dotenv"},
		{"nor one as in .env.example", `'dotenv'`, "NVAp70IqiGmJldbS....", "dotenv"},
		{"the environment is taken as it is", `'dotenv'`, ` $HOME #"\n+%: `,
			"+%24HOME+%23%22%5Cn%2B%25%3A+"},
	} {
		t.Run(row.name, func(t *testing.T) {
			server, _, err := configure(t, "CLIENT_SECRET="+row.dotenv,
				"ZITADEL_DOMAIN="+zitadel.URL+"/", "CLIENT_ID=a b", "CLIENT_SECRET="+row.env)
			if err != nil {
				t.Fatal(err)
			}
			ask(server.Handler, "/api/private", "Bearer "+testToken)
			if want := "a+b:" + row.want; credentials != want {
				t.Errorf("got client credentials %s, want %s", credentials, want)
			}
		})
	}
}

func TestADotenvThatCannotBeReadIsNotQuoted(t *testing.T) {
	for _, dotenv := range []string{
		"CLIENT_SECRET='hush", "CLIENT_SECRET hush\n", "hush\n" + goodEnv, "\ufeff" + goodEnv,
	} {
		_, log, err := configure(t, dotenv)
		if err == nil || !strings.HasPrefix(err.Error(), ".env can't be read: ") {
			t.Errorf("got error %v, want one about .env", err)
		}
		if strings.Contains(log.String()+err.Error(), "hush") {
			t.Error("got the secret in the error or the log, want it in neither")
		}
	}
	_, _, _ = configure(t, "")
	if err := os.Mkdir(".env", 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := newServer(); err == nil || !strings.Contains(err.Error(), ".env can't be read") {
		t.Errorf("got error %v, want one about .env", err)
	}
}

func TestTheCacheIsOnWhereItIsAskedFor(t *testing.T) {
	calls := 0
	zitadel := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		calls++
		_, _ = io.WriteString(w, reader)
	}))
	defer zitadel.Close()
	for ttl, want := range map[string]int{"": 3, "0": 3, "0s": 3, "1h": 1} {
		server, _, err := configure(t, goodEnv,
			"ZITADEL_DOMAIN="+zitadel.URL, "INTROSPECTION_CACHE_TTL="+ttl)
		if err != nil {
			t.Fatal(err)
		}
		calls = 0
		for range 3 {
			check(t, "TTL "+ttl, ask(server.Handler, "/api/private-scoped", "Bearer "+testToken), 200)
		}
		if calls != want {
			t.Errorf("INTROSPECTION_CACHE_TTL=%s: got %d introspections, want %d", ttl, calls, want)
		}
	}
}

// pipes is a listener in memory, so that synctest can turn the clock.
type pipes chan net.Conn

func (p pipes) Accept() (net.Conn, error) {
	if conn, ok := <-p; ok {
		return conn, nil
	}
	return nil, net.ErrClosed
}
func (p pipes) Close() error   { return nil }
func (p pipes) Addr() net.Addr { return &net.UnixAddr{} }

// dial returns the client's end of a new connection.
func (p pipes) dial() net.Conn {
	client, server := net.Pipe()
	p <- server
	return client
}

func TestSlowAndStuckClientsAreCutOff(t *testing.T) {
	const get = "GET /api/public HTTP/1.1\r\nHost: localhost\r\n"
	for _, row := range []struct {
		name string
		call func(net.Conn)
		want time.Duration
	}{
		{"nothing is sent", func(net.Conn) {}, 5 * time.Second},
		{"a part of a header is sent", func(c net.Conn) {
			_, _ = io.WriteString(c, get)
		}, 5 * time.Second},
		{"a header is sent slowly", func(c net.Conn) {
			go func() {
				for _, err := io.WriteString(c, get); err == nil; _, err = io.WriteString(c, "X: y\r\n") {
					time.Sleep(time.Second)
				}
			}()
		}, 5 * time.Second},
		{"a body is announced and never sent", func(c net.Conn) {
			_, _ = io.WriteString(c, get+"Content-Length: 9\r\n\r\n")
			readAnswer(t, c)
		}, 10 * time.Second},
		{"nothing is sent after an answer", func(c net.Conn) {
			_, _ = io.WriteString(c, get+"\r\n")
			readAnswer(t, c)
		}, 2 * time.Minute},
		{"half a header is sent after an answer", func(c net.Conn) {
			_, _ = io.WriteString(c, get+"\r\n")
			readAnswer(t, c)
			time.Sleep(time.Minute)
			_, _ = io.WriteString(c, get)
		}, time.Minute + 5*time.Second},
		{"the answer is never read", func(c net.Conn) {
			_, _ = io.WriteString(c, get+"\r\n")
			time.Sleep(16 * time.Second) // too long, so that there is nothing to read then
		}, 16 * time.Second},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Chdir(t.TempDir())
			synctest.Test(t, func(t *testing.T) {
				server, _, err := configure(t, goodEnv)
				if err != nil {
					t.Fatal(err)
				}
				listener := make(pipes)
				go func() { _ = server.Serve(listener) }()
				conn := listener.dial()
				began := time.Now()
				row.call(conn)
				_, _ = io.Copy(io.Discard, conn) // until it is closed
				if got := time.Since(began); got != row.want {
					t.Errorf("got cut off after %s, want %s", got, row.want)
				}
				close(listener)
				_ = server.Close()
				time.Sleep(time.Second) // the slow sender sees it
			})
		})
	}
}

// readAnswer reads an answer and wants status 200.
func readAnswer(t *testing.T, conn net.Conn) {
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

func TestTheHeaderIsBounded(t *testing.T) {
	server, _, err := configure(t, goodEnv)
	if err != nil {
		t.Fatal(err)
	}
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
		check(t, strconv.Itoa(size), reply{status: response.StatusCode}, want)
	}
}

func TestWithoutConfigurationItDoesNotServe(t *testing.T) {
	p := launch(t, build(t), "", newLogBuffer())
	err := p.cmd.Wait()
	if exit, ok := errors.AsType[*exec.ExitError](err); !ok || exit.ExitCode() != 1 {
		t.Errorf("got %v, want exit status 1", err)
	}
	if log := p.log.String(); !strings.HasPrefix(log, "ZITADEL_DOMAIN must be ") {
		t.Errorf("got log:\n%s\nwant what is wrong and nothing else", log)
	}
}

func TestAPortInUseIsSaid(t *testing.T) {
	listener, err := net.Listen("tcp", "localhost:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	_, port, _ := net.SplitHostPort(listener.Addr().String())
	if _, _, err := configure(t, goodEnv, "PORT="+port); err != nil {
		t.Fatal(err)
	}
	err = run(t.Context())
	if err == nil || !regexp.MustCompile(`in use|one usage`).MatchString(err.Error()) ||
		!strings.Contains(err.Error(), "PORT changes the port") {
		t.Errorf("got error %v, want that the port is in use and PORT changes it", err)
	}
}

func TestItServesUntilItIsStopped(t *testing.T) {
	_, log, err := configure(t, goodEnv, "PORT="+freePort(t))
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- run(ctx) }()
	api := &testAPI{Server: &httptest.Server{
		URL: log.waitFor(t, `^time=\S+ level=INFO msg=ready url=(http://localhost:\d+)\n$`),
	}}
	check(t, "public", api.get(t, "/api/public"), 200)
	stop()
	if err := <-ended; err != nil {
		t.Errorf("got error %v, want none", err)
	}
	if conn, err := net.Dial("tcp", strings.TrimPrefix(api.URL, "http://")); err == nil {
		_ = conn.Close()
		t.Error("got a connection to what has ended, want none")
	}
}

// holding is an introspection endpoint that says when it is asked, and answers once released.
func holding() (handler http.HandlerFunc, asked, release chan struct{}) {
	asked, release = make(chan struct{}), make(chan struct{})
	return func(w http.ResponseWriter, r *http.Request) {
		asked <- struct{}{}
		<-release
		_, _ = io.WriteString(w, reader)
	}, asked, release
}

func TestASignalLetsRequestsInFlightFinish(t *testing.T) {
	needSignals(t)
	for _, sig := range []os.Signal{syscall.SIGTERM, syscall.SIGINT} {
		t.Run(sig.String(), func(t *testing.T) {
			handler, asked, release := holding()
			zitadel := httptest.NewServer(handler)
			defer zitadel.Close()
			p := start(t, "api", apiEnv(t, zitadel.URL)...)
			address := strings.TrimPrefix(p.url, "http://")
			idle, err := net.Dial("tcp", address)
			if err != nil {
				t.Fatal(err)
			}
			defer idle.Close()
			_, _ = io.WriteString(idle, "GET /api/public HTTP/1.1\r\nHost: localhost\r\n\r\n")
			readAnswer(t, idle)

			api := &testAPI{Server: &httptest.Server{URL: p.url}}
			answered := make(chan reply)
			go func() { answered <- api.get(t, "/api/private-scoped") }()
			<-asked
			p.signal(t, sig)
			p.log.waitFor(t, "msg=\"stopping: ")
			eventually(t, func() string {
				conn, err := net.Dial("tcp", address)
				if err != nil {
					return ""
				}
				_ = conn.Close()
				return "got a new connection, want none"
			})
			close(release)
			check(t, "the request in flight", <-answered, 200)
			if err := p.cmd.Wait(); err != nil {
				t.Errorf("got %v, want exit status 0", err)
			}
		})
	}
}

func TestASecondSignalEndsItAtOnce(t *testing.T) {
	needSignals(t)
	handler, asked, release := holding()
	zitadel := httptest.NewServer(handler)
	defer zitadel.Close()
	defer close(release)
	p := start(t, "api", apiEnv(t, zitadel.URL)...)
	failed := make(chan error)
	go func() {
		request, _ := http.NewRequestWithContext(t.Context(), "GET", p.url+"/api/private", nil)
		request.Header.Set("Authorization", "Bearer "+testToken)
		response, err := http.DefaultTransport.RoundTrip(request)
		if err == nil {
			_ = response.Body.Close()
		}
		failed <- err
	}()
	<-asked
	p.signal(t, syscall.SIGTERM)
	p.log.waitFor(t, "msg=\"stopping: ")
	p.signal(t, syscall.SIGTERM)
	if err := p.cmd.Wait(); err == nil {
		t.Error("got exit status 0, want it ended by the signal")
	}
	if err := <-failed; err == nil {
		t.Error("got an answer to the request in flight, want none")
	}
}
