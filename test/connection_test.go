package test

import (
	"context"
	"encoding/pem"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"sync/atomic"
	"testing"
	"time"
)

func TestConnectionReuse(t *testing.T) {
	z := startZITADEL(t, respondActive)
	p := startProgram(t, z.URL)
	p.checkScoped(t, 3_200, 200)
	// About one connection for each caller, and not one for each request. How many exactly is
	// up to net/http.
	if got, limit := z.connections.Load(), int64(10*callers); got >= limit {
		t.Errorf("got %d connections for 3,200 requests from %d callers, want fewer than %d",
			got, callers, limit)
	}
}

func TestClosedIdleConnections(t *testing.T) {
	z := newZITADEL(t, respondActive)
	z.Config.IdleTimeout = 3 * time.Millisecond
	z.Start()
	p := startProgram(t, z.URL)
	// The callers pause as long, so that many connections are closed just as they are used.
	crowd(3_200, func(n int) {
		if got := p.get("/api/private", tokenPrefix); got != 200 {
			t.Errorf("got status %d for request %d, want 200", got, n)
		}
		time.Sleep(z.Config.IdleTimeout)
	})
}

// startThird starts a ZITADEL that responds to the third request on each connection with third,
// and to others as respondActive.
func startThird(t *testing.T, third http.HandlerFunc) *zitadel {
	type countKey struct{}
	z := newZITADEL(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Context().Value(countKey{}).(*atomic.Int64).Add(1) == 3 {
			third(w, r)
			return
		}
		respondActive(w, r)
	})
	z.Config.ConnContext = func(ctx context.Context, _ net.Conn) context.Context {
		return context.WithValue(ctx, countKey{}, new(atomic.Int64))
	}
	z.Start()
	return z
}

func TestDroppedConnections(t *testing.T) {
	p := startProgram(t, startThird(t, respondRaw("")).URL)
	p.checkScoped(t, 1_000, 200)
}

func TestNoRetryAfterPartialResponse(t *testing.T) {
	const header = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 99\r\n"
	for _, row := range []struct{ name, part string }{
		{"part of the status line", "HTT"},
		{"status line", "HTTP/1.1 200 OK\r\n"},
		{"part of the header", header},
		{"header", header + "\r\n"},
		{"part of the body", header + "\r\n" + `{"active":true,`},
	} {
		t.Run(row.name, func(t *testing.T) {
			z := startZITADEL(t, func(w http.ResponseWriter, r *http.Request) {
				if r.FormValue("token") == tokenPrefix+"third" {
					respondRaw(row.part)(w, r)
					return
				}
				respondActive(w, r)
			})
			p := startProgram(t, z.URL)
			for _, request := range []struct {
				name string
				want int
			}{{"first", 200}, {"second", 200}, {"third", 503}, {"fourth", 200}} {
				if got := p.get("/api/private", tokenPrefix+request.name); got != request.want {
					t.Errorf("got status %d for the %s request, want %d",
						got, request.name, request.want)
				}
			}
			if got := z.introspections.Load(); got != 4 {
				t.Errorf("got %d introspections for 4 requests, want 4", got)
			}
		})
	}
}

func TestZITADELRestart(t *testing.T) {
	z := newZITADEL(t, respondActive)
	_ = z.Listener.Close()
	z.Listener = listen(t)
	z.Start()
	p := startProgram(t, z.URL)
	p.checkScoped(t, 320, 200)
	z.Close()
	p.checkScoped(t, 320, 503)

	again := newZITADEL(t, respondActive)
	_ = again.Listener.Close()
	eventually(t, func() string {
		listener, err := net.Listen("tcp", z.Listener.Addr().String())
		if err != nil {
			return err.Error()
		}
		again.Listener = listener
		return ""
	})
	again.Start()
	p.checkScoped(t, 320, 200)
}

func TestHTTP2(t *testing.T) {
	var http1 atomic.Int64
	z := newZITADEL(t, func(w http.ResponseWriter, r *http.Request) {
		if r.ProtoMajor != 2 {
			http1.Add(1)
		}
		respondActive(w, r)
	})
	z.EnableHTTP2 = true
	z.StartTLS()
	p := startProgram(t, z.URL, "SSL_CERT_FILE="+caFile(t, z))
	p.checkScoped(t, 1, 200)
	p.checkScoped(t, 1_000, 200)
	if got := http1.Load(); got != 0 {
		t.Errorf("got %d requests over HTTP/1.1, want 0", got)
	}
	if got, limit := z.connections.Load(), int64(10); got >= limit {
		t.Errorf("got %d connections, want fewer than %d", got, limit)
	}
}

