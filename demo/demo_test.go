//go:build unix

// On Windows there is no signal that a test could send to end a demo.

package main

import (
	"bufio"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

func TestMain(m *testing.M) {
	slog.SetDefault(slog.New(slog.DiscardHandler)) // as main does
	os.Exit(m.Run())
}

// demo is a running demo, started as a terminal does: in a process group of its own.
type demo struct {
	cmd       *exec.Cmd
	temporary string        // the folder for what it has to leave nothing in
	ended     chan struct{} // closed when no process of it is left

	mu      sync.Mutex
	printed strings.Builder
	changed chan struct{}
}

// start starts a demo in a folder, and ends it at the end of the test.
func start(t *testing.T, folder, apiPort, zitadelPort string, command ...string) *demo {
	t.Helper()
	d := &demo{cmd: exec.Command(command[0], command[1:]...), temporary: t.TempDir(),
		ended: make(chan struct{}), changed: make(chan struct{})}
	d.cmd.Dir = folder
	d.cmd.Env = append(os.Environ(), "HOST=", "PORT="+apiPort, "DEMO_ZITADEL_PORT="+zitadelPort,
		"INTROSPECTION_CACHE_TTL=", "TMPDIR="+d.temporary)
	d.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	d.cmd.Stdout, d.cmd.Stderr = w, w
	if err := d.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	_ = w.Close()
	go func() {
		defer close(d.ended)
		for lines := bufio.NewReader(r); ; {
			line, err := lines.ReadString('\n')
			d.mu.Lock()
			d.printed.WriteString(line)
			close(d.changed)
			d.changed = make(chan struct{})
			d.mu.Unlock()
			if err != nil {
				return
			}
		}
	}()
	t.Cleanup(func() {
		_ = syscall.Kill(-d.cmd.Process.Pid, syscall.SIGKILL)
		_ = d.cmd.Wait()
	})
	return d
}

// output returns what the demo has printed.
func (d *demo) output() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.printed.String()
}

// waitFor waits until the demo prints text.
func (d *demo) waitFor(t *testing.T, text string) {
	t.Helper()
	deadline := time.After(4 * time.Minute)
	for {
		d.mu.Lock()
		printed, changed := d.printed.String(), d.changed
		d.mu.Unlock()
		if strings.Contains(printed, text) {
			return
		}
		select {
		case <-changed:
		case <-d.ended:
			t.Fatalf("got a demo that ended, want it to print %q:\n%s", text, printed)
		case <-deadline:
			t.Fatalf("got no %q in:\n%s", text, printed)
		}
	}
}

// wait waits until no process of the demo is left, and returns its exit status.
func (d *demo) wait(t *testing.T) error {
	t.Helper()
	select {
	case <-d.ended:
	case <-time.After(time.Minute):
		t.Fatalf("got a process that goes on, want none:\n%s", d.output())
	}
	return d.cmd.Wait()
}

// interrupt is Ctrl-C: a signal to all processes of the terminal.
func (d *demo) interrupt(t *testing.T) {
	t.Helper()
	if err := syscall.Kill(-d.cmd.Process.Pid, syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
}

// freePort returns a port that nothing listens on.
func freePort(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "localhost:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	return portOf(listener)
}

func portOf(listener net.Listener) string {
	_, port, _ := net.SplitHostPort(listener.Addr().String())
	return port
}

// build builds the demo and returns the path of the binary.
func build(t *testing.T) string {
	t.Helper()
	binary := filepath.Join(t.TempDir(), "demo")
	if output, err := exec.Command("go", "build", "-o", binary, ".").CombinedOutput(); err != nil {
		t.Fatalf("got %v, want the demo built:\n%s", err, output)
	}
	return binary
}

func TestTheEndOfEitherEndsBoth(t *testing.T) {
	binary := build(t)
	for _, row := range []struct {
		name, process string
		signal        syscall.Signal
		fails         bool
		says          string
	}{
		{"the API is killed", "api.exe", syscall.SIGKILL, true, "demo: the API or the stand-in ended: "},
		{"the API is stopped", "api.exe", syscall.SIGTERM, true, "demo: the API or the stand-in ended"},
		{"the demo is stopped", "", syscall.SIGTERM, false, "msg=\"stopping"},
		{"the demo is interrupted alone", "", syscall.SIGINT, false, "msg=\"stopping"},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			d := start(t, ".", freePort(t), freePort(t), binary)
			d.waitFor(t, "Paste these")
			pid := d.cmd.Process.Pid
			if row.process != "" {
				pid = child(t, pid, row.process)
			}
			if err := syscall.Kill(pid, row.signal); err != nil {
				t.Fatal(err)
			}
			if err := d.wait(t); (err != nil) != row.fails || !strings.Contains(d.output(), row.says) {
				t.Errorf("got exit status %v, want a failure: %v, and %q in:\n%s",
					err, row.fails, row.says, d.output())
			}
		})
	}
}

