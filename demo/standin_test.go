package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"slices"
	"strings"
	"testing"
)

func init() {
	slog.SetDefault(slog.New(slog.DiscardHandler)) // as main does
}

// introspect sends an introspection request to the stand-in at a URL.
func introspect(t *testing.T, zitadel, id, secret, token string) *http.Response {
	t.Helper()
	body := strings.NewReader(url.Values{"token": {token}}.Encode())
	req, err := http.NewRequest("POST", zitadel+"/oauth/v2/introspect", body)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.SetBasicAuth(id, secret)
	return do(t, req)
}

// changeRole gives a user of the stand-in the role read:messages, or takes it away.
func changeRole(t *testing.T, zitadel, method, user string) *http.Response {
	t.Helper()
	req, err := http.NewRequest(method, zitadel+"/demo/users/"+user+"/roles/read:messages", nil)
	if err != nil {
		t.Fatal(err)
	}
	return do(t, req)
}

// do sends a request.
func do(t *testing.T, req *http.Request) *http.Response {
	t.Helper()
	resp, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { resp.Body.Close() })
	return resp
}

// recorded returns a response of a real ZITADEL.
func recorded(t *testing.T, name string) *http.Response {
	t.Helper()
	data, err := os.ReadFile("../testdata/" + name + ".http")
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.ReadResponse(bufio.NewReader(bytes.NewReader(data)), nil)
	if err != nil {
		t.Fatal(err)
	}
	return resp
}

// members returns the names of the members of a response, each with its JSON type.
func members(t *testing.T, resp *http.Response) []string {
	t.Helper()
	var object map[string]any
	if err := json.NewDecoder(resp.Body).Decode(&object); err != nil {
		t.Fatal(err)
	}
	var list []string
	for name, value := range object {
		list = append(list, fmt.Sprintf("%s is a %T", name, value))
	}
	slices.Sort(list)
	return list
}

// TestResponses compares the responses with those of a real ZITADEL.
func TestResponses(t *testing.T) {
	standIn := httptest.NewServer(newStandIn("http://localhost:8080"))
	defer standIn.Close()
	for _, row := range []struct{ name, id, secret, token, recorded string }{
		{"user with the role", clientID, clientSecret, "reader-pat", "role"},
		{"user without a role", clientID, clientSecret, "visitor-pat", "no-role"},
		{"unknown token", clientID, clientSecret, "other-pat", "garbage-token"},
		{"wrong secret", clientID, "x", "reader-pat", "wrong-secret"},
		{"unknown client", "x", clientSecret, "reader-pat", "wrong-secret"},
		{"secret not form-encoded", clientID, "%secret", "reader-pat", "secret-not-form-encoded"},
	} {
		got := introspect(t, standIn.URL, row.id, row.secret, row.token)
		want := recorded(t, row.recorded)
		if got.StatusCode != want.StatusCode {
			t.Errorf("%s: got status %d, want %d", row.name, got.StatusCode, want.StatusCode)
		}
		if got, want := members(t, got), members(t, want); !slices.Equal(got, want) {
			t.Errorf("%s: got members\n%q\nwant\n%q", row.name, got, want)
		}
	}
}

func TestChangeRole(t *testing.T) {
	standIn := httptest.NewServer(newStandIn("http://localhost:8080"))
	defer standIn.Close()
	const roles = "urn:zitadel:iam:org:project:roles is a map[string]interface {}"
	for _, step := range []struct {
		method, user string
		status       int
		hasRole      bool // the reader
	}{
		{"DELETE", "reader", 200, false},
		{"DELETE", "reader", 200, false},
		{"PUT", "reader", 200, true},
		{"DELETE", "visitor", 200, true},
		{"DELETE", "nobody", 404, true},
	} {
		if got := changeRole(t, standIn.URL, step.method, step.user); got.StatusCode != step.status {
			t.Errorf("%s %s: got status %d, want %d", step.method, step.user, got.StatusCode, step.status)
		}
		resp := introspect(t, standIn.URL, clientID, clientSecret, "reader-pat")
		if got := slices.Contains(members(t, resp), roles); got != step.hasRole {
			t.Errorf("after %s %s: got a role %t, want %t", step.method, step.user, got, step.hasRole)
		}
	}
}
