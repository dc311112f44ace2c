package main

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/zitadel/oidc/v3/pkg/oidc"
	"github.com/zitadel/oidc/v3/pkg/op"
)

// The client credentials that the stand-in accepts. They are no secret.
const (
	clientID     = "400884494992739366"
	clientSecret = "demoClientSecret"
)

// IDs and names in the claims, in the form of a real instance.
const (
	organizationID = "400884465347398694"
	organization   = "example"
	primaryDomain  = organization + ".localhost"
	projectID      = "400884494774570022"
	projectRole    = "read:messages"
)

// standIn serves the introspection endpoint of a ZITADEL instance. Requests are parsed, and
// malformed ones refused, by package op, the HTTP layer of ZITADEL itself.
type standIn struct {
	op.UnimplementedServer
	issuer  string
	started time.Time

	mu    sync.Mutex
	users map[string]*user // by personal access token
}

// user is a service account with one personal access token.
type user struct {
	name, id, tokenID string
	roles             map[string]bool
}

// newStandIn returns a stand-in at the URL issuer. Its users are reader, with the role of the
// project, and visitor, without a role.
func newStandIn(issuer string) http.Handler {
	s := &standIn{
		issuer:  issuer,
		started: time.Now(),
		users: map[string]*user{
			"reader-pat": {"reader", "400884495143668774", "400884495210777638",
				map[string]bool{projectRole: true}},
			"visitor-pat": {"visitor", "400884495344995366", "400884495395327014",
				map[string]bool{}},
		},
	}
	mux := http.NewServeMux()
	mux.HandleFunc("PUT /demo/users/{user}/roles/{role}", s.changeRole)
	mux.HandleFunc("DELETE /demo/users/{user}/roles/{role}", s.changeRole)
	mux.Handle("/", op.RegisterServer(s, op.Endpoints{
		Introspection: op.NewEndpoint("oauth/v2/introspect"),
	}))
	return mux
}

// Introspect returns the claims of a personal access token, as ZITADEL does, or that the token is
// not active.
func (s *standIn) Introspect(
	_ context.Context, r *op.Request[op.IntrospectionRequest],
) (*op.Response, error) {
	if r.Data.ClientID != clientID || r.Data.ClientSecret != clientSecret {
		return nil, oidc.ErrUnauthorizedClient()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	u, ok := s.users[r.Data.Token]
	if !ok {
		return op.NewResponse(&oidc.IntrospectionResponse{}), nil
	}
	claims := &oidc.IntrospectionResponse{
		Active: true,
		// It names the roles of the project, not those of the user.
		Scope: oidc.SpaceDelimitedArray{"openid", "profile", "urn:zitadel:iam:user:metadata",
			"urn:zitadel:iam:user:resourceowner", "urn:zitadel:iam:org:project:role:" + projectRole},
		TokenType:  oidc.BearerToken,
		Expiration: oidc.FromTime(s.started.AddDate(10, 0, 0)),
		IssuedAt:   oidc.FromTime(s.started),
		NotBefore:  oidc.FromTime(s.started),
		Subject:    u.id,
		Audience:   oidc.Audience{clientID, projectID},
		Issuer:     s.issuer,
		JWTID:      u.tokenID,
		Username:   u.name,
		UserInfoProfile: oidc.UserInfoProfile{
			Name: u.name, PreferredUsername: u.name, UpdatedAt: oidc.FromTime(s.started),
		},
		Claims: map[string]any{
			"urn:zitadel:iam:user:resourceowner:id":             organizationID,
			"urn:zitadel:iam:user:resourceowner:name":           organization,
			"urn:zitadel:iam:user:resourceowner:primary_domain": primaryDomain,
		},
	}
	if len(u.roles) > 0 { // without roles, ZITADEL omits the claim
		roles := map[string]map[string]string{}
		for role := range u.roles {
			roles[role] = map[string]string{organizationID: primaryDomain}
		}
		claims.Claims["urn:zitadel:iam:org:project:roles"] = roles
		claims.Claims["urn:zitadel:iam:org:project:"+projectID+":roles"] = roles
	}
	return op.NewResponse(claims), nil
}

// changeRole gives a user a role (PUT) or removes it (DELETE).
func (s *standIn) changeRole(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	u, ok := s.users[r.PathValue("user")+"-pat"]
	if role := r.PathValue("role"); !ok || role != projectRole {
		http.Error(w, "The users are reader and visitor. The role is "+projectRole+".",
			http.StatusNotFound)
		return
	}
	if r.Method == http.MethodPut {
		u.roles[projectRole] = true
	} else {
		delete(u.roles, projectRole)
	}
	fmt.Fprintf(w, "%s has the roles %v\n", u.name, slices.Sorted(maps.Keys(u.roles)))
}
