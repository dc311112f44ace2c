package main

import (
	"encoding/json"
	"net/http"
)

// newAPI returns the handler of the API: its routes, and what each of them requires.
func newAPI(introspect introspectFunc) http.Handler {
	authenticated, canRead := requireToken(introspect), requireRole("read:messages")
	mux := http.NewServeMux()
	mux.Handle("GET /api/public", message(
		"Public route - You don't need to be authenticated to see this."))
	mux.Handle("GET /api/private", authenticated(message(
		"Private route - You need to be authenticated to see this.")))
	mux.Handle("GET /api/private-scoped", authenticated(canRead(message("Private, scoped route - "+
		"You need to be authenticated and have the role read:messages to see this."))))
	return logRequests(mux)
}

// message returns a handler that responds with text, in JSON.
func message(text string) http.Handler {
	body, _ := json.Marshal(map[string]string{"message": text}) // cannot fail
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(body)
	})
}
