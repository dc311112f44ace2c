package test

import (
	"bufio"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestReadyLine(t *testing.T) {
	p := startProgram(t, "HOST=localhost")
	port, ok := strings.CutPrefix(p.url, "http://localhost:")
	if !ok || port == "0" {
		t.Errorf("got URL %s, want the configured host and the real port", p.url)
	}
	p.startRequest(t)
}

func TestBadConfiguration(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	_, port, _ := net.SplitHostPort(listener.Addr().String())
	for _, row := range []struct {
		name string
		env  []string
		want string
	}{
		{"nothing set", nil, `^time=\S+ level=ERROR .*CLIENT_SECRET.*\n$`},
		{"port in use", configuration(port), `^time=\S+ level=ERROR .*set PORT.*\n$`},
		{"no port", configuration("http:"), `^time=\S+ level=ERROR .*set PORT.*\n$`},
	} {
		t.Run(row.name, func(t *testing.T) {
			p := launch(t, exec.Command(program), row.env...)
			p.checkExit(t, 1)
			p.waitLog(t, row.want)
		})
	}
}

func TestDrain(t *testing.T) {
	for _, sig := range []os.Signal{syscall.SIGTERM, os.Interrupt} {
		t.Run(sig.String(), func(t *testing.T) {
			p := startProgram(t)
			inFlight := p.startRequest(t)
			p.signal(t, sig)
			eventually(t, func() string {
				late, err := net.Dial("tcp", strings.TrimPrefix(p.url, "http://"))
				if err != nil {
					return ""
				}
				late.Close()
				return "got a new connection after the signal, want none"
			})
			if _, err := inFlight.Write([]byte("y")); err != nil {
				t.Error(err)
			}
			if _, err := http.ReadResponse(bufio.NewReader(inFlight), nil); err != nil {
				t.Errorf("got error %v for the request in flight, want a response", err)
			}
			p.checkExit(t, 0)
			if strings.Contains(p.log(), "level=ERROR") {
				t.Errorf("got log\n%s\nwant no error", p.log())
			}
		})
	}
}

// What is not finished after 10 s is cut off. This is the only test that waits for a real time.
func TestDrainIsLimited(t *testing.T) {
	p := startProgram(t)
	p.startRequest(t)
	start := time.Now()
	p.signal(t, syscall.SIGTERM)
	p.checkExit(t, 1)
	if took := time.Since(start); took < 10*time.Second {
		t.Errorf("got the request cut off after %s, want 10s", took)
	}
	_, log, _ := strings.Cut(p.log(), "stopping")
	lines := strings.Split(strings.TrimSpace(log), "\n")[1:]
	const want = `level=ERROR msg=stopped reason="requests cut off`
	if len(lines) != 1 || !strings.Contains(lines[0], want) {
		t.Errorf("got log lines %q, want one with %s", lines, want)
	}
}

func TestSecondSignal(t *testing.T) {
	p := startProgram(t)
	p.startRequest(t)
	p.signal(t, syscall.SIGTERM)
	p.waitLog(t, "stopping")
	p.signal(t, syscall.SIGTERM)
	p.checkExit(t, -1)
}
