// Demo is a stand-in for a ZITADEL instance, to try the API without an account. It is no identity
// provider: it knows two users, checks no passwords, and is for trying out and for tests only.
//
// make demo starts it and the API; go run ./demo starts it alone. The environment variable
// DEMO_ZITADEL_PORT moves it from port 8080.
package main

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"log"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/signal"
	"sync"
	"syscall"
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
This is a stand-in for a ZITADEL instance. It is no identity provider: it knows
two users, checks no passwords, and is for trying out and for tests only.

  user      access token   role
  reader    reader-pat     %[5]s
  visitor   visitor-pat

Call the API from another terminal:

curl -w '%%{http_code}\n' %[1]s/api/public
curl -w '%%{http_code}\n' %[1]s/api/private

TOKEN=reader-pat

curl -w '%%{http_code}\n' %[1]s/api/private \
  -H "Authorization: Bearer $TOKEN"
curl -w '%%{http_code}\n' %[1]s/api/private-scoped \
  -H "Authorization: Bearer $TOKEN"

Take the role away, call the API again, and give the role back:

curl -X DELETE %[2]s/demo/users/reader/roles/%[5]s
curl -w '%%{http_code}\n' %[1]s/api/private-scoped \
  -H "Authorization: Bearer $TOKEN"
curl -X PUT %[2]s/demo/users/reader/roles/%[5]s

make demo has started the API, too. Without make, start it in another terminal:

%[6]sZITADEL_DOMAIN=%[2]s CLIENT_ID=%[3]s CLIENT_SECRET=%[4]s go run .

Ctrl-C ends the demo.

`

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	listener, err := net.Listen("tcp", "localhost:"+cmp.Or(os.Getenv("DEMO_ZITADEL_PORT"), "8080"))
	if err != nil {
		log.Fatalf("demo: %v (set DEMO_ZITADEL_PORT to another port)", err)
	}
	domain := fmt.Sprintf("http://localhost:%d", listener.Addr().(*net.TCPAddr).Port)
	apiPort, setPort := cmp.Or(os.Getenv("PORT"), "5000"), ""
	if apiPort != "5000" {
		setPort = "PORT=" + apiPort + " "
	}
	fmt.Printf(welcome, "http://localhost:"+apiPort, domain, clientID, clientSecret, projectRole,
		setPort)
	go http.Serve(listener, newStandIn(domain))
	<-ctx.Done()
}

// A standIn responds as a ZITADEL instance at the URL issuer does.
type standIn struct {
	issuer string

	mu    sync.Mutex
	users map[string]*user // by personal access token
}

// A user is a service account with one personal access token.
type user struct {
	name, id, tokenID string
	hasRole           bool
}

// newStandIn returns the handler of a stand-in.
func newStandIn(issuer string) http.Handler {
	s := &standIn{issuer: issuer, users: map[string]*user{
		"reader-pat":  {"reader", "400884495143668774", "400884495210777638", true},
		"visitor-pat": {"visitor", "400884495344995366", "400884495395327014", false},
	}}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /oauth/v2/introspect", s.introspect)
	mux.HandleFunc("PUT /demo/users/{user}/roles/{role}", s.changeRole)
	mux.HandleFunc("DELETE /demo/users/{user}/roles/{role}", s.changeRole)
	return mux
}

// introspect responds with the claims of a token, if the client credentials are right.
func (s *standIn) introspect(w http.ResponseWriter, r *http.Request) {
	id, secret, _ := r.BasicAuth()
	id, idErr := url.QueryUnescape(id)
	secret, secretErr := url.QueryUnescape(secret)
	status, response := http.StatusBadRequest, map[string]any{"error": "unauthorized_client"}
	switch {
	case idErr != nil || secretErr != nil:
		response = map[string]any{"error": "invalid_client",
			"error_description": "invalid basic auth header"}
	case id == clientID && secret == clientSecret:
		status, response = http.StatusOK, s.claims(r.PostFormValue("token"))
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(response)
}

// claims returns what ZITADEL reports about a token. Its scope names the roles of the project, not
// of the user.
func (s *standIn) claims(token string) map[string]any {
	s.mu.Lock()
	defer s.mu.Unlock()
	u, ok := s.users[token]
	if !ok {
		return map[string]any{"active": false}
	}
	claims := map[string]any{
		"active": true, "token_type": "Bearer", "jti": u.tokenID,
		"iss": s.issuer, "aud": []string{clientID, projectID},
		"iat": 1795441779, "nbf": 1795441779, "updated_at": 1795441779, "exp": 253402300799,
		"sub": u.id, "username": u.name, "preferred_username": u.name, "name": u.name,
		"scope": "openid profile urn:zitadel:iam:user:metadata urn:zitadel:iam:user:resourceowner " +
			"urn:zitadel:iam:org:project:role:" + projectRole,
		"urn:zitadel:iam:user:resourceowner:id":             organizationID,
		"urn:zitadel:iam:user:resourceowner:name":           "example",
		"urn:zitadel:iam:user:resourceowner:primary_domain": primaryDomain,
	}
	if u.hasRole { // otherwise, ZITADEL omits the claims
		roles := map[string]map[string]string{projectRole: {organizationID: primaryDomain}}
		claims["urn:zitadel:iam:org:project:roles"] = roles
		claims["urn:zitadel:iam:org:project:"+projectID+":roles"] = roles
	}
	return claims
}

// changeRole gives a user the role (PUT) or removes it (DELETE).
func (s *standIn) changeRole(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	u, ok := s.users[r.PathValue("user")+"-pat"]
	if !ok || r.PathValue("role") != projectRole {
		http.Error(w, "unknown user or role", http.StatusNotFound)
		return
	}
	u.hasRole = r.Method == http.MethodPut
	fmt.Fprintf(w, "%s has the role %s: %t\n", u.name, projectRole, u.hasRole)
}
