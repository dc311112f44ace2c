package main

import (
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"strings"
	"time"
)

// b64Chars are what an access token is made of, with any "=" behind (RFC 6750 §2.1).
const b64Chars = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~+/"

// requireToken lets a request through if introspect says that its access token is active
// and has not expired. claimsFrom returns the token's claims to the handlers behind it.
func requireToken(introspect introspectFunc) func(http.Handler) http.Handler {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Cache-Control", "no-store")
			scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
			token = strings.TrimLeft(token, " ")
			chars := strings.TrimRight(token, "=")
			switch {
			case len(r.Header["Authorization"]) > 1:
				refuse(w, 400, "invalid_request", "Send only one Authorization header.")
				return
			case !strings.EqualFold(scheme, "Bearer"): // RFC 9110 §11.1
				refuse(w, 401, "missing_authorization", "Send a header: Authorization: Bearer TOKEN")
				return
			case chars == "" || strings.TrimLeft(chars, b64Chars) != "":
				refuse(w, 401, "invalid_token", "The token is missing, or has quotes or spaces in it.")
				return
			}

			c, err := introspect(r.Context(), token)
			switch {
			case err != nil:
				if r.Context().Err() == nil { // the caller has not gone away
					slog.Error("introspection failed", "reason", err)
				}
				refuse(w, 503, "temporarily_unavailable", "The token can't be checked now. Try again.")
			case !c.active:
				refuse(w, 401, "invalid_token", "The token is expired, revoked or no access token for here.")
			case now() >= c.exp:
				slog.Warn("introspection: ZITADEL says active, but exp has passed: is the clock right?")
				refuse(w, 401, "invalid_token", "The token has expired.")
			default:
				next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), claimsKey{}, c)))
			}
		})
	}
}

// requireRole lets a request through, behind requireToken, if the token's user has the role.
func requireRole(role string) func(http.Handler) http.Handler {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if _, ok := claimsFrom(r.Context()).roles[role]; !ok {
				refuse(w, 401, "insufficient_scope", "The user lacks the role "+role+".")
				return
			}
			next.ServeHTTP(w, r)
		})
	}
}

type claimsKey struct{}

// claimsFrom returns the claims that requireToken put into ctx, or else empty ones.
func claimsFrom(ctx context.Context) claims {
	c, _ := ctx.Value(claimsKey{}).(claims)
	return c
}

// refuse answers with an error and the challenge that goes with it (RFC 6750 §3).
func refuse(w http.ResponseWriter, status int, code, description string) {
	switch code {
	case "temporarily_unavailable":
		w.Header().Set("Retry-After", "5") // seconds
	case "missing_authorization": // no error code: RFC 6750 §3.1
		w.Header().Set("WWW-Authenticate", `Bearer realm="api"`)
	default:
		w.Header().Set("WWW-Authenticate", `Bearer realm="api", error="`+code+`"`)
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	body, _ := json.Marshal(map[string]string{"code": code, "description": description})
	_, _ = w.Write(body)
}

// logRequests logs one line for each request, once it is answered.
func logRequests(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		start := time.Now()
		recorder := &statusRecorder{w, http.StatusOK}
		next.ServeHTTP(recorder, r)
		slog.Info("request", "method", r.Method, "path", r.URL.Path,
			"status", recorder.status, "duration", time.Since(start))
	})
}

// statusRecorder remembers the status of an answer. Unwrap is for http.ResponseController.
type statusRecorder struct {
	http.ResponseWriter
	status int
}

func (r *statusRecorder) WriteHeader(status int) {
	r.status = status
	r.ResponseWriter.WriteHeader(status)
}

func (r *statusRecorder) Unwrap() http.ResponseWriter { return r.ResponseWriter }
