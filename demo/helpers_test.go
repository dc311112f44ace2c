//go:build unix

package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
)

// patience is how long a test waits for what has to happen, on the slowest machine.
const patience = 2 * time.Minute

// binary is the path of the demo, which TestMain builds.
var binary string

func TestMain(m *testing.M) {
	os.Exit(buildAndRun(m))
}

// buildAndRun builds the demo, runs the tests, and returns the exit status.
func buildAndRun(m *testing.M) int {
	folder, err := os.MkdirTemp("", "demo-test-")
	if err != nil {
		fmt.Println(err)
		return 1
	}
	defer os.RemoveAll(folder)
	binary = filepath.Join(folder, "demo")
	output, err := exec.Command("go", "build", "-buildvcs=false", "-o", binary, ".").CombinedOutput()
	if err != nil {
		fmt.Printf("go build: %v\n%s", err, output)
		return 1
	}
	return m.Run()
}

// A demo is a running demo, in a process group of its own as in a terminal.
type demo struct {
	cmd    *exec.Cmd
	output string // name of the file with its output
	tmp    string // folder for its temporary files
	exited chan struct{}
}

// start starts a command that runs the demo on free ports. The variables in env replace those.
func start(t *testing.T, command []string, env ...string) *demo {
	t.Helper()
	d := &demo{
		cmd:    exec.Command(command[0], command[1:]...),
		output: filepath.Join(t.TempDir(), "output"),
		tmp:    t.TempDir(),
		exited: make(chan struct{}),
	}
	file, err := os.Create(d.output)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	d.cmd.Stdout, d.cmd.Stderr = file, file
	d.cmd.Env = append(os.Environ(), "TMPDIR="+d.tmp, "PORT=0", "DEMO_ZITADEL_PORT=0")
	d.cmd.Env = append(d.cmd.Env, env...)
	d.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := d.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		d.cmd.Wait() // checkExit reports the exit status
		close(d.exited)
	}()
	t.Cleanup(func() {
		syscall.Kill(-d.cmd.Process.Pid, syscall.SIGKILL) // the API too, if the test has failed
		<-d.exited
	})
	return d
}

// startReady starts the demo, waits until it is ready, and returns it with the URL of the API.
func startReady(t *testing.T, env ...string) (d *demo, url string) {
	t.Helper()
	d = start(t, []string{binary}, env...)
	return d, d.waitFor(t, `msg=ready url=(\S+)\n(?s:.*)Ctrl-C ends the demo`)
}

// printed returns what the demo has printed so far.
func (d *demo) printed(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile(d.output)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// waitFor waits until the output matches a pattern and returns the text of its group.
func (d *demo) waitFor(t *testing.T, pattern string) string {
	t.Helper()
	re := regexp.MustCompile(pattern)
	var match []string
	eventually(t, func() string {
		match = re.FindStringSubmatch(d.printed(t))
		if match == nil {
			return fmt.Sprintf("got output\n%s\nwant a match of %s", d.printed(t), pattern)
		}
		return ""
	})
	return match[1]
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

// kill sends a signal to the process with this ID or, if it is negative, to its group.
func kill(t *testing.T, pid int, s syscall.Signal) {
	t.Helper()
	if err := syscall.Kill(pid, s); err != nil {
		t.Fatal(err)
	}
}

// checkExit waits until the demo exits. It reports an error unless it does so with this status,
// has printed want, and has removed its temporary files.
func (d *demo) checkExit(t *testing.T, status int, want string) {
	t.Helper()
	select {
	case <-d.exited:
	case <-time.After(patience):
		t.Fatalf("got no exit, want one; the output:\n%s", d.printed(t))
	}
	output := d.printed(t)
	if got := d.cmd.ProcessState.ExitCode(); got != status || !strings.Contains(output, want) {
		t.Errorf("got exit status %d, want %d and %q in the output:\n%s", got, status, want, output)
	}
	if status == 0 && strings.Contains(output, "demo: ") {
		t.Errorf("got output\n%s\nwant no error", output)
	}
	if files, _ := filepath.Glob(filepath.Join(d.tmp, "example-api-go-*")); len(files) > 0 {
		t.Errorf("got temporary files %q, want none", files)
	}
}

// waitEnded waits until the API does not listen any more.
func waitEnded(t *testing.T, url string) {
	t.Helper()
	eventually(t, func() string {
		if status, err := get(url + "/api/public"); err == nil {
			return fmt.Sprintf("got status %d, want the API ended", status)
		}
		return ""
	})
}
