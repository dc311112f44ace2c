package test

import (
	"net"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
)

func TestReadyLine(t *testing.T) {
	t.Parallel()
	z := startZITADEL(t, respondActive)
	p := startProgram(t, z.URL, "HOST=localhost")
	if !strings.HasPrefix(p.url, "http://localhost:") || strings.HasSuffix(p.url, ":0") {
		t.Errorf("got URL %s, want the configured host and the real port", p.url)
	}
	p.checkGet(t, "/api/private-scoped", token, 200)
}

func TestBadConfiguration(t *testing.T) {
	t.Parallel()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	_, port, _ := net.SplitHostPort(listener.Addr().String())
	good := []string{"ZITADEL_DOMAIN=http://localhost:8080", "CLIENT_ID=client",
		"CLIENT_SECRET=" + clientSecret, "HOST=127.0.0.1"}
	for _, row := range []struct {
		name string
		env  []string
		want string
	}{
		{"nothing set", nil, `^time.* level=ERROR .*ZITADEL_DOMAIN, CLIENT_ID, CLIENT_SECRET not set.*\n$`},
		{"port in use", append(good, "PORT="+port), `^time.* level=ERROR .*in use.*PORT.*\n$`},
		{"no port", append(good, "PORT=http:"), `^time.* level=ERROR .*PORT.*\n$`},
	} {
		p := launch(t, exec.Command(program), row.env...)
		p.checkExit(t, 1)
		p.waitLog(t, row.want)
	}
}

// TestDrain stops the program while a request is in flight.
func TestDrain(t *testing.T) {
	needUnix(t)
	t.Parallel()
	for _, sig := range []os.Signal{syscall.SIGTERM, syscall.SIGINT} {
		g := newGate()
		p := startProgram(t, startZITADEL(t, g.respond).URL)
		inFlight := mustConnect(t, p)
		if err := inFlight.send("/api/private-scoped", token); err != nil {
			t.Fatal(err)
		}
		waitFor(t, g.asked, "introspection")
		p.signal(t, sig)
		eventually(t, func() string {
			late, err := p.connect()
			if err != nil {
				return ""
			}
			late.Close()
			return "got a new connection after the signal, want none"
		})
		close(g.open)
		if got, err := inFlight.status(); err != nil || got != 200 {
			t.Errorf("%s: got status %d, error %v for the request in flight, want 200", sig, got, err)
		}
		p.checkExit(t, 0)
		if strings.Contains(p.log(), "level=ERROR") {
			t.Errorf("%s: got log\n%s\nwant no error", sig, p.log())
		}
	}
}

func TestSecondSignal(t *testing.T) {
	needUnix(t)
	t.Parallel()
	g := newGate()
	p := startProgram(t, startZITADEL(t, g.respond).URL)
	if err := mustConnect(t, p).send("/api/private", token); err != nil {
		t.Fatal(err)
	}
	waitFor(t, g.asked, "introspection")
	p.signal(t, syscall.SIGTERM)
	p.waitLog(t, "stopping")
	p.signal(t, syscall.SIGTERM)
	p.checkExit(t, -1)
}
