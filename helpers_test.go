package main

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"strings"
	"sync"
	"testing"
)

const (
	testToken = "test-token"

	// Introspection responses: an active token without a role, and one with read:messages.
	visitorJSON = `{"active":true,"sub":"2"}`
	readerJSON  = `{"active":true,"sub":"1",` +
		`"urn:zitadel:iam:org:project:roles":{"read:messages":{"9":"example.localhost"}}}`
)

func TestMain(m *testing.M) {
	slog.SetDefault(slog.New(slog.DiscardHandler))
	os.Exit(m.Run())
}

// readerClaims returns the claims of readerJSON.
func readerClaims() claims {
	return claims{Active: true, Subject: "1",
		Roles: map[string]any{"read:messages": map[string]any{"9": "example.localhost"}}}
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
	return getContext(context.Background(), h, path)
}

// getContext is get for a request with a context.
func getContext(ctx context.Context, h http.Handler, path string) *http.Response {
	r := httptest.NewRequestWithContext(ctx, "GET", path, nil)
	r.Header.Set("Authorization", "Bearer "+testToken)
	return serve(h, r)
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
	server := httptest.NewUnstartedServer(handler)
	server.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	server.Start()
	t.Cleanup(server.Close)
	return mustParse(t, server.URL)
}

// mustParse parses the URL of a ZITADEL instance.
func mustParse(t *testing.T, domain string) *url.URL {
	t.Helper()
	u, err := parseDomain(domain)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

// respond returns a handler that responds with a status and a body.
func respond(status int, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(status)
		io.WriteString(w, body)
	}
}

// A logBuffer holds log lines that other goroutines may be writing.
type logBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *logBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *logBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

// captureLog returns what is logged until the end of the test.
func captureLog(t *testing.T) *logBuffer {
	t.Helper()
	log := &logBuffer{}
	previous := slog.Default()
	slog.SetDefault(slog.New(slog.NewTextHandler(log, nil)))
	t.Cleanup(func() { slog.SetDefault(previous) })
	return log
}

// checkLog reports an error unless the log has exactly the lines that begin with these texts,
// after the time.
func checkLog(t *testing.T, log *logBuffer, want ...string) {
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
}
