package test

import (
	"fmt"
	"io"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// held is how long the tests let callers wait for a response of ZITADEL, so that all of them
// are waiting. It is far below the timeout of an introspection.
const held = 200 * time.Millisecond

func TestCacheSharesIntrospection(t *testing.T) {
	retry(t, func() string {
		g := newGate()
		z := startZITADEL(t, g.respond)
		p := startProgram(t, z.URL, "INTROSPECTION_CACHE_TTL=1h")
		clients := connectAll(t, p, 200)
		for _, c := range clients {
			if err := c.send("/api/private-scoped", tokenPrefix); err != nil {
				t.Fatal(err)
			}
		}
		g.waitAsked(t)
		time.Sleep(held)
		close(g.open)
		return oneIntrospection(z, clients)
	})
}

func TestCacheCallerLeaves(t *testing.T) {
	retry(t, func() string {
		g := newGate()
		z := startZITADEL(t, g.respond)
		p := startProgram(t, z.URL, "INTROSPECTION_CACHE_TTL=1h")
		clients := connectAll(t, p, callers)
		first, others := clients[0], clients[1:]
		if err := first.send("/api/private", tokenPrefix); err != nil {
			t.Fatal(err)
		}
		g.waitAsked(t)
		for _, c := range others {
			if err := c.send("/api/private-scoped", tokenPrefix); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(held)
		_ = first.Close()
		p.waitForLog(t, "path=/api/private ") // it has stopped waiting
		close(g.open)
		return oneIntrospection(z, others)
	})
}

// connectAll returns n clients of the process.
func connectAll(t *testing.T, p *process, n int) []*client {
	t.Helper()
	clients := make([]*client, n)
	for n := range clients {
		clients[n] = mustConnect(t, p)
	}
	return clients
}

// oneIntrospection reads the response of each client. It says what is wrong if one has not
// status 200, or if there was more than one introspection.
func oneIntrospection(z *zitadel, clients []*client) string {
	statuses := map[int]int{} // responses by status
	for _, c := range clients {
		statuses[c.status()]++
	}
	if statuses[200] != len(clients) {
		return fmt.Sprintf("got responses by status %v, want %d with 200", statuses, len(clients))
	}
	if got := z.introspections.Load(); got != 1 {
		return fmt.Sprintf("got %d introspections, want 1", got)
	}
	return ""
}

// An entry counts from the introspection on, and there is one introspection at a time. So one
// begins a TTL after the other at the earliest, however many callers there are.
func TestCacheEntryExpires(t *testing.T) {
	const ttl = 300 * time.Millisecond
	const ends = 6
	z := startZITADEL(t, func(w http.ResponseWriter, r *http.Request) {
		time.Sleep(20 * time.Millisecond) // in which the callers would ask too
		respondActive(w, r)
	})
	p := startProgram(t, z.URL, "INTROSPECTION_CACHE_TTL="+ttl.String())
	clients := connectAll(t, p, callers)

	start := time.Now()
	var requests atomic.Int64
	var wg sync.WaitGroup
	for _, c := range clients {
		wg.Go(func() {
			for z.introspections.Load() <= ends && time.Since(start) < patience {
				if got := c.get("/api/private-scoped", tokenPrefix); got != 200 {
					t.Errorf("got status %d, want 200", got)
					return
				}
				requests.Add(1)
			}
		})
	}
	wg.Wait()
	elapsed := time.Since(start)
	got, limit := z.introspections.Load(), int64(elapsed/ttl)+1
	if got <= ends {
		t.Errorf("got %d introspections in %s, want one for each TTL of %s", got, elapsed, ttl)
	}
	if got > limit {
		t.Errorf("got %d introspections for %d requests in %s, want at most %d with a TTL of %s",
			got, requests.Load(), elapsed, limit, ttl)
	}
}

func TestCacheKeepsActiveTokensOnly(t *testing.T) {
	const requests = 3
	for _, row := range []struct {
		name           string
		respond        http.HandlerFunc
		status         int
		introspections int64
	}{
		{"active", respondActive, 200, 1},
		{"inactive", func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, `{"active":false}`)
		}, 401, requests},
		{"status 500", func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusInternalServerError)
		}, 503, requests},
		{"no response", respondRaw(""), 503, requests},
	} {
		t.Run(row.name, func(t *testing.T) {
			z := startZITADEL(t, row.respond)
			p := startProgram(t, z.URL, "INTROSPECTION_CACHE_TTL=1h")
			for range requests {
				if got := p.get("/api/private", tokenPrefix); got != row.status {
					t.Errorf("got status %d, want %d", got, row.status)
				}
			}
			if got := z.introspections.Load(); got != row.introspections {
				t.Errorf("got %d introspections for %d requests, want %d",
					got, requests, row.introspections)
			}
		})
	}
}
