package main

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"testing"
	"testing/synctest"
)

// The routes, the role and the status of each refusal are in this test file alone: after a change
// of those, adapt the tests here.

func TestRoutes(t *testing.T) {
	introspect := introspectAs(claims{Active: true, Roles: map[string]any{"read:messages": nil}}, nil)
	api := newAPI(introspect)
	for _, row := range []struct {
		path          string
		authorization []string
		body          string
	}{
		{"/api/public", nil,
			`{"message":"Public route - You don't need to be authenticated to see this."}`},
		{"/api/private", []string{"Bearer " + testToken},
			`{"message":"Private route - You need to be authenticated to see this."}`},
		{"/api/private-scoped", []string{"Bearer " + testToken},
			`{"message":"Private, scoped route - You need to be authenticated and have the role ` +
				`read:messages to see this."}`},
	} {
		got := send(api, "GET", row.path, row.authorization...)
		checkStatus(t, row.path, got, 200)
		if body, _ := io.ReadAll(got.Body); string(body) != row.body+"\n" {
			t.Errorf("%s: got body %q, want %q and a line break", row.path, body, row.body)
		}
		if got := got.Header.Get("Content-Type"); got != "application/json" {
			t.Errorf("%s: got Content-Type %q, want application/json", row.path, got)
		}
		checkStatus(t, "POST "+row.path, send(api, "POST", row.path, row.authorization...), 405)
	}
}

// TestDecision has a row for each reason to accept or to refuse a request.
func TestDecision(t *testing.T) {
	const (
		private = "/api/private"
		scoped  = "/api/private-scoped"
		bearer  = "Bearer " + testToken

		noError      = `Bearer realm="api"`
		invalid      = `Bearer realm="api", error="invalid_token"`
		insufficient = `Bearer realm="api", error="insufficient_scope"`

		visitor = `{"active":true}`
		reader  = `{"active":true,"urn:zitadel:iam:org:project:roles":{"read:messages":{}}}`
		inScope = `{"active":true,"scope":"read:messages urn:zitadel:iam:org:project:role:read:messages"}`
	)
	for _, row := range []struct {
		name           string
		path           string
		authorization  []string
		zitadel        string // body of ZITADEL's response
		status         int
		code           string
		challenge      string
		introspections int
	}{
		{"no header", private, nil, reader, 401, "missing_authorization", noError, 0},
		{"other scheme", private, []string{"Basic x"}, reader, 401, "missing_authorization", noError, 0},
		{"no token", private, []string{"Bearer"}, reader, 401, "missing_authorization", noError, 0},
		{"two tokens", private, []string{bearer + " x"}, reader,
			401, "missing_authorization", noError, 0},
		{"two headers", private, []string{bearer, bearer}, reader,
			401, "missing_authorization", noError, 0},
		{"token in the query", private + "?access_token=" + testToken, nil, reader,
			401, "missing_authorization", noError, 0},

		{"unusable response", private, []string{bearer}, `{}`, 503, "temporarily_unavailable", "", 1},
		{"inactive", private, []string{bearer}, `{"active":false}`, 401, "invalid_token", invalid, 1},
		// In this test, the time is 946684800.
		{"expired", private, []string{bearer}, `{"active":true,"exp":946684800}`,
			401, "invalid_token", invalid, 1},
		{"role in the scope only", scoped, []string{bearer}, inScope,
			401, "insufficient_scope", insufficient, 1},

		{"active", private, []string{bearer}, visitor, 200, "", "", 1},
		{"not expired", private, []string{bearer}, `{"active":true,"exp":946684801}`, 200, "", "", 1},
		{"role", scoped, []string{bearer}, reader, 200, "", "", 1},
		{"scheme in another case, more space", private, []string{"bEARER \t " + testToken}, visitor,
			200, "", "", 1},
	} {
		t.Run(row.name, func(t *testing.T) {
			introspections := 0
			api := newAPI(func(_ context.Context, token string) (claims, error) {
				introspections++
				if token != testToken {
					t.Errorf("got token %q, want %q", token, testToken)
				}
				return parseClaims([]byte(row.zitadel))
			})
			var got *http.Response
			synctest.Test(t, func(t *testing.T) {
				got = send(api, "GET", row.path, row.authorization...)
			})

			checkStatus(t, row.path, got, row.status)
			var body map[string]string
			if err := json.NewDecoder(got.Body).Decode(&body); err != nil {
				t.Error(err)
			}
			if body["code"] != row.code || (body["description"] == "") != (row.code == "") {
				t.Errorf("got body %q, want code %q and a description", body, row.code)
			}
			retryAfter := ""
			if row.status == http.StatusServiceUnavailable {
				retryAfter = "5"
			}
			for name, want := range map[string]string{
				"Cache-Control":    "no-store",
				"Content-Type":     "application/json",
				"Retry-After":      retryAfter,
				"WWW-Authenticate": row.challenge,
			} {
				if got := got.Header.Get(name); got != want {
					t.Errorf("got %s %q, want %q", name, got, want)
				}
			}
			if introspections != row.introspections {
				t.Errorf("got %d introspections, want %d", introspections, row.introspections)
			}
		})
	}
}
