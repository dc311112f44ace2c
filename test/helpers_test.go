// Package test tests the program as its users and operators meet it: as a process, by its
// sockets, its log and its exit status. It imports nothing of the program.
package test

import (
	"bufio"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"runtime/debug"
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
	patience = time.Minute // with what has to happen, on the slowest machine

	clientSecret = "hush"
	token        = "opaque-token" // and what tests append to it: never in the log
	withRole     = `{"active":true,"urn:zitadel:iam:org:project:roles":{"read:messages":{}}}`
)

// program is the path of the program, which TestMain builds.
var program string

func TestMain(m *testing.M) {
	runRole() // if a benchmark has started this binary as another program
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
	args := []string{"build", "-buildvcs=false", "-o", program}
	if raceEnabled() {
		args = append(args, "-race")
	}
	build := exec.Command("go", append(args, "..")...)
	if output, err := build.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "go build: %v\n%s", err, output)
		return 1
	}
	return m.Run()
}

// raceEnabled reports whether the tests, and so the program, are built with the race detector.
func raceEnabled() bool {
	info, ok := debug.ReadBuildInfo()
	return ok && slices.Contains(info.Settings, debug.BuildSetting{Key: "-race", Value: "true"})
}

// A process is a program that runs until the test ends.
type process struct {
	cmd     *exec.Cmd
	url     string        // in the ready line
	logFile string        // has its output
	exited  chan struct{} // closed when it has
}

// startProgram starts the program with a ZITADEL instance at domain, on a free port, and waits
// until it is ready.
func startProgram(t testing.TB, domain string, env ...string) *process {
	t.Helper()
	p := launch(t, exec.Command(program), append([]string{"ZITADEL_DOMAIN=" + domain,
		"CLIENT_ID=client", "CLIENT_SECRET=" + clientSecret, "HOST=127.0.0.1", "PORT=0"}, env...)...)
	p.waitReady(t)
	return p
}

// launch starts a command with env in place of the variables that programs in the tests read, in a
// directory of its own. When the test ends it kills the process and checks its log.
func launch(t testing.TB, cmd *exec.Cmd, env ...string) *process {
	t.Helper()
	if cmd.Dir == "" {
		cmd.Dir = t.TempDir()
	}
	cmd.Env = append(cleanEnv(), "GORACE=atexit_sleep_ms=0") // the default is a second
	cmd.Env = append(cmd.Env, env...)
	p := &process{
		cmd:     cmd,
		logFile: filepath.Join(t.TempDir(), "log"),
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
		cmd.Wait() // checkExit reports the exit status
		close(p.exited)
	}()
	t.Cleanup(func() {
		p.kill()
		for _, word := range []string{token, clientSecret, "DATA RACE"} {
			if strings.Contains(p.log(), word) {
				t.Errorf("got %q in the log, want no token, secret or data race", word)
			}
		}
	})
	return p
}

// cleanEnv returns the environment without the variables that programs in the tests read.
func cleanEnv() []string {
	read := regexp.MustCompile(`(?i)^(ZITADEL_DOMAIN|CLIENT_ID|CLIENT_SECRET|HOST|PORT|` +
		`INTROSPECTION_CACHE_TTL|DEMO_ZITADEL_PORT|TOKEN|SSL_CERT_FILE|SSL_CERT_DIR|` +
		`HTTPS?_PROXY|ALL_PROXY|NO_PROXY|MAKEFLAGS|MAKELEVEL)=`)
	return slices.DeleteFunc(os.Environ(), read.MatchString)
}

// waitReady waits until the process has logged that it is ready.
func (p *process) waitReady(t testing.TB) {
	t.Helper()
	p.url = p.waitLog(t, `ready url=(\S+)\n`)
}

// waitLog waits until the log matches a pattern, and returns the text of its group, if any.
func (p *process) waitLog(t testing.TB, pattern string) string {
	t.Helper()
	re := regexp.MustCompile(pattern)
	var match []string
	eventually(t, func() string {
		match = re.FindStringSubmatch(p.log())
		if match == nil {
			return fmt.Sprintf("got log:\n%s\nwant a match of %s", p.log(), pattern)
		}
		return ""
	})
	return match[len(match)-1]
}

// log returns the output of the process so far.
func (p *process) log() string {
	text, err := os.ReadFile(p.logFile)
	if err != nil {
		return err.Error()
	}
	return string(text)
}

// signal sends the process a signal.
func (p *process) signal(t testing.TB, sig os.Signal) {
	t.Helper()
	if err := p.cmd.Process.Signal(sig); err != nil {
		t.Fatal(err)
	}
}

// needUnix skips a test on Windows, where a process cannot be sent a signal.
func needUnix(t testing.TB) {
	t.Helper()
	if runtime.GOOS == "windows" {
		t.Skip("SKIPPED: this test sends signals, which Windows does not have")
	}
}

