package main

import (
	"bufio"
	"context"
	"encoding/pem"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
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
	setLog(t, io.Discard) // thousands of lines
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
	z.api = newTestHandler(t, z.URL)
	return z
}

// newTestHandler returns the API, as one that asks the instance at domain.
func newTestHandler(t testing.TB, domain string) http.Handler {
	t.Helper()
	instance, err := url.Parse(domain)
	if err != nil {
		t.Fatal(err)
	}
	return newAPI(newIntrospect(instance, testID, testSecret))
}

// ask returns the status of the API's answer to a request with token.
func (z *instance) ask(token string) int { return z.askIn(context.Background(), token) }

// askIn is ask with a context of the request.
func (z *instance) askIn(ctx context.Context, token string) int {
	r := httptest.NewRequestWithContext(ctx, "GET", "/api/private-scoped", nil)
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
func eventually(t testing.TB, got func() string) {
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

// build builds the program as a user does, and returns its path.
func build(t testing.TB) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "api.exe") // Windows wants the ending, others don't mind
	if output, err := exec.Command("go", "build", "-o", path, ".").CombinedOutput(); err != nil {
		t.Fatalf("got %v, want the program built:\n%s", err, output)
	}
	return path
}

// dial makes a connection to the API and sends a request for path with a token of its own.
func dial(p *process, path, token string) (net.Conn, error) {
	conn, err := net.Dial("tcp", strings.TrimPrefix(p.url, "http://"))
	if err != nil {
		return nil, err
	}
	_, err = io.WriteString(conn, "GET "+path+" HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"+
		"Authorization: Bearer "+token+"\r\n\r\n")
	return conn, err
}

// status reads an answer up to its end, and returns its status, or 0 if it is no whole answer.
func status(conn net.Conn) int {
	defer conn.Close()
	response, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return 0
	}
	if _, err := io.Copy(io.Discard, response.Body); err != nil {
		return 0
	}
	return response.StatusCode
}

// get sends a request and returns the status of its answer, or 0 if there is no whole one.
func (p *process) get(path, token string) int {
	conn, err := dial(p, path, token)
	if err != nil {
		return 0
	}
	return status(conn)
}

func TestACrowdWhileZITADELHangs(t *testing.T) {
	t.Parallel()
	const people = 3_000
	var hangs atomic.Bool
	var asked, answered atomic.Int64
	z := newInstance(t, func(w http.ResponseWriter, r *http.Request) {
		if hangs.Load() {
			_, _ = io.Copy(io.Discard, r.Body)
			asked.Add(1)
			<-r.Context().Done()
			return
		}
		answer(w, r)
	}, nil)
	p := startBinary(t, build(t), "", apiEnv(t, z.URL)...)
	if got := p.get("/api/private-scoped", "x"); got != 200 {
		t.Fatalf("got status %d before the crowd, want 200", got)
	}
	files := openFiles(p)

	hangs.Store(true)
	began := time.Now()
	conns := make([]net.Conn, people)
	crowd(people, func(n int) {
		conn, err := dial(p, "/api/private", fmt.Sprint("token-", n))
		if err != nil {
			t.Error(err)
			return
		}
		conns[n] = conn
	})
	if t.Failed() {
		return
	}
	eventually(t, func() string {
		if got := asked.Load(); got < people {
			return fmt.Sprintf("got ZITADEL asked %d times, want %d", got, people)
		}
		return ""
	})
	statuses := make([]int, people)
	var wg sync.WaitGroup
	for n, conn := range conns {
		wg.Go(func() {
			statuses[n] = status(conn)
			answered.Add(1)
		})
	}
	if got := p.get("/api/public", "x"); got != 200 || answered.Load() == people {
		t.Errorf("got status %d from the public route after %d of the crowd had their answers, "+
			"want 200 while they wait", got, answered.Load())
	}
	wg.Wait()
	t.Logf("the last of the crowd has its answer %s after the first came", time.Since(began))
	for n, got := range statuses {
		if got != 503 {
			t.Fatalf("got status %d for caller %d, want 503", got, n)
		}
	}
	if got := asked.Load(); got != people {
		t.Errorf("got %d introspections, want %d", got, people)
	}

	hangs.Store(false)
	if got := p.get("/api/private-scoped", "x"); got != 200 {
		t.Errorf("got status %d for the first request after ZITADEL is back, want 200", got)
	}
	if peak := peakMemory(p); peak >= 200<<20 {
		t.Errorf("got %d MiB of memory in use at the peak, want below 200", peak>>20)
	} else {
		t.Logf("%d MiB of memory in use at the peak", peak>>20)
	}
	eventually(t, func() string {
		if got := openFiles(p); got > files+2 {
			return fmt.Sprintf("got %d open files after the crowd, want %d as before", got, files)
		}
		return ""
	})
}

// openFiles returns how many files and connections a process has open, where the system
// (Linux) tells it, and otherwise 0.
func openFiles(p *process) int {
	files, _ := os.ReadDir(fmt.Sprintf("/proc/%d/fd", p.cmd.Process.Pid))
	return len(files)
}

