package main

import (
	"bytes"
	"context"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"
)

const (
	testToken = "test-token.AZaz09-._~+/=="

	activeResponse = `{"active":true}`
	readerResponse = `{"active":true,` +
		`"urn:zitadel:iam:org:project:roles":{"read:messages":{"1":"example"}}}`
)

// reader has the claims of readerResponse.
var reader, _ = parseClaims([]byte(readerResponse))

// returnClaims returns an introspectFunc that returns c for every token.
func returnClaims(c claims) introspectFunc {
	return func(context.Context, string) (claims, error) { return c, nil }
}

// year returns the beginning of a year.
func year(y int) time.Time { return time.Date(y, 1, 1, 0, 0, 0, 0, time.UTC) }

// send sends a request with the given Authorization headers to a handler.
func send(
	h http.Handler, method, path string, authorization ...string,
) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, path, nil)
	if len(authorization) > 0 {
		r.Header["Authorization"] = authorization
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

// get sends a GET request with the test token to a handler.
func get(h http.Handler, path string) *httptest.ResponseRecorder {
	return send(h, "GET", path, "Bearer "+testToken)
}

// checkStatus reports an error if a response does not have the status want.
func checkStatus(t *testing.T, what string, got *httptest.ResponseRecorder, want int) {
	t.Helper()
	if got.Code != want {
		t.Errorf("%s: got status %d %s, want %d", what, got.Code, got.Body, want)
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
