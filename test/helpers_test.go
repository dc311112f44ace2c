// Package test tests the program as its users and operators meet it: as a process, by its
// sockets, its log and its exit status. It imports nothing of the program.
package test

import (
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"
)

// patience is how long a test waits for what has to happen, on the slowest machine.
const patience = 3 * time.Minute

const clientSecret = "hush"

// program is the path of the program, which TestMain builds.
var program string

func TestMain(m *testing.M) {
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
	build := exec.Command("go", "build", "-buildvcs=false", "-o", program, "..")
	if output, err := build.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "go build: %v\n%s", err, output)
		return 1
	}
	return m.Run()
}

// A process is a program that runs until the test ends.
type process struct {
	cmd     *exec.Cmd
	url     string        // in the ready line
	logFile string        // has its output
	exited  chan struct{} // closed when it has
}

// configuration returns variables for the program, which then listens on a port.
func configuration(port string) []string {
	return []string{"ZITADEL_DOMAIN=https://zitadel.invalid", "CLIENT_ID=client",
		"CLIENT_SECRET=" + clientSecret, "HOST=127.0.0.1", "PORT=" + port}
}

// startProgram starts the program on a free port and waits until it is ready.
func startProgram(t *testing.T, env ...string) *process {
	t.Helper()
	p := launch(t, exec.Command(program), append(configuration("0"), env...)...)
	p.waitReady(t)
	return p
}

// launch starts a command with env in place of the variables that programs in the tests read, in a
// directory of its own. When the test ends, it kills the process and checks its log.
func launch(t *testing.T, cmd *exec.Cmd, env ...string) *process {
	t.Helper()
	if cmd.Dir == "" {
		cmd.Dir = t.TempDir()
	}
	cmd.Env = append(cleanEnv(), env...)
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
		cmd.Process.Kill()
		<-p.exited
		if strings.Contains(p.log(), clientSecret) {
			t.Error("got the client secret in the log, want it nowhere")
		}
	})
	return p
}

// cleanEnv returns the environment without the variables that programs in the tests read.
func cleanEnv() []string {
	read := regexp.MustCompile(`(?i)^(ZITADEL_DOMAIN|CLIENT_ID|CLIENT_SECRET|HOST|PORT|` +
		`INTROSPECTION_CACHE_TTL|DEMO_ZITADEL_PORT|TOKEN|SSL_CERT_FILE|SSL_CERT_DIR|` +
		`HTTPS?_PROXY|ALL_PROXY|NO_PROXY)=`)
	return slices.DeleteFunc(os.Environ(), read.MatchString)
}

// waitReady waits until the process has logged that it is ready.
func (p *process) waitReady(t *testing.T) {
	t.Helper()
	p.url = p.waitLog(t, `level=INFO msg=ready url=(\S+)\n`)
}

// waitLog waits until the log matches a pattern, and returns the text of its group, if any.
func (p *process) waitLog(t *testing.T, pattern string) string {
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

// signal sends the process a signal. It skips the test on Windows, where this cannot be done.
func (p *process) signal(t *testing.T, sig os.Signal) {
	t.Helper()
	if runtime.GOOS == "windows" {
		t.Skip("SKIPPED: Windows has no signals")
	}
	if err := p.cmd.Process.Signal(sig); err != nil {
		t.Fatal(err)
	}
}

// checkExit waits until the process exits, and reports an error unless its exit status is want:
// -1 if a signal killed it.
func (p *process) checkExit(t *testing.T, want int) {
	t.Helper()
	select {
	case <-p.exited:
	case <-time.After(patience):
		t.Fatalf("got no exit, want one; the log:\n%s", p.log())
	}
	if got := p.cmd.ProcessState.ExitCode(); got != want {
		t.Errorf("got exit status %d, want %d; the log:\n%s", got, want, p.log())
	}
}

// startRequest sends the process a request but for the last byte of its body, so that net/http
// waits with the response.
func (p *process) startRequest(t *testing.T) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(p.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	_, err = io.WriteString(conn, "GET /x HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\nx")
	if err != nil {
		t.Fatal(err)
	}
	time.Sleep(100 * time.Millisecond) // until net/http has read the request
	return conn
}

// eventually waits until problem, which says what is wrong, returns "".
func eventually(t *testing.T, problem func() string) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for got := problem(); got != ""; got = problem() {
		if time.Now().After(deadline) {
			t.Fatal(got)
		}
		time.Sleep(10 * time.Millisecond)
	}
}
