package test

import (
	"encoding/pem"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"
)

func TestConnectionReuse(t *testing.T) {
	t.Parallel()
	z := startZITADEL(t, respondActive)
	p := startProgram(t, z.URL)
	p.checkCrowd(t, 1_600, 200)
	// About one connection for each caller. How many exactly is up to net/http.
	if got, limit := z.connections.Load(), int64(10*callers); got >= limit {
		t.Errorf("got %d connections for 1,600 requests, want fewer than %d", got, limit)
	}
}

// ZITADEL closes idle connections after 3 ms, and the callers pause as long, so that many
// connections are closed just as they are used again.
func TestConnectionsCloseAsTheyAreReused(t *testing.T) {
	t.Parallel()
	const idle = 3 * time.Millisecond
	respond := func(w http.ResponseWriter, r *http.Request) {
		if r.ProtoMajor != 1 { // over HTTP/2, net/http does not retry every request
			w.WriteHeader(http.StatusHTTPVersionNotSupported)
			return
		}
		respondActive(w, r)
	}
	plain, encrypted := newZITADEL(t, respond), newZITADEL(t, respond)
	plain.Config.IdleTimeout, encrypted.Config.IdleTimeout = idle, idle
	encrypted.EnableHTTP2 = true
	plain.Start()
	encrypted.StartTLS()
	for _, z := range []*zitadel{plain, encrypted} {
		p := startProgram(t, z.URL, certFile(t, z))
		results := make([]string, 1_000)
		crowd(len(results), func(i int) {
			results[i] = outcome(p.get("/api/private", token))
			time.Sleep(idle)
		})
		checkAll(t, results, outcome(200, nil))
	}
}

// certFile returns an environment variable that makes the program trust the certificate of z. It
// skips the test where Go does not read SSL_CERT_FILE.
func certFile(t *testing.T, z *zitadel) string {
	t.Helper()
	if z.Certificate() == nil {
		return "SSL_CERT_FILE="
	}
	if runtime.GOOS == "windows" || runtime.GOOS == "darwin" {
		t.Skip("SKIPPED: Go does not read SSL_CERT_FILE on Windows and macOS")
	}
	name := filepath.Join(t.TempDir(), "ca.pem")
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: z.Certificate().Raw})
	if err := os.WriteFile(name, text, 0o600); err != nil {
		t.Fatal(err)
	}
	return "SSL_CERT_FILE=" + name
}

func TestRestartOfZITADEL(t *testing.T) {
	t.Parallel()
	z := startZITADEL(t, respondActive)
	p := startProgram(t, z.URL)
	p.checkCrowd(t, 320, 200)
	z.Close()
	p.checkCrowd(t, 320, 503)
	p.waitLog(t, `level=ERROR msg="introspection failed" reason=".*refused`)

	again := newZITADEL(t, respondActive)
	again.Listener.Close()
	eventually(t, func() (problem string) {
		listener, err := net.Listen("tcp", z.Listener.Addr().String())
		if err != nil {
			return err.Error()
		}
		again.Listener = listener
		return ""
	})
	again.Start()
	p.checkCrowd(t, 320, 200)
}

func TestPrivateCA(t *testing.T) {
	t.Parallel()
	z := newZITADEL(t, respondActive)
	z.StartTLS()
	startProgram(t, z.URL, certFile(t, z)).checkGet(t, "/api/private", token, 200)
	p := startProgram(t, z.URL)
	p.checkGet(t, "/api/private", token, 503)
	p.waitLog(t, `level=ERROR msg="introspection failed" reason=".*certificate`)
	if got := z.introspections.Load(); got != 1 {
		t.Errorf("got %d introspections, want 1: without the CA, the token must not be sent", got)
	}
}

func TestHTTPProxy(t *testing.T) {
	t.Parallel()
	var uri string
	proxy := startZITADEL(t, func(w http.ResponseWriter, r *http.Request) {
		uri = r.RequestURI
		respondActive(w, r)
	})
	p := startProgram(t, "http://zitadel.invalid", "HTTP_PROXY="+proxy.URL)
	p.checkGet(t, "/api/private-scoped", token, 200)
	if want := "http://zitadel.invalid/oauth/v2/introspect"; uri != want {
		t.Errorf("got a request for %q at the proxy, want %q", uri, want)
	}
}

func TestHTTPSProxy(t *testing.T) {
	t.Parallel()
	z := newZITADEL(t, respondActive)
	z.StartTLS()
	var target string
	tunnel := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		target = r.Method + " " + r.RequestURI
		client := hijack(w)
		defer client.Close()
		server, err := net.Dial("tcp", z.Listener.Addr().String())
		if err != nil {
			t.Error(err)
			return
		}
		defer server.Close()
		io.WriteString(client, "HTTP/1.1 200 OK\r\n\r\n")
		go io.Copy(server, client)
		io.Copy(client, server)
	}))
	t.Cleanup(tunnel.Close) // after the program, which keeps the connection alive
	// The certificate of httptest is for example.com.
	p := startProgram(t, "https://example.com", certFile(t, z), "HTTPS_PROXY="+tunnel.URL)
	p.checkGet(t, "/api/private-scoped", token, 200)
	if want := "CONNECT example.com:443"; target != want {
		t.Errorf("got %q at the proxy, want %q", target, want)
	}

	refusing := startZITADEL(t, func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusProxyAuthRequired)
	})
	p = startProgram(t, "https://example.com", "HTTPS_PROXY="+refusing.URL)
	p.checkGet(t, "/api/private", token, 503)
	p.waitLog(t, `level=ERROR msg="introspection failed" reason=".*Proxy Authentication Required`)
}
