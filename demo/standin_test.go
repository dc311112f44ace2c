package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"slices"
	"strings"
	"testing"
)

// ask asks the introspection endpoint of a stand-in about a token.
func ask(
	t *testing.T, standIn *httptest.Server, token string, authenticate func(*http.Request),
) *http.Response {
	t.Helper()
	form := strings.NewReader(url.Values{"token": {token}}.Encode())
	request, err := http.NewRequestWithContext(t.Context(), "POST",
		standIn.URL+"/oauth/v2/introspect", form)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	authenticate(request)
	response, err := http.DefaultTransport.RoundTrip(request)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = response.Body.Close() })
	return response
}

// basic authenticates by Client Secret Basic, form-encoded (RFC 6749 §2.3.1).
func basic(id, secret string) func(*http.Request) {
	return func(r *http.Request) { r.SetBasicAuth(url.QueryEscape(id), url.QueryEscape(secret)) }
}

// recorded returns an answer that was recorded from a real instance.
func recorded(t *testing.T, name string) *http.Response {
	t.Helper()
	file, err := os.Open("../testdata/" + name + ".http")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = file.Close() })
	response, err := http.ReadResponse(bufio.NewReader(file), nil)
	if err != nil {
		t.Fatal(err)
	}
	return response
}

// members returns the names of an answer's members, each with its JSON type.
func members(t *testing.T, response *http.Response) []string {
	t.Helper()
	var answer map[string]any
	if err := json.NewDecoder(response.Body).Decode(&answer); err != nil {
		t.Fatal(err)
	}
	types := map[string]bool{}
	for name, value := range answer {
		types[fmt.Sprintf("%s is a %T", name, value)] = true
	}
	return slices.Sorted(maps.Keys(types))
}

func TestAnswersHaveTheMembersOfARealInstance(t *testing.T) {
	standIn := httptest.NewServer(newStandIn("http://localhost:8080"))
	defer standIn.Close()
	for token, name := range map[string]string{
		"reader-pat": "role", "visitor-pat": "no-role", "other-pat": "garbage-token",
	} {
		got := members(t, ask(t, standIn, token, basic(clientID, clientSecret)))
		if want := members(t, recorded(t, name)); !slices.Equal(got, want) {
			t.Errorf("%s: got members\n%q, want as in %s\n%q", token, got, name, want)
		}
	}
}

func TestRefusalsAreThoseOfARealInstance(t *testing.T) {
	standIn := httptest.NewServer(newStandIn("http://localhost:8080"))
	defer standIn.Close()
	for name, authenticate := range map[string]func(*http.Request){
		"wrong-secret":             basic(clientID, "x"),
		"unknown-client":           basic("x", clientSecret),
		"secret-not-form-encoded":  func(r *http.Request) { r.SetBasicAuth("id", "%secret") },
		"no-client-authentication": func(*http.Request) {},
	} {
		got, want := ask(t, standIn, "reader-pat", authenticate), recorded(t, name)
		if got.StatusCode != want.StatusCode {
			t.Errorf("%s: got status %d, want %d", name, got.StatusCode, want.StatusCode)
		}
		gotBody, _ := io.ReadAll(got.Body)
		wantBody, _ := io.ReadAll(want.Body)
		var gotError, wantError struct{ Error string }
		_, _ = json.Unmarshal(gotBody, &gotError), json.Unmarshal(wantBody, &wantError)
		if gotError != wantError {
			t.Errorf("%s: got %s, want %s", name, gotBody, wantBody)
		}
	}
}

func TestRolesChangeAtOnce(t *testing.T) {
	standIn := httptest.NewServer(newStandIn("http://localhost:8080"))
	defer standIn.Close()
	const roles = "urn:zitadel:iam:org:project:roles is a map[string]interface {}"
	for _, step := range []struct {
		method, path string
		status       int
		has          bool
	}{
		{"DELETE", "/demo/users/reader/roles/read:messages", 200, false},
		{"DELETE", "/demo/users/reader/roles/read:messages", 200, false},
		{"PUT", "/demo/users/reader/roles/read:messages", 200, true},
		{"DELETE", "/demo/users/visitor/roles/read:messages", 200, true},
		{"DELETE", "/demo/users/nobody/roles/read:messages", 404, true},
		{"DELETE", "/demo/users/reader/roles/write:messages", 404, true},
	} {
		request, _ := http.NewRequestWithContext(t.Context(), step.method, standIn.URL+step.path, nil)
		response, err := http.DefaultTransport.RoundTrip(request)
		if err != nil {
			t.Fatal(err)
		}
		_ = response.Body.Close()
		if response.StatusCode != step.status {
			t.Errorf("%s %s: got status %d, want %d",
				step.method, step.path, response.StatusCode, step.status)
		}
		answer := members(t, ask(t, standIn, "reader-pat", basic(clientID, clientSecret)))
		if got := slices.Contains(answer, roles); got != step.has {
			t.Errorf("after %s %s: got a roles claim: %v, want %v", step.method, step.path, got, step.has)
		}
	}
}
