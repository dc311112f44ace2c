package main

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"strings"
	"testing"
)

const testToken = "test-token"

func TestMain(m *testing.M) {
	slog.SetDefault(slog.New(slog.DiscardHandler))
	os.Exit(m.Run())
}

// introspectAs returns an introspectFunc with the same result for every token.
func introspectAs(c claims, err error) introspectFunc {
	return func(context.Context, string) (claims, error) { return c, err }
}

// send sends a request with these Authorization headers to a handler.
func send(h http.Handler, method, path string, authorization ...string) *http.Response {
	r := httptest.NewRequest(method, path, nil)
	r.Header["Authorization"] = authorization
	return serve(h, r)
}

// get sends a GET request with the test token to a handler.
func get(h http.Handler, path string) *http.Response {
	return send(h, "GET", path, "Bearer "+testToken)
}

// serve returns the response of a handler as the client gets it.
func serve(h http.Handler, r *http.Request) *http.Response {
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
func startZITADEL(t *testing.T, handler http.HandlerFunc) *url.URL {
	t.Helper()
	server := httptest.NewUnstartedServer(http.HandlerFunc(
		func(w http.ResponseWriter, r *http.Request) {
			r.ParseForm() // reads the body: only then net/http notices that the client leaves
			handler(w, r)
		}))
	server.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	server.Start()
	t.Cleanup(server.Close)
	u, err := url.Parse(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

// newTestClient returns a client of the ZITADEL instance that startZITADEL starts.
func newTestClient(t *testing.T, handler http.HandlerFunc) *zitadelClient {
	t.Helper()
	return newZitadelClient(startZITADEL(t, handler), "id", "hush")
}

// newOfflineClient returns a client of a ZITADEL instance that is reached through a transport.
func newOfflineClient(roundTrip transport) *zitadelClient {
	z := newZitadelClient(&url.URL{Scheme: "http", Host: "zitadel.invalid"}, "id", "hush")
	z.httpClient.Transport = roundTrip
	return z
}

// recorded returns a response in testdata.
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

// A transport is an http.RoundTripper without a network.
type transport func(*http.Request) (*http.Response, error)

func (t transport) RoundTrip(r *http.Request) (*http.Response, error) { return t(r) }

// hang is a transport to a ZITADEL that never responds.
func hang(r *http.Request) (*http.Response, error) {
	<-r.Context().Done()
	return nil, r.Context().Err()
}

// pipes is a network of connections in memory, on which synctest can wait.
type pipes chan net.Conn

func (p pipes) Accept() (net.Conn, error) {
	if conn, ok := <-p; ok {
		return conn, nil
	}
	return nil, net.ErrClosed
}
func (p pipes) Close() error   { return nil }
func (p pipes) Addr() net.Addr { return &net.UnixAddr{} }

// dial returns a connection to whoever accepts it. It is for an http.Transport too.
func (p pipes) dial(context.Context, string, string) (net.Conn, error) {
	client, server := net.Pipe()
	p <- server
	return client, nil
}

// newPipesClient returns a client of a ZITADEL instance that dials in a network of pipes.
func newPipesClient(scheme string, network pipes) *zitadelClient {
	z := newZitadelClient(&url.URL{Scheme: scheme, Host: "zitadel.invalid"}, "id", "hush")
	transport := z.httpClient.Transport.(*http.Transport)
	transport.DialContext = network.dial
	transport.Proxy = nil // whatever the environment has
	return z
}

// listen serves the connections of a network until the test ends.
func listen(t *testing.T, server *http.Server) pipes {
	t.Helper()
	network := make(pipes)
	go server.Serve(network)
	t.Cleanup(func() {
		close(network)
		server.Close()
	})
	return network
}

// exchange sends a request and returns when the server has closed the connection.
func exchange(t *testing.T, server *http.Server, request string) {
	t.Helper()
	conn, err := listen(t, server).dial(t.Context(), "", "")
	if err != nil {
		t.Fatal(err)
	}
	io.WriteString(conn, request)
	io.Copy(io.Discard, conn)
}

// captureLog returns what is logged until the end of the test.
func captureLog(t *testing.T) *bytes.Buffer {
	t.Helper()
	log := &bytes.Buffer{}
	previous := slog.Default()
	slog.SetDefault(slog.New(slog.NewTextHandler(log, nil)))
	t.Cleanup(func() { slog.SetDefault(previous) })
	return log
}

// checkLog reports an error unless the log has exactly the lines that begin with these texts,
// after the time.
func checkLog(t *testing.T, log *bytes.Buffer, want ...string) {
	t.Helper()
	var got []string
	for line := range strings.Lines(log.String()) {
		_, line, _ = strings.Cut(line, " ") // time=…
		got = append(got, line)
	}
	ok := len(got) == len(want)
	for n := 0; ok && n < len(want); n++ {
		ok = strings.HasPrefix(got[n], want[n])
	}
	if !ok {
		t.Errorf("got log\n%q\nwant lines that begin with\n%q", got, want)
	}
	if strings.Contains(log.String(), testToken) {
		t.Error("got a token in the log, want none")
	}
}
