package test

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
)

func TestCrowdWhileZITADELHangs(t *testing.T) {
	t.Parallel()
	const people = 3_000
	var hanging atomic.Bool
	z := startZITADEL(t, func(w http.ResponseWriter, r *http.Request) {
		if hanging.Load() {
			hang(w, r)
			return
		}
		respondActive(w, r)
	})
	p := startProgram(t, z.URL)
	if got := p.get("/api/private", tokenPrefix); got != 200 {
		t.Fatalf("got status %d before the crowd, want 200", got)
	}
	before := p.openFiles()

	hanging.Store(true)
	clients := make([]*client, people)
	crowd(people, func(n int) {
		c, err := p.connect()
		if err == nil {
			clients[n] = c
			err = c.send("/api/private", tokenPrefix+strconv.Itoa(n))
		}
		if err != nil {
			t.Error(err)
		}
	})
	if t.Failed() {
		return
	}
	if got := p.get("/api/public", tokenPrefix); got != 200 {
		t.Errorf("got status %d from the public route while the crowd waits, want 200", got)
	}
	statuses := map[int]int{} // by status
	for _, c := range clients {
		statuses[c.status()]++
		_ = c.Close()
	}
	if statuses[503] != people {
		t.Errorf("got responses by status %v, want %d with 503", statuses, people)
	}
	p.waitForLog(t, `level=ERROR msg="introspection failed" reason="no response within 5s`)

	hanging.Store(false)
	if got := p.get("/api/private", tokenPrefix); got != 200 {
		t.Errorf("got status %d after the crowd, want 200", got)
	}
	eventually(t, func() string {
		z.CloseClientConnections() // those that the program keeps alive
		return p.tooManyFiles(before)
	})
	peak, limit := p.peakMemory(), 200<<20
	if raceEnabled {
		return // the race detector multiplies it
	}
	if peak >= limit {
		t.Errorf("got %d MiB of memory in use at the peak, want less than %d", peak>>20, limit>>20)
	}
	t.Logf("%d MiB of memory in use at the peak", peak>>20)
}

// peakMemory returns the largest number of bytes of memory that the process has had in use.
// Where the system is not Linux it returns 0.
func (p *process) peakMemory() int {
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	match := regexp.MustCompile(`VmHWM:\s+(\d+) kB`).FindSubmatch(text)
	if match == nil {
		return 0
	}
	kib, _ := strconv.Atoi(string(match[1]))
	return kib << 10
}

func TestStalledClients(t *testing.T) {
	t.Parallel()
	p := startProgram(t, noZITADEL)
	const header = "GET /api/public HTTP/1.1\r\nHost: localhost\r\n"
	stalled := make([]*client, 500)
	for n := range stalled {
		c := mustConnect(t, p)
		sent := []string{"", header, header + "Content-Length: 9\r\n\r\n"}[n%3]
		if _, err := io.WriteString(c, sent); err != nil {
			t.Fatal(err)
		}
		stalled[n] = c
	}
	crowd(640, func(n int) {
		if got := p.get("/api/public", tokenPrefix); got != 200 {
			t.Errorf("got status %d for request %d beside stalled clients, want 200", got, n)
		}
	})
	for n, c := range stalled {
		if err := untilClosed(c); err != nil {
			t.Fatalf("got stalled connection %d open, want it closed: %v", n, err)
		}
	}
}

// Requests that end in one way or another leave nothing behind: the process then has as many
// files open, and about as many goroutines, as one that has served a single request.
func TestNoLeaks(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("SKIPPED: the open files of a process are counted in /proc")
	}
	t.Parallel()
	z := startZITADEL(t, respondActive)
	p := startProgram(t, z.URL)
	before := p.openFiles()
	p.checkScoped(t, 1, 200)
	p.waitForOpenFiles(t, before)
	goroutines := p.goroutines(t)
	for _, row := range []struct {
		name     string
		respond  http.HandlerFunc
		requests int
		want     int // status, or 0 if the clients do not wait for the response
	}{
		{"responses", respondActive, 320, 200},
		{"status 500", func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusInternalServerError)
		}, 320, 503},
		{"body that is not JSON", func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, "<html>")
		}, 320, 503},
		{"endless body", func(w http.ResponseWriter, _ *http.Request) {
			for _, err := w.Write(nil); err == nil; {
				_, err = w.Write(make([]byte, 64<<10))
			}
		}, callers, 503},
		{"redirect", func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "/", http.StatusFound)
		}, 320, 503},
		{"dropped connection", respondRaw(""), 320, 503},
		{"part of a response", respondRaw("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{"),
			320, 503},
		{"long header", respondRaw("HTTP/1.1 200 OK\r\nX: " + strings.Repeat("x", 100<<10)),
			callers, 503},
		{"timeouts", hang, callers, 503},
		{"clients that go away", hang, 320, 0},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			z := startZITADEL(t, row.respond)
			p := startProgram(t, z.URL)
			before := p.openFiles()
			if row.want == 0 {
				crowd(row.requests, func(n int) { p.sendAndLeave(t) })
			} else {
				p.checkScoped(t, row.requests, row.want)
			}
			eventually(t, func() string {
				z.CloseClientConnections() // those that the program keeps alive
				return p.tooManyFiles(before)
			})
			if got, limit := p.goroutines(t), goroutines+callers/2; got >= limit {
				t.Errorf("got %d goroutines after %d requests, want fewer than %d; after one: %d",
					got, row.requests, limit, goroutines)
			}
		})
	}
}

// sendAndLeave sends a request and closes the connection.
func (p *process) sendAndLeave(t *testing.T) {
	c, err := p.connect()
	if err == nil {
		err = c.send("/api/private", tokenPrefix)
		_ = c.Close()
	}
	if err != nil {
		t.Error(err)
	}
}

// goroutines ends the process and returns the number of its goroutines.
func (p *process) goroutines(t *testing.T) int {
	t.Helper()
	p.signal(t, syscall.SIGQUIT) // the Go runtime prints them and exits
	p.exitStatus(t)
	count := strings.Count(p.log(), "\ngoroutine ")
	if count == 0 {
		t.Errorf("got log:\n%s\nwant goroutines in it", p.lastLog())
	}
	return count
}
