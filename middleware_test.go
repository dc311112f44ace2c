package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestRequireRoleWithoutRequireToken(t *testing.T) {
	handler := requireRole("any", http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		t.Error("got a call of the handler, want none")
	}))
	get(t.Context(), handler, "/", bearer)
}

func TestLogOfRefusals(t *testing.T) {
	alice := claims{Active: true, Subject: "42"}
	const fault = `level=ERROR msg="introspection failed" method=GET path=/x reason=oops`
	for _, row := range []struct {
		name    string
		handler http.Handler
		user    string
		fault   bool
	}{
		{"inactive token", requireToken(introspectAs(claims{}, nil), nil), `""`, false},
		{"no role", requireToken(introspectAs(alice, nil), requireRole("any", nil)), "42", false},
		{"fault", requireToken(introspectAs(claims{}, errors.New("oops")), nil), `""`, true},
	} {
		t.Run(row.name, func(t *testing.T) {
			log := captureLog(t)
			resp := get(t.Context(), row.handler, "/x?token=hush", bearer)
			var body struct{ Code string }
			if err := json.NewDecoder(resp.Body).Decode(&body); err != nil {
				t.Fatal(err)
			}
			got := log.String()
			want := fmt.Sprintf(`level=INFO msg="request refused" method=GET path=/x status=%d code=%s `+
				"user=%s\n", resp.StatusCode, body.Code, row.user)
			if !strings.Contains(got, want) || strings.Contains(got, fault) != row.fault {
				t.Errorf("got log\n%swant in it\n%sand a fault: %t", got, want, row.fault)
			}
			if strings.Contains(got, testToken) || strings.Contains(got, "hush") {
				t.Errorf("got log\n%swant neither the token nor the query in it", got)
			}
		})
	}
}

// A client that leaves ends its introspection. That is not an error, and no success either.
func TestClientLeaves(t *testing.T) {
	log := captureLog(t)
	synctest.Test(t, func(t *testing.T) {
		ctx, leave := context.WithCancel(t.Context())
		time.AfterFunc(time.Second, leave)
		resp := get(ctx, requireToken(newOfflineClient(hang).introspect, nil), "/", bearer)
		checkStatus(t, "/", resp, http.StatusServiceUnavailable)
	})
	if strings.Contains(log.String(), "level=ERROR") {
		t.Errorf("got log %s, want no error", log.String())
	}
}

// A deadline that other middleware sets is not a client that leaves, and next has it too.
func TestDeadline(t *testing.T) {
	log := captureLog(t)
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		active := introspectAs(claims{Active: true}, nil)
		next := http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			if _, ok := r.Context().Deadline(); !ok {
				t.Error("got no deadline in next, want one")
			}
		})
		checkStatus(t, "active", get(ctx, requireToken(active, next), "/", bearer), 200)
		resp := get(ctx, requireToken(newOfflineClient(hang).introspect, next), "/", bearer)
		checkStatus(t, "deadline passed", resp, http.StatusServiceUnavailable)
	})
	if !strings.Contains(log.String(), "level=ERROR") {
		t.Errorf("got log %s, want an error", log.String())
	}
}
