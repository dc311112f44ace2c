package main

import (
	"context"
	"crypto/sha256"
	"sync"
	"time"
)

// maxCacheEntries is the largest number of tokens whose claims a cache keeps.
const maxCacheEntries = 10_000

// A cache keeps the claims of active tokens, so that fewer requests wait for ZITADEL. The price: a
// revoked token works, and a removed role counts, until the entry expires.
//
// Inactive tokens are not kept, so that made-up ones take no place.
type cache struct {
	introspect introspectFunc
	ttl        time.Duration

	mu      sync.Mutex
	entries map[tokenHash]cacheEntry
}

// tokenHash identifies a token, so that the cache need not keep the token itself.
type tokenHash [sha256.Size]byte

// A cacheEntry has the claims of a token until it expires. It stays in the cache until it is
// replaced.
type cacheEntry struct {
	claims  claims
	expires time.Time
}

// withCache returns an introspectFunc that calls introspect and keeps the claims of active tokens
// for ttl.
func withCache(introspect introspectFunc, ttl time.Duration) introspectFunc {
	c := &cache{introspect: introspect, ttl: ttl, entries: make(map[tokenHash]cacheEntry)}
	return c.get
}

// get returns the claims of a token, from the cache if it has them. It is an introspectFunc.
func (c *cache) get(ctx context.Context, token string) (claims, error) {
	hash := tokenHash(sha256.Sum256([]byte(token)))
	c.mu.Lock()
	entry, ok := c.entries[hash]
	c.mu.Unlock()
	if ok && time.Now().Before(entry.expires) {
		return entry.claims, nil
	}
	start := time.Now() // the claims may be as old as this
	fresh, err := c.introspect(ctx, token)
	if err == nil && fresh.Active {
		c.put(hash, cacheEntry{claims: fresh, expires: start.Add(c.ttl)})
	}
	return fresh, err
}

// put keeps an entry. If the cache is full, it takes the place of any other.
func (c *cache) put(hash tokenHash, entry cacheEntry) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, ok := c.entries[hash]; !ok && len(c.entries) >= maxCacheEntries {
		for other := range c.entries {
			delete(c.entries, other)
			break
		}
	}
	c.entries[hash] = entry
}
