//go:build unix

// On Windows a test cannot send the signals that end a demo.

package main

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"example-api-go/demo/process"
	"example-api-go/demo/walk"
)

// TestREADME runs the README's commands in order. Each must print what the README shows.
func TestREADME(t *testing.T) {
	t.Parallel()
	requireTools(t, "make", "sh", "curl")
	readme, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	steps, err := walk.Parse(string(readme))
	if err != nil {
		t.Fatal(err)
	}
	folder := clone(t)
	shell := newShell(t, folder)
	shells := map[string]*walk.Shell{ // by what a step needs; nil if this test does not have it
		"":                        shell,
		"the demo":                shell,
		"a user without the role": shell,
		"a repository":            nil,
		"an instance":             nil,
		"an instance and its client credentials": newShell(t, folder,
			"ZITADEL_DOMAIN="+startStandIn(t).URL, "CLIENT_ID="+clientID,
			"CLIENT_SECRET="+clientSecret, "TOKEN=reader-pat"),
	}
	var d demo
	var ports *strings.Replacer // of the README by those of the demo
	var done, commands string   // commands is done at the end of Testing the API
	for _, step := range steps {
		shell, ok := shells[step.Needs]
		switch {
		case !ok:
			t.Errorf("got <!-- needs %s -->, want a need that this test knows", step.Needs)
		case shell == nil:
		case step.Commands == "make demo\n":
			d = startDemo(t, folder, "make", "demo")
			ports = strings.NewReplacer("localhost:5000", "localhost:"+d.apiPort,
				"localhost:8080", "localhost:"+d.zitadelPort)
			if got, want := withoutLog(d.output), ports.Replace(step.Output); got != want {
				t.Errorf("make demo: got\n%s\nwant as in the README\n%s", got, want)
			}
		case ports == nil:
			t.Fatalf("want make demo before\n%s", step.Commands)
		default:
			got, err := shell.Run(ports.Replace(step.Commands))
			if want := ports.Replace(step.Output); got != want || err != nil {
				t.Fatalf("%s: got\n%s%v\nwant as in the README\n%s", step.Commands, got, err, want)
			}
			if step.Needs != "an instance and its client credentials" {
				done += ports.Replace(step.Commands)
			}
			if step.Section == "Testing the API" {
				commands = done
			}
		}
	}

	if ports == nil {
		t.Fatal("got no step make demo")
	}

	var printed string
	for line := range strings.Lines(d.output) {
		if strings.HasPrefix(line, "TOKEN=") || strings.HasPrefix(line, "curl ") {
			printed += line
		}
	}
	if printed != commands {
		t.Errorf("make demo: got the commands\n%s\nwant those of the README\n%s", printed, commands)
	}
	logLine := regexp.MustCompile("`(msg=ready [^`]+)`")
	for _, match := range logLine.FindAllStringSubmatch(string(readme), -1) {
		if !strings.Contains(d.output, ports.Replace(match[1])) {
			t.Errorf("got no %s in the log, want it as in the README:\n%s", match[1], d.output)
		}
	}
	checkInterrupt(t, d)
	if !strings.Contains(d.output, "not an identity provider") || strings.Contains(d.output, "%2F") {
		t.Errorf("want that the stand-in is not an identity provider, and no client secret:\n%s",
			d.output)
	}
}

// withoutLog returns the lines that the demo itself has printed.
func withoutLog(output string) string {
	var printed string
	for line := range strings.Lines(output) {
		if !strings.HasPrefix(line, "time=") && !strings.HasPrefix(line, "go: downloading ") {
			printed += line
		}
	}
	return strings.TrimSpace(printed) + "\n"
}

// checkInterrupt interrupts a demo as Ctrl-C does. After that, only the API may print something.
func checkInterrupt(t *testing.T, d demo) {
	t.Helper()
	before := len(withoutLog(d.output))
	if err := d.signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	d.wait()
	if after := withoutLog(d.output)[before:]; after != "" {
		t.Errorf("got after Ctrl-C\n%s\nwant only the log of the API", after)
	}
	if !strings.Contains(d.output, `msg="stopping`) {
		t.Errorf("got an API that did not stop by itself, want it to log that it stops:\n%s", d.output)
	}
	d.checkTmp(t)
}

