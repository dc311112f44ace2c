package main

import (
	"context"
	"crypto/sha256"
	"fmt"
	"runtime/debug"
	"sync"
	"time"
)

// maxCacheEntries is the largest number of tokens whose claims a cache keeps.
const maxCacheEntries = 10_000

// A cache keeps the claims of active tokens, so that fewer requests wait for ZITADEL. The price: a
// revoked token works, and a removed role counts, until the entry expires.
//
// Requests with the same token share one introspection. Inactive tokens are not kept: made-up ones
// would displace others, and ZITADEL may report a valid token as inactive while its database
// restarts. An expired entry stays until it is renewed or another takes its place.
type cache struct {
	next introspectFunc
	ttl  time.Duration

	mu      sync.Mutex
	entries map[tokenHash]*cacheEntry
	pending int // entries whose introspection is in progress
}

// tokenHash identifies a token, so that the cache need not keep the token itself.
type tokenHash [sha256.Size]byte

// A cacheEntry is an introspection that is in progress or has found the token active.
type cacheEntry struct {
	expires time.Time     // zero while the introspection is in progress
	done    chan struct{} // closed when claims and err are set
	claims  claims
	err     error
}

// newCache returns a cache that calls introspect and keeps the claims of active tokens for ttl.
// introspect needs a timeout of its own, since it goes on when the caller leaves.
func newCache(introspect introspectFunc, ttl time.Duration) *cache {
	return &cache{next: introspect, ttl: ttl, entries: make(map[tokenHash]*cacheEntry)}
}

// introspect returns the claims of a token. It can be used as an introspectFunc.
func (c *cache) introspect(ctx context.Context, token string) (claims, error) {
	hash := tokenHash(sha256.Sum256([]byte(token)))
	c.mu.Lock()
	e := c.entries[hash]
	if e == nil || e.expired() {
		e = &cacheEntry{done: make(chan struct{})}
		c.entries[hash] = e
		c.pending++
		// The introspection serves all who wait for it. If they leave, it goes on until its timeout.
		go c.fill(context.WithoutCancel(ctx), e, hash, token)
	}
	c.mu.Unlock()

	select {
	case <-e.done:
		return e.claims, e.err
	case <-ctx.Done():
		return claims{}, ctx.Err()
	}
}

// expired reports whether the entry is older than the TTL. The mutex of the cache must be held.
func (e *cacheEntry) expired() bool {
	return !e.expires.IsZero() && !time.Now().Before(e.expires)
}

// fill introspects the token of a new entry and keeps the entry if the token is active.
func (c *cache) fill(ctx context.Context, e *cacheEntry, hash tokenHash, token string) {
	start := time.Now() // the claims may be as old as this
	e.claims, e.err = c.call(ctx, token)

	c.mu.Lock()
	defer c.mu.Unlock()
	if e.err == nil && e.claims.Active {
		c.makeRoom()
		e.expires = start.Add(c.ttl)
	} else {
		delete(c.entries, hash)
	}
	c.pending--
	close(e.done)
}

// call calls next and returns a panic as an error. net/http recovers panics in its own goroutines
// only: in this one, a panic would end the process.
func (c *cache) call(ctx context.Context, token string) (_ claims, err error) {
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("panic: %v\n%s", v, debug.Stack())
		}
	}()
	return c.next(ctx, token)
}

// makeRoom deletes an entry if the cache is full. It takes the first that it finds, expired or not,
// instead of searching them all. Those in progress do not count, so that made-up tokens do not
// displace active ones; they last as long as their timeout. c.mu must be held.
func (c *cache) makeRoom() {
	if len(c.entries)-c.pending < maxCacheEntries {
		return
	}
	for hash, e := range c.entries {
		if !e.expires.IsZero() {
			delete(c.entries, hash)
			return
		}
	}
}
