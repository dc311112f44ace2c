package main

import (
	"context"
	"crypto/sha256"
	"sync"
	"time"
)

// maxCacheEntries limits the memory of a cache. A full cache is emptied.
const maxCacheEntries = 10_000

// withCache returns an introspectFunc that calls introspect, and reuses the claims of an active
// token for ttl or until the token expires, so that fewer requests wait for ZITADEL. The price: for
// that time, a revoked token still works, and a change of roles has no effect.
func withCache(introspect introspectFunc, ttl time.Duration) introspectFunc {
	type entry struct {
		claims claims
		end    time.Time
	}
	var mu sync.Mutex
	entries := make(map[[sha256.Size]byte]entry)

	return func(ctx context.Context, token string) (claims, error) {
		key := sha256.Sum256([]byte(token)) // so that the cache need not keep the token itself
		mu.Lock()
		cached, ok := entries[key]
		mu.Unlock()
		if ok && time.Now().Before(cached.end) {
			return cached.claims, nil
		}

		end := time.Now().Add(ttl) // from before the call, since the token may be revoked during it
		c, err := introspect(ctx, token)
		if err != nil || !c.Active { // not kept, so that made-up tokens cannot fill the cache
			return c, err
		}
		if !c.Expires.IsZero() && c.Expires.Before(end) {
			end = c.Expires
		}
		mu.Lock()
		defer mu.Unlock()
		if _, ok := entries[key]; !ok && len(entries) >= maxCacheEntries {
			clear(entries) // the simplest way to make room; it also removes expired entries
		}
		entries[key] = entry{c, end}
		return c, nil
	}
}
