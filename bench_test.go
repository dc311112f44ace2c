package main

import (
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"
)

// The benchmarks call handlers one request after the other, and ZITADEL is a server in the same
// process. So they compare handlers with each other: what a request costs beside the least that
// an API can do.

// BenchmarkPublic measures a handler that introspects nothing.
func BenchmarkPublic(b *testing.B) {
	b.Run("least", func(b *testing.B) { benchmark(b, http.HandlerFunc(hello)) })
	b.Run("logged", func(b *testing.B) { benchmark(b, logRequests(message("hello"))) })
}

// BenchmarkProtected measures handlers that introspect the token of each request.
func BenchmarkProtected(b *testing.B) {
	body := recordedBody(b)
	zitadel := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		w.Header().Set("Content-Type", "application/json")
		w.Write(body)
	}))
	b.Cleanup(zitadel.Close)
	instance, err := url.Parse(zitadel.URL)
	if err != nil {
		b.Fatal(err)
	}
	introspect := newZitadelClient(instance, "id", "hush").introspect
	cached := newCache(introspect, time.Hour).introspect
	withRole := requireRole("read:messages", message("hello"))
	b.Run("least", func(b *testing.B) { benchmark(b, leastProtected(instance)) })
	b.Run("token", func(b *testing.B) {
		benchmark(b, logRequests(requireToken(introspect, message("hello"))))
	})
	b.Run("role", func(b *testing.B) { benchmark(b, logRequests(requireToken(introspect, withRole))) })
	b.Run("cached", func(b *testing.B) { benchmark(b, logRequests(requireToken(cached, withRole))) })
}

// BenchmarkParseClaims measures how long it takes to decode the response of ZITADEL.
func BenchmarkParseClaims(b *testing.B) {
	body := recordedBody(b)
	b.ReportAllocs()
	for b.Loop() {
		if c, err := parseClaims(body); err != nil || !c.Active {
			b.Fatalf("got active %t, error %v, want true", c.Active, err)
		}
	}
}

// recordedBody returns the response of ZITADEL about a user with the role read:messages.
func recordedBody(b *testing.B) []byte {
	b.Helper()
	body, err := io.ReadAll(recorded(b, "role").Body)
	if err != nil {
		b.Fatal(err)
	}
	return body
}

// benchmark sends requests with a token to a handler.
func benchmark(b *testing.B, handler http.Handler) {
	b.Helper()
	previous := slog.Default()
	slog.SetDefault(slog.New(slog.NewTextHandler(io.Discard, nil)))
	defer slog.SetDefault(previous)
	b.ReportAllocs()
	for b.Loop() {
		if got := get(handler, "/"); got.StatusCode != http.StatusOK {
			b.Fatalf("got status %d, want 200", got.StatusCode)
		}
	}
}

// hello does the least that a handler can do.
func hello(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	io.WriteString(w, `{"message":"hello"}`)
}

// leastProtected does the least that a handler with an introspection can do.
func leastProtected(instance *url.URL) http.Handler {
	endpoint := instance.JoinPath("/oauth/v2/introspect").String()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		form := "token=" + strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
		req, err := http.NewRequest("POST", endpoint, strings.NewReader(form))
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		req.SetBasicAuth("id", "hush")
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadGateway)
			return
		}
		defer resp.Body.Close()
		var c struct{ Active bool }
		if err := json.NewDecoder(resp.Body).Decode(&c); err != nil || !c.Active {
			http.Error(w, "not active", http.StatusUnauthorized)
			return
		}
		hello(w, r)
	})
}
