package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
)

// requireToken returns a handler that calls next for requests with a valid access token, and
// refuses all others. next gets the claims of the token from claimsFrom.
//
// ZITADEL checks that the token is meant for this API (its audience). It does not check that the
// user has been granted anything: any user of the instance, of any organization, can request such
// a token. Where that matters, require a role.
func requireToken(introspect introspectFunc, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "no-store")
		token, ok := bearerToken(r)
		if !ok {
			// Without a token, the challenge has no error (RFC 6750 §3.1). To keep it simple, a malformed
			// header counts as no token; RFC 6750 suggests status 400 with invalid_request.
			w.Header().Set("WWW-Authenticate", `Bearer realm="api"`)
			refuse(w, r, http.StatusUnauthorized, "missing_authorization",
				"Send exactly one header Authorization: Bearer TOKEN.")
			return
		}
		c, err := introspect(r.Context(), token)
		if err != nil {
			if !errors.Is(r.Context().Err(), context.Canceled) { // the caller is still there
				slog.Error("introspection failed", "method", r.Method, "path", r.URL.Path, "reason", err)
			}
			// Not 401, since the token may be valid.
			w.Header().Set("Retry-After", "5") // seconds
			writeError(w, http.StatusServiceUnavailable, "temporarily_unavailable",
				"The access token cannot be checked at the moment. Try again later.")
			return
		}
		if !c.Active {
			w.Header().Set("WWW-Authenticate", `Bearer realm="api", error="invalid_token"`)
			refuse(w, r, http.StatusUnauthorized, "invalid_token",
				"The access token is not valid or has expired.")
			return
		}
		ctx := context.WithValue(r.Context(), claimsKey{}, c)
		next.ServeHTTP(w, r.WithContext(ctx))
	})
}

// requireRole returns a handler, for use inside requireToken, that calls next if the user has the
// role, and refuses the request otherwise.
//
// If you grant your ZITADEL project to other organizations, each of them can assign the role to its
// own users, and requireRole accepts that. To accept it from one organization only, check ok in
//
//	_, ok := claimsFrom(r.Context()).Roles[role][organizationID]
func requireRole(role string, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !claimsFrom(r.Context()).hasRole(role) {
			w.Header().Set("WWW-Authenticate", `Bearer realm="api", error="insufficient_scope"`)
			// 401, as in ZITADEL's Flask example. For 403, as RFC 6750 §3.1 recommends, change it here.
			refuse(w, r, http.StatusUnauthorized, "insufficient_scope",
				"The user does not have the role "+role+".")
			return
		}
		next.ServeHTTP(w, r)
	})
}

// claimsFrom returns the claims that requireToken has put into ctx. Outside requireToken, they are
// empty.
func claimsFrom(ctx context.Context) claims {
	c, _ := ctx.Value(claimsKey{}).(claims)
	return c
}

// claimsKey is the context key of the claims.
type claimsKey struct{}

// bearerToken returns the access token in the Authorization header (RFC 6750 §2.1), if the request
// has exactly one such header, with exactly one token.
func bearerToken(r *http.Request) (token string, ok bool) {
	headers := r.Header.Values("Authorization")
	if len(headers) != 1 {
		return "", false
	}
	words := strings.Fields(headers[0])
	if len(words) != 2 || !strings.EqualFold(words[0], "Bearer") {
		return "", false
	}
	return words[1], true
}

// refuse logs a refusal and writes the response. The logged user is empty if the token is missing
// or not valid.
func refuse(w http.ResponseWriter, r *http.Request, status int, code, description string) {
	slog.Info("request refused", "method", r.Method, "path", r.URL.Path, "status", status,
		"code", code, "user", claimsFrom(r.Context()).Subject)
	writeError(w, status, code, description)
}

// writeError writes a response with an error as its body.
func writeError(w http.ResponseWriter, status int, code, description string) {
	writeJSON(w, status, map[string]string{"code": code, "description": description})
}

// writeJSON writes a response with v as its body.
func writeJSON(w http.ResponseWriter, status int, v any) {
	body, err := json.Marshal(v)
	if err != nil {
		slog.Error("response not encoded", "reason", err)
		http.Error(w, "internal server error", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	fmt.Fprintf(w, "%s\n", body)
}
