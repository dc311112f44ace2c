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
// revoked token works, and a change of roles does not count, until the entry expires. Inactive
// tokens are not kept, so made-up tokens cannot fill the cache.
type cache struct {
	introspect introspectFunc
	ttl        time.Duration

	mu      sync.Mutex
	entries map[tokenHash]cacheEntry
}

// tokenHash identifies a token, so that the cache need not keep the token itself.
type tokenHash [sha256.Size]byte

// A cacheEntry is used until it expires. After that it stays, unused, until another replaces it.
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

// get is an introspectFunc. It takes the claims from the cache if their entry has not expired.
func (c *cache) get(ctx context.Context, token string) (claims, error) {
	hash := tokenHash(sha256.Sum256([]byte(token)))
	c.mu.Lock()
	entry, ok := c.entries[hash]
	c.mu.Unlock()
	if ok && time.Now().Before(entry.expires) {
		return entry.claims, nil
	}
	start := time.Now() // the TTL counts from before the call: the token may be revoked during it
	fresh, err := c.introspect(ctx, token)
	if err == nil && fresh.Active {
		c.put(hash, cacheEntry{claims: fresh, expires: start.Add(c.ttl)})
	}
	return fresh, err
}

// put adds an entry. If the cache is full, the entry replaces an arbitrary other one.
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