// kill kills the process and waits until it has exited.
func (p *process) kill() {
	p.cmd.Process.Kill()
	<-p.exited
}

// checkExit waits until the process exits, and reports an error unless its exit status is want:
// -1 if a signal killed it.
func (p *process) checkExit(t testing.TB, want int) {
	t.Helper()
	waitFor(t, p.exited, "exit")
	if got := p.cmd.ProcessState.ExitCode(); got != want {
		t.Errorf("got exit status %d, want %d; the log:\n%s", got, want, p.log())
	}
}

// A client has a connection to a process.
type client struct {
	net.Conn
	responses *bufio.Reader
}

// connect returns a new client of the process.
func (p *process) connect() (*client, error) {
	conn, err := net.Dial("tcp", strings.TrimPrefix(p.url, "http://"))
	if err != nil {
		return nil, err
	}
	conn.SetDeadline(time.Now().Add(patience))
	return &client{conn, bufio.NewReader(conn)}, nil
}

// mustConnect returns a new client, which is closed when the test ends.
func mustConnect(t testing.TB, p *process) *client {
	t.Helper()
	c, err := p.connect()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// send sends a GET request with a token.
func (c *client) send(path, token string) error {
	_, err := io.WriteString(c, "GET "+path+" HTTP/1.1\r\nHost: localhost\r\n"+
		"Authorization: Bearer "+token+"\r\n\r\n")
	return err
}

// status reads a response and returns its status.
func (c *client) status() (int, error) {
	resp, err := http.ReadResponse(c.responses, nil)
	if err != nil {
		return 0, err
	}
	_, err = io.Copy(io.Discard, resp.Body)
	return resp.StatusCode, err
}

// get sends a GET request with a token and returns the status of the response.
func (c *client) get(path, token string) (int, error) {
	if err := c.send(path, token); err != nil {
		return 0, err
	}
	return c.status()
}

// get is client.get on a new connection.
func (p *process) get(path, token string) (int, error) {
	c, err := p.connect()
	if err != nil {
		return 0, err
	}
	defer c.Close()
	return c.get(path, token)
}

// checkGet sends a GET request and reports an error unless the response has this status.
func (p *process) checkGet(t testing.TB, path, token string, want int) {
	t.Helper()
	if got, err := p.get(path, token); err != nil || got != want {
		t.Errorf("%s: got status %d, error %v, want status %d", path, got, err, want)
	}
}

// checkCrowd sends n requests from 64 concurrent callers to the scoped route, each with a token
// of its own, and reports an error unless all responses have this status.
func (p *process) checkCrowd(t testing.TB, n, status int) {
	t.Helper()
	results := make([]string, n)
	crowd(n, func(i int) {
		results[i] = outcome(p.get("/api/private-scoped", token+strconv.Itoa(i)))
	})
	checkAll(t, results, outcome(status, nil))
}

// outcome describes the result of a request.
func outcome(status int, err error) string {
	return fmt.Sprintf("status %d, error %v", status, err)
}

// checkAll reports an error unless all results are want.
func checkAll(t testing.TB, results []string, want string) {
	t.Helper()
	counts := map[string]int{}
	for _, result := range results {
		counts[result]++
	}
	if !maps.Equal(counts, map[string]int{want: len(results)}) {
		t.Errorf("got %v, want %d times %s", counts, len(results), want)
	}
}

// crowd calls f with the numbers below n, from 64 goroutines.
func crowd(n int, f func(i int)) {
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

// waitFor waits until a channel is closed or has a value.
func waitFor(t testing.TB, c <-chan struct{}, what string) {
	t.Helper()
	select {
	case <-c:
	case <-time.After(patience):
		t.Fatalf("got no %s, want one", what)
	}
}

// A zitadel is an HTTP server in place of a ZITADEL instance.
type zitadel struct {
	*httptest.Server
	introspections atomic.Int64
	connections    atomic.Int64
}

// newZITADEL returns a ZITADEL with this introspection endpoint. The caller starts it.
func newZITADEL(t testing.TB, respond http.HandlerFunc) *zitadel {
	z := &zitadel{}
	z.Server = httptest.NewUnstartedServer(http.HandlerFunc(
		func(w http.ResponseWriter, r *http.Request) {
			z.introspections.Add(1)
			r.ParseForm() // reads the body: only then net/http notices that the program leaves
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

// hijack returns the connection of a request, for a response that net/http does not send.
func hijack(w http.ResponseWriter) net.Conn {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		panic(err)
	}
	return conn
}

// respondActive responds that the token is active and its user has the role.
func respondActive(w http.ResponseWriter, _ *http.Request) {
	io.WriteString(w, withRole)
}

// hang never responds. It returns when the program has closed the connection.
func hang(_ http.ResponseWriter, r *http.Request) {
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
	g.asked <- struct{}{}
	select {
	case <-g.open:
		respondActive(w, r)
	case <-r.Context().Done():
	}
}
