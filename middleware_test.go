package main

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"
	"testing/synctest"
	"time"
)

func TestRequireRoleWithoutRequireToken(t *testing.T) {
	handler := requireRole("any", http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		t.Error("got a call of the handler, want none")
	}))
	get(handler, "/")
}

func TestRequestLog(t *testing.T) {
	for _, row := range []struct {
		name    string
		handler http.Handler
		want    []string
	}{
		{"slow, without a response", http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
			time.Sleep(time.Second)
		}), []string{
			`level=INFO msg=request method=GET path=/x status=200 duration=1s`,
		}},
		{"refused", requireToken(introspectAs(claims{}, nil), nil), []string{
			`level=INFO msg="error response" method=GET path=/x code=invalid_token`,
			`level=INFO msg=request method=GET path=/x status=401 duration=0s`,
		}},
		{"introspection failed", requireToken(introspectAs(claims{}, errors.New("oops")), nil), []string{
			`level=ERROR msg="introspection failed" reason=oops`,
			`level=INFO msg="error response" method=GET path=/x code=temporarily_unavailable`,
			`level=INFO msg=request method=GET path=/x status=503 duration=0s`,
		}},
		{"body that is not JSON", http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			writeJSON(w, http.StatusOK, func() {})
		}), []string{
			`level=WARN msg="response not written" reason="json: unsupported type`,
			`level=INFO msg=request method=GET path=/x status=200 duration=0s`,
		}},
	} {
		t.Run(row.name, func(t *testing.T) {
			log := captureLog(t)
			synctest.Test(t, func(t *testing.T) {
				get(logRequests(row.handler), "/x?token=y")
			})
			checkLog(t, log, row.want...)
		})
	}
}

// getWith sends a GET request with the test token and a context, for which the introspection waits.
func getWith(t *testing.T, ctx context.Context, want int) {
	t.Helper()
	introspect := newOfflineClient(hang).introspect
	r := httptest.NewRequestWithContext(ctx, "GET", "/x", nil)
	r.Header.Set("Authorization", "Bearer "+testToken)
	checkStatus(t, "/x", serve(logRequests(requireToken(introspect, nil)), r), want)
}

// A client that leaves ends its introspection, and is no error.
func TestClientLeaves(t *testing.T) {
	log := captureLog(t)
	synctest.Test(t, func(t *testing.T) {
		ctx, leave := context.WithCancel(t.Context())
		time.AfterFunc(time.Second, leave)
		getWith(t, ctx, 499)
	})
	checkLog(t, log,
		`level=INFO msg="error response" method=GET path=/x code=client_closed_request`,
		`level=INFO msg=request method=GET path=/x status=499 duration=1s`)
}

// A deadline that other middleware sets is not a client that leaves.
func TestDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		getWith(t, ctx, 503)
	})
}

func TestResponseController(t *testing.T) {
	handler := logRequests(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if err := http.NewResponseController(w).Flush(); err != nil {
			t.Errorf("got error %v, want none", err)
		}
	}))
	get(handler, "/")
}
