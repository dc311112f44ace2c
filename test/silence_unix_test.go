//go:build unix

package test

import (
	"net"
	"sync"
	"syscall"
	"testing"
	"time"
)

// A ZITADEL that goes silent, at any stage of an introspection, costs the caller 5 s.
func TestSilence(t *testing.T) {
	t.Parallel()
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	var programs []*process
	var wg sync.WaitGroup
	for stage, domain := range map[string]string{
		"dial":          "http://" + fullListener(t),
		"TLS handshake": "https://" + silent.Addr().String(),
		"response":      startZITADEL(t, hang).URL,
	} {
		p := startProgram(t, domain)
		programs = append(programs, p)
		wg.Go(func() {
			start := time.Now()
			p.checkGet(t, "/api/private", token, 503)
			if took := time.Since(start); took < 4*time.Second {
				t.Errorf("%s: got 503 after %s, want it after 5s", stage, took)
			}
		})
	}
	wg.Wait()
	for _, p := range programs {
		p.checkOpenFiles(t)
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
