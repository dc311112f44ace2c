// Demo tries the API without an account: it starts a mock ZITADEL on http://localhost:8080, and the
// API itself on http://localhost:5000. Start it in the root of the repository with go run ./demo.
// The environment variables DEMO_ZITADEL_PORT and PORT set other ports.
package main

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"sync/atomic"
	"syscall"
	"time"
)

// The client credentials of the API, which are no secret, and values in the claims.
const (
	clientID       = "400884494992739366"
	clientSecret   = "demoClientSecret"
	projectID      = "400884494774570022"
	projectRole    = "read:messages"
	organizationID = "400884465347398694"
	primaryDomain  = "example.localhost"
)

const welcome = `
This is a mock ZITADEL. It is no identity provider: it knows two users, checks
no passwords, and is for trying out and for tests only.

  user      access token   role
  reader    reader-pat     %[3]s
  visitor   visitor-pat

Call the API from another terminal (here, Ctrl-C ends the demo):

curl -w '%%{http_code}\n' http://localhost:%[1]s/api/public
curl -w '%%{http_code}\n' http://localhost:%[1]s/api/private

TOKEN=reader-pat

curl -w '%%{http_code}\n' http://localhost:%[1]s/api/private \
  -H "Authorization: Bearer $TOKEN"
curl -w '%%{http_code}\n' http://localhost:%[1]s/api/private-scoped \
  -H "Authorization: Bearer $TOKEN"

Remove the role, call the API again, and give the role back:

curl -X DELETE http://localhost:%[2]s/demo/users/reader/roles/%[4]s
curl -w '%%{http_code}\n' http://localhost:%[1]s/api/private-scoped \
  -H "Authorization: Bearer $TOKEN"
curl -X PUT http://localhost:%[2]s/demo/users/reader/roles/%[4]s

The API runs with this configuration:
ZITADEL_DOMAIN=http://localhost:%[2]s
CLIENT_ID=%[5]s
CLIENT_SECRET=%[6]s

`

