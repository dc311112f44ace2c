package main

import (
	"io"
	"net/http"
	"testing"
	"time"
)

// BenchmarkRequest measures what a request costs here, with a ZITADEL that responds at once.
func BenchmarkRequest(b *testing.B) {
	body, err := io.ReadAll(recorded(b, "role").Body)
	if err != nil {
		b.Fatal(err)
	}
	zitadel := startZITADEL(b, func(w http.ResponseWriter, _ *http.Request) { w.Write(body) })
	introspect := introspectAt(zitadel)
	cached := withCache(introspect, time.Hour)
	for name, handler := range map[string]http.Handler{
		"public":    message("hello"),
		"protected": requireToken(introspect, requireRole("read:messages", message("hello"))),
		"cached":    requireToken(cached, requireRole("read:messages", message("hello"))),
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if got := get(b.Context(), handler, "/", bearer); got.Code != http.StatusOK {
					b.Fatalf("got status %d, want 200", got.Code)
				}
			}
		})
	}
}
