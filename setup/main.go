// Setup prepares a ZITADEL instance, version 4.6 or newer, for the API:
//
//	go run ./setup
//
// It creates a project with a role, an API application, and a service account with the role and a
// personal access token. It writes the configuration of the API to .env and prints the token.
//
// ZITADEL_DOMAIN is the URL of the instance, http://localhost:8080 by default. ADMIN_TOKEN is a
// personal access token of an Org Owner; if it is not set, setup reads the file admin.pat.
package main

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"time"
)

const (
	name = "example-api-go" // of the project and of the service account
	role = "read:messages"

	forget = "with make zitadel, run docker compose down -v && rm -f .env admin.pat; elsewhere, " +
		"delete it in the console"
)

const next = `
Created the project and the service account %[1]s, and wrote .env. Start the API:

go run .

Call it from another terminal as the README does, but with this token of the service
account, which expires in 30 days:

TOKEN=%[2]s

In this folder, take the role away, and give it back:

curl -X POST %[3]s/zitadel.authorization.v2.AuthorizationService/DeactivateAuthorization \
  -H "Authorization: Bearer %[4]s" -H 'Content-Type: application/json' -d '{"id":"%[5]s"}'
curl -X POST %[3]s/zitadel.authorization.v2.AuthorizationService/ActivateAuthorization \
  -H "Authorization: Bearer %[4]s" -H 'Content-Type: application/json' -d '{"id":"%[5]s"}'

`

func main() {
	if err := run(os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "setup:", err)
		os.Exit(1)
	}
}

// run prepares the instance, writes .env, and prints to w what to do next.
func run(w io.Writer) error {
	if _, err := os.Lstat(".env"); err == nil {
		return errors.New(".env exists: start the API with it (go run .), or move it away first")
	}
	z := &zitadel{url: cmp.Or(getenv("ZITADEL_DOMAIN"), "http://localhost:8080")}
	if !strings.Contains(z.url, "://") {
		z.url = "https://" + z.url
	}
	z.url = strings.TrimSuffix(z.url, "/")
	z.adminToken = getenv("ADMIN_TOKEN")
	tokenInShell := "$ADMIN_TOKEN"
	if z.adminToken == "" {
		file, err := os.ReadFile("admin.pat")
		if err != nil {
			return fmt.Errorf("set ADMIN_TOKEN to the token of an administrator (%w)", err)
		}
		z.adminToken, tokenInShell = strings.TrimSpace(string(file)), "$(cat admin.pat)"
	}
	a := z.prepare()
	if z.err == nil {
		z.err = writeNew(".env", fmt.Sprintf("ZITADEL_DOMAIN=%s\nCLIENT_ID=%s\nCLIENT_SECRET=%s\n",
			z.url, a.clientID, a.clientSecret))
	}
	if z.err != nil && len(z.created) > 0 {
		return fmt.Errorf("%w\n(created before that: %s; to start again: %s)",
			z.err, strings.Join(z.created, ", "), forget)
	}
	if z.err != nil {
		return z.err
	}
	fmt.Fprintf(w, next, name, a.token, z.url, tokenInShell, a.authorizationID)
	return nil
}

func getenv(name string) string {
	return strings.TrimSpace(os.Getenv(name))
}

// writeNew writes a file that only its owner can read, unless it exists.
func writeNew(name, text string) error {
	file, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	if _, err = file.WriteString(text); err != nil {
		os.Remove(name)
	}
	return errors.Join(err, file.Close())
}

// A zitadel is a ZITADEL instance, called by an administrator.
type zitadel struct {
	url, adminToken string
	created         []string
	err             error // the first one; no request follows it
}

// access has what the API and the service account need.
type access struct{ clientID, clientSecret, token, authorizationID string }

// prepare creates everything, in the organization of the administrator. It sets z.err.
func (z *zitadel) prepare() access {
	organization := z.call("organization", "/management/v1/orgs/me", "").Org.ID
	project := z.call("project "+name, "/zitadel.project.v2.ProjectService/CreateProject",
		`{"organizationId":%q,"name":%q}`, organization, name).ProjectID
	application := z.call("application",
		"/zitadel.application.v2.ApplicationService/CreateApplication",
		`{"projectId":%q,"name":"api","apiConfiguration":{"authMethodType":%q}}`,
		project, "API_AUTH_METHOD_TYPE_BASIC").APIConfiguration
	z.call("role", "/zitadel.project.v2.ProjectService/AddProjectRole",
		`{"projectId":%q,"roleKey":%q,"displayName":%q}`, project, role, role)
	user := z.call("user "+name, "/v2/users/new",
		`{"organizationId":%q,"username":%q,"machine":{"name":%q}}`, organization, name, name).ID
	token := z.call("token", "/v2/users/"+user+"/pats", `{"expirationDate":%q}`,
		time.Now().AddDate(0, 0, 30).UTC().Format(time.RFC3339)).Token
	authorization := z.call("authorization",
		"/zitadel.authorization.v2.AuthorizationService/CreateAuthorization",
		`{"userId":%q,"projectId":%q,"organizationId":%q,"roleKeys":[%q]}`,
		user, project, organization, role).ID
	if z.err == nil && (application.ClientID == "" || application.ClientSecret == "" || token == "") {
		z.err = errors.New(z.url + " does not answer as ZITADEL does")
	}
	return access{application.ClientID, application.ClientSecret, token, authorization}
}

// A response has those members of ZITADEL's responses that setup needs.
type response struct {
	Org              struct{ ID string }
	ProjectID        string
	APIConfiguration struct{ ClientID, ClientSecret string }
	ID               string // of a user or an authorization
	Token            string
	Message          string // of an error
}

// Redirects are not followed: they could send the administrator's token to another host.
var client = &http.Client{
	Timeout:       10 * time.Second,
	CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
}

// call sends a request with a body of JSON, or GET without one. It sets z.err.
func (z *zitadel) call(what, path, format string, args ...any) (r response) {
	if z.err != nil {
		return r
	}
	method, body := "GET", fmt.Sprintf(format, args...)
	if body != "" {
		method = "POST"
	}
	req, err := http.NewRequest(method, z.url+path, strings.NewReader(body))
	if err != nil {
		z.err = err
		return r
	}
	req.Header.Set("Authorization", "Bearer "+z.adminToken)
	req.Header.Set("Content-Type", "application/json")
	resp, err := client.Do(req)
	if err != nil {
		z.err = fmt.Errorf("%w: check ZITADEL_DOMAIN", err)
		return r
	}
	defer resp.Body.Close()
	err = json.NewDecoder(io.LimitReader(resp.Body, 1<<20)).Decode(&r)
	switch {
	case resp.StatusCode == 200 && err == nil:
		if method == "POST" {
			z.created = append(z.created, what)
		}
	case resp.StatusCode == 401:
		z.err = fmt.Errorf("%s does not know the token: check ADMIN_TOKEN, or admin.pat", z.url)
	case resp.StatusCode == 403 || strings.Contains(r.Message, "membership not found"):
		z.err = errors.New("the token's service account is no administrator: make it an Org Owner")
	case resp.StatusCode == 404:
		z.err = fmt.Errorf("%s is not the host name and port of a ZITADEL 4.6 or newer", z.url)
	case resp.StatusCode == 409:
		z.err = fmt.Errorf("the %s exists: %s", what, forget)
	default:
		z.err = fmt.Errorf("%s, status %s: this is not ZITADEL's answer", z.url, resp.Status)
	}
	return r
}
