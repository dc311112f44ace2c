package main

import (
	"bufio"
	"bytes"
	"context"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"testing"
	"time"
)

const (
	testToken    = "Test-Token"
	bearer       = "Bearer " + testToken
	clientSecret = "a%b: c"
)

// patience is how long a test waits for what has to happen, on the slowest machine.
const patience = 30 * time.Second

// introspectAs returns an introspectFunc with the same result for every token.
func introspectAs(c claims, err error) introspectFunc {
	return func(context.Context, string) (claims, error) { return c, err }
}

// get records the response of a handler to a GET request with these Authorization headers.
func get(c context.Context, h http.Handler, url string, auth ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequestWithContext(c, "GET", url, nil)
	r.Header["Authorization"] = auth
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

// checkStatus reports an error if a response does not have the status want.
func checkStatus(t *testing.T, what string, resp *httptest.ResponseRecorder, want int) {
	t.Helper()
	if resp.Code != want {
		t.Errorf("%s: got status %d, want %d", what, resp.Code, want)
	}
}

// startZITADEL starts a server in place of a ZITADEL instance and returns its URL.
func startZITADEL(t testing.TB, handler http.HandlerFunc) *url.URL {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	return &url.URL{Scheme: "http", Host: server.Listener.Addr().String()}
}

// introspectAt returns a function that introspects tokens at an instance.
func introspectAt(instance *url.URL) introspectFunc {
	return newIntrospectFunc(newZitadelClient(), instance, "id", clientSecret)
}

// A transport is an http.RoundTripper without a network.
type transport func(*http.Request) (*http.Response, error)

func (t transport) RoundTrip(r *http.Request) (*http.Response, error) { return t(r) }

// introspectThrough returns a function that introspects tokens through a transport.
func introspectThrough(roundTrip transport) introspectFunc {
	client := newZitadelClient()
	client.Transport = roundTrip
	instance := &url.URL{Scheme: "http", Host: "zitadel.invalid"}
	return newIntrospectFunc(client, instance, "id@a+b", clientSecret)
}

// hang is a transport to a ZITADEL that never responds.
func hang(r *http.Request) (*http.Response, error) {
	<-r.Context().Done()
	return nil, r.Context().Err()
}

// recorded returns a response in testdata, which a real ZITADEL has sent.
func recorded(t testing.TB, name string) *http.Response {
	t.Helper()
	data, err := os.ReadFile("testdata/" + name + ".http")
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.ReadResponse(bufio.NewReader(bytes.NewReader(data)), nil)
	if err != nil {
		t.Fatal(err)
	}
	return resp
}

// pipes is a listener of connections in memory, on which synctest can wait.
type pipes chan net.Conn

func (p pipes) Accept() (net.Conn, error) {
	if conn, ok := <-p; ok {
		return conn, nil
	}
	return nil, net.ErrClosed
}

func (p pipes) Close() error   { close(p); return nil }
func (p pipes) Addr() net.Addr { return &net.UnixAddr{} }

// captureLog returns what is logged until the test ends.
func captureLog(t *testing.T) *bytes.Buffer {
	log := &bytes.Buffer{}
	previous := slog.Default()
	slog.SetDefault(slog.New(slog.NewTextHandler(log, nil)))
	t.Cleanup(func() { slog.SetDefault(previous) })
	return log
}
