package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"strings"
	"testing"
)

// members returns the types of a response's members, and the values of active and of errors.
func members(t *testing.T, resp *http.Response) map[string]string {
	var object map[string]any
	if err := json.NewDecoder(resp.Body).Decode(&object); err != nil {
		t.Fatal(err)
	}
	types := map[string]string{}
	for name, value := range object {
		types[name] = fmt.Sprintf("%T", value)
		if name == "active" || strings.HasPrefix(name, "error") {
			types[name] = fmt.Sprint(value)
		}
	}
	return types
}

// TestDemoResponses compares the responses with those that a real ZITADEL has sent.
func TestDemoResponses(t *testing.T) {
	mock := newMock()
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
		mock.ServeHTTP(w, r)
		file, err := os.Open("../testdata/" + row.recorded + ".http")
		if err != nil {
			t.Fatal(err)
		}
		defer file.Close()
		recorded, err := http.ReadResponse(bufio.NewReader(file), nil)
		if err != nil {
			t.Fatal(err)
		}
		got := fmt.Sprint(w.Code, members(t, w.Result()))
		if want := fmt.Sprint(recorded.StatusCode, members(t, recorded)); got != want {
			t.Errorf("%s: got status and members\n%s\nwant\n%s", row.recorded, got, want)
		}
	}
}

func TestDemoRoles(t *testing.T) {
	mock := newMock()
	for _, step := range []struct{ method, user, role, want string }{
		{"DELETE", "reader", projectRole, "reader has the role " + projectRole + ": false\n"},
		{"PUT", "reader", projectRole, "reader has the role " + projectRole + ": true\n"},
		{"PUT", "reader", "other", "unknown user or role\n"},
		{"DELETE", "nobody", projectRole, "unknown user or role\n"},
	} {
		w := httptest.NewRecorder()
		path := "/demo/users/" + step.user + "/roles/" + url.PathEscape(step.role)
		mock.ServeHTTP(w, httptest.NewRequest(step.method, path, nil))
		if got := w.Body.String(); got != step.want {
			t.Errorf("%s %s: got %q, want %q", step.method, path, got, step.want)
		}
	}
}

func TestDemoErrors(t *testing.T) {
	listener, used, err := listen("NO_SUCH_VARIABLE", "0")
	if err != nil || !listener.Addr().(*net.TCPAddr).IP.IsLoopback() {
		t.Fatalf("got a listener at %v, error %v, want one for this machine only", listener.Addr(), err)
	}
	for _, row := range []struct{ folder, zitadelPort, port, want string }{
		{".", "0", "0", "in the root of the repository"},
		{"..", used, "0", "set DEMO_ZITADEL_PORT"},
		{".", "0", used, "set PORT"},
	} {
		t.Chdir(row.folder)
		t.Setenv("DEMO_ZITADEL_PORT", row.zitadelPort)
		t.Setenv("PORT", row.port)
		t.Setenv("PATH", "") // no go
		if err := run(t.Context()); err == nil || !strings.Contains(err.Error(), row.want) {
			t.Errorf("got error %v, want %q in it", err, row.want)
		}
	}
}
