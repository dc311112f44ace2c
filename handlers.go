package main

import "net/http"

// newAPI returns the handler of the API. It lists the routes and what each of them requires: a
// route without requireToken is open to everyone.
//
// To get the ID of the calling user, a handler inside requireToken uses
//
//	claimsFrom(r.Context()).Subject
func newAPI(introspect introspectFunc) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /api/public",
		message("Public route - You don't need to be authenticated to see this."))
	mux.Handle("GET /api/private",
		requireToken(introspect,
			message("Private route - You need to be authenticated to see this.")))
	mux.Handle("GET /api/private-scoped",
		requireToken(introspect, requireRole("read:messages",
			message("Private, scoped route - You need to be authenticated "+
				"and have the role read:messages to see this."))))
	return mux
}

// message returns a handler that responds with {"message": text}.
func message(text string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		writeJSON(w, http.StatusOK, map[string]string{"message": text})
	})
}
