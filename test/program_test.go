// Package test tests the program as its users and operators meet it: built with go build, run
// as a process, and seen through its sockets, its log and its exit status. It imports nothing
// of the program. This file has what the tests share; each other file tests one subject.
package test

import (
	"bufio"
	"encoding/base64"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

const (
	callers  = 64          // in a crowd
	patience = time.Minute // with anything that has to happen, on the slowest machine

	noZITADEL    = "http://127.0.0.1:1" // for tests without an introspection
	clientID     = "client"
	clientSecret = "hush+%hush"
	tokenPrefix  = "opaque-token-" // of each token: none may be in a log

	withRole = `{"active":true,"urn:zitadel:iam:org:project:roles":{"read:messages":{}}}`
)

// program is the path of the program, which TestMain builds.
var program string

func TestMain(m *testing.M) {
	// The benchmarks start this test binary again as other programs.
	switch os.Getenv(roleVariable) {
	case roleZITADEL:
		serveZITADEL()
	case roleFloor:
		serveFloor()
	}
	os.Exit(buildAndRun(m))
}

// buildAndRun builds the program, runs the tests and returns their exit status.
func buildAndRun(m *testing.M) int {
	dir, err := os.MkdirTemp("", "example-api-go-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	program = filepath.Join(dir, "api.exe") // Windows needs the suffix; other systems ignore it
	build := exec.Command("go", "build", "-o", program)
	if raceEnabled {
		build.Args = append(build.Args, "-race")
	}
	build.Args = append(build.Args, "..")
	build.Stdout, build.Stderr = os.Stderr, os.Stderr
	if err := build.Run(); err != nil {
		fmt.Fprintln(os.Stderr, "go build:", err)
		return 1
	}
	// The parallel tests wait for timeouts most of the time. This is a default: m.Run parses
	// the command line later.
	if err := flag.Set("test.parallel", "16"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.Run()
}

// A process is a program that runs until the test ends.
type process struct {
	cmd     *exec.Cmd
	url     string        // from the ready line of its log
	logFile string        // gets its output
	exited  chan struct{} // closed when it has
}

// cleanEnv clears the variables that affect the program.
var cleanEnv = []string{
	"ZITADEL_DOMAIN=", "CLIENT_ID=", "CLIENT_SECRET=", "HOST=", "PORT=",
	"INTROSPECTION_CACHE_TTL=", "SSL_CERT_FILE=", "SSL_CERT_DIR=",
	"HTTP_PROXY=", "HTTPS_PROXY=", "NO_PROXY=", "http_proxy=", "https_proxy=", "no_proxy=",
	"GOTRACEBACK=all",
	"GORACE=atexit_sleep_ms=0", // the default is a second
}

// launch starts a command, which gets env, in a directory of its own. When the test ends it
// kills the process and checks its log.
func launch(t testing.TB, cmd *exec.Cmd, env ...string) *process {
	t.Helper()
	cmd.Dir = t.TempDir()
	cmd.Env = slices.Concat(os.Environ(), cleanEnv, env)
	p := &process{
		cmd:     cmd,
		logFile: filepath.Join(cmd.Dir, "log"),
		exited:  make(chan struct{}),
	}
	file, err := os.Create(p.logFile)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	cmd.Stdout, cmd.Stderr = file, file
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		_ = cmd.Wait() // exitStatus reports it
		close(p.exited)
	}()
	t.Cleanup(func() {
		p.kill()
		checkLog(t, p.log())
	})
	return p
}

// checkLog reports an error if a log contains a secret or a data race.
func checkLog(t testing.TB, log string) {
	t.Helper()
	escaped := url.QueryEscape(clientSecret)
	basic := base64.StdEncoding.EncodeToString([]byte(clientID + ":" + escaped))
	for _, secret := range []string{tokenPrefix, clientSecret, escaped, basic} {
		if strings.Contains(log, secret) {
			t.Error("got a token or the client secret in the log, want neither")
		}
	}
	if strings.Contains(log, "DATA RACE") {
		t.Errorf("got a data race in the log:\n%s", log)
	}
}

// startProgram starts the program, configured to introspect tokens at domain, and waits until
// it is ready.
func startProgram(t testing.TB, domain string, env ...string) *process {
	t.Helper()
	return startCommand(t, []string{program}, domain, env...)
}

// startCommand is startProgram for a command that runs the program.
func startCommand(t testing.TB, command []string, domain string, env ...string) *process {
	t.Helper()
	for range 20 {
		p := launch(t, exec.Command(command[0], command[1:]...), append([]string{
			"ZITADEL_DOMAIN=" + domain, "CLIENT_ID=" + clientID, "CLIENT_SECRET=" + clientSecret,
			"HOST=127.0.0.1", "PORT=" + pickPort(t)}, env...)...)
		if p.waitReady(t) {
			return p
		}
		if !strings.Contains(p.log(), "listen tcp") {
			t.Fatalf("got log:\n%s\nwant a ready line", p.lastLog())
		}
		// Someone else has taken the port.
	}
	t.Fatal("got no port to listen on in 20 attempts, want one")
	return nil
}

// waitReady waits until the process is ready, and reports whether it is: it may have exited.
func (p *process) waitReady(t testing.TB) bool {
	t.Helper()
	ready := regexp.MustCompile(`msg=ready url=(\S+)\n`)
	eventually(t, func() string {
		exited := p.hasExited() // before the log is read, so that the log is complete
		if match := ready.FindStringSubmatch(p.log()); match != nil {
			p.url = match[1]
			return ""
		}
		if exited {
			return ""
		}
		return "got no ready line in the log:\n" + p.lastLog()
	})
	return p.url != ""
}

// address returns the host and port that the process listens on.
func (p *process) address() string { return strings.TrimPrefix(p.url, "http://") }

// log returns the output of the process so far.
func (p *process) log() string {
	text, err := os.ReadFile(p.logFile)
	if err != nil {
		return err.Error()
	}
	return string(text)
}

// lastLog returns the last lines of the log, for a failure message.
func (p *process) lastLog() string {
	lines := slices.Collect(strings.Lines(p.log()))
	return strings.Join(lines[max(0, len(lines)-20):], "")
}

// waitForLog waits until the log contains text.
func (p *process) waitForLog(t testing.TB, text string) {
	t.Helper()
	eventually(t, func() string {
		if !strings.Contains(p.log(), text) {
			return fmt.Sprintf("got log:\n%s\nwant %q in it", p.lastLog(), text)
		}
		return ""
	})
}

// signal sends the process a signal.
func (p *process) signal(t testing.TB, sig os.Signal) {
	t.Helper()
	if err := p.cmd.Process.Signal(sig); err != nil {
		t.Fatal(err)
	}
}

// needSignals skips a test on Windows, where a test cannot send signals.
func needSignals(t testing.TB) {
	t.Helper()
	if runtime.GOOS == "windows" {
		t.Skip("SKIPPED: a test cannot send signals on Windows")
	}
}

// kill kills the process and waits until it has exited.
func (p *process) kill() {
	_ = p.cmd.Process.Kill() // fails if it has exited
	<-p.exited
}

// hasExited reports whether the process has exited.
func (p *process) hasExited() bool {
	select {
	case <-p.exited:
		return true
	default:
		return false
	}
}

// exitStatus waits until the process exits, and returns its exit status, or -1 if a signal
// killed it.
func (p *process) exitStatus(t testing.TB) int {
	t.Helper()
	select {
	case <-p.exited:
	case <-time.After(patience):
		t.Fatalf("got no exit, want one; the log:\n%s", p.lastLog())
	}
	return p.cmd.ProcessState.ExitCode()
}

// openFiles returns the number of files and connections that the process has open. Where the
// system is not Linux it returns 0.
func (p *process) openFiles() int {
	files, _ := os.ReadDir(fmt.Sprintf("/proc/%d/fd", p.cmd.Process.Pid))
	return len(files)
}

// waitForOpenFiles waits until the process has as many open files as before, or a few more.
func (p *process) waitForOpenFiles(t testing.TB, before int) {
	t.Helper()
	eventually(t, func() string { return p.tooManyFiles(before) })
}

// tooManyFiles says that the process has more open files than before, and a few. Otherwise it
// returns "".
func (p *process) tooManyFiles(before int) string {
	const few = 5
	if got := p.openFiles(); got > before+few {
		return fmt.Sprintf("got %d open files, want at most %d: %d more than before",
			got, before+few, few)
	}
	return ""
}

// nextPort is the next port that listen tries, below the ports that systems give to clients.
var nextPort atomic.Int64

func init() { nextPort.Store(int64(10_000 + rand.IntN(15_000))) }

// listen listens on a port that no other call returns, and that the system gives to no client.
func listen(t testing.TB) net.Listener {
	t.Helper()
	for range 100 {
		port := strconv.FormatInt(nextPort.Add(1), 10)
		if listener, err := net.Listen("tcp", "127.0.0.1:"+port); err == nil {
			return listener
		}
	}
	t.Fatal("got no port to listen on in 100 attempts, want one")
	return nil
}

// pickPort returns a free port. Another process may take it before it is used.
func pickPort(t testing.TB) string {
	t.Helper()
	listener := listen(t)
	defer listener.Close()
	return strconv.Itoa(listener.Addr().(*net.TCPAddr).Port)
}

// A client has a connection to a process, which it keeps alive.
type client struct {
	net.Conn
	responses *bufio.Reader
}

// connect returns a new client of the process.
func (p *process) connect() (*client, error) {
	conn, err := net.Dial("tcp", p.address())
	if err != nil {
		return nil, err
	}
	return &client{conn, bufio.NewReader(conn)}, nil
}

// mustConnect returns a new client of a process, which is closed when the test ends.
func mustConnect(t testing.TB, p *process) *client {
	t.Helper()
	c, err := p.connect()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// send sends a GET request with a token.
func (c *client) send(path, token string) error {
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	_, err := io.WriteString(c, "GET "+path+" HTTP/1.1\r\nHost: localhost\r\n"+
		"Authorization: Bearer "+token+"\r\n\r\n")
	return err
}

// status reads a response and returns its status, or 0 if there is no whole response.
func (c *client) status() int {
	response, err := http.ReadResponse(c.responses, nil)
	if err != nil {
		return 0
	}
	if _, err := io.Copy(io.Discard, response.Body); err != nil {
		return 0
	}
	return response.StatusCode
}

// get sends a GET request with a token and returns the status of the response, or 0 if there
// is no whole response.
func (c *client) get(path, token string) int {
	if err := c.send(path, token); err != nil {
		return 0
	}
	return c.status()
}

// get is client.get on a new connection.
func (p *process) get(path, token string) int {
	c, err := p.connect()
	if err != nil {
		return 0
	}
	defer c.Close()
	return c.get(path, token)
}

// checkScoped sends concurrent requests to the scoped route, each with its own token and
// connection, and reports an error unless every response has this status.
func (p *process) checkScoped(t testing.TB, requests, status int) {
	t.Helper()
	var mu sync.Mutex
	got := map[int]int{} // responses by status
	crowd(requests, func(n int) {
		response := p.get("/api/private-scoped", tokenPrefix+strconv.Itoa(n))
		mu.Lock()
		defer mu.Unlock()
		got[response]++
	})
	if want := map[int]int{status: requests}; !maps.Equal(got, want) {
		t.Errorf("got responses by status %v, want %v", got, want)
	}
}

// crowd calls f with the numbers below n, from 64 goroutines.
func crowd(n int, f func(n int)) {
	var wg sync.WaitGroup
	var next atomic.Int64
	for range callers {
		wg.Go(func() {
			for i := int(next.Add(1)); i <= n; i = int(next.Add(1)) {
				f(i - 1)
			}
		})
	}
	wg.Wait()
}

// eventually waits until problem, which says what is wrong, returns "".
func eventually(t testing.TB, problem func() string) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for got := problem(); got != ""; got = problem() {
		if time.Now().After(deadline) {
			t.Fatal(got)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// retry calls attempt, which says what went wrong, until it returns "", up to three times. It
// is for tests that a correct program may fail when the machine is held up for seconds.
func retry(t testing.TB, attempt func() string) {
	t.Helper()
	for range 3 {
		problem := attempt()
		if problem == "" {
			return
		}
		t.Log(problem)
	}
	t.Error("got 3 attempts that failed, want one that succeeds")
}

// A zitadel is an HTTP server in place of a ZITADEL instance.
type zitadel struct {
	*httptest.Server
	introspections atomic.Int64 // so far
	connections    atomic.Int64 // so far
}

// newZITADEL returns a ZITADEL whose introspection endpoint is respond. The caller starts it.
func newZITADEL(t testing.TB, respond http.HandlerFunc) *zitadel {
	z := &zitadel{}
	z.Server = httptest.NewUnstartedServer(http.HandlerFunc(
		func(w http.ResponseWriter, r *http.Request) {
			z.introspections.Add(1)
			respond(w, r)
		}))
	z.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, 0)
	z.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			z.connections.Add(1)
		}
	}
	t.Cleanup(z.Close)
	return z
}

// startZITADEL is newZITADEL, started.
func startZITADEL(t testing.TB, respond http.HandlerFunc) *zitadel {
	z := newZITADEL(t, respond)
	z.Start()
	return z
}

// respondActive responds that the token is active and its user has the role.
func respondActive(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	_, _ = io.WriteString(w, withRole)
}

// hang never responds. It returns when the program has closed the connection.
func hang(_ http.ResponseWriter, r *http.Request) {
	_, _ = io.Copy(io.Discard, r.Body) // only then net/http watches the connection
	<-r.Context().Done()
}

// A gate holds responses back.
type gate struct {
	asked chan struct{} // gets a value for each request
	open  chan struct{} // responses go out when it is closed
}

func newGate() gate { return gate{make(chan struct{}, 10_000), make(chan struct{})} }

// respond is respondActive when the gate is open.
func (g gate) respond(w http.ResponseWriter, r *http.Request) {
	_, _ = io.Copy(io.Discard, r.Body)
	g.asked <- struct{}{}
	select {
	case <-g.open:
		respondActive(w, r)
	case <-r.Context().Done():
	}
}

// waitAsked waits until a request has come to the gate.
func (g gate) waitAsked(t testing.TB) {
	t.Helper()
	waitFor(t, g.asked, "introspection")
}

// waitFor waits until a channel is closed or has a value.
func waitFor(t testing.TB, c <-chan struct{}, what string) {
	t.Helper()
	select {
	case <-c:
	case <-time.After(patience):
		t.Fatalf("got no %s, want one", what)
	}
}

// hijack returns the connection of a request, for a response that net/http does not send.
func hijack(w http.ResponseWriter) net.Conn {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		panic(err)
	}
	return conn
}

// respondRaw returns a handler that sends text in place of a response and closes the
// connection.
func respondRaw(text string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body) // unread data would reset the connection
		conn := hijack(w)
		_, _ = io.WriteString(conn, text)
		_ = conn.Close()
	}
}

// untilClosed reads from a connection until the other side closes it.
func untilClosed(conn net.Conn) error {
	if err := conn.SetReadDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	_, err := io.Copy(io.Discard, conn)
	if netErr, ok := errors.AsType[net.Error](err); ok && netErr.Timeout() {
		return err
	}
	return nil // a reset closes it too
}