func TestInterrupt(t *testing.T) {
	t.Parallel()
	d := startDemo(t, ".", filepath.Join(binaries, "demo"))
	checkInterrupt(t, d)
	if status := d.wait(); status != 0 {
		t.Errorf("got exit status %d, want 0", status)
	}
}

// After Ctrl-C go run itself exits with status 1, whatever the program does, but prints nothing.
func TestInterruptGoRun(t *testing.T) {
	t.Parallel()
	checkInterrupt(t, startDemo(t, "..", "go", "-C", "demo", "run", "."))
}

// Ctrl-C while the API is being built ends the demo without an error.
func TestInterruptDuringBuild(t *testing.T) {
	t.Parallel()
	for {
		zitadelPort := process.FreePort()
		env := []string{"PORT=" + process.FreePort(), "DEMO_ZITADEL_PORT=" + zitadelPort}
		term := start(t, ".", env, filepath.Join(binaries, "demo"))
		for !listens(zitadelPort) && !term.hasEnded() { // the API is built after that
			runtime.Gosched()
		}
		_ = term.signal(syscall.SIGINT)
		status := term.wait()
		if strings.Contains(term.output, "address already in use") {
			continue // try other ports
		}
		if status != 0 || strings.Contains(term.output, "demo:") {
			t.Errorf("got exit status %d, want 0 and no error:\n%s", status, term.output)
		}
		term.checkTmp(t)
		return
	}
}

// listens reports whether a process listens on a port.
func listens(port string) bool {
	conn, err := net.Dial("tcp", "localhost:"+port)
	if err != nil {
		return false
	}
	_ = conn.Close()
	return true
}

func TestDemoAndAPIEndTogether(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name   string
		api    bool // gets the signal instead of the demo
		signal syscall.Signal
		status int
		want   string
	}{
		{"API killed", true, syscall.SIGKILL, 1, "\ndemo: the API has ended: signal: killed\n"},
		{"API terminated", true, syscall.SIGTERM, 1, "\ndemo: the API has ended: exit status 0\n"},
		{"demo terminated", false, syscall.SIGTERM, 0, `msg="stopping`},
		{"demo interrupted", false, syscall.SIGINT, 0, `msg="stopping`},
		{"terminal closed", false, syscall.SIGHUP, 0, `msg="stopping`},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			d := startDemo(t, ".", filepath.Join(binaries, "demo"))
			pid := d.cmd.Process.Pid
			if row.api {
				pid = child(t, pid)
			}
			if err := syscall.Kill(pid, row.signal); err != nil {
				t.Fatal(err)
			}
			if status := d.wait(); status != row.status || !strings.Contains(d.output, row.want) {
				t.Errorf("got exit status %d, want %d and %q in:\n%s",
					status, row.status, row.want, d.output)
			}
			d.checkTmp(t)
		})
	}
}

// child returns the ID of the only process that parent has started.
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
	t.Fatalf("got no child of process %d, want one", parent)
	return 0
}

func TestPortInUse(t *testing.T) {
	t.Parallel()
	listener, err := net.Listen("tcp", "localhost:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	_, used, _ := net.SplitHostPort(listener.Addr().String())
	for _, row := range []struct{ name, variable, other string }{
		{"of the API", "PORT", "DEMO_ZITADEL_PORT"},
		{"of the stand-in", "DEMO_ZITADEL_PORT", "PORT"},
	} {
		t.Run(row.name, func(t *testing.T) {
			for {
				free := process.FreePort()
				env := []string{row.variable + "=" + used, row.other + "=" + free}
				term := start(t, ".", env, filepath.Join(binaries, "demo"))
				status := term.wait()
				if strings.Contains(term.output, ":"+free+": bind: address already in use") {
					continue // try another port
				}
				want := regexp.MustCompile(`^demo: listen tcp \S+:` + used +
					`: bind: address already in use: set ` + row.variable + ` to another port.*\n$`)
				if status != 1 || !want.MatchString(term.output) {
					t.Errorf("got exit status %d, want 1 and one line that matches %s:\n%s",
						status, want, term.output)
				}
				return
			}
		})
	}
}
