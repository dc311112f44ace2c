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

// What the stand-in knows beside its users, with IDs as ZITADEL makes them.
const (
	organisationID = "400884465347398694"
	organisation   = "example"
	primaryDomain  = organisation + ".localhost"
	projectID      = "400884494774570022"
	projectRole    = "read:messages"
	appID          = "400884494992739366"
)

// standIn answers like the introspection endpoint of a ZITADEL instance. What it does not
// do (parse requests, refuse wrong ones) is done by the HTTP layer of ZITADEL itself.
type standIn struct {
	op.UnimplementedServer
	issuer string
	since  time.Time

	mu    sync.Mutex
	users map[string]*user // by personal access token
}

// user is a service user and its one personal access token.
type user struct {
	name, id, tokenID string
	roles             map[string]bool
}

// newStandIn returns a stand-in that serves as issuer, with the users reader, who has the
// role read:messages, and visitor, who has none.
func newStandIn(issuer string) http.Handler {
	s := &standIn{
		issuer: issuer,
		since:  time.Now(),
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

// Introspect answers what ZITADEL answers about a personal access token: all of its claims
// to the API's client credentials, or that it is not active.
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
	answer := &oidc.IntrospectionResponse{
		Active: true,
		// The roles in it are the project's, not the user's: a role is no scope.
		Scope: oidc.SpaceDelimitedArray{"openid", "profile", "urn:zitadel:iam:user:metadata",
			"urn:zitadel:iam:user:resourceowner", "urn:zitadel:iam:org:project:role:" + projectRole},
		TokenType:  oidc.BearerToken,
		Expiration: oidc.FromTime(s.since.AddDate(10, 0, 0)),
		IssuedAt:   oidc.FromTime(s.since),
		NotBefore:  oidc.FromTime(s.since),
		Subject:    u.id,
		Audience:   oidc.Audience{appID, projectID},
		Issuer:     s.issuer,
		JWTID:      u.tokenID,
		Username:   u.name,
		UserInfoProfile: oidc.UserInfoProfile{
			Name: u.name, PreferredUsername: u.name, UpdatedAt: oidc.FromTime(s.since),
		},
		Claims: map[string]any{
			"urn:zitadel:iam:user:resourceowner:id":             organisationID,
			"urn:zitadel:iam:user:resourceowner:name":           organisation,
			"urn:zitadel:iam:user:resourceowner:primary_domain": primaryDomain,
		},
	}
	if len(u.roles) > 0 { // without a role, the claim is absent
		roles := map[string]map[string]string{}
		for role := range u.roles {
			roles[role] = map[string]string{organisationID: primaryDomain}
		}
		answer.Claims["urn:zitadel:iam:org:project:roles"] = roles
		answer.Claims["urn:zitadel:iam:org:project:"+projectID+":roles"] = roles
	}
	return op.NewResponse(answer), nil
}

// changeRole gives a user a role (PUT) or takes it away (DELETE).
func (s *standIn) changeRole(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	u, ok := s.users[r.PathValue("user")+"-pat"]
	if role := r.PathValue("role"); !ok || role != projectRole {
		http.Error(w, "There are the users reader and visitor, and the role read:messages.",
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
