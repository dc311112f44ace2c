// Setup prepares a ZITADEL instance, version 4.6 or newer, for the API:
//
//	go run ./setup
//
// It creates a project with a role, an API application, and a service account with the role and a
// personal access token. It writes the configuration of the API to .env and prints the token.
// ZITADEL_DOMAIN is the URL of the instance, http://localhost:8080 by default. The file admin.pat
// holds a personal access token of an administrator of an organization (Org Owner).
package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"time"
)

const name, role = "example-api-go", "read:messages"

const next = `Created the project and the service account %[1]s, and wrote %[2]s.

Start the API (go run .), and call it from another terminal as the README does, but with the
token of the service account, which expires in 30 days:

TOKEN=%[3]s

In this folder, take the role away, and give it back:

curl -w '\n' -X POST %[4]s/zitadel.authorization.v2.AuthorizationService/DeactivateAuthorization \
  -H "Authorization: Bearer $(cat admin.pat)" -H Content-Type:application/json -d '{"id":"%[5]s"}'
curl -w '\n' -X POST %[4]s/zitadel.authorization.v2.AuthorizationService/ActivateAuthorization \
  -H "Authorization: Bearer $(cat admin.pat)" -H Content-Type:application/json -d '{"id":"%[5]s"}'
`

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "setup:", err)
		os.Exit(1)
	}
}

// run prepares the instance, writes .env, and prints to w what to do next. An error leaves no .env.
func run(ctx context.Context, w io.Writer) error {
	url := strings.TrimSuffix(strings.TrimSpace(os.Getenv("ZITADEL_DOMAIN")), "/")
	if url = cmp.Or(url, "http://localhost:8080"); !strings.Contains(url, "://") {
		url = "https://" + url
	}
	path, err := filepath.Abs(".env")
	if err != nil {
		return err
	}
	dotenv, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	token, authorizationID, err := prepare(ctx, url, dotenv)
	if err := errors.Join(err, dotenv.Close()); err != nil {
		return errors.Join(err, os.Remove(path))
	}
	fmt.Fprintf(w, next, name, path, token, url, authorizationID)
	return nil
}

// prepare creates everything in the administrator's organization, and writes the text of .env.
func prepare(ctx context.Context, url string, w io.Writer) (token, grantID string, err error) {
	file, err := os.ReadFile("admin.pat")
	if err != nil {
		return "", "", err
	}
	adminToken := strings.TrimSpace(string(file))
	if !regexp.MustCompile(`^[\w.~+/=-]+$`).MatchString(adminToken) { // RFC 6750 §2.1
		return "", "", errors.New("admin.pat must hold a personal access token, and nothing else")
	}
	var done []string
	call := func(what, path, format string, args ...any) (r response) {
		if err == nil { // otherwise a call before has failed
			r, err = send(ctx, url+path, adminToken, fmt.Sprintf(format, args...))
			if err != nil {
				err = fmt.Errorf("%s: %w\ndone before: %q", what, err, done)
			}
			done = append(done, what)
		}
		return r
	}
	organization := call("reading the organization", "/management/v1/orgs/me", "").Org.ID
	project := call("creating the project "+name, "/zitadel.project.v2.ProjectService/CreateProject",
		`{"organizationId":%q,"name":%q}`, organization, name).ProjectID
	application := call("creating the application",
		"/zitadel.application.v2.ApplicationService/CreateApplication",
		`{"projectId":%q,"name":"api","apiConfiguration":{"authMethodType":%q}}`,
		project, "API_AUTH_METHOD_TYPE_BASIC").APIConfiguration
	call("creating the role", "/zitadel.project.v2.ProjectService/AddProjectRole",
		`{"projectId":%q,"roleKey":%q,"displayName":%q}`, project, role, role)
	user := call("creating the service account", "/v2/users/new",
		`{"organizationId":%q,"username":%q,"machine":{"name":%q}}`,
		organization, name+"-"+project, name).ID // user names are unique in the whole instance
	token = call("creating its token", "/v2/users/"+user+"/pats", `{"expirationDate":%q}`,
		time.Now().AddDate(0, 0, 30).UTC().Format(time.RFC3339)).Token
	grantID = call("assigning the role",
		"/zitadel.authorization.v2.AuthorizationService/CreateAuthorization",
		`{"userId":%q,"projectId":%q,"organizationId":%q,"roleKeys":[%q]}`,
		user, project, organization, role).ID
	if err == nil {
		_, err = fmt.Fprintf(w, "ZITADEL_DOMAIN=%s\nCLIENT_ID=%s\nCLIENT_SECRET=%s\n",
			url, application.ClientID, application.ClientSecret)
	}
	return token, grantID, err
}

// A response has those members of ZITADEL's responses that setup needs.
type response struct {
	Org                           struct{ ID string }
	APIConfiguration              struct{ ClientID, ClientSecret string }
	ProjectID, ID, Token, Message string
}

// Redirects are not followed: they could send the administrator's token to another host.
var client = &http.Client{
	Timeout:       10 * time.Second,
	CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
}

// send sends JSON, or GET without a body, which it repeats while ZITADEL is not quite started.
func send(ctx context.Context, url, token, body string) (r response, err error) {
	method := "POST"
	if body == "" {
		method = "GET"
	}
	req, err := http.NewRequestWithContext(ctx, method, url, strings.NewReader(body))
	if err != nil {
		return r, err
	}
	req.Header.Set("Authorization", "Bearer "+token)
	req.Header.Set("Content-Type", "application/json")
	resp, err := client.Do(req)
	for n := 0; n < 10 && err == nil && resp.StatusCode == 503 && method == "GET"; n++ {
		resp.Body.Close()
		time.Sleep(time.Second)
		resp, err = client.Do(req)
	}
	if err != nil {
		return r, err
	}
	defer resp.Body.Close()
	err = json.NewDecoder(io.LimitReader(resp.Body, 1<<20)).Decode(&r)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = errors.New(r.Message)
	}
	if err != nil {
		return r, fmt.Errorf("status %s: %w", resp.Status, err)
	}
	return r, nil
}