func TestPrivateCA(t *testing.T) {
	z := newZITADEL(t, respondActive)
	z.StartTLS()
	trusting := startProgram(t, z.URL, "SSL_CERT_FILE="+caFile(t, z))
	if got := trusting.get("/api/private", tokenPrefix); got != 200 {
		t.Errorf("got status %d with the CA in SSL_CERT_FILE, want 200", got)
	}
	p := startProgram(t, z.URL)
	if got := p.get("/api/private", tokenPrefix); got != 503 {
		t.Errorf("got status %d without SSL_CERT_FILE, want 503", got)
	}
	p.waitForLog(t, "SSL_CERT_FILE")
	if got := z.introspections.Load(); got != 1 {
		t.Errorf("got %d introspections, want only the one of the process that trusts the CA", got)
	}
}

// caFile returns a file for SSL_CERT_FILE with the certificate of a ZITADEL. It skips the test
// where Go does not read SSL_CERT_FILE.
func caFile(t *testing.T, z *zitadel) string {
	t.Helper()
	if runtime.GOOS == "windows" || runtime.GOOS == "darwin" {
		t.Skip("SKIPPED: Go does not read SSL_CERT_FILE on Windows and macOS")
	}
	name := filepath.Join(t.TempDir(), "ca.pem")
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: z.Certificate().Raw})
	if err := os.WriteFile(name, text, 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

func TestHTTPProxy(t *testing.T) {
	uris := make(chan string, 10)
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		uris <- r.RequestURI
		_, _ = io.WriteString(w, withRole)
	}))
	defer proxy.Close()
	p := startProgram(t, "http://zitadel.invalid", "HTTP_PROXY="+proxy.URL)
	if got := p.get("/api/private-scoped", tokenPrefix); got != 200 {
		t.Fatalf("got status %d, want 200", got)
	}
	if got, want := <-uris, "http://zitadel.invalid/oauth/v2/introspect"; got != want {
		t.Errorf("got a request for %s, want %s", got, want)
	}
}

// refusingAddress returns an address that refuses connections until the test ends: the local
// address of a connection.
func refusingAddress(t *testing.T) string {
	t.Helper()
	server := listen(t)
	t.Cleanup(func() { _ = server.Close() })
	conn, err := net.Dial("tcp", server.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn.LocalAddr().String()
}

func TestConnectionRefused(t *testing.T) {
	address := refusingAddress(t)
	p := startProgram(t, "http://"+address)
	p.checkScoped(t, 100, 503)
	p.waitForLog(t, `level=ERROR msg="introspection failed" reason="`)
	p.waitForLog(t, address)
}

// TestSilentHTTP2Connection lets an HTTP/2 connection go silent, as one does when a NAT gateway
// has forgotten it. Requests have to get a new one within a minute.
func TestSilentHTTP2Connection(t *testing.T) {
	t.Parallel()
	z := newZITADEL(t, respondActive)
	z.EnableHTTP2 = true
	z.StartTLS()
	var silent atomic.Bool
	relay := listen(t)
	t.Cleanup(func() { _ = relay.Close() })
	done := make(chan struct{})
	t.Cleanup(func() { close(done) })
	go func() {
		for first := true; ; first = false {
			client, err := relay.Accept()
			if err != nil {
				return
			}
			server, err := net.Dial("tcp", z.Listener.Addr().String())
			if err != nil {
				_ = client.Close()
				continue
			}
			copyUntil := func(dst, src net.Conn) {
				defer dst.Close()
				buffer := make([]byte, 64<<10)
				for {
					n, err := src.Read(buffer)
					if err != nil {
						return
					}
					if first && silent.Load() {
						<-done
						return
					}
					if _, err := dst.Write(buffer[:n]); err != nil {
						return
					}
				}
			}
			go copyUntil(server, client)
			go copyUntil(client, server)
		}
	}()

	_, port, _ := net.SplitHostPort(relay.Addr().String())
	p := startProgram(t, "https://127.0.0.1:"+port, "SSL_CERT_FILE="+caFile(t, z))
	p.checkScoped(t, 1, 200)
	silent.Store(true)
	eventually(t, func() string {
		if got := p.get("/api/private", tokenPrefix); got != 200 {
			return "got no response from ZITADEL over a new connection, want one"
		}
		return ""
	})
}
