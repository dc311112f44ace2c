//go:build unix

package test

import (
	"io"
	"net"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestTimeouts starts one wait after the other and then checks them, so that they take no longer
// than the longest of them.
func TestTimeouts(t *testing.T) {
	t.Parallel()
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	for _, check := range []func(){
		startDrain(t),
		startSilence(t, "dial", "http://"+fullListener(t)),
		startSilence(t, "TLS handshake", "https://"+silent.Addr().String()),
		startSilence(t, "response", startZITADEL(t, hang).URL),
		startStalledClients(t),
	} {
		check()
	}
}

// startDrain stops the program while a client holds back a part of its request. After 10 s the
// program has to cut it off.
func startDrain(t *testing.T) (check func()) {
	t.Helper()
	p := startProgram(t, "http://localhost:8080")
	_, err := io.WriteString(mustConnect(t, p), "GET /api/public HTTP/1.1\r\n"+
		"Host: localhost\r\nContent-Length: 2\r\n\r\nx")
	if err != nil {
		t.Fatal(err)
	}
	p.waitLog(t, "path=/api/public") // net/http waits for the rest before it sends the response
	start := time.Now()
	p.signal(t, syscall.SIGTERM)
	return func() {
		t.Helper()
		p.checkExit(t, 1)
		if took := time.Since(start); took < 9*time.Second {
			t.Errorf("got the request cut off after %s, want 10s", took)
		}
		_, log, _ := strings.Cut(p.log(), "stopping")
		lines := strings.Split(strings.TrimSpace(log), "\n")[1:]
		const want = `level=ERROR msg=stopped reason="requests cut off`
		if len(lines) != 1 || !strings.Contains(lines[0], want) {
			t.Errorf("got log lines %q, want one with %s", lines, want)
		}
		checkQuoted(t, want)
	}
}

// startSilence sends requests to the program with a ZITADEL that is silent at some stage of the
// introspection. After 5 s the program has to respond with 503 and leave nothing behind.
func startSilence(t *testing.T, stage, domain string) (check func()) {
	t.Helper()
	p := startProgram(t, domain)
	clients := make([]*client, 40)
	start := time.Now()
	for i := range clients {
		clients[i] = mustConnect(t, p)
		if err := clients[i].send("/api/private", token); err != nil {
			t.Fatal(err)
		}
	}
	return func() {
		t.Helper()
		for _, c := range clients {
			got, err := c.status()
			if took := time.Since(start); err != nil || got != 503 || took < 4*time.Second {
				t.Errorf("%s: got status %d, error %v after %s, want 503 after 5s", stage, got, err, took)
			}
			c.Close()
		}
		p.checkOpenFiles(t)
	}
}

// startStalledClients connects clients that send no request, or a part of one. After 5 s the
// program has to close their connections. Other clients do not notice.
func startStalledClients(t *testing.T) (check func()) {
	t.Helper()
	p := startProgram(t, "http://localhost:8080")
	stalled := make([]*client, 30)
	for i := range stalled {
		stalled[i] = mustConnect(t, p)
		part := []string{"", "GET /api/public HTTP/1.1\r\nHost: localhost\r\n"}[i%2]
		if _, err := io.WriteString(stalled[i], part); err != nil {
			t.Fatal(err)
		}
	}
	p.checkGet(t, "/api/public", token, 200)
	return func() {
		t.Helper()
		for _, c := range stalled {
			if _, err := io.Copy(io.Discard, c); err != nil {
				t.Errorf("stalled client: got %v, want the connection closed", err)
			}
		}
	}
}

// fullListener returns the address of a listener that accepts no connection, as behind a
// firewall that drops packets: its queue is full.
func fullListener(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	raw, err := listener.(*net.TCPListener).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var listenErr error
	if err := raw.Control(func(fd uintptr) { listenErr = syscall.Listen(int(fd), 0) }); err != nil {
		t.Fatal(err)
	}
	if listenErr != nil {
		t.Fatal(listenErr)
	}
	for range 100 {
		conn, err := net.DialTimeout("tcp", listener.Addr().String(), time.Second)
		if err != nil {
			return listener.Addr().String()
		}
		t.Cleanup(func() { conn.Close() })
	}
	t.Fatal("got 100 connections, want the queue full")
	return ""
}
