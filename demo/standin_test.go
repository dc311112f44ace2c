package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"slices"
	"strings"
	"testing"
)

// The client credentials of the stand-ins in the tests.
const (
	clientID     = "400884494992739366"
	clientSecret = "c0VZ3s9WqLk2TnR8uXfYb1aHdGjEmP4oQiC7vBwNy5tK6zDxSrFgUhJlAeMpOcIq"
)

// startStandIn starts a stand-in.
func startStandIn(t *testing.T) *httptest.Server {
	t.Helper()
	server := httptest.NewUnstartedServer(nil)
	server.Config.Handler = newStandIn("http://"+server.Listener.Addr().String(),
		clientID, clientSecret)
	server.Start()
	t.Cleanup(server.Close)
	return server
}

// introspect sends an introspection request to a stand-in.
func introspect(
	t *testing.T, standIn *httptest.Server, token string, authenticate func(*http.Request),
) *http.Response {
	t.Helper()
	form := strings.NewReader(url.Values{"token": {token}}.Encode())
	req, err := http.NewRequestWithContext(t.Context(), "POST",
		standIn.URL+"/oauth/v2/introspect", form)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	authenticate(req)
	return do(t, req)
}

// do sends a request.
func do(t *testing.T, req *http.Request) *http.Response {
	t.Helper()
	resp, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = resp.Body.Close() })
	return resp
}

// basic authenticates with Client Secret Basic, form-encoded (RFC 6749 §2.3.1).
func basic(id, secret string) func(*http.Request) {
	return func(r *http.Request) { r.SetBasicAuth(url.QueryEscape(id), url.QueryEscape(secret)) }
}

// recorded returns a response that was recorded from a real instance.
func recorded(t *testing.T, name string) *http.Response {
	t.Helper()
	file, err := os.Open("../testdata/" + name + ".http")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = file.Close() })
	resp, err := http.ReadResponse(bufio.NewReader(file), nil)
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

func TestIntrospectionHasTheMembersOfARealInstance(t *testing.T) {
	standIn := startStandIn(t)
	for token, name := range map[string]string{
		"reader-pat": "role", "visitor-pat": "no-role", "other-pat": "garbage-token",
	} {
		got := members(t, introspect(t, standIn, token, basic(clientID, clientSecret)))
		if want := members(t, recorded(t, name)); !slices.Equal(got, want) {
			t.Errorf("%s: got members\n%q, want as in %s\n%q", token, got, name, want)
		}
	}
}

func TestRefusalsAreThoseOfARealInstance(t *testing.T) {
	standIn := startStandIn(t)
	for name, authenticate := range map[string]func(*http.Request){
		"wrong-secret":             basic(clientID, "x"),
		"unknown-client":           basic("x", clientSecret),
		"secret-not-form-encoded":  func(r *http.Request) { r.SetBasicAuth("id", "%secret") },
		"no-client-authentication": func(*http.Request) {},
	} {
		got, want := introspect(t, standIn, "reader-pat", authenticate), recorded(t, name)
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

// A real API has credentials without such characters. Those of the demo have them.
func TestClientCredentialsAreFormDecoded(t *testing.T) {
	const id, secret = "400884494992739366@demo:100%+api", "+%2F: x"
	standIn := httptest.NewServer(newStandIn("http://localhost:8080", id, secret))
	defer standIn.Close()
	if got := introspect(t, standIn, "reader-pat", basic(id, secret)); got.StatusCode != 200 {
		t.Errorf("got status %d, want 200", got.StatusCode)
	}
}

func TestRolesChangeAtOnce(t *testing.T) {
	standIn := startStandIn(t)
	const roles = "urn:zitadel:iam:org:project:roles is a map[string]interface {}"
	for _, step := range []struct {
		method, path string
		status       int
		hasRole      bool
	}{
		{"DELETE", "/demo/users/reader/roles/read:messages", 200, false},
		{"DELETE", "/demo/users/reader/roles/read:messages", 200, false},
		{"PUT", "/demo/users/reader/roles/read:messages", 200, true},
		{"DELETE", "/demo/users/visitor/roles/read:messages", 200, true},
		{"DELETE", "/demo/users/nobody/roles/read:messages", 404, true},
		{"DELETE", "/demo/users/reader/roles/write:messages", 404, true},
	} {
		req, err := http.NewRequestWithContext(t.Context(), step.method, standIn.URL+step.path, nil)
		if err != nil {
			t.Fatal(err)
		}
		if resp := do(t, req); resp.StatusCode != step.status {
			t.Errorf("%s %s: got status %d, want %d",
				step.method, step.path, resp.StatusCode, step.status)
		}
		resp := introspect(t, standIn, "reader-pat", basic(clientID, clientSecret))
		if got := slices.Contains(members(t, resp), roles); got != step.hasRole {
			t.Errorf("after %s %s: got a roles claim: %v, want %v",
				step.method, step.path, got, step.hasRole)
		}
	}
}
