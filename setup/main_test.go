package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"
)

// exchanges are the requests of setup and a real ZITADEL's responses, both shortened.
var exchanges = []struct{ request, body, response string }{
	{"GET /management/v1/orgs/me", ``, `{"org":{"id":"11","name":"ZITADEL"}}`},
	{"POST /zitadel.project.v2.ProjectService/CreateProject",
		`{"organizationId":"11","name":"example-api-go"}`, `{"projectId":"22"}`},
	{"POST /zitadel.application.v2.ApplicationService/CreateApplication",
		`{"projectId":"22","name":"api","apiConfiguration":{"authMethodType":"API_AUTH_METHOD_TYPE_BASIC`,
		`{"applicationId":"33","apiConfiguration":{"clientId":"44","clientSecret":"app-hush"}}`},
	{"POST /zitadel.project.v2.ProjectService/AddProjectRole",
		`{"projectId":"22","roleKey":"read:messages","displayName":"read:messages"}`, `{}`},
	{"POST /v2/users/new", `{"organizationId":"11","username":"example-api-go-22","machine":{"name":"`,
		`{"id":"55"}`},
	{"POST /v2/users/55/pats", `{"expirationDate":"`, `{"tokenId":"66","token":"user-token"}`},
	{"POST /zitadel.authorization.v2.AuthorizationService/CreateAuthorization",
		`{"userId":"55","projectId":"22","organizationId":"11","roleKeys":["read:messages"]}`,
		`{"id":"77"}`},
}

// startZITADEL starts a server that responds as recorded, but to the request failAt with a status
// and a body. It changes to an empty folder with an admin.pat.
func startZITADEL(t *testing.T, failAt, status int, body, pat string) {
	t.Chdir(t.TempDir())
	n := 0
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		want, got := exchanges[n], r.Method+" "+r.URL.Path
		sent, err := io.ReadAll(r.Body)
		if err != nil || got != want.request || !strings.HasPrefix(string(sent), want.body) ||
			r.Header.Get("Content-Type") != "application/json" ||
			r.Header.Get("Authorization") != "Bearer admin-hush" {
			t.Errorf("got %s %s, error %v, want %s %s", got, sent, err, want.request, want.body)
		}
		var pat struct{ ExpirationDate time.Time }
		if json.Unmarshal(sent, &pat) == nil && !pat.ExpirationDate.IsZero() &&
			time.Until(pat.ExpirationDate).Round(24*time.Hour) != 720*time.Hour {
			t.Errorf("got a token until %s, want one for 30 days", pat.ExpirationDate)
		}
		if n == failAt {
			w.Header().Set("Location", "/elsewhere") // of a redirect
			w.WriteHeader(status)
			want.response = body
			failAt, n = -1, n-1 // the next request, if any, succeeds
		}
		n++
		io.WriteString(w, want.response)
	}))
	t.Cleanup(server.Close)
	t.Setenv("ZITADEL_DOMAIN", server.URL+"/")
	if err := os.WriteFile("admin.pat", []byte(pat), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestSetup(t *testing.T) {
	startZITADEL(t, 0, 503, `{"message":"just started"}`, " admin-hush\n")
	var output bytes.Buffer
	if err := run(t.Context(), &output); err != nil {
		t.Fatal(err)
	}
	config := "ZITADEL_DOMAIN=" + strings.TrimSuffix(os.Getenv("ZITADEL_DOMAIN"), "/") +
		"\nCLIENT_ID=44\nCLIENT_SECRET=app-hush\n"
	if got, err := os.ReadFile(".env"); err != nil || string(got) != config {
		t.Errorf("got .env %q, error %v, want %q", got, err, config)
	}
	if info, err := os.Stat(".env"); err != nil || runtime.GOOS != "windows" && info.Mode() != 0o600 {
		t.Errorf("got .env %v, error %v, want mode 0600", info, err)
	}
	for _, want := range []string{string(filepath.Separator) + ".env.", "\nTOKEN=user-token\n",
		"/DeactivateAuthorization \\\n", "/ActivateAuthorization \\\n", "cat admin.pat", `{"id":"77"}`} {
		if got := output.String(); !strings.Contains(got, want) || strings.Contains(got, "hush") {
			t.Errorf("got output\n%swant in it %s, and no secret but the token", got, want)
		}
	}
	if err := run(t.Context(), io.Discard); !errors.Is(err, fs.ErrExist) {
		t.Errorf("second run: got error %v, want that .env exists", err)
	}
}

func TestSetupErrors(t *testing.T) {
	stopped, stop := context.WithCancel(t.Context())
	stop()
	for _, row := range []struct {
		ctx             context.Context
		failAt, status  int
		body, pat, want string
	}{
		{t.Context(), 0, 401, `{"message":"Errors.Token.Invalid"}`, "admin-hush",
			"reading the organization: status 401 Unauthorized: Errors.Token.Invalid\ndone before: []"},
		{t.Context(), 4, 409, `{"message":"User already exists"}`, "admin-hush",
			"creating the service account: status 409 Conflict: User already exists\ndone before: [\""},
		{t.Context(), 1, 200, `<html>`, "admin-hush", "status 200 OK: invalid character '<'"},
		{t.Context(), 0, 307, `{}`, "admin-hush", "status 307"},
		{t.Context(), -1, 0, "", "\xff\xfea\x00", "admin.pat must hold"},
		{stopped, -1, 0, "", "admin-hush", "context canceled"},
	} {
		startZITADEL(t, row.failAt, row.status, row.body, row.pat)
		got := fmt.Sprint(run(row.ctx, io.Discard))
		_, err := os.Lstat(".env")
		if !strings.Contains(got, row.want) || strings.Contains(got, "hush") || !os.IsNotExist(err) {
			t.Errorf("got error %s, want %q in it, no secret, and no .env", got, row.want)
		}
	}
}
