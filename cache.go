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

// A cache keeps the claims of active tokens, and lets concurrent callers with the same token
// share one introspection.
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

// A cacheCall is an introspection. The request that makes it sets the other fields and then closes
// done. Other requests with the same token wait for that.
type cacheCall struct {
	done     chan struct{}
	claims   claims
	err      error
	canceled bool // the request ended first: those who wait must try again
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
	// One limit for all: the request may wait for calls that are canceled, and then make its own.
	// It is a little longer than that of a call, so that a call times out for all who wait.
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
			if !call.canceled {
				return call.claims, call.err
			}
		case <-ctx.Done():
		}
	}
	return claims{}, ctx.Err()
}

// run makes a call and hands its result to those who wait, even if next panics.
func (c *cache) run(ctx context.Context, call *cacheCall, hash tokenHash, token string) {
	call.err = errPanic // for those who wait, if next panics
	start := time.Now() // the claims may be as old as this
	defer func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		if call.err == nil && call.claims.Active {
			c.store(hash, cacheEntry{call.claims, start.Add(c.ttl)})
		}
		call.canceled = call.err != nil && ctx.Err() != nil
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
