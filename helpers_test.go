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
)

const testToken = "Test-Token"
const bearer = "Bearer " + testToken

// introspectAs returns an introspectFunc with the same result for every token.
func introspectAs(c claims, err error) introspectFunc {
	return func(context.Context, string) (claims, error) { return c, err }
}

// get returns the response of a handler to a GET request with these Authorization headers.
func get(ctx context.Context, h http.Handler, path string, authorization ...string) *http.Response {
	r := httptest.NewRequestWithContext(ctx, "GET", path, nil)
	r.Header["Authorization"] = authorization
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w.Result()
}

// checkStatus reports an error if a response does not have the status want.
func checkStatus(t *testing.T, what string, resp *http.Response, want int) {
	t.Helper()
	if resp.StatusCode != want {
		t.Errorf("%s: got status %d, want %d", what, resp.StatusCode, want)
	}
}

// startZITADEL starts a server in place of a ZITADEL instance and returns its URL.
func startZITADEL(t testing.TB, handler http.HandlerFunc) *url.URL {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	return &url.URL{Scheme: "http", Host: server.Listener.Addr().String()}
}

// A transport is an http.RoundTripper without a network.
type transport func(*http.Request) (*http.Response, error)

func (t transport) RoundTrip(r *http.Request) (*http.Response, error) { return t(r) }

// hang is a transport to a ZITADEL that never responds.
func hang(r *http.Request) (*http.Response, error) {
	<-r.Context().Done()
	return nil, r.Context().Err()
}

// newOfflineClient returns a client of a ZITADEL instance that is reached through a transport.
func newOfflineClient(roundTrip transport) *zitadelClient {
	instance := &url.URL{Scheme: "http", Host: "zitadel.invalid"}
	z := newZitadelClient(instance, "id@a+b", "a%b: c")
	z.httpClient.Transport = roundTrip
	return z
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

func (p pipes) Close() error {
	close(p)
	return nil
}
func (p pipes) Addr() net.Addr { return &net.UnixAddr{} }

// dial returns the client's end of a new connection.
func (p pipes) dial() net.Conn {
	client, server := net.Pipe()
	p <- server
	return client
}

// captureLog returns what is logged until the test ends.
func captureLog(t *testing.T) *bytes.Buffer {
	t.Helper()
	log := &bytes.Buffer{}
	previous := slog.Default()
	slog.SetDefault(slog.New(slog.NewTextHandler(log, nil)))
	t.Cleanup(func() { slog.SetDefault(previous) })
	return log
}
