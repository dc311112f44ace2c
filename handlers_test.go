package main

import (
	"context"
	"encoding/json"
	"io"
	"testing"
)

func TestRoutes(t *testing.T) {
	api := newAPI(introspectAs(readerClaims(), nil))
	const bearer = "Bearer " + testToken
	for _, row := range []struct {
		path, cacheControl string
		authorization      []string
		body               string
	}{
		{"/api/public", "", nil,
			`{"message":"Public route - You don't need to be authenticated to see this."}`},
		{"/api/private", "no-store", []string{bearer},
			`{"message":"Private route - You need to be authenticated to see this."}`},
		{"/api/private-scoped", "no-store", []string{bearer},
			`{"message":"Private, scoped route - You need to be authenticated and have the role ` +
				`read:messages to see this."}`},
	} {
		got := send(api, "GET", row.path, row.authorization...)
		checkStatus(t, row.path, got, 200)
		if body, _ := io.ReadAll(got.Body); string(body) != row.body+"\n" {
			t.Errorf("%s: got body %q, want %q and a line break", row.path, body, row.body)
		}
		for name, want := range map[string]string{
			"Content-Type":  "application/json",
			"Cache-Control": row.cacheControl,
		} {
			if got := got.Header.Get(name); got != want {
				t.Errorf("%s: got %s %q, want %q", row.path, name, got, want)
			}
		}
		checkStatus(t, "HEAD "+row.path, send(api, "HEAD", row.path, row.authorization...), 200)
		checkStatus(t, "POST "+row.path, send(api, "POST", row.path, row.authorization...), 405)
	}
	checkStatus(t, "/api", get(api, "/api"), 404)
}

// TestDecision has a row for each way in which a request can be accepted or refused.
func TestDecision(t *testing.T) {
	const (
		bearer       = "Bearer " + testToken
		challenge    = `Bearer realm="api"`
		invalid      = `Bearer realm="api", error="invalid_token"`
		insufficient = `Bearer realm="api", error="insufficient_scope"`
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
		{"no header", "/api/private", nil, readerJSON, 401, "missing_authorization", challenge, 0},
		{"no header, scoped route", "/api/private-scoped", nil, readerJSON,
			401, "missing_authorization", challenge, 0},
		{"empty header", "/api/private", []string{""}, readerJSON,
			401, "missing_authorization", challenge, 0},
		{"other scheme", "/api/private", []string{"Basic " + testToken}, readerJSON,
			401, "missing_authorization", challenge, 0},
		{"no scheme", "/api/private", []string{testToken}, readerJSON,
			401, "missing_authorization", challenge, 0},
		{"no token", "/api/private", []string{"Bearer "}, readerJSON,
			401, "missing_authorization", challenge, 0},
		{"two tokens", "/api/private", []string{bearer + " " + testToken}, readerJSON,
			401, "missing_authorization", challenge, 0},
		{"two headers", "/api/private", []string{bearer, bearer}, readerJSON,
			401, "missing_authorization", challenge, 0},
		{"header in two lines", "/api/private", []string{"Bearer", testToken}, readerJSON,
			401, "missing_authorization", challenge, 0},
		{"token in the query", "/api/private?access_token=" + testToken, nil, readerJSON,
			401, "missing_authorization", challenge, 0},

		{"unusable response", "/api/private", []string{bearer}, `{}`,
			503, "temporarily_unavailable", "", 1},
		{"unusable response, scoped route", "/api/private-scoped", []string{bearer}, `{}`,
			503, "temporarily_unavailable", "", 1},
		{"inactive token", "/api/private", []string{bearer}, `{"active":false}`,
			401, "invalid_token", invalid, 1},
		{"inactive token, scoped route", "/api/private-scoped", []string{bearer}, `{"active":false}`,
			401, "invalid_token", invalid, 1},
		{"expired token", "/api/private", []string{bearer}, `{"active":true,"exp":1}`,
			401, "invalid_token", invalid, 1},
		{"no role", "/api/private-scoped", []string{bearer}, visitorJSON,
			401, "insufficient_scope", insufficient, 1},
		{"longer role", "/api/private-scoped", []string{bearer},
			`{"active":true,"urn:zitadel:iam:org:project:roles":{"read:messages:all":{}}}`,
			401, "insufficient_scope", insufficient, 1},
		{"role in upper case", "/api/private-scoped", []string{bearer},
			`{"active":true,"urn:zitadel:iam:org:project:roles":{"READ:MESSAGES":{}}}`,
			401, "insufficient_scope", insufficient, 1},
		{"role in the scope only", "/api/private-scoped", []string{bearer},
			`{"active":true,"scope":"read:messages urn:zitadel:iam:org:project:role:read:messages"}`,
			401, "insufficient_scope", insufficient, 1},

		{"active token", "/api/private", []string{bearer}, visitorJSON, 200, "", "", 1},
		{"token that expires later", "/api/private", []string{bearer},
			`{"active":true,"exp":253402300799}`, 200, "", "", 1},
		{"user with the role", "/api/private-scoped", []string{bearer}, readerJSON, 200, "", "", 1},
		{"scheme in another case, more space", "/api/private", []string{"bEARER \t " + testToken},
			visitorJSON, 200, "", "", 1},
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
			got := send(api, "GET", row.path, row.authorization...)

			checkStatus(t, row.path, got, row.status)
			var body map[string]string
			if err := json.NewDecoder(got.Body).Decode(&body); err != nil {
				t.Error(err)
			}
			if body["code"] != row.code || (body["description"] == "") != (row.code == "") {
				t.Errorf("got body %q, want code %q and a description", body, row.code)
			}
			if got := got.Header.Get("WWW-Authenticate"); got != row.challenge {
				t.Errorf("got challenge %q, want %q", got, row.challenge)
			}
			if got := got.Header.Get("Cache-Control"); got != "no-store" {
				t.Errorf("got Cache-Control %q, want no-store", got)
			}
			if got := got.Header.Get("Content-Type"); got != "application/json" {
				t.Errorf("got Content-Type %q, want application/json", got)
			}
			if introspections != row.introspections {
				t.Errorf("got %d introspections, want %d", introspections, row.introspections)
			}
		})
	}
}