// peakMemory returns the most bytes of memory that a process has had in use, where the
// system (Linux) tells it, and otherwise 0.
func peakMemory(p *process) int {
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	match := regexp.MustCompile(`VmHWM:\s+(\d+) kB`).FindSubmatch(text)
	if match == nil {
		return 0
	}
	kib, _ := strconv.Atoi(string(match[1]))
	return kib << 10
}

func TestStuckConnectionsAreCutOffAndNobodyElseNotices(t *testing.T) {
	t.Parallel()
	p := start(t, "api", apiEnv(t, "http://localhost:1")...)
	const header = "GET /api/public HTTP/1.1\r\nHost: localhost\r\n"
	stuck := make([]net.Conn, 500)
	for n := range stuck {
		conn, err := net.Dial("tcp", strings.TrimPrefix(p.url, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		_, _ = io.WriteString(conn, []string{"", header, header + "Content-Length: 9\r\n\r\n"}[n%3])
		stuck[n] = conn
	}
	crowd(640, func(n int) {
		if got := p.get("/api/public", "x"); got != 200 {
			t.Errorf("got status %d beside stuck connections, want 200", got)
		}
	})
	for n, conn := range stuck {
		answer, err := io.ReadAll(conn) // until it is closed
		body := n%3 == 2
		if got := strings.HasPrefix(string(answer), "HTTP/1.1 200 OK\r\n"); got != body {
			t.Fatalf("got %q, %v from a stuck connection, want an answer: %v", answer, err, body)
		}
	}
}

func TestHTTP2IsSpokenWhereZITADELSpeaksIt(t *testing.T) {
	setLog(t, io.Discard)
	var versions sync.Map
	z := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		versions.Store(r.Proto, true)
		answer(w, r)
	}))
	z.EnableHTTP2 = true
	var connections atomic.Int64
	z.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			connections.Add(1)
		}
	}
	z.StartTLS()
	defer z.Close()

	// A private CA, trusted as by SSL_CERT_FILE, but on each system.
	transport := http.DefaultTransport.(*http.Transport)
	trusted := transport.TLSClientConfig
	transport.TLSClientConfig = z.Client().Transport.(*http.Transport).TLSClientConfig
	defer func() { transport.TLSClientConfig = trusted }()
	i := &instance{Server: z, api: newTestHandler(t, z.URL)}
	if got := i.ask("first"); got != 200 {
		t.Fatalf("got status %d for the first request, want 200", got)
	}
	i.check(t, 6_400, 200, 0)
	if _, ok := versions.Load("HTTP/2.0"); !ok {
		t.Error("got no request over HTTP/2, want all")
	}
	if _, ok := versions.Load("HTTP/1.1"); ok {
		t.Error("got a request over HTTP/1.1, want none")
	}
	if got := connections.Load(); got != 1 {
		t.Errorf("got %d connections, want 1", got)
	}
}

func TestAPrivateCAIsTrustedWhereSSL_CERT_FILESaysSo(t *testing.T) {
	if runtime.GOOS == "darwin" || runtime.GOOS == "windows" {
		t.Skip("SKIPPED: Go reads SSL_CERT_FILE on Linux and other Unix systems, not here")
	}
	z := httptest.NewTLSServer(http.HandlerFunc(answer))
	defer z.Close()
	z.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, 0)
	file := filepath.Join(t.TempDir(), "ca.pem")
	certificate := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: z.Certificate().Raw})
	if err := os.WriteFile(file, certificate, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, row := range []struct {
		env  string
		want int
	}{{"SSL_CERT_FILE=" + file, 200}, {"SSL_CERT_FILE=", 503}} {
		p := start(t, "api", apiEnv(t, z.URL, row.env)...)
		if got := p.get("/api/private-scoped", "x"); got != row.want {
			t.Errorf("%s: got status %d, want %d", row.env, got, row.want)
		}
	}
}

func TestNothingIsLeftBehind(t *testing.T) {
	raw := func(part string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) { drop(w, part) }
	}
	for _, row := range []struct {
		name    string
		handler http.HandlerFunc
		count   int // of requests, from 64 callers
		patient bool
		want    int
	}{
		{"answers", answer, 3_000, true, 200},
		{"a fault of ZITADEL", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(500) },
			3_000, true, 503},
		{"a body that isn't JSON", func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, "<html>")
		}, 3_000, true, 503},
		{"a body without end", func(w http.ResponseWriter, _ *http.Request) {
			for _, err := w.Write(make([]byte, 1<<16)); err == nil; _, err = w.Write(make([]byte, 1<<16)) {
			}
		}, callers, true, 503},
		{"a redirect", func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "/", http.StatusFound)
		}, 3_000, true, 503},
		{"a dropped connection", raw(""), 3_000, true, 503},
		{"half an answer", raw("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{"), 3_000, true, 503},
		{"callers that go away", func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
			<-r.Context().Done()
		}, 3_000, false, 503},
		{"time-outs", func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
			<-r.Context().Done()
		}, callers, true, 503},
	} {
		t.Run(row.name, func(t *testing.T) {
			z := newInstance(t, row.handler, nil)
			goroutines, before := runtime.NumGoroutine(), heap()
			crowd(row.count, func(n int) {
				ctx, cancel := t.Context(), context.CancelFunc(func() {})
				if !row.patient {
					ctx, cancel = context.WithTimeout(ctx, time.Millisecond)
				}
				defer cancel()
				if got := z.askIn(ctx, fmt.Sprint("token-", n)); got != row.want {
					t.Errorf("got status %d, want %d", got, row.want)
				}
			})
			eventually(t, func() string {
				z.CloseClientConnections() // those that are kept alive
				if got := runtime.NumGoroutine(); got > goroutines {
					return fmt.Sprintf("got %d goroutines after the requests, want %d as before",
						got, goroutines)
				}
				if got, want := heap()-before, 4<<20; got > want { // pools empty with the second GC
					return fmt.Sprintf("got %d bytes more in use after the requests, want below %d",
						got, want)
				}
				return ""
			})
		})
	}
}