// child returns the ID of the process that parent started under this name.
func child(t *testing.T, parent int, name string) int {
	t.Helper()
	list, err := exec.Command("ps", "-A", "-o", "ppid=,pid=,args=").Output()
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(list)) {
		var ppid, pid int
		if _, err := fmt.Sscan(line, &ppid, &pid); err == nil && ppid == parent &&
			strings.Contains(line, name) {
			return pid
		}
	}
	t.Fatalf("got no process %s, want one", name)
	return 0
}

func TestAPortInUseIsSaid(t *testing.T) {
	binary := build(t)
	listener, err := net.Listen("tcp", "localhost:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	for _, row := range []struct{ name, apiPort, zitadelPort, says string }{
		{"the API's", portOf(listener), freePort(t), "address already in use: PORT changes the port"},
		{"the stand-in's", freePort(t), portOf(listener),
			"address already in use: DEMO_ZITADEL_PORT changes the port"},
	} {
		t.Run(row.name, func(t *testing.T) {
			d := start(t, ".", row.apiPort, row.zitadelPort, binary)
			if err := d.wait(t); err == nil || !strings.Contains(d.output(), row.says) {
				t.Errorf("got exit status %v, want a failure and %q in:\n%s", err, row.says, d.output())
			}
		})
	}
}

// block is a fenced block of the README.
type block struct {
	kind  string // sh, text and so on
	needs string // what a comment before it says: <!-- needs ... -->
	text  string
}

// blocks returns the fenced blocks of the README in order.
func blocks(readme string) []block {
	fence := regexp.MustCompile("(?ms)(?:^<!-- needs ([^\n]*) -->\n)?^ *```(\\w+)\n(.*?)^ *```$")
	var found []block
	for _, match := range fence.FindAllStringSubmatch(readme, -1) {
		found = append(found, block{kind: match[2], needs: match[1], text: match[3]})
	}
	return found
}

