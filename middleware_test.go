package main

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// A handler gets the claims, and the request's context. requireRole alone refuses requests.
func TestHandlerContext(t *testing.T) {
	next := http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if got := claimsFrom(r.Context()).Subject; got != "42" || r.Context().Done() == nil {
			t.Errorf("got subject %q, want 42, in a context that ends with the request", got)
		}
	})
	alice := introspectAs(claims{Active: true, Subject: "42"}, nil)
	get(t.Context(), requireToken(alice, next), "/", bearer)
	get(t.Context(), requireRole("any", next), "/", bearer)
}

// An introspection ends when the client leaves, which is not an error, at a deadline of other
// middleware, and at the timeout. It is never a success.
func TestZITADELHangs(t *testing.T) {
	log := captureLog(t)
	synctest.Test(t, func(t *testing.T) {
		check := func(ctx context.Context, after time.Duration, want string) {
			t.Helper()
			log.Reset()
			start := time.Now()
			resp := get(ctx, requireToken(introspectThrough(hang), nil), "/", bearer)
			checkStatus(t, "/", resp, http.StatusServiceUnavailable)
			if got := time.Since(start); got != after {
				t.Errorf("got a response after %s, want %s", got, after)
			}
			if got := log.String(); !strings.Contains(got, want) || (want == "" && got != "") {
				t.Errorf("got log %s, want %q", got, want)
			}
		}
		left, leave := context.WithCancel(t.Context())
		time.AfterFunc(time.Second, leave)
		check(left, time.Second, "")
		late, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		check(late, time.Second, "level=ERROR")
		check(t.Context(), zitadelTimeout, "level=ERROR")
	})
}

func TestValueWithoutJSON(t *testing.T) {
	log, w := captureLog(t), httptest.NewRecorder()
	writeJSON(w, http.StatusOK, func() {})
	if w.Code != 500 || !strings.Contains(log.String(), "unsupported type") {
		t.Errorf("got status %d and log %s, want 500 and the reason", w.Code, log)
	}
}
