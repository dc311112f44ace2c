package test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestSwitchingProtocols(t *testing.T) {
	t.Parallel()
	closed := make(chan error, 1)
	z := startZITADEL(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		conn := hijack(w)
		defer conn.Close()
		_, _ = io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\n"+
			"Connection: Upgrade\r\nUpgrade: example\r\n\r\n")
		closed <- untilClosed(conn)
	})
	p := startProgram(t, z.URL)
	if got := p.get("/api/private", tokenPrefix); got != 503 {
		t.Errorf("got status %d, want 503", got)
	}
	if err := <-closed; err != nil {
		t.Errorf("got a connection to ZITADEL that stays open: %v", err)
	}
	p.waitForLog(t, "status 101")
	if runtime.GOOS != "windows" { // where a test cannot send signals
		p.signal(t, syscall.SIGTERM)
		if got := p.exitStatus(t); got != 0 {
			t.Errorf("got exit status %d, want 0", got)
		}
	}
}

// What follows a response on its connection belongs to no request.
func TestBytesAfterResponse(t *testing.T) {
	const user = "mallory"
	response := fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s",
		len(withRole), withRole)
	for _, row := range []struct{ name, extra string }{
		{"second response", "HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n" + user},
		{"not HTTP", user + "\r\n\r\n"},
	} {
		t.Run(row.name, func(t *testing.T) {
			received := make(chan struct{})
			closed := make(chan error, 1)
			z := startZITADEL(t, func(w http.ResponseWriter, r *http.Request) {
				_, _ = io.Copy(io.Discard, r.Body)
				conn := hijack(w)
				defer conn.Close()
				_, _ = io.WriteString(conn, response)
				<-received // the connection is idle
				_, _ = io.WriteString(conn, row.extra)
				closed <- untilClosed(conn)
			})
			p := startProgram(t, z.URL)
			got := p.get("/api/private-scoped", tokenPrefix)
			close(received)
			if got != 200 {
				t.Errorf("got status %d, want 200", got)
			}
			// The program has seen the bytes when it closes the connection.
			if err := <-closed; err != nil {
				t.Errorf("got a connection to ZITADEL that stays open: %v", err)
			}
			p.kill()
			if strings.Contains(p.log(), user) {
				t.Error("got bytes of ZITADEL's in the log, want none")
			}
		})
	}
}

func TestResponseHeaderSize(t *testing.T) {
	for _, row := range []struct{ size, want int }{{32 << 10, 200}, {100 << 10, 503}} {
		z := startZITADEL(t, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("X-Long", strings.Repeat("x", row.size))
			respondActive(w, r)
		})
		p := startProgram(t, z.URL)
		if got := p.get("/api/private", tokenPrefix); got != row.want {
			t.Errorf("got status %d for a header of %d bytes, want %d", got, row.size, row.want)
		}
	}
}

// The error of such a certificate can list all of its names.
func TestLongCertificateError(t *testing.T) {
	var short, long []string
	for n := range 5_000 {
		short = append(short, fmt.Sprintf("host-%d.example.com", n))
	}
	label := strings.Repeat("x", 60) + "."
	for n := range 99 {
		long = append(long, fmt.Sprintf("host-%d.%sexample.com", n, strings.Repeat(label, 3)))
	}
	for _, row := range []struct {
		name  string
		names []string
	}{{"5,000 names", short}, {"99 long names", long}} {
		t.Run(row.name, func(t *testing.T) {
			z := newZITADEL(t, respondActive)
			z.TLS = &tls.Config{Certificates: []tls.Certificate{newCertificate(t, row.names)}}
			z.StartTLS()
			p := startProgram(t, strings.Replace(z.URL, "127.0.0.1", "localhost", 1))
			if got := p.get("/api/private", tokenPrefix); got != 503 {
				t.Errorf("got status %d, want 503", got)
			}
			p.waitForLog(t, "certificate")
			p.kill()
			for line := range strings.Lines(p.log()) {
				if limit := 4 << 10; len(line) > limit {
					t.Errorf("got a line of %d bytes in the log, want at most %d: %s...",
						len(line), limit, line[:200])
				}
			}
		})
	}
}

// newCertificate returns a self-signed certificate for names.
func newCertificate(t *testing.T, names []string) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		DNSNames:     names,
		NotBefore:    time.Now().Add(-time.Hour),
		NotAfter:     time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

func TestRedirect(t *testing.T) {
	elsewhere := startZITADEL(t, respondActive)
	for _, status := range []int{301, 302, 303, 307, 308} {
		z := startZITADEL(t, func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, elsewhere.URL, status)
		})
		p := startProgram(t, z.URL)
		if got := p.get("/api/private", tokenPrefix); got != 503 {
			t.Errorf("got status %d after a redirect with %d, want 503", got, status)
		}
		p.waitForLog(t, fmt.Sprintf("status %d", status))
	}
	if got := elsewhere.introspections.Load(); got != 0 {
		t.Errorf("got %d requests where the redirects lead, want 0", got)
	}
}

func TestProxyRefuses(t *testing.T) {
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodConnect {
			t.Errorf("got method %s at the proxy, want CONNECT", r.Method)
		}
		w.WriteHeader(http.StatusProxyAuthRequired)
	}))
	defer proxy.Close()
	p := startProgram(t, "https://zitadel.invalid", "HTTPS_PROXY="+proxy.URL)
	if got := p.get("/api/private", tokenPrefix); got != 503 {
		t.Errorf("got status %d, want 503", got)
	}
	p.waitForLog(t, "407")
}
