package test

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
)

// needFiles skips a test where a process may not open n files.
func needFiles(t *testing.T, n int) {
	t.Helper()
	output, err := exec.Command("sh", "-c", "ulimit -Hn").Output()
	if err != nil {
		return // no shell: Windows, which has no such limit
	}
	limit, err := strconv.Atoi(strings.TrimSpace(string(output)))
	if err == nil && limit < n { // otherwise unlimited
		t.Skipf("SKIPPED: this test opens %d files, and ulimit -n allows %d", n, limit)
	}
}

func TestCrowdWhileZITADELHangs(t *testing.T) {
	const people = 3_000
	needFiles(t, 3*people)
	t.Parallel()
	var hanging atomic.Bool
	z := startZITADEL(t, func(w http.ResponseWriter, r *http.Request) {
		if hanging.Load() {
			hang(w, r)
			return
		}
		respondActive(w, r)
	})
	p := startProgram(t, z.URL)
	hanging.Store(true)
	clients := make([]*client, people)
	crowd(people, func(i int) {
		c, err := p.connect()
		if err == nil {
			clients[i] = c
			err = c.send("/api/private", fmt.Sprint(token, strings.Repeat("x", 140), i))
		}
		if err != nil {
			t.Error(err)
		}
	})
	if t.Failed() {
		return
	}
	p.checkGet(t, "/api/public", token, 200)
	results := make([]string, people)
	for i, c := range clients {
		results[i] = outcome(c.status())
		c.Close()
	}
	checkAll(t, results, outcome(503, nil))

	hanging.Store(false)
	p.checkGet(t, "/api/private", token, 200)
	z.CloseClientConnections()
	p.checkOpenFiles(t)
	peak, limit := p.peakMemory(t), 200<<20
	if !raceEnabled() && peak >= limit { // the race detector multiplies it
		t.Errorf("got %d MiB of memory at the peak, want less than %d", peak>>20, limit>>20)
	}
}

// peakMemory returns the largest number of bytes of memory that the process has used, or 0 where
// the system is not Linux.
func (p *process) peakMemory(t *testing.T) int {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	if os.IsNotExist(err) {
		return 0
	}
	match := regexp.MustCompile(`VmHWM:\s+(\d+) kB`).FindSubmatch(status)
	if match == nil {
		t.Fatalf("got status\n%s\nwant VmHWM in it", status)
	}
	kib, err := strconv.Atoi(string(match[1]))
	if err != nil {
		t.Fatal(err)
	}
	return kib << 10
}

// checkOpenFiles waits until the process has no more open files than one that serves no request,
// and a few. It does nothing where the system is not Linux.
func (p *process) checkOpenFiles(t *testing.T) {
	t.Helper()
	const limit = 20
	eventually(t, func() string {
		files, _ := os.ReadDir(fmt.Sprintf("/proc/%d/fd", p.cmd.Process.Pid))
		if len(files) > limit {
			return fmt.Sprintf("got %d open files, want at most %d", len(files), limit)
		}
		return ""
	})
}

// However requests end, they leave no connection and no goroutine behind.
func TestNothingIsLeftBehind(t *testing.T) {
	needUnix(t)
	t.Parallel()
	const leave = 0 // in place of a status: the client does not wait for the response
	rows := []struct {
		name    string
		respond http.HandlerFunc
		status  int
	}{
		{"active token", respondActive, 200},
		{"status 500", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(500) }, 503},
		{"HTML", func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "<html>") }, 503},
		{"endless body", func(w http.ResponseWriter, _ *http.Request) {
			for _, err := w.Write(nil); err == nil; {
				_, err = w.Write(make([]byte, 64<<10))
			}
		}, 503},
		{"redirect", func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "/", http.StatusFound)
		}, 503},
		{"switching protocols", func(w http.ResponseWriter, _ *http.Request) {
			conn := hijack(w)
			defer conn.Close()
			io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\n\r\n")
			io.Copy(io.Discard, conn)
		}, 503},
		{"dropped connection", func(w http.ResponseWriter, _ *http.Request) { hijack(w).Close() }, 503},
		{"timeout", hang, 503},
		{"client leaves", hang, leave},
	}
	z := startZITADEL(t, func(w http.ResponseWriter, r *http.Request) {
		n, err := strconv.Atoi(r.FormValue("token")[len(token):])
		if err != nil {
			t.Error(err)
			return
		}
		rows[n%len(rows)].respond(w, r)
	})
	request := func(p *process, n int) {
		row := rows[n%len(rows)]
		c, err := p.connect()
		if err != nil {
			t.Error(err)
			return
		}
		defer c.Close()
		if err := c.send("/api/private", token+strconv.Itoa(n)); err != nil {
			t.Error(err)
		}
		if row.status == leave {
			return
		}
		if got, err := c.status(); err != nil || got != row.status {
			t.Errorf("%s: got status %d, error %v, want status %d", row.name, got, err, row.status)
		}
	}
	programs := []*process{
		startProgram(t, z.URL), startProgram(t, z.URL, "INTROSPECTION_CACHE_TTL=1h"),
	}
	var wg sync.WaitGroup
	for _, p := range programs {
		wg.Go(func() { crowd(40*len(rows), func(n int) { request(p, n) }) })
	}
	wg.Wait()
	z.CloseClientConnections() // those that the programs keep alive
	for _, p := range programs {
		p.checkOpenFiles(t)
		p.signal(t, syscall.SIGQUIT) // the Go runtime prints all goroutines and exits
		p.checkExit(t, 2)
		if got := strings.Count(p.log(), "\ngoroutine "); got == 0 || got > 30 {
			t.Errorf("got %d goroutines after the requests, want at most 30", got)
		}
	}
}

// A client that has closed its sending side only can still read the response.
func TestClientClosesItsSendingSide(t *testing.T) {
	t.Parallel()
	p := startProgram(t, startZITADEL(t, hang).URL)
	c := mustConnect(t, p)
	if err := c.send("/api/private", token); err != nil {
		t.Fatal(err)
	}
	if err := c.Conn.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if got, err := c.status(); err != nil || got != 499 {
		t.Errorf("got status %d, error %v, want 499", got, err)
	}
	if strings.Contains(p.log(), "level=ERROR") {
		t.Errorf("got log\n%s\nwant no error", p.log())
	}
}
