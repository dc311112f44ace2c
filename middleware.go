package main

import (
	"cmp"
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"strings"
	"time"
)

// requireToken returns middleware that admits requests with a valid access token.
func requireToken(introspect introspectFunc) func(http.Handler) http.Handler {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Cache-Control", "no-store")
			scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
			token = strings.TrimLeft(token, " ")
			switch {
			case len(r.Header.Values("Authorization")) > 1:
				refuse(w, http.StatusBadRequest, "invalid_request", "Send only one Authorization header.")
				return
			case !strings.EqualFold(scheme, "Bearer"): // RFC 9110 §11.1: case-insensitive
				w.Header().Set("WWW-Authenticate", `Bearer realm="api"`) // RFC 6750 §3.1: no error code
				writeError(w, http.StatusUnauthorized, "missing_authorization", "Send a bearer token.")
				return
			case !isBearerToken(token):
				refuse(w, http.StatusUnauthorized, "invalid_token", "The token is missing or malformed.")
				return
			}
			c, err := introspect(r.Context(), token)
			switch {
			case err != nil:
				if r.Context().Err() == nil { // otherwise the client has disconnected
					slog.Error("introspection failed", "reason", err)
				}
				w.Header().Set("Retry-After", "5") // seconds
				writeError(w, http.StatusServiceUnavailable, "temporarily_unavailable", "Try again later.")
			case !c.active, !time.Now().Before(c.expires):
				refuse(w, http.StatusUnauthorized, "invalid_token", "The token is expired or invalid.")
			default:
				next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), claimsKey{}, c)))
			}
		})
	}
}

// requireRole returns middleware, for use behind requireToken, that admits users with a role.
func requireRole(role string) func(http.Handler) http.Handler {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if _, ok := claimsFrom(r.Context()).Roles[role]; !ok {
				// RFC 6750 §3.1 recommends 403. ZITADEL's Flask example returns 401.
				refuse(w, http.StatusUnauthorized, "insufficient_scope", "The user lacks the role "+role+".")
				return
			}
			next.ServeHTTP(w, r)
		})
	}
}

// claimsFrom returns the claims of the access token that requireToken has admitted.
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

// refuse writes an error response with a WWW-Authenticate challenge (RFC 6750 §3).
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

// logRequests logs a line for each request, with status 0 if next panics. net/http logs the panic.
func logRequests(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		start, status := time.Now(), 0
		defer func() {
			slog.Info("request", "method", r.Method, "path", r.URL.Path,
				"status", status, "duration", time.Since(start))
		}()
		recorder := &statusRecorder{ResponseWriter: w}
		next.ServeHTTP(recorder, r)
		status = cmp.Or(recorder.status, http.StatusOK)
	})
}

// statusRecorder records the status of a response.
type statusRecorder struct {
	http.ResponseWriter
	status int // 0 until it is written
}

func (r *statusRecorder) WriteHeader(status int) {
	if r.status == 0 && (status >= 200 || status == http.StatusSwitchingProtocols) {
		r.status = status // the final status, not an informational one
	}
	r.ResponseWriter.WriteHeader(status)
}

func (r *statusRecorder) Write(data []byte) (int, error) {
	r.status = cmp.Or(r.status, http.StatusOK)
	return r.ResponseWriter.Write(data)
}

// Unwrap is for http.ResponseController. Assertions such as w.(http.Flusher) fail.
func (r *statusRecorder) Unwrap() http.ResponseWriter { return r.ResponseWriter }
