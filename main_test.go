package main

import (
	"net"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"sync"
	"testing"
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
	p := launch(t, role, env...)
	p.url = p.log.waitFor(t, `msg=ready url=(\S+)`)
	return p
}

// launch is start for a process that may not become ready.
func launch(t testing.TB, role string, env ...string) *process {
	t.Helper()
	binary, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	p := &process{cmd: exec.Command(binary), log: newLogBuffer()}
	p.cmd.Dir = t.TempDir()
	p.cmd.Env = append([]string{roleVariable + "=" + role, "PATH=" + os.Getenv("PATH")}, env...)
	p.cmd.Stderr = p.log
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.cmd.Process.Kill(); p.cmd.Wait() })
	return p
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

// waitFor waits until the log matches pattern and returns the first group, or the whole
// match without one.
func (l *logBuffer) waitFor(t testing.TB, pattern string) string {
	t.Helper()
	re := regexp.MustCompile(pattern)
	deadline := time.After(time.Minute)
	for {
		l.mu.Lock()
		match, changed := re.FindStringSubmatch(l.text.String()), l.changed
		l.mu.Unlock()
		if match != nil {
			return match[len(match)-1]
		}
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
