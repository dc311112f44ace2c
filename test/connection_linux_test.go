package test

import (
	"fmt"
	"net"
	"syscall"
	"testing"
	"time"
)

// TestDialTimeout dials an address that never completes a connection, as behind a firewall that
// drops packets. The kernel alone would retry for two minutes.
func TestDialTimeout(t *testing.T) {
	t.Parallel()
	p := startProgram(t, "http://"+silentAddress(t))
	if got := p.get("/api/public", tokenPrefix); got != 200 {
		t.Errorf("got status %d from the public route, want 200", got)
	}
	before := p.openFiles()
	p.checkScoped(t, callers, 503)
	p.waitForOpenFiles(t, before)
}

// TestTLSHandshakeTimeout dials a server that never answers the TLS handshake.
func TestTLSHandshakeTimeout(t *testing.T) {
	t.Parallel()
	listener := listen(t)
	defer listener.Close()
	p := startProgram(t, "https://"+listener.Addr().String())
	if got := p.get("/api/public", tokenPrefix); got != 200 {
		t.Errorf("got status %d from the public route, want 200", got)
	}
	before := p.openFiles()
	p.checkScoped(t, callers, 503)
	p.waitForOpenFiles(t, before)
}

// silentAddress returns the address of a listener whose queue of connections is full.
func silentAddress(t *testing.T) string {
	t.Helper()
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = syscall.Close(fd) })
	loopback := &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}
	if err := syscall.Bind(fd, loopback); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Listen(fd, 0); err != nil {
		t.Fatal(err)
	}
	name, err := syscall.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	address := fmt.Sprintf("127.0.0.1:%d", name.(*syscall.SockaddrInet4).Port)
	for range 100 {
		conn, err := net.DialTimeout("tcp", address, time.Second)
		if err != nil {
			return address
		}
		t.Cleanup(func() { _ = conn.Close() })
	}
	t.Fatal("got 100 connections, want the queue full")
	return ""
}