func TestEveryAcceptedRequestIsAnsweredBeforeTheEnd(t *testing.T) {
	needSignals(t)
	var mu sync.Mutex
	accepted := map[string]bool{} // tokens
	z := newInstance(t, func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		accepted[r.FormValue("token")] = true
		mu.Unlock()
		_, _ = w.Write(withRole)
	}, nil)
	p := start(t, "api", apiEnv(t, z.URL)...)
	enough := make(chan struct{})
	answered := map[string]bool{}
	var wg sync.WaitGroup
	var next atomic.Int64
	for range callers {
		wg.Go(func() {
			for {
				n := next.Add(1)
				if n == 1_000 {
					close(enough)
				}
				token := fmt.Sprint("token-", n)
				conn, err := dial(p, "/api/private-scoped", token)
				if err != nil {
					return // it takes no new connections
				}
				if status(conn) == 200 {
					mu.Lock()
					answered[token] = true
					mu.Unlock()
				}
			}
		})
	}
	<-enough
	p.signal(t, syscall.SIGTERM)
	wg.Wait()
	if err := p.cmd.Wait(); err != nil {
		t.Errorf("got %v, want exit status 0", err)
	}
	for token := range accepted {
		if !answered[token] {
			t.Errorf("got no answer for %s of %d, want one", token, len(accepted))
		}
	}
}

const nginxConfig = `
daemon off;
master_process off;
pid nginx.pid;
error_log stderr warn;
events { worker_connections 1024; }
http {
	access_log off;
	client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi;
	uwsgi_temp_path uwsgi; scgi_temp_path scgi;
	upstream api {
		server localhost:%s max_fails=0;
		server localhost:%s max_fails=0;
		keepalive 64;
	}
	server {
		listen 127.0.0.1:%s;
		location / {
			proxy_pass http://api;
			proxy_http_version 1.1;
			proxy_set_header Connection "";
		}
	}
}
`

func TestARollingRestartBehindNginxFailsNoRequest(t *testing.T) {
	needSignals(t)
	nginx, err := exec.LookPath("nginx")
	if err != nil {
		t.Skip("SKIPPED: nginx is missing; on Debian: apt-get install nginx-light")
	}
	t.Parallel()
	z := newInstance(t, answer, nil)
	var copies [2]*process
	var ports [2]string
	startCopy := func(n int) {
		copies[n] = start(t, "api", apiEnv(t, z.URL, "PORT="+ports[n])...)
	}
	for n := range copies {
		ports[n] = freePort(t)
		startCopy(n)
	}
	folder, port := t.TempDir(), freePort(t)
	config := filepath.Join(folder, "nginx.conf")
	text := fmt.Sprintf(nginxConfig, ports[0], ports[1], port)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	balancer := exec.Command(nginx, "-p", folder, "-c", config)
	output := newLogBuffer()
	balancer.Stderr = output
	if err := balancer.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = balancer.Process.Kill(); _ = balancer.Wait() }()
	front := &process{url: "http://localhost:" + port}
	eventually(t, func() string {
		conn, err := dial(front, "/api/public", "x")
		if err != nil {
			return "got no connection to nginx: " + output.String()
		}
		status(conn)
		return ""
	})

	var answers atomic.Int64
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				got := front.get("/api/private-scoped", fmt.Sprint("token-", answers.Add(1)))
				if got != 200 {
					t.Errorf("got status %d during a rolling restart, want 200; nginx says:\n%s", got, output)
					return
				}
			}
		})
	}
	for n := range 6 {
		more := answers.Load() + 500
		eventually(t, func() string {
			if answers.Load() < more && !t.Failed() {
				return "got no more answers"
			}
			return ""
		})
		copies[n%2].signal(t, syscall.SIGTERM)
		if err := copies[n%2].cmd.Wait(); err != nil {
			t.Errorf("got %v, want exit status 0", err)
		}
		startCopy(n % 2)
	}
	close(stop)
	wg.Wait()
}
