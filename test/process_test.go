package test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"runtime"
	"strings"
	"syscall"
	"testing"
)

// The URL in the ready line is the one that is served.
func TestReadyLine(t *testing.T) {
	_, url := startAPI(t)
	get(t, url)
}

// The program exits with status 1 and one line that says what to do.
func TestBadConfiguration(t *testing.T) {
	listener, err := net.Listen("tcp", "localhost:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	port := fmt.Sprint(listener.Addr().(*net.TCPAddr).Port)
	for _, row := range []struct {
		program string
		env     []string
		want    string
	}{
		{"api.exe", nil, "ERROR.*ZITADEL_DOMAIN, CLIENT_ID, CLIENT_SECRET: not set"},
		{"api.exe", []string{"ZITADEL_DOMAIN=a", "CLIENT_ID=a", "CLIENT_SECRET=a", "PORT=" + port},
			"ERROR.*set PORT"},
		{"demo.exe", []string{"DEMO_ZITADEL_PORT=" + port}, "set DEMO_ZITADEL_PORT"},
	} {
		p := start(t, row.program, row.env...)
		p.checkExit(t, 1)
		p.waitLog(t, `^.*`+row.want+`.*\n$`)
	}
}

// startRequest sends a request without its body, for which net/http waits.
func startRequest(t *testing.T, url string) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	io.WriteString(conn, "GET / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\n\r\n")
	get(t, url) // on another connection: now the server has accepted both
	return conn
}

func TestSignals(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("SKIPPED: Windows has no signals")
	}
	t.Run("SIGTERM", func(t *testing.T) {
		p, url := startAPI(t)
		conn := startRequest(t, url)
		p.cmd.Process.Signal(syscall.SIGTERM)
		p.waitLog(t, "stopping")
		io.WriteString(conn, "x")
		if _, err := http.ReadResponse(bufio.NewReader(conn), nil); err != nil {
			t.Errorf("got error %v for the request in flight, want a response", err)
		}
		p.checkExit(t, 0)
	})
	t.Run("SIGINT twice", func(t *testing.T) {
		p, url := startAPI(t)
		startRequest(t, url)
		p.cmd.Process.Signal(os.Interrupt)
		p.waitLog(t, "stopping")
		p.cmd.Process.Signal(os.Interrupt)
		p.checkExit(t, -1)
	})
}
