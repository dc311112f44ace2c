//go:build unix

package main

import (
	"fmt"
	"log/slog"
	"net"
	"net/http"
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
const patience = 3 * time.Minute

// binary is the path of the demo, which TestMain builds.
var binary string

func TestMain(m *testing.M) {
	os.Exit(buildAndRun(m))
}

// buildAndRun builds the demo, runs the tests and returns their exit status.
func buildAndRun(m *testing.M) int {
	slog.SetDefault(slog.New(slog.DiscardHandler)) // as main does
	folder, err := os.MkdirTemp("", "demo-test-")
	if err != nil {
		fmt.Println(err)
		return 1
	}
	defer os.RemoveAll(folder)
	binary = filepath.Join(folder, "demo")
	build := exec.Command("go", "build", "-buildvcs=false", "-o", binary, ".")
	if output, err := build.CombinedOutput(); err != nil {
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
}

// start starts the demo on free ports. The variables in env replace those.
func start(t *testing.T, env ...string) *demo {
	t.Helper()
	d := &demo{
		cmd:    exec.Command(binary),
		output: filepath.Join(t.TempDir(), "output"),
		tmp:    t.TempDir(),
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
	t.Cleanup(func() {
		syscall.Kill(-d.cmd.Process.Pid, syscall.SIGKILL) // the API too, if the test has failed
		d.cmd.Wait()
	})
	return d
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
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); {
		if match := re.FindStringSubmatch(d.printed(t)); match != nil {
			return match[1]
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatalf("got output\n%s\nwant a match of %s", d.printed(t), pattern)
	return ""
}

// waitReady waits until the demo is ready, and returns the URLs of the API and the stand-in.
func (d *demo) waitReady(t *testing.T) (api, zitadel string) {
	t.Helper()
	zitadel = d.waitFor(t, `ZITADEL_DOMAIN=(\S+)\n(?s:.*)Ctrl-C ends the demo`)
	return d.waitFor(t, `msg=ready url=(\S+)\n`), zitadel
}

// checkExit waits until the demo exits. It reports an error unless it does so with this status
// and these texts in the output, and has removed its temporary files.
func (d *demo) checkExit(t *testing.T, status int, want ...string) {
	t.Helper()
	d.cmd.Wait() // the exit status is checked below
	output := d.printed(t)
	if got := d.cmd.ProcessState.ExitCode(); got != status {
		t.Errorf("got exit status %d, want %d; the output:\n%s", got, status, output)
	}
	for _, text := range want {
		if !strings.Contains(output, text) {
			t.Errorf("got output\n%s\nwant %q in it", output, text)
		}
	}
	if status == 0 && strings.Contains(output, "demo: ") {
		t.Errorf("got output\n%s\nwant no error", output)
	}
	if files, _ := filepath.Glob(filepath.Join(d.tmp, "example-api-go-*")); len(files) > 0 {
		t.Errorf("got temporary files %q, want none", files)
	}
}

// A signal to the demo, or to both as a terminal sends it, ends both. So does one to the API.
func TestSignals(t *testing.T) {
	for _, row := range []struct {
		name, target string
		signal       syscall.Signal
		status       int
		want         string
	}{
		{"Ctrl-C", "both", syscall.SIGINT, 0, ""},
		{"demo terminated", "demo", syscall.SIGTERM, 0, ""},
		{"terminal closed", "demo", syscall.SIGHUP, 0, ""},
		{"API terminated", "API", syscall.SIGTERM, 0, ""},
		{"API killed", "API", syscall.SIGKILL, 1, "demo: the API has ended: signal: killed\n"},
	} {
		t.Run(row.name, func(t *testing.T) {
			d := start(t)
			api, _ := d.waitReady(t)
			demo := d.cmd.Process.Pid
			target := map[string]int{"demo": demo, "both": -demo, "API": child(t, demo)}[row.target]
			if err := syscall.Kill(target, row.signal); err != nil {
				t.Fatal(err)
			}
			d.checkExit(t, row.status, row.want)
			if conn, err := net.Dial("tcp", strings.TrimPrefix(api, "http://")); err == nil {
				conn.Close()
				t.Error("got a connection to the API, want it ended")
			}
		})
	}
}

// child returns the ID of the process that a process has started.
func child(t *testing.T, parent int) int {
	t.Helper()
	list, err := exec.Command("ps", "-A", "-o", "ppid=,pid=").Output()
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(list)) {
		var ppid, pid int
		if _, err := fmt.Sscan(line, &ppid, &pid); err == nil && ppid == parent {
			return pid
		}
	}
	t.Fatal("got no child process, want one")
	return 0
}

func TestPortsInUse(t *testing.T) {
	listener, err := net.Listen("tcp", "localhost:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	_, port, _ := net.SplitHostPort(listener.Addr().String())
	start(t, "PORT="+port, "DEMO_ZITADEL_PORT="+port).checkExit(t, 1,
		"demo: port "+port+" cannot be used, set PORT to another: ",
		"\nport "+port+" cannot be used, set DEMO_ZITADEL_PORT to another: ")
}

// send sends a request with a token and returns the status of the response.
func send(t *testing.T, method, url, token string) int {
	t.Helper()
	req, err := http.NewRequest(method, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+token)
	resp, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	return resp.StatusCode
}

// A role counts at once, whatever is configured for an instance of one's own.
func TestRoles(t *testing.T) {
	d := start(t, "HOST=host.invalid", "INTROSPECTION_CACHE_TTL=1h",
		"ZITADEL_DOMAIN=https://zitadel.invalid", "CLIENT_ID=x", "CLIENT_SECRET=x")
	api, zitadel := d.waitReady(t)
	check := func(path, token string, want bool) {
		t.Helper()
		if got := send(t, "GET", api+path, token); (got == http.StatusOK) != want {
			t.Errorf("%s with %s: got status %d, want 200: %t", path, token, got, want)
		}
	}
	role := zitadel + "/demo/users/reader/roles/" + projectRole
	check("/api/private-scoped", "reader-pat", true)
	send(t, "DELETE", role, "")
	check("/api/private-scoped", "reader-pat", false)
	send(t, "PUT", role, "")
	check("/api/private-scoped", "reader-pat", true)
	check("/api/private-scoped", "visitor-pat", false)
	check("/api/private", "visitor-pat", true)
}
