//go:build unix

package main

import (
	"fmt"
	"net"
	"net/http"
	"os/exec"
	"strings"
	"syscall"
	"testing"
)

// get returns the status of the response to a GET request with the header Authorization.
func get(url string, authorization ...string) (int, error) {
	r, err := http.NewRequest("GET", url, nil)
	if err != nil {
		return 0, err
	}
	r.Header["Authorization"] = authorization
	resp, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	return resp.StatusCode, nil
}

func TestInterruptDuringBuild(t *testing.T) {
	t.Parallel()
	d := start(t, []string{binary}, "GOFLAGS=-a") // builds the standard library too
	eventually(t, func() string {
		if len(children(t, d.cmd.Process.Pid)) == 0 {
			return "got no build, want one"
		}
		return ""
	})
	kill(t, -d.cmd.Process.Pid, syscall.SIGINT)
	d.checkExit(t, 0, "")
}

// A signal to one of the processes ends the other too. Ctrl-C in a terminal sends one to both.
func TestSignal(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name, target string
		signal       syscall.Signal
		status       int
		want         string
	}{
		{"Ctrl-C", "both", syscall.SIGINT, 0, `msg="stopping`},
		{"demo interrupted", "demo", syscall.SIGINT, 0, `msg="stopping`},
		{"demo terminated", "demo", syscall.SIGTERM, 0, `msg="stopping`},
		{"API terminated", "api", syscall.SIGTERM, 1, "demo: the API has ended: exit status 0\n"},
		{"API killed", "api", syscall.SIGKILL, 1, "demo: the API has ended: signal: killed\n"},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			d, url := startReady(t)
			pid := d.cmd.Process.Pid
			targets := map[string]int{"demo": pid, "both": -pid, "api": children(t, pid)[0]}
			kill(t, targets[row.target], row.signal)
			d.checkExit(t, row.status, row.want)
			waitEnded(t, url)
		})
	}
}

// children returns the IDs of the processes that a process has started.
func children(t *testing.T, parent int) []int {
	t.Helper()
	list, err := exec.Command("ps", "-A", "-o", "ppid=,pid=").Output()
	if err != nil {
		t.Fatal(err)
	}
	var pids []int
	for line := range strings.Lines(string(list)) {
		var ppid, pid int
		if _, err := fmt.Sscan(line, &ppid, &pid); err == nil && ppid == parent {
			pids = append(pids, pid)
		}
	}
	return pids
}

// The API ends at its next log line, which it cannot write any more.
func TestDemoKilled(t *testing.T) {
	t.Parallel()
	d, url := startReady(t)
	kill(t, d.cmd.Process.Pid, syscall.SIGKILL)
	<-d.exited
	waitEnded(t, url)
}

func TestOutputClosed(t *testing.T) {
	t.Parallel()
	d := start(t, []string{"sh", "-c", `"$0" 2>&1 | head -1`, binary})
	url := d.waitFor(t, `msg=ready url=(\S+)\n`)
	waitEnded(t, url)
}

func TestPortsInUse(t *testing.T) {
	t.Parallel()
	listener, err := net.Listen("tcp", "localhost:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	_, port, _ := net.SplitHostPort(listener.Addr().String())
	d := start(t, []string{binary}, "PORT="+port, "DEMO_ZITADEL_PORT="+port)
	d.checkExit(t, 1, "demo: port "+port+" cannot be used, set PORT to another: ")
	d.checkExit(t, 1, "\nport "+port+" cannot be used, set DEMO_ZITADEL_PORT to another: ")
}

// HOST and INTROSPECTION_CACHE_TTL are for one's own instance. With a cache, the demo could not
// show that a role counts at once.
func TestEnvironment(t *testing.T) {
	t.Parallel()
	d, url := startReady(t, "HOST=host.invalid", "INTROSPECTION_CACHE_TTL=1h",
		"ZITADEL_DOMAIN=https://zitadel.invalid", "CLIENT_ID=x", "CLIENT_SECRET=x")
	zitadel := d.waitFor(t, `ZITADEL_DOMAIN=(\S+)\n`)
	for _, step := range []struct {
		method string // for the role; none for the first step
		hasIt  bool
	}{{"", true}, {"DELETE", false}, {"PUT", true}} {
		if step.method != "" {
			changeRole(t, zitadel, step.method, "reader")
		}
		status, err := get(url+"/api/private-scoped", "Bearer reader-pat")
		if err != nil {
			t.Fatal(err)
		}
		if (status == http.StatusOK) != step.hasIt {
			t.Errorf("after %q: got status %d, want 200: %t", step.method, status, step.hasIt)
		}
	}
	status, err := get(url+"/api/private", "Bearer visitor-pat")
	if err != nil || status != http.StatusOK {
		t.Errorf("visitor on the private route: got status %d, error %v, want 200", status, err)
	}
}