// clone copies the files that git would clone, and returns the folder.
func clone(t *testing.T) string {
	t.Helper()
	to := t.TempDir()
	for _, pattern := range []string{"*.go", "go.*", "Makefile", "README.md", ".env.example",
		"demo/*.go", "demo/go.*"} {
		files, err := filepath.Glob(filepath.Join("..", pattern))
		if err != nil || len(files) == 0 {
			t.Fatalf("got no file %s, %v", pattern, err)
		}
		for _, file := range files {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			copied := filepath.Join(to, "main", filepath.Dir(pattern), filepath.Base(file))
			_ = os.MkdirAll(filepath.Dir(copied), 0o700)
			if err := os.WriteFile(copied, text, 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	return filepath.Join(to, "main")
}

// shell is a terminal in which blocks are pasted.
type shell struct {
	in     io.Writer
	out    *bufio.Reader
	errors *strings.Builder
}

func newShell(t *testing.T, folder string) *shell {
	t.Helper()
	cmd := exec.Command("sh")
	cmd.Dir = folder
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	s := &shell{in, bufio.NewReader(out), &strings.Builder{}}
	cmd.Stderr = s.errors
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = in.Close(); _ = cmd.Wait() })
	return s
}

// paste runs commands and returns what they print on standard output.
func (s *shell) paste(t *testing.T, commands string) string {
	t.Helper()
	const end = "-- that was all --"
	_, _ = io.WriteString(s.in, commands+"\nprintf '\\n"+end+"\\n'\n")
	var printed strings.Builder
	for {
		line, err := s.out.ReadString('\n')
		if err != nil {
			t.Fatalf("got %v, want the shell to go on:\n%s", err, printed.String())
		}
		if line == end+"\n" {
			return strings.TrimSuffix(printed.String(), "\n")
		}
		printed.WriteString(line)
	}
}

// The README's commands are pasted in order, and each prints what the README shows below it.
func TestTheREADME(t *testing.T) {
	for _, tool := range []string{"sh", "curl"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("SKIPPED: %s is missing, and the README's commands need it", tool)
		}
	}
	readme, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	folder := clone(t)
	terminal := newShell(t, folder)
	apiPort, zitadelPort := freePort(t), freePort(t)
	ports := strings.NewReplacer("localhost:5000", "localhost:"+apiPort,
		"localhost:8080", "localhost:"+zitadelPort)
	var d *demo
	const none = "\x00"
	want := none // what the commands above a block print, by the README
	var ran, left int
	found := blocks(string(readme))
	for n, block := range found {
		text := ports.Replace(block.text)
		answer := none
		if n+1 < len(found) && found[n+1].kind == "text" {
			answer = ports.Replace(found[n+1].text)
		}
		_, err := os.Stat("/etc/ssl/certs/ca-certificates.crt")
		possible := block.needs == "" ||
			block.needs == "a Linux with CA certificates" && runtime.GOOS == "linux" && err == nil
		switch {
		case block.kind == "text" && want == none:
			t.Errorf("got an answer that follows no command, want a command above it:\n%s", text)
		case block.kind != "sh":
		case !possible:
			left++
			t.Logf("needs %s, and so was not run:\n%s", block.needs, text)
		case d == nil: // the first command starts the demo
			ran++
			if _, err := exec.LookPath("make"); err != nil {
				text = strings.Replace(text, "make demo", "go -C demo run .", 1)
			}
			d = start(t, folder, apiPort, zitadelPort, "sh", "-c", text)
			d.waitFor(t, "Paste these")
		default:
			ran++
			if strings.Contains(text, "curl") && answer == none {
				t.Errorf("got a command without an answer, want its answer below it:\n%s", text)
			}
			if got := terminal.paste(t, text); answer != none && got != answer ||
				answer == none && got != "" {
				t.Errorf("got\n%s\nwant as in the README\n%s\nof\n%s\nerrors:\n%s",
					got, answer, text, terminal.errors)
			}
		}
		want = none
		if block.kind == "sh" {
			want = answer
		}
	}
	if ran < 10 || left < 3 {
		t.Errorf("got %d blocks run and %d that need more, want 10 and 3 at least", ran, left)
	}

	logLine := regexp.MustCompile("`(msg=[^`]+)`")
	for _, match := range logLine.FindAllStringSubmatch(string(readme), -1) {
		d.waitFor(t, ports.Replace(match[1]))
	}
	pasted := 0
	for line := range strings.Lines(d.output()) {
		if command, ok := strings.CutPrefix(line, "  curl "); ok {
			pasted++
			if got := terminal.paste(t, "curl "+command); !strings.HasSuffix(got, "\n200\n") {
				t.Errorf("got %q, want status 200 of curl %s", got, command)
			}
		}
	}
	if pasted != 3 {
		t.Errorf("got %d commands from the demo, want 3:\n%s", pasted, d.output())
	}
	secret, _, _ := strings.Cut(clientSecret, " ") // what is the same in each demo
	if !strings.Contains(d.output(), "no identity provider") || strings.Contains(d.output(), secret) {
		t.Error("got the secret, or no word that the stand-in is no identity provider")
	}

	d.interrupt(t)
	_ = d.wait(t) // make, go or the demo says how it ended
	for _, port := range []string{apiPort, zitadelPort} {
		listener, err := net.Listen("tcp", "localhost:"+port)
		if err != nil {
			t.Errorf("got %v after Ctrl-C, want the port free", err)
			continue
		}
		_ = listener.Close()
	}
	if left, err := os.ReadDir(d.temporary); len(left) > 0 || err != nil {
		t.Errorf("got %v, %v left after Ctrl-C, want nothing", left, err)
	}
}
