package main

import (
	"encoding/json"
	"net/http"
	"path"
)

// newAPI returns the API: its routes, what each demands, and 404, no redirect, for other paths.
func newAPI(introspect introspectFunc) http.Handler {
	token, role := requireToken(introspect), requireRole("read:messages")
	mux := http.NewServeMux()
	mux.Handle("GET /api/public", message("Public route - "+
		"You don't need to be authenticated to see this."))
	mux.Handle("GET /api/private", token(message("Private route - "+
		"You need to be authenticated to see this.")))
	mux.Handle("GET /api/private-scoped", token(role(message("Private, scoped route - "+
		"You need to be authenticated and have the role read:messages to see this."))))
	return logRequests(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if p := path.Clean(r.URL.Path); r.URL.Path != p && (p == "/" || r.URL.Path != p+"/") {
			http.NotFound(w, r)
			return
		}
		mux.ServeHTTP(w, r)
	}))
}

// message returns a handler that answers with text, as JSON.
func message(text string) http.Handler {
	body, _ := json.Marshal(map[string]string{"message": text})
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(body)
	})
}
