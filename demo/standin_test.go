package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"testing"
)

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
	standIn := newStandIn("http://localhost:8080")
	for _, row := range []struct{ name, id, secret, token, recorded string }{
		{"user with the role", clientID, clientSecret, "reader-pat", "role"},
		{"user without a role", clientID, clientSecret, "visitor-pat", "no-role"},
		{"unknown token", clientID, clientSecret, "other-pat", "garbage-token"},
		{"wrong secret", clientID, "x", "reader-pat", "wrong-secret"},
		{"unknown client", "x", clientSecret, "reader-pat", "wrong-secret"},
		{"secret not form-encoded", clientID, "%secret", "reader-pat", "secret-not-form-encoded"},
	} {
		req := httptest.NewRequest("POST", "/oauth/v2/introspect", strings.NewReader("token="+row.token))
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		req.SetBasicAuth(row.id, row.secret)
		rec := httptest.NewRecorder()
		standIn.ServeHTTP(rec, req)

		data, err := os.ReadFile("../testdata/" + row.recorded + ".http")
		if err != nil {
			t.Fatal(err)
		}
		want, err := http.ReadResponse(bufio.NewReader(bytes.NewReader(data)), nil)
		if err != nil {
			t.Fatal(err)
		}
		if rec.Code != want.StatusCode {
			t.Errorf("%s: got status %d, want %d", row.name, rec.Code, want.StatusCode)
		}
		if got, want := members(t, rec.Result()), members(t, want); !slices.Equal(got, want) {
			t.Errorf("%s: got members\n%q\nwant\n%q", row.name, got, want)
		}
	}
}

func TestChangeRole(t *testing.T) {
	standIn := newStandIn("http://localhost:8080")
	for _, step := range []struct {
		method, path, want string
	}{
		{"DELETE", "reader/roles/" + projectRole, "200 reader has the roles []\n"},
		{"DELETE", "reader/roles/" + projectRole, "200 reader has the roles []\n"},
		{"PUT", "reader/roles/" + projectRole, "200 reader has the roles [" + projectRole + "]\n"},
		{"PUT", "reader/roles/other", "404 The users are reader and visitor. The role is " +
			projectRole + ".\n"},
		{"DELETE", "nobody/roles/" + projectRole, "404 The users are reader and visitor. The role is " +
			projectRole + ".\n"},
	} {
		rec := httptest.NewRecorder()
		standIn.ServeHTTP(rec, httptest.NewRequest(step.method, "/demo/users/"+step.path, nil))
		if got := fmt.Sprint(rec.Code, " ", rec.Body); got != step.want {
			t.Errorf("%s %s: got %q, want %q", step.method, step.path, got, step.want)
		}
	}
}
