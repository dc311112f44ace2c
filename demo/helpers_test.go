//go:build unix

package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"example-api-go/demo/process"
	"example-api-go/demo/walk"
)

var binaries string // a folder with the binaries demo and live

// A process that runs longer is stopped, so that the test fails with its output.
const timeout = 4 * time.Minute

func TestMain(m *testing.M) {
	slog.SetDefault(slog.New(slog.DiscardHandler)) // as main does
	os.Exit(buildAndRun(m))
}

// buildAndRun builds the binaries, runs the tests, and returns the exit status.
func buildAndRun(m *testing.M) int {
	var err error
	binaries, err = os.MkdirTemp("", "demo-test-")
	if err != nil {
		fmt.Println(err)
		return 1
	}
	defer os.RemoveAll(binaries)
	output, err := exec.Command("go", "build", "-o", binaries, ".", "./live").CombinedOutput()
	if err != nil {
		fmt.Printf("%v\n%s", err, output)
		return 1
	}
	return m.Run()
}

// terminal is a command in a process group of its own, as a shell starts it in a terminal.
type terminal struct {
	cmd    *exec.Cmd
	lines  chan string // what its processes print; closed when all of them have ended
	output string      // those lines that have been received
	tmp    string      // the folder for temporary files
}

// start runs a command in a folder. Variables in env replace those of the environment.
func start(t *testing.T, folder string, env []string, command ...string) *terminal {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), timeout)
	term := &terminal{
		cmd:   exec.CommandContext(ctx, command[0], command[1:]...),
		lines: make(chan string, 1000),
		tmp:   t.TempDir(),
	}
	term.cmd.Dir = folder
	term.cmd.Env = slices.Concat(cleanEnviron(), []string{"TMPDIR=" + term.tmp}, env)
	term.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	term.cmd.Cancel = func() error { return term.signal(syscall.SIGTERM) }
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	term.cmd.Stdout, term.cmd.Stderr = w, w
	if err := term.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	_ = w.Close()
	go func() {
		defer close(term.lines)
		for lines := bufio.NewReader(r); ; {
			line, err := lines.ReadString('\n')
			term.lines <- line
			if err == io.EOF {
				return
			}
		}
	}()
	t.Cleanup(func() {
		cancel()
		term.wait()
	})
	return term
}

// cleanEnviron returns the environment without the variables that the commands depend on.
func cleanEnviron() []string {
	remove := []string{"ZITADEL_DOMAIN", "CLIENT_ID", "CLIENT_SECRET", "TOKEN", "VISITOR_TOKEN",
		"HOST", "PORT", "DEMO_ZITADEL_PORT", "INTROSPECTION_CACHE_TTL",
		"MAKEFLAGS", "MAKELEVEL"} // set where make runs the tests
	return slices.DeleteFunc(os.Environ(), func(variable string) bool {
		name, _, _ := strings.Cut(variable, "=")
		return slices.Contains(remove, name)
	})
}

// signal sends a signal to all processes of the terminal, as Ctrl-C does with SIGINT.
func (term *terminal) signal(s syscall.Signal) error {
	return syscall.Kill(-term.cmd.Process.Pid, s)
}

// waitFor waits until text is printed, and reports whether it was.
func (term *terminal) waitFor(text string) bool {
	for !strings.Contains(term.output, text) {
		line, ok := <-term.lines
		if !ok {
			return false
		}
		term.output += line
	}
	return true
}

// hasEnded reports whether all processes have ended.
func (term *terminal) hasEnded() bool {
	select {
	case line, ok := <-term.lines:
		term.output += line
		return !ok
	default:
		return false
	}
}

// wait waits until all processes have ended, and returns the exit status, which is -1 after a
// signal.
func (term *terminal) wait() int {
	for line := range term.lines {
		term.output += line
	}
	_ = term.cmd.Wait()
	return term.cmd.ProcessState.ExitCode()
}

// checkTmp checks that the processes have left no temporary files.
func (term *terminal) checkTmp(t *testing.T) {
	t.Helper()
	if files, err := os.ReadDir(term.tmp); len(files) > 0 || err != nil {
		t.Errorf("got %v, %v in the folder for temporary files, want nothing", files, err)
	}
}

// demo is a demo that is ready.
type demo struct {
	*terminal
	apiPort, zitadelPort string
}

// startDemo runs the demo with a command, on free ports.
func startDemo(t *testing.T, folder string, command ...string) demo {
	t.Helper()
	for {
		d := demo{apiPort: process.FreePort(), zitadelPort: process.FreePort()}
		env := []string{"PORT=" + d.apiPort, "DEMO_ZITADEL_PORT=" + d.zitadelPort}
		d.terminal = start(t, folder, env, command...)
		if d.waitFor("Press Ctrl-C to end the demo.\n") {
			return d
		}
		if !strings.Contains(d.output, "address already in use") {
			t.Fatalf("got a demo that has ended, want it to become ready:\n%s", d.output)
		}
	}
}

// newShell starts a shell in a folder.
func newShell(t *testing.T, folder string, env ...string) *walk.Shell {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), timeout)
	shell, err := walk.NewShell(ctx, folder, t.Output(), env...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cancel()
		shell.Close()
	})
	return shell
}

// clone copies the files that the README's commands use to a new folder, and returns it.
func clone(t *testing.T) string {
	t.Helper()
	folder := filepath.Join(t.TempDir(), "main")
	for _, pattern := range []string{"*.go", "go.*", "Makefile", "README.md", ".env.example",
		"demo/*.go", "demo/*/*.go", "demo/go.*"} {
		files, err := filepath.Glob("../" + pattern)
		if err != nil || files == nil {
			t.Fatalf("got no file %s, %v", pattern, err)
		}
		for _, file := range files {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			to := filepath.Join(folder, strings.TrimPrefix(file, "../"))
			if err := os.MkdirAll(filepath.Dir(to), 0o700); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(to, text, 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	return folder
}

// requireTools skips the test if a tool is missing.
func requireTools(t *testing.T, tools ...string) {
	t.Helper()
	for _, tool := range tools {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("SKIPPED: %s is missing", tool)
		}
	}
}
