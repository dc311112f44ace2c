package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// instance is a scripted ZITADEL instance and the API, in this process, that asks it.
type instance struct {
	*httptest.Server
	api         http.Handler
	connections atomic.Int64 // how many there have been
}

// newInstance serves handler as the introspection endpoint until the test ends. The change,
// if there is one, is made to its server before that starts.
func newInstance(t *testing.T, handler http.HandlerFunc, change func(*http.Server)) *instance {
	logger := slog.Default()
	slog.SetDefault(slog.New(slog.DiscardHandler)) // thousands of lines
	t.Cleanup(func() { slog.SetDefault(logger) })

	z := &instance{Server: httptest.NewUnstartedServer(handler)}
	z.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, 0)
	if change != nil {
		change(z.Config)
	}
	z.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			z.connections.Add(1)
		}
	}
	z.Start()
	t.Cleanup(z.Close)
	domain, err := url.Parse(z.URL)
	if err != nil {
		t.Fatal(err)
	}
	z.api = newAPI(newIntrospect(domain, "id", "secret"))
	return z
}

// ask returns the status of the API's answer to a request with token.
func (z *instance) ask(token string) int {
	r := httptest.NewRequest("GET", "/api/private-scoped", nil)
	r.Header.Set("Authorization", "Bearer "+token)
	w := httptest.NewRecorder()
	z.api.ServeHTTP(w, r)
	return w.Code
}

// check has 64 callers make requests, each with another token, and wants the status for each.
// A caller pauses after each of its requests.
func (z *instance) check(t *testing.T, requests, want int, pause time.Duration) {
	t.Helper()
	var mu sync.Mutex
	got := map[int]int{}
	crowd(requests, func(n int) {
		status := z.ask("token-" + strconv.Itoa(n))
		time.Sleep(pause)
		mu.Lock()
		defer mu.Unlock()
		got[status]++
	})
	if want := map[int]int{want: requests}; !maps.Equal(got, want) {
		t.Errorf("got answers by status %v, want %v", got, want)
	}
}

// crowd calls request with the numbers below count, from 64 callers at once.
func crowd(count int, request func(n int)) {
	var wg sync.WaitGroup
	var next atomic.Int64
	for range callers {
		wg.Go(func() {
			for n := int(next.Add(1)); n <= count; n = int(next.Add(1)) {
				request(n - 1)
			}
		})
	}
	wg.Wait()
}

// answer answers as ZITADEL does about a user with the role.
func answer(w http.ResponseWriter, r *http.Request) {
	_, _ = io.Copy(io.Discard, r.Body)
	_, _ = w.Write(withRole)
}

var withRole = recordedBody("role")

// drop ends the connection of a request, after a part of an answer.
func drop(w http.ResponseWriter, part string) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		panic(err)
	}
	_, _ = io.WriteString(conn, part)
	_ = conn.Close()
}

func TestConnectionsAreNoMoreThanCallers(t *testing.T) {
	z := newInstance(t, answer, nil)
	z.check(t, 6_400, 200, 0)
	// One more can be on its way when another caller gives its own back.
	if got, want := z.connections.Load(), int64(callers+callers/4); got > want {
		t.Errorf("got %d connections to ZITADEL from %d callers, want at most %d", got, callers, want)
	}
}

func TestConnectionsThatCloseWhenIdleAreNotNoticed(t *testing.T) {
	z := newInstance(t, answer, func(s *http.Server) { s.IdleTimeout = 3 * time.Millisecond })
	z.check(t, 6_400, 200, 3*time.Millisecond)
	if got := z.connections.Load(); got <= callers {
		t.Errorf("got %d connections in all, want more: none was closed", got)
	}
}

// eachThird is a handler of its own for each third request on a connection.
func eachThird(t *testing.T, third http.HandlerFunc) *instance {
	type counter struct{}
	return newInstance(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Context().Value(counter{}).(*atomic.Int64).Add(1) == 3 {
			third(w, r)
			return
		}
		answer(w, r)
	}, func(s *http.Server) {
		s.ConnContext = func(ctx context.Context, _ net.Conn) context.Context {
			return context.WithValue(ctx, counter{}, new(atomic.Int64))
		}
	})
}

func TestConnectionsThatDropARequestAreNotNoticed(t *testing.T) {
	z := eachThird(t, func(w http.ResponseWriter, _ *http.Request) { drop(w, "") })
	z.check(t, 6_400, 200, 0)
}

func TestNothingIsAskedAgainOnceTheAnswerHasBegun(t *testing.T) {
	const headers = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 99\r\n"
	for _, test := range []struct{ name, part string }{
		{"a part of the status line", "HTT"},
		{"the status line", "HTTP/1.1 200 OK\r\n"},
		{"the headers", headers},
		{"the headers and their end", headers + "\r\n"},
		{"a part of the body", headers + "\r\n" + `{"active":true,`},
	} {
		t.Run(test.name, func(t *testing.T) {
			var asked []string
			z := eachThird(t, func(w http.ResponseWriter, r *http.Request) {
				asked = append(asked, r.FormValue("token"))
				drop(w, test.part)
			})
			for _, request := range []struct {
				token string
				want  int
			}{{"first", 200}, {"second", 200}, {"third", 503}, {"fourth", 200}} {
				if got := z.ask(request.token); got != request.want {
					t.Errorf("got status %d for the %s request, want %d", got, request.token, request.want)
				}
			}
			if len(asked) != 1 || z.connections.Load() != 2 {
				t.Errorf("got dropped requests %v on %d connections, want only the third, on 2",
					asked, z.connections.Load())
			}
		})
	}
}

func TestZITADELRestartsOnTheSameAddress(t *testing.T) {
	z := newInstance(t, answer, nil)
	z.check(t, 640, 200, 0)
	z.Close()
	z.check(t, 640, 503, 0)

	listener, err := net.Listen("tcp", z.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	again := &http.Server{Handler: http.HandlerFunc(answer)}
	go func() { _ = again.Serve(listener) }()
	defer again.Close()
	z.check(t, 640, 200, 0)
}

func TestTheCacheStaysBounded(t *testing.T) {
	introspect := cached(func(context.Context, string) (claims, error) {
		return claims{active: true, exp: now() + 3600, subject: strings.Repeat("s", 8<<10)}, nil
	}, time.Hour)
	remember := func(prefix string, tokens int) {
		crowd(tokens, func(n int) { _, _ = introspect(t.Context(), fmt.Sprint(prefix, n)) })
	}
	remember("full", 10_000)
	before := heap()
	remember("more", 2_000) // 16 MiB
	if got, want := heap()-before, 4<<20; got > want {
		t.Errorf("got %d bytes more in a full cache after 2,000 other tokens, want below %d", got, want)
	}
	runtime.KeepAlive(introspect)
}

// heap returns the bytes that are in use.
func heap() int {
	runtime.GC()
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return int(stats.HeapAlloc)
}

// eventually waits until got, which says what is wrong, says nothing any more.
func eventually(t *testing.T, got func() string) {
	t.Helper()
	deadline := time.Now().Add(time.Minute)
	for wrong := got(); wrong != ""; wrong = got() {
		if time.Now().After(deadline) {
			t.Error(wrong)
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
}
