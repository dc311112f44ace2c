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
// ZITADEL checks that the token was issued for this project (its audience). But any user of the
// instance can request such a token: require a role where only your own users may pass.
func requireToken(introspect introspectFunc, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "no-store") // no HTTP cache may give it to another caller
		token, ok := bearerToken(r)
		if !ok {
			// The challenge has no error if the token is missing (RFC 6750 §3.1). A malformed header
			// is treated as a missing one.
			w.Header().Set("WWW-Authenticate", `Bearer realm="api"`)
			writeError(w, r, http.StatusUnauthorized, "missing_authorization",
				"Send exactly one header Authorization: Bearer TOKEN.")
			return
		}
		c, err := introspect(r.Context(), token)
		if err != nil {
			if !errors.Is(err, context.Canceled) { // a caller that has left is no fault
				slog.Error("introspection failed", "method", r.Method, "path", r.URL.Path, "reason", err)
			}
			// Not 401, since the token may be valid.
			w.Header().Set("Retry-After", "5") // seconds
			writeError(w, r, http.StatusServiceUnavailable, "temporarily_unavailable",
				"The access token cannot be checked at the moment. Try again later.")
			return
		}
		if !c.Active || c.expired() { // it may have expired in the cache
			w.Header().Set("WWW-Authenticate", `Bearer realm="api", error="invalid_token"`)
			writeError(w, r, http.StatusUnauthorized, "invalid_token",
				"The access token is not valid or has expired.")
			return
		}
		next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), claimsKey{}, c)))
	})
}

// requireRole returns a handler, for use inside requireToken, that calls next if the user has the
// role, and refuses the request otherwise. It does not matter which organization granted the role.
// If only one may, use this condition instead:
//
//	if _, ok := claimsFrom(r.Context()).Roles[role][organizationID]; !ok {
func requireRole(role string, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if len(claimsFrom(r.Context()).Roles[role]) == 0 { // no organization has granted it
			w.Header().Set("WWW-Authenticate", `Bearer realm="api", error="insufficient_scope"`)
			// 401 as in ZITADEL's Flask example. For 403, as RFC 6750 §3.1 recommends, change it here.
			writeError(w, r, http.StatusUnauthorized, "insufficient_scope",
				"The user does not have the role "+role+".")
			return
		}
		next.ServeHTTP(w, r)
	})
}

// claimsFrom returns the claims that requireToken has put into ctx, or empty claims.
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
	if len(headers) != 1 { // with two, a proxy might check one and this API the other
		return "", false
	}
	words := strings.Fields(headers[0])
	if len(words) != 2 || !strings.EqualFold(words[0], "Bearer") {
		return "", false
	}
	return words[1], true
}

// writeError writes an error response and logs it, with the ID of the user if it is known.
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