func main() {
	ctx, stop := signal.NotifyContext(context.Background(),
		os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	context.AfterFunc(ctx, stop) // after the first signal, a second one kills the process

	if err := run(ctx); ctx.Err() == nil { // otherwise a signal has ended it
		fmt.Fprintln(os.Stderr, "demo:", err)
		os.Exit(1)
	}
}

// run runs the mock ZITADEL and the API until ctx is done or the API ends.
func run(ctx context.Context) error {
	if _, err := os.Stat("demo/main.go"); err != nil {
		return fmt.Errorf("start the demo in the root of the repository: %w", err)
	}
	listener, zitadelPort, err := listen("DEMO_ZITADEL_PORT", "8080")
	if err != nil {
		return err
	}
	go http.Serve(listener, newMock())
	listener, apiPort, err := listen("PORT", "5000")
	if err != nil {
		return err
	}
	listener.Close() // the API itself will listen there
	fmt.Println("Building the API, which takes up to a minute the first time.")
	dir, err := os.MkdirTemp("", "demo-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	program := dir + "/api.exe" // Windows needs the suffix; other systems ignore it
	build := command(ctx, "go", "build", "-buildvcs=false", "-o", program, ".")
	build.Env = append(os.Environ(), "GOWORK=off")
	if output, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("building the API: %w\n%s", err, output)
	}
	api := command(ctx, program)
	api.Dir = dir // where no .env is
	api.Stdout, api.Stderr = os.Stdout, os.Stderr
	api.Env = append(os.Environ(), "ZITADEL_DOMAIN=http://localhost:"+zitadelPort, "HOST=",
		"PORT="+apiPort, "CLIENT_ID="+clientID, "CLIENT_SECRET="+clientSecret, "INTROSPECTION_CACHE_TTL=")
	go func() {
		conn, err := net.Dial("tcp", "localhost:"+apiPort)
		for ; err != nil; conn, err = net.Dial("tcp", "localhost:"+apiPort) {
			time.Sleep(100 * time.Millisecond)
		}
		conn.Close()
		rolePath := strings.NewReplacer("&", "%26", "$", "%24").Replace(url.PathEscape(projectRole))
		fmt.Printf(welcome, apiPort, zitadelPort, projectRole, rolePath, clientID, clientSecret)
	}()
	return fmt.Errorf("the API has ended: %v", api.Run())
}

// listen listens on the port in an environment variable, for this machine only.
func listen(variable, defaultPort string) (listener net.Listener, port string, err error) {
	port = cmp.Or(strings.TrimSpace(os.Getenv(variable)), defaultPort)
	listener, err = net.Listen("tcp", "localhost:"+port)
	if err != nil {
		return nil, "", fmt.Errorf("%w (set %s to another port)", err, variable)
	}
	return listener, fmt.Sprint(listener.Addr().(*net.TCPAddr).Port), nil // not 0
}

// command returns a command that is interrupted when ctx is done, so that it can clean up.
func command(ctx context.Context, name string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Cancel = func() error {
		if cmd.Process.Signal(os.Interrupt) == nil {
			return nil
		}
		return cmd.Process.Kill() // Windows has no signals
	}
	return cmd
}

// A mock responds as a ZITADEL instance does. It knows users by their personal access tokens.
type mock map[string]*user

type user struct {
	name, id, tokenID string
	hasRole           atomic.Bool
}

// newMock returns the handler of a mock.
func newMock() http.Handler {
	m := mock{
		"reader-pat":  {name: "reader", id: "400884495143668774", tokenID: "400884495210777638"},
		"visitor-pat": {name: "visitor", id: "400884495344995366", tokenID: "400884495395327014"},
	}
	m["reader-pat"].hasRole.Store(true)
	mux := http.NewServeMux()
	mux.HandleFunc("POST /oauth/v2/introspect", m.introspect)
	mux.HandleFunc("PUT /demo/users/{user}/roles/{role}", m.changeRole)
	mux.HandleFunc("DELETE /demo/users/{user}/roles/{role}", m.changeRole)
	return mux
}

// introspect responds with the claims of a token, if the client credentials are right.
func (m mock) introspect(w http.ResponseWriter, r *http.Request) {
	id, secret, _ := r.BasicAuth()
	credentials, err := url.QueryUnescape(id + ":" + secret)
	w.Header().Set("Content-Type", "application/json")
	if err != nil {
		w.WriteHeader(http.StatusBadRequest)
		io.WriteString(w, `{"error":"invalid_client","error_description":"invalid basic auth header"}`)
	} else if credentials != clientID+":"+clientSecret {
		w.WriteHeader(http.StatusBadRequest)
		io.WriteString(w, `{"error":"unauthorized_client"}`)
	} else {
		json.NewEncoder(w).Encode(m.claims(r.Host, r.PostFormValue("token")))
	}
}

// claims returns what ZITADEL reports about a token. Its scope names the roles of the project, not
// of the user.
func (m mock) claims(host, token string) map[string]any {
	u, ok := m[token]
	if !ok {
		return map[string]any{"active": false}
	}
	claims := map[string]any{
		"active": true, "token_type": "Bearer", "jti": u.tokenID,
		"iss": "http://" + host, "aud": []string{clientID, projectID},
		"iat": 1795441779, "nbf": 1795441779, "updated_at": 1795441779, "exp": 253402300799,
		"sub": u.id, "username": u.name, "preferred_username": u.name, "name": u.name,
		"scope": "openid profile urn:zitadel:iam:user:metadata urn:zitadel:iam:user:resourceowner " +
			"urn:zitadel:iam:org:project:role:" + projectRole,
		"urn:zitadel:iam:user:resourceowner:id":             organizationID,
		"urn:zitadel:iam:user:resourceowner:name":           "example",
		"urn:zitadel:iam:user:resourceowner:primary_domain": primaryDomain,
	}
	if u.hasRole.Load() { // otherwise, ZITADEL omits the claims
		roles := map[string]map[string]string{projectRole: {organizationID: primaryDomain}}
		claims["urn:zitadel:iam:org:project:roles"] = roles
		claims["urn:zitadel:iam:org:project:"+projectID+":roles"] = roles
	}
	return claims
}

// changeRole gives a user the role (PUT) or removes it (DELETE).
func (m mock) changeRole(w http.ResponseWriter, r *http.Request) {
	u, ok := m[r.PathValue("user")+"-pat"]
	if !ok || r.PathValue("role") != projectRole {
		http.Error(w, "unknown user or role", http.StatusNotFound)
		return
	}
	u.hasRole.Store(r.Method == http.MethodPut)
	fmt.Fprintf(w, "%s has the role %s: %t\n", u.name, projectRole, u.hasRole.Load())
}
