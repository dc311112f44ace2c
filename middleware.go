package main

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"strings"
)

// requireToken returns a handler that calls next for requests with a valid access token, and
// refuses all others. next gets the claims of the token from claimsFrom.
//
// ZITADEL refuses tokens that were issued for other projects only (it checks the audience). But any
// user of the instance, of any organization, can request a token for this one: where that matters,
// require a role.
func requireToken(introspect introspectFunc, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "no-store") // no HTTP cache may keep the response
		token, ok := bearerToken(r)
		if !ok {
			// If the token is missing, the challenge has no error (RFC 6750 §3.1). A malformed header
			// is treated as a missing token.
			w.Header().Set("WWW-Authenticate", `Bearer realm="api"`)
			writeError(w, r, http.StatusUnauthorized, "missing_authorization",
				"Send exactly one header Authorization: Bearer TOKEN.")
			return
		}
		c, err := introspect(r.Context(), token)
		if err != nil {
			if !errors.Is(err, context.Canceled) { // the caller is still there
				slog.Error("introspection failed", "method", r.Method, "path", r.URL.Path, "reason", err)
			}
			// The token may be valid, so this is not a 401.
			w.Header().Set("Retry-After", "5") // seconds
			writeError(w, r, http.StatusServiceUnavailable, "temporarily_unavailable",
				"The access token cannot be checked at the moment. Try again later.")
			return
		}
		// Set before the check: writeError logs the user of a token that expired in the cache.
		r = r.WithContext(context.WithValue(r.Context(), claimsKey{}, c))
		if !c.valid() {
			w.Header().Set("WWW-Authenticate", `Bearer realm="api", error="invalid_token"`)
			writeError(w, r, http.StatusUnauthorized, "invalid_token",
				"The access token is not valid or has expired.")
			return
		}
		next.ServeHTTP(w, r)
	})
}

// requireRole returns a handler, for use inside requireToken, that calls next if the user has the
// role, and refuses the request otherwise. Your organization can assign the role, and so can any to
// which you have granted the project. If only one organization counts, replace the condition by
//
//	if _, ok := claimsFrom(r.Context()).Roles[role]["ID of the organization"]; !ok {
func requireRole(role string, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if len(claimsFrom(r.Context()).Roles[role]) == 0 { // no organization has assigned it
			w.Header().Set("WWW-Authenticate", `Bearer realm="api", error="insufficient_scope"`)
			// 401 as in ZITADEL's Flask example. RFC 6750 §3.1 recommends 403: to have it, change this.
			writeError(w, r, http.StatusUnauthorized, "insufficient_scope",
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

// bearerToken returns the access token in the Authorization header (RFC 6750 §2.1), if the
// request has exactly one such header with exactly one token.
func bearerToken(r *http.Request) (token string, ok bool) {
	headers := r.Header.Values("Authorization")
	if len(headers) != 1 { // with two, a proxy may have checked the other one
		return "", false
	}
	words := strings.Fields(headers[0])
	if len(words) != 2 || !strings.EqualFold(words[0], "Bearer") {
		return "", false
	}
	return words[1], true
}

// writeError writes an error response and logs it. The user is empty as long as it is not known.
func writeError(w http.ResponseWriter, r *http.Request, status int, code, description string) {
	slog.Info("request refused", "method", r.Method, "path", r.URL.Path, "status", status,
		"code", code, "user", claimsFrom(r.Context()).Subject)
	writeJSON(w, status, map[string]string{"code": code, "description": description})
}

// writeJSON writes a response with v as its body.
func writeJSON(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	if err := json.NewEncoder(w).Encode(v); err != nil {
		slog.Warn("response not written", "reason", err)
	}
}
