package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"sync"
	"time"
)

// maxCacheEntries is the largest number of entries in a cache.
const maxCacheEntries = 10_000

// A cache keeps the claims of active tokens, and lets concurrent requests with the same token
// share one introspection. It does not keep inactive tokens: while its database restarts, ZITADEL
// may report valid tokens as inactive.
type cache struct {
	next introspectFunc
	ttl  time.Duration

	mu      sync.Mutex
	entries map[tokenHash]cacheEntry
	calls   map[tokenHash]*cacheCall // in progress
}

// tokenHash identifies a token, so that the cache need not keep the token itself.
type tokenHash [sha256.Size]byte

// A cacheEntry holds the claims of an active token.
type cacheEntry struct {
	claims claims
	until  time.Time // when the entry expires
}

// A cacheCall is an introspection. The request that makes it sets claims, err and abandoned, and
// then closes done. Other requests with the same token, the waiters, wait for that.
type cacheCall struct {
	done      chan struct{}
	claims    claims
	err       error
	abandoned bool // the request left or ran out of time: the waiters must retry
}

// errPanic is the error of a call that panics.
var errPanic = errors.New("the introspection panicked")

// newCache returns a cache that calls introspect and keeps active claims for ttl.
func newCache(introspect introspectFunc, ttl time.Duration) *cache {
	return &cache{
		next:    introspect,
		ttl:     ttl,
		entries: make(map[tokenHash]cacheEntry),
		calls:   make(map[tokenHash]*cacheCall),
	}
}

// introspect returns the claims of a token: from the cache, from a call in progress, or from a
// call that it makes. It is an introspectFunc.
func (c *cache) introspect(ctx context.Context, token string) (claims, error) {
	// This limits the whole: a request may wait for calls that are abandoned, and then make its own.
	// It is longer than next takes, so that a call whose next times out is not abandoned.
	ctx, cancel := context.WithTimeout(ctx, introspectTimeout+100*time.Millisecond)
	defer cancel()
	hash := tokenHash(sha256.Sum256([]byte(token)))
	for ctx.Err() == nil {
		c.mu.Lock()
		entry, ok := c.entries[hash]
		if ok && time.Now().Before(entry.until) {
			c.mu.Unlock()
			return entry.claims, nil
		}
		call, ok := c.calls[hash]
		if !ok {
			call = &cacheCall{done: make(chan struct{})}
			c.calls[hash] = call
			c.mu.Unlock()
			c.run(ctx, call, hash, token)
			return call.claims, call.err
		}
		c.mu.Unlock()

		select {
		case <-call.done:
			if !call.abandoned {
				return call.claims, call.err
			}
		case <-ctx.Done(): // ends the loop
		}
	}
	return claims{}, ctx.Err()
}

// run makes a call, keeps active claims and releases the waiters, even if next panics.
func (c *cache) run(ctx context.Context, call *cacheCall, hash tokenHash, token string) {
	call.err = errPanic // for the waiters, if next panics
	start := time.Now() // the claims may be as old as this
	defer func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		if call.err == nil && call.claims.Active {
			c.store(hash, cacheEntry{call.claims, start.Add(c.ttl)})
		}
		call.abandoned = call.err != nil && ctx.Err() != nil
		delete(c.calls, hash)
		close(call.done)
	}()
	call.claims, call.err = c.next(ctx, token)
}

// store adds or replaces an entry. If the cache is full, a new entry takes the place of an
// arbitrary one. c.mu must be held.
func (c *cache) store(hash tokenHash, entry cacheEntry) {
	_, known := c.entries[hash]
	if !known && len(c.entries) >= maxCacheEntries {
		for other := range c.entries {
			delete(c.entries, other)
			break
		}
	}
	c.entries[hash] = entry
}
