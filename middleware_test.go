package main

import (
	"context"
	"errors"
	"net/http"
	"testing"
	"testing/synctest"
	"time"
)

func TestClaimsFrom(t *testing.T) {
	var got claims
	handler := requireToken(introspectAs(readerClaims(), nil),
		http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			got = claimsFrom(r.Context())
		}))
	checkStatus(t, "with a token", get(handler, "/"), 200)
	checkClaims(t, got, readerClaims())
}

func TestRequireRoleWithoutRequireToken(t *testing.T) {
	handler := requireRole("any", http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		t.Error("got a call of the handler, want none")
	}))
	get(handler, "/")
}

func TestTokenExpires(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := claims{Active: true, Expires: time.Now().Add(time.Minute)}
		api := newAPI(introspectAs(c, nil))
		time.Sleep(time.Minute - time.Nanosecond)
		checkStatus(t, "before it expires", get(api, "/api/private"), 200)
		time.Sleep(time.Nanosecond)
		checkStatus(t, "when it expires", get(api, "/api/private"), 401)
	})
}

func TestRetryAfter(t *testing.T) {
	got := get(newAPI(introspectAs(claims{}, errors.New("some reason"))), "/api/private")
	if got := got.Header.Get("Retry-After"); got != "5" {
		t.Errorf("got Retry-After %q, want 5", got)
	}
}

func TestRequestLog(t *testing.T) {
	for _, row := range []struct {
		name, path string
		introspect introspectFunc
		want       []string
	}{
		{"accepted", "/api/private", introspectAs(readerClaims(), nil), []string{
			`level=INFO msg=request method=GET path=/api/private status=200 duration=`,
		}},
		{"refused", "/api/private", introspectAs(claims{}, nil), []string{
			`level=INFO msg="error response" method=GET path=/api/private code=invalid_token`,
			`level=INFO msg=request method=GET path=/api/private status=401 duration=`,
		}},
		{"role missing", "/api/private-scoped", introspectAs(claims{Active: true}, nil), []string{
			`level=INFO msg="error response" method=GET path=/api/private-scoped code=insufficient_scope`,
			`level=INFO msg=request method=GET path=/api/private-scoped status=`,
		}},
		{"introspection failed", "/api/private", introspectAs(claims{}, errors.New("oops")), []string{
			`level=ERROR msg="introspection failed" reason=oops`,
			`level=INFO msg="error response" method=GET path=/api/private code=temporarily_unavailable`,
			`level=INFO msg=request method=GET path=/api/private status=503 duration=`,
		}},
		{"unknown path", "/x?token=y", nil, []string{
			`level=INFO msg=request method=GET path=/x status=404 duration=`,
		}},
	} {
		t.Run(row.name, func(t *testing.T) {
			log := captureLog(t)
			get(newAPI(row.introspect), row.path)
			checkLog(t, log, row.want...)
		})
	}
}

// A client that leaves ends its introspection, and is no error.
func TestClientLeaves(t *testing.T) {
	log := captureLog(t)
	synctest.Test(t, func(t *testing.T) {
		ctx, leave := context.WithCancel(t.Context())
		i := newIntrospector(mustParse(t, "zitadel.invalid"), "id", "secret")
		i.client.Transport = transport(func(r *http.Request) (*http.Response, error) {
			leave()
			<-r.Context().Done()
			return nil, r.Context().Err()
		})
		start := time.Now()
		checkStatus(t, "client that left", getContext(ctx, newAPI(i.introspect), "/api/private"), 499)
		if took := time.Since(start); took != 0 {
			t.Errorf("got the introspection ended after %s, want at once", took)
		}
	})
	checkLog(t, log,
		`level=INFO msg="error response" method=GET path=/api/private code=client_closed_request`,
		`level=INFO msg=request method=GET path=/api/private status=499 duration=`)
}

// A deadline that someone sets for a handler is not a client that leaves.
func TestDeadline(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 0)
	defer cancel()
	api := newAPI(introspectAs(claims{}, ctx.Err()))
	checkStatus(t, "after the deadline", getContext(ctx, api, "/api/private"), 503)
}

func TestResponseController(t *testing.T) {
	handler := logRequests(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if err := http.NewResponseController(w).Flush(); err != nil {
			t.Errorf("got error %v, want none", err)
		}
	}))
	get(handler, "/")
}
