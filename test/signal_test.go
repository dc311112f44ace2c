package test

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

func TestReadyLogsURL(t *testing.T) {
	p := startProgram(t, noZITADEL, "HOST=")
	if !strings.HasPrefix(p.url, "http://localhost:") {
		t.Errorf("got URL %s in the log, want http://localhost and a port", p.url)
	}
	if got := p.get("/api/public", tokenPrefix); got != 200 {
		t.Errorf("got status %d, want 200", got)
	}
}

func TestMissingConfiguration(t *testing.T) {
	p := launch(t, exec.Command(program))
	if got := p.exitStatus(t); got != 1 {
		t.Errorf("got exit status %d, want 1", got)
	}
	if log := p.log(); !strings.HasPrefix(log, "ZITADEL_DOMAIN must be ") {
		t.Errorf("got output:\n%s\nwant it to begin with what is missing", log)
	}
}

func TestPortInUse(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	address := listener.Addr().String()
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		t.Fatal(err)
	}
	p := launch(t, exec.Command(program), "ZITADEL_DOMAIN="+noZITADEL,
		"CLIENT_ID="+clientID, "CLIENT_SECRET="+clientSecret, "HOST="+host, "PORT="+port)
	if got := p.exitStatus(t); got != 1 {
		t.Errorf("got exit status %d, want 1", got)
	}
	log := p.log()
	if !strings.Contains(log, address) || !strings.Contains(log, "PORT") {
		t.Errorf("got output:\n%s\nwant %s and PORT in it", log, address)
	}
	if strings.Contains(log, "msg=ready") {
		t.Errorf("got output:\n%s\nwant no ready line", log)
	}
}

func TestDrain(t *testing.T) {
	needSignals(t)
	for _, sig := range []os.Signal{syscall.SIGTERM, syscall.SIGINT} {
		t.Run(sig.String(), func(t *testing.T) {
			g := newGate()
			p := startProgram(t, startZITADEL(t, g.respond).URL)
			idle, inFlight := mustConnect(t, p), mustConnect(t, p)
			if got := idle.get("/api/public", tokenPrefix); got != 200 {
				t.Fatalf("got status %d before the signal, want 200", got)
			}
			if err := inFlight.send("/api/private-scoped", tokenPrefix); err != nil {
				t.Fatal(err)
			}
			g.waitAsked(t)

			p.signal(t, sig)
			p.waitForLog(t, "stopping")
			eventually(t, func() string {
				late, err := p.connect()
				if err != nil {
					return ""
				}
				_ = late.Close()
				return "got a new connection after the signal, want none"
			})
			if err := untilClosed(idle); err != nil {
				t.Errorf("got an idle connection that stays open: %v", err)
			}
			close(g.open)
			if got := inFlight.status(); got != 200 {
				t.Errorf("got status %d for the request in flight, want 200", got)
			}
			if got := p.exitStatus(t); got != 0 {
				t.Errorf("got exit status %d, want 0", got)
			}
		})
	}
}

func TestSecondSignal(t *testing.T) {
	needSignals(t)
	g := newGate()
	p := startProgram(t, startZITADEL(t, g.respond).URL)
	inFlight := mustConnect(t, p)
	if err := inFlight.send("/api/private", tokenPrefix); err != nil {
		t.Fatal(err)
	}
	g.waitAsked(t)
	p.signal(t, syscall.SIGTERM)
	p.waitForLog(t, "stopping")
	p.signal(t, syscall.SIGTERM)
	if got := p.exitStatus(t); got != -1 {
		t.Errorf("got exit status %d, want the process killed by the signal", got)
	}
	if got := inFlight.status(); got != 0 {
		t.Errorf("got status %d for the request in flight, want no response", got)
	}
}

// A client that sends requests and reads no response blocks the program: it cannot write. The
// write times out too, but later than the drain.
func TestDrainTimeout(t *testing.T) {
	needSignals(t)
	t.Parallel()
	retry(t, func() string {
		p := startProgram(t, noZITADEL)
		stalled := mustConnect(t, p)
		blockWrites(t, p, stalled)
		p.signal(t, syscall.SIGTERM)
		status := p.exitStatus(t)
		_ = stalled.Close()
		if cut := strings.Contains(p.log(), "cut off"); status != 1 || !cut {
			return fmt.Sprintf("got exit status %d, requests cut off in the log: %t, want 1, true",
				status, cut)
		}
		return ""
	})
}

// blockWrites sends requests until the program no longer reads them, as it waits for the
// client to read responses.
func blockWrites(t *testing.T, p *process, c *client) {
	t.Helper()
	requests := strings.Repeat("GET /api/private HTTP/1.1\r\nHost: localhost\r\n\r\n", 2_000)
	logged := ""
	for rest := requests; ; {
		if err := c.SetWriteDeadline(time.Now().Add(time.Second)); err != nil {
			t.Fatal(err)
		}
		n, err := c.Write([]byte(rest))
		rest = rest[n:]
		if rest == "" {
			rest = requests
		}
		if err == nil {
			continue
		}
		log := p.log()
		if log == logged {
			return // nothing was read and nothing was handled in the last second
		}
		logged = log
	}
}

func TestDrainUnderLoad(t *testing.T) {
	needSignals(t)
	var accepted, answered sync.Map // tokens
	z := startZITADEL(t, func(w http.ResponseWriter, r *http.Request) {
		accepted.Store(r.FormValue("token"), true)
		respondActive(w, r)
	})
	p := startProgram(t, z.URL)
	enough := make(chan struct{})
	var sent atomic.Int64
	var wg sync.WaitGroup
	for range callers {
		wg.Go(func() {
			for {
				n := sent.Add(1)
				if n == 1_000 {
					close(enough)
				}
				token := tokenPrefix + strconv.FormatInt(n, 10)
				c, err := p.connect()
				if err != nil {
					return // the program has stopped listening
				}
				if c.get("/api/private", token) != 0 {
					answered.Store(token, true)
				}
				_ = c.Close()
			}
		})
	}
	waitFor(t, enough, "crowd")
	p.signal(t, syscall.SIGTERM)
	if got := p.exitStatus(t); got != 0 {
		t.Errorf("got exit status %d, want 0", got)
	}
	wg.Wait()
	count, unanswered := 0, 0
	accepted.Range(func(token, _ any) bool {
		count++
		if _, ok := answered.Load(token); !ok {
			unanswered++
		}
		return true
	})
	if unanswered != 0 {
		t.Errorf("got no response to %d of %d accepted requests, want 0", unanswered, count)
	}
}
