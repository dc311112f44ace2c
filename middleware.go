package main

import (
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"strings"
	"time"
)

// requireToken returns middleware that lets a request through if its access token is active
// and has not expired. Handlers behind it get the token's claims from claimsFrom.
func requireToken(introspect introspectFunc) func(http.Handler) http.Handler {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Cache-Control", "no-store")
			scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
			token = strings.TrimLeft(token, " ")
			switch {
			case len(r.Header.Values("Authorization")) > 1:
				refuse(w, 400, "invalid_request", "The request has more than one Authorization header.")
				return
			case !strings.EqualFold(scheme, "Bearer"): // RFC 9110 §11.1
				w.Header().Set("WWW-Authenticate", `Bearer realm="api"`) // RFC 6750 §3.1: no error
				writeError(w, 401, "missing_authorization", "Send the header Authorization: Bearer TOKEN")
				return
			case !isBearerToken(token):
				refuse(w, 401, "invalid_token", "The token is missing or malformed.")
				return
			}
			c, err := introspect(r.Context(), token)
			switch {
			case err != nil:
				if r.Context().Err() == nil { // the caller is still there
					slog.Error("introspection failed", "reason", err)
				}
				w.Header().Set("Retry-After", "5") // seconds
				writeError(w, 503, "temporarily_unavailable", "The token cannot be checked now. Try again.")
			case !c.active:
				refuse(w, 401, "invalid_token", "The token is expired, revoked or not an access token.")
			case !time.Now().Before(c.expires):
				slog.Warn("introspection returned an expired token as active: check the clock")
				refuse(w, 401, "invalid_token", "The token has expired.")
			default:
				next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), claimsKey{}, c)))
			}
		})
	}
}

// requireRole returns middleware, for use behind requireToken, that lets users with role through.
func requireRole(role string) func(http.Handler) http.Handler {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if _, ok := claimsFrom(r.Context()).Roles[role]; !ok {
				// RFC 6750 §3.1 recommends 403. ZITADEL's other API examples answer 401.
				refuse(w, 401, "insufficient_scope", "The user does not have the role "+role+".")
				return
			}
			next.ServeHTTP(w, r)
		})
	}
}

// claimsFrom returns the claims that requireToken added to ctx, or zero claims.
func claimsFrom(ctx context.Context) claims {
	c, _ := ctx.Value(claimsKey{}).(claims)
	return c
}

type claimsKey struct{}

// isBearerToken reports whether s has the syntax of a b64token (RFC 6750 §2.1).
func isBearerToken(s string) bool {
	s = strings.TrimRight(s, "=")
	for _, c := range s {
		alphanumeric := 'A' <= c && c <= 'Z' || 'a' <= c && c <= 'z' || '0' <= c && c <= '9'
		if !alphanumeric && !strings.ContainsRune("-._~+/", c) {
			return false
		}
	}
	return s != ""
}

// refuse writes an error response with a challenge that has the same code (RFC 6750 §3).
func refuse(w http.ResponseWriter, status int, code, description string) {
	w.Header().Set("WWW-Authenticate", `Bearer realm="api", error="`+code+`"`)
	writeError(w, status, code, description)
}

// writeError writes an error response.
func writeError(w http.ResponseWriter, status int, code, description string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	body, _ := json.Marshal(map[string]string{"code": code, "description": description})
	_, _ = w.Write(body)
}

// logRequests returns a handler that calls next and logs one line for each request. The status
// in it is 0 if next panics, since net/http then closes the connection.
func logRequests(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		start, status := time.Now(), 0
		defer func() {
			slog.Info("request", "method", r.Method, "path", r.URL.Path,
				"status", status, "duration", time.Since(start))
		}()
		recorder := &statusRecorder{w, http.StatusOK}
		next.ServeHTTP(recorder, r)
		status = recorder.status
	})
}

// statusRecorder records the status of a response.
type statusRecorder struct {
	http.ResponseWriter
	status int
}

func (r *statusRecorder) WriteHeader(status int) {
	if status >= 200 { // 1xx, such as 103, come before the response
		r.status = status
	}
	r.ResponseWriter.WriteHeader(status)
}

// Unwrap is for http.ResponseController.
func (r *statusRecorder) Unwrap() http.ResponseWriter { return r.ResponseWriter }
