package main

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"runtime"
	"strings"
	"testing"

	"github.com/joho/godotenv"
)

// exchanges are the requests of setup, each with the beginning of its body, and the members of a
// real ZITADEL's responses that setup reads. The IDs are shorter.
var exchanges = []struct{ path, body, response string }{
	{"/management/v1/orgs/me", ``, `{"org":{"id":"11","name":"ZITADEL"}}`},
	{"/zitadel.project.v2.ProjectService/CreateProject",
		`{"organizationId":"11","name":"example-api-go"}`, `{"projectId":"22"}`},
	{"/zitadel.application.v2.ApplicationService/CreateApplication",
		`{"projectId":"22","name":"api","apiConfiguration":{"authMethodType":"API_AUTH_METHOD_TYPE_BASIC`,
		`{"applicationId":"33","apiConfiguration":{"clientId":"44","clientSecret":"app-hush"}}`},
	{"/zitadel.project.v2.ProjectService/AddProjectRole",
		`{"projectId":"22","roleKey":"read:messages","displayName":"read:messages"}`, `{}`},
	{"/v2/users/new",
		`{"organizationId":"11","username":"example-api-go","machine":{"name":"example-api-go"}}`,
		`{"id":"55"}`},
	{"/v2/users/55/pats", `{"expirationDate":"20`, `{"tokenId":"66","token":"user-token"}`},
	{"/zitadel.authorization.v2.AuthorizationService/CreateAuthorization",
		`{"userId":"55","projectId":"22","organizationId":"11","roleKeys":["read:messages"]}`,
		`{"id":"77"}`},
}

// startZITADEL starts a server that responds as recorded, but to the request failAt with a status
// and a body. It changes to an empty folder and sets the variables of setup.
func startZITADEL(t *testing.T, failAt, status int, body string) {
	t.Helper()
	t.Chdir(t.TempDir())
	n := 0
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		want := exchanges[n]
		got, err := io.ReadAll(r.Body)
		if err != nil || r.URL.Path != want.path || !strings.HasPrefix(string(got), want.body) ||
			(r.Method == "GET") != (len(got) == 0) || r.Header.Get("Authorization") != "Bearer admin-hush" {
			t.Errorf("got %s %s %s, error %v, want %s %s", r.Method, r.URL, got, err, want.path, want.body)
		}
		if n == failAt {
			w.Header().Set("Location", "/elsewhere") // of a redirect
			w.WriteHeader(status)
			io.WriteString(w, body)
			return
		}
		n++
		io.WriteString(w, want.response)
	}))
	t.Cleanup(server.Close)
	t.Setenv("ZITADEL_DOMAIN", server.URL+"/")
	t.Setenv("ADMIN_TOKEN", " admin-hush\n")
}

func TestSetup(t *testing.T) {
	startZITADEL(t, -1, 0, "")
	var output bytes.Buffer
	if err := run(&output); err != nil {
		t.Fatal(err)
	}
	got, err := godotenv.Read()
	if err != nil || got["ZITADEL_DOMAIN"]+"/" != os.Getenv("ZITADEL_DOMAIN") ||
		got["CLIENT_ID"] != "44" || got["CLIENT_SECRET"] != "app-hush" {
		t.Errorf("got .env %q, error %v, want the three values", got, err)
	}
	if info, err := os.Stat(".env"); err != nil || runtime.GOOS != "windows" && info.Mode() != 0o600 {
		t.Errorf("got .env %v, error %v, want mode 0600", info, err)
	}
	for _, want := range []string{"\nTOKEN=user-token\n", "/DeactivateAuthorization \\\n",
		"/ActivateAuthorization \\\n", "Bearer $ADMIN_TOKEN", `{"id":"77"}`} {
		if !strings.Contains(output.String(), want) {
			t.Errorf("got output\n%swant in it %s", &output, want)
		}
	}
	if strings.Contains(output.String(), "hush") {
		t.Errorf("got output\n%swant no secret of the administrator or the API in it", &output)
	}
	if err := run(io.Discard); err == nil || !strings.Contains(err.Error(), ".env exists") {
		t.Errorf("second run: got error %v, want that .env exists", err)
	}
}

func TestSetupErrors(t *testing.T) {
	for _, row := range []struct {
		failAt, status int
		body, want     string
	}{
		{0, 401, `{"message":"Errors.Token.Invalid (AUTH-7fs1e)"}`, "does not know"},
		{1, 404, `{"message":"membership not found (AUTHZ-cdgFk)"}`, "Org Owner"},
		{1, 404, `{"message":"Not Found"}`, "ZITADEL 4.6"},
		{1, 409, `{"message":"Project already exists"}`, "the project example-api-go exists: "},
		{2, 403, `{"message":"No matching permissions found"}`, "created before that: project"},
		{4, 409, `{"message":"User already exists"}`, "the user example-api-go exists: "},
		{0, 200, `<html>`, "not ZITADEL's answer"},
		{0, 307, ``, "status 307"},
	} {
		startZITADEL(t, row.failAt, row.status, row.body)
		got := fmt.Sprint(run(io.Discard))
		if !strings.Contains(got, row.want) || strings.Contains(got, "hush") {
			t.Errorf("got error %s, want %q in it, and no secret", got, row.want)
		}
		if _, err := os.Lstat(".env"); !os.IsNotExist(err) {
			t.Errorf("%s: got a .env, error %v, want none", row.want, err)
		}
	}
	t.Setenv("ADMIN_TOKEN", "")
	if err := run(io.Discard); !strings.Contains(fmt.Sprint(err), "set ADMIN_TOKEN") {
		t.Errorf("got error %v, want that there is no token", err)
	}
}
