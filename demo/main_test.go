package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
)

// members returns the names of the members of a response, each with its JSON type, and the error.
func members(t *testing.T, resp *http.Response) map[string]string {
	t.Helper()
	var object map[string]any
	if err := json.NewDecoder(resp.Body).Decode(&object); err != nil {
		t.Fatal(err)
	}
	types := map[string]string{}
	for name, value := range object {
		types[name] = fmt.Sprintf("%T", value)
		if strings.HasPrefix(name, "error") {
			types[name] = fmt.Sprint(value)
		}
	}
	return types
}

// TestDemoResponses compares the responses with those that a real ZITADEL has sent.
func TestDemoResponses(t *testing.T) {
	standIn := newStandIn("http://localhost:8080")
	for _, row := range []struct{ clientID, secret, token, recorded string }{
		{clientID, clientSecret, "reader-pat", "role"},
		{clientID, clientSecret, "visitor-pat", "no-role"},
		{clientID, clientSecret, "other-pat", "garbage-token"},
		{clientID, "x", "reader-pat", "wrong-secret"},
		{"x", clientSecret, "reader-pat", "wrong-secret"},
		{clientID, "%secret", "reader-pat", "secret-not-form-encoded"},
	} {
		r := httptest.NewRequest("POST", "/oauth/v2/introspect", strings.NewReader("token="+row.token))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		r.SetBasicAuth(row.clientID, row.secret)
		w := httptest.NewRecorder()
		standIn.ServeHTTP(w, r)

		data, err := os.ReadFile("../testdata/" + row.recorded + ".http")
		if err != nil {
			t.Fatal(err)
		}
		want, err := http.ReadResponse(bufio.NewReader(bytes.NewReader(data)), nil)
		if err != nil {
			t.Fatal(err)
		}
		if w.Code != want.StatusCode {
			t.Errorf("%s: got status %d, want %d", row.recorded, w.Code, want.StatusCode)
		}
		got, wanted := fmt.Sprint(members(t, w.Result())), fmt.Sprint(members(t, want))
		if got != wanted {
			t.Errorf("%s: got members\n%s\nwant\n%s", row.recorded, got, wanted)
		}
	}
}

func TestDemoRoles(t *testing.T) {
	standIn := newStandIn("http://localhost:8080")
	for _, step := range []struct{ method, path, want string }{
		{"DELETE", "reader/roles/" + projectRole, "reader has the role " + projectRole + ": false\n"},
		{"PUT", "reader/roles/" + projectRole, "reader has the role " + projectRole + ": true\n"},
		{"PUT", "reader/roles/other", "unknown user or role\n"},
		{"DELETE", "nobody/roles/" + projectRole, "unknown user or role\n"},
	} {
		w := httptest.NewRecorder()
		standIn.ServeHTTP(w, httptest.NewRequest(step.method, "/demo/users/"+step.path, nil))
		if body, _ := io.ReadAll(w.Body); string(body) != step.want {
			t.Errorf("%s %s: got %q, want %q", step.method, step.path, body, step.want)
		}
	}
}
