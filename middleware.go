package main

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"strings"
	"time"
)

// requireToken returns a handler that calls next for requests with a valid access token, and
// refuses all others. next can get the claims of the token with claimsFrom.
func requireToken(introspect introspectFunc, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "no-store") // the response depends on the token
		token, ok := bearerToken(r)
		if !ok {
			// The challenge has no error where a token is missing (RFC 6750 §3.1). The RFC has 400
			// for a malformed header; this API does not tell the two apart.
			w.Header().Set("WWW-Authenticate", `Bearer realm="api"`)
			writeError(w, r, http.StatusUnauthorized, "missing_authorization",
				"Send exactly one header Authorization: Bearer TOKEN.")
			return
		}
		c, err := introspect(r.Context(), token)
		if errors.Is(err, context.Canceled) {
			// The client has closed the connection, or at least its sending side. 499 is nginx's
			// status for that. Without a response, net/http would send 200.
			writeError(w, r, 499, "client_closed_request", "The client closed the request.")
			return
		}
		if err != nil {
			slog.Error("introspection failed", "reason", err)
			w.Header().Set("Retry-After", "5") // seconds; any short time will do
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
// role, whichever organization granted it, and refuses the request otherwise. RFC 6750 has no error
// for a missing role; insufficient_scope comes closest.
func requireRole(role string, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, ok := claimsFrom(r.Context()).Roles[role]; !ok {
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

// writeJSON writes a response with v as its body.
func writeJSON(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	if err := json.NewEncoder(w).Encode(v); err != nil {
		slog.Warn("response not written", "reason", err)
	}
}

// writeError writes an error response and logs its code; logRequests logs only the status.
func writeError(w http.ResponseWriter, r *http.Request, status int, code, description string) {
	slog.Info("error response", "method", r.Method, "path", r.URL.Path, "code", code)
	writeJSON(w, status, map[string]string{"code": code, "description": description})
}

// logRequests returns a handler that calls next and then logs the request. If next panics, the
// server logs that instead.
func logRequests(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		start := time.Now()
		rec := &statusRecorder{ResponseWriter: w, status: http.StatusOK}
		next.ServeHTTP(rec, r)
		slog.Info("request", "method", r.Method, "path", r.URL.Path,
			"status", rec.status, "duration", time.Since(start))
	})
}

// statusRecorder is a ResponseWriter that remembers the status that its handler has set, the last
// one if it has set several.
type statusRecorder struct {
	http.ResponseWriter
	status int
}

func (r *statusRecorder) WriteHeader(status int) {
	r.status = status
	r.ResponseWriter.WriteHeader(status)
}

// Unwrap lets handlers flush, for example, with an http.ResponseController.
func (r *statusRecorder) Unwrap() http.ResponseWriter {
	return r.ResponseWriter
}
