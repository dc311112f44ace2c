package main

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"testing/synctest"
)

// After a change of a route, of the role or of the status of a refusal, adapt the tests here.

func TestRoutes(t *testing.T) {
	reader := claims{Active: true,
		Roles: map[string]map[string]string{"read:messages": {"1": "example.localhost"}}}
	api := newAPI(introspectAs(reader, nil))
	for path, message := range map[string]string{
		"/api/public":  "Public route - You don't need to be authenticated to see this.",
		"/api/private": "Private route - You need to be authenticated to see this.",
		"/api/private-scoped": "Private, scoped route - You need to be authenticated and have the " +
			"role read:messages to see this.",
	} {
		got := get(t.Context(), api, path, bearer)
		checkStatus(t, path, got, 200)
		body, err := io.ReadAll(got.Body)
		if want := `{"message":"` + message + `"}` + "\n"; err != nil || string(body) != want {
			t.Errorf("%s: got body %q, error %v, want %q", path, body, err, want)
		}
		if got := got.Header.Get("Content-Type"); got != "application/json" {
			t.Errorf("%s: got Content-Type %q, want application/json", path, got)
		}
	}
	checkStatus(t, "without a token", get(t.Context(), api, "/api/public"), 200)
	w := httptest.NewRecorder()
	api.ServeHTTP(w, httptest.NewRequest("POST", "/api/public", nil))
	checkStatus(t, "POST", w.Result(), 405)
}

// TestDecision has a row for each reason to accept or to refuse a request.
func TestDecision(t *testing.T) {
	const (
		private = "/api/private"
		scoped  = "/api/private-scoped"

		visitor = `{"active":true}`
		reader  = `{"active":true,"urn:zitadel:iam:org:project:roles":{"read:messages":{"1":"x"}}}`
		inScope = `{"active":true,"scope":"read:messages urn:zitadel:iam:org:project:role:read:messages"}`
		similar = `{"active":true,"urn:zitadel:iam:org:project:roles":` +
			`{"READ:messages":{"1":"x"},"read:messages2":{"1":"x"},"read":{"1":"x"}}}`
		notGranted = `{"active":true,"urn:zitadel:iam:org:project:roles":{"read:messages":{}}}`
	)
	type decision struct {
		status          int
		code, challenge string
		introspections  int
	}
	var (
		missing      = decision{401, "missing_authorization", `Bearer realm="api"`, 0}
		unavailable  = decision{503, "temporarily_unavailable", "", 1}
		invalid      = decision{401, "invalid_token", `Bearer realm="api", error="invalid_token"`, 1}
		insufficient = decision{401, "insufficient_scope",
			`Bearer realm="api", error="insufficient_scope"`, 1}
		accepted = decision{200, "", "", 1}
	)
	type request struct {
		path          string
		authorization []string
	}
	toPrivate, toScoped := request{private, []string{bearer}}, request{scoped, []string{bearer}}
	for _, row := range []struct {
		name    string
		request request
		zitadel string // body of ZITADEL's response
		want    decision
	}{
		{"no header", request{private, nil}, reader, missing},
		{"other scheme", request{private, []string{"Basic x"}}, reader, missing},
		{"no token", request{private, []string{"Bearer"}}, reader, missing},
		{"two tokens", request{private, []string{bearer + " x"}}, reader, missing},
		{"two headers", request{private, []string{bearer, bearer}}, reader, missing},
		{"token in the query", request{private + "?access_token=" + testToken, nil}, reader, missing},

		{"unusable response", toPrivate, `{}`, unavailable},
		{"inactive", toPrivate, `{"active":false}`, invalid},
		// In a bubble of synctest, the time is 946684800 s since the epoch.
		{"expired", toPrivate, `{"active":true,"exp":946684800}`, invalid},
		{"exp 0", toPrivate, `{"active":true,"exp":0}`, invalid},
		{"exp null", toPrivate, `{"active":true,"exp":null}`, invalid},
		{"role in the scope only", toScoped, inScope, insufficient},
		{"similar roles", toScoped, similar, insufficient},
		{"role granted by no organization", toScoped, notGranted, insufficient},

		{"active", toPrivate, visitor, accepted},
		{"not expired", toPrivate, `{"active":true,"exp":946684801}`, accepted},
		{"role", toScoped, reader, accepted},
		{"scheme in another case, more space", request{private, []string{"bEARER \t " + testToken}},
			visitor, accepted},
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
				got = get(t.Context(), api, row.request.path, row.request.authorization...)
			})

			checkStatus(t, row.request.path, got, row.want.status)
			var body map[string]string
			if err := json.NewDecoder(got.Body).Decode(&body); err != nil {
				t.Error(err)
			}
			if body["code"] != row.want.code || (body["description"] == "") != (row.want.code == "") {
				t.Errorf("got body %q, want code %q and a description", body, row.want.code)
			}
			for name, want := range map[string]string{
				"Cache-Control":    "no-store",
				"Content-Type":     "application/json",
				"Retry-After":      map[int]string{503: "5"}[row.want.status],
				"WWW-Authenticate": row.want.challenge,
			} {
				if got := got.Header.Get(name); got != want {
					t.Errorf("got %s %q, want %q", name, got, want)
				}
			}
			if introspections != row.want.introspections {
				t.Errorf("got %d introspections, want %d", introspections, row.want.introspections)
			}
		})
	}
}
