package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"sync"
	"time"
)

// maxCacheEntries bounds the memory of a cache, whatever tokens callers send.
const maxCacheEntries = 10_000

// A cache keeps the claims of active tokens, and lets concurrent callers with the same token
// share one introspection.
type cache struct {
	next introspectFunc
	ttl  time.Duration

	mu      sync.Mutex
	entries map[tokenHash]cacheEntry
	calls   map[tokenHash]*cacheCall // those in progress
}

// tokenHash identifies a token, so that the cache need not keep the token itself.
type tokenHash [sha256.Size]byte

// cacheEntry has the claims of an active token.
type cacheEntry struct {
	claims claims
	until  time.Time
}

// cacheCall is an introspection that one caller makes and others wait for. The caller sets the
// other fields before it closes done.
type cacheCall struct {
	done     chan struct{}
	claims   claims
	err      error
	canceled bool // the caller left: those who wait try again
}

// newCache returns a cache that keeps the claims that introspect returns for ttl.
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
	// A caller waits no longer than this, however many calls are canceled meanwhile.
	waitCtx, stop := context.WithTimeout(ctx, introspectTimeout)
	defer stop()
	hash := tokenHash(sha256.Sum256([]byte(token)))
	for waitCtx.Err() == nil {
		c.mu.Lock()
		entry, ok := c.entries[hash]
		if ok && time.Now().Before(entry.until) {
			c.mu.Unlock()
			return entry.claims, nil
		}
		call, ok := c.calls[hash]
		if !ok {
			call = &cacheCall{done: make(chan struct{}), err: errPanic}
			c.calls[hash] = call
			c.mu.Unlock()
			defer c.finish(ctx, hash, call, time.Now()) // deferred for the sake of a panic
			call.claims, call.err = c.next(waitCtx, token)
			return call.claims, call.err
		}
		c.mu.Unlock()

		select {
		case <-call.done:
			if !call.canceled {
				return call.claims, call.err
			}
		case <-waitCtx.Done():
		}
	}
	return claims{}, waitCtx.Err()
}

// errPanic is the error of a call whose introspection has panicked.
var errPanic = errors.New("the introspection panicked")

// finish keeps the claims of a call that started at start, and hands its result to those who wait.
func (c *cache) finish(ctx context.Context, hash tokenHash, call *cacheCall, start time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if call.err == nil && call.claims.Active {
		c.store(hash, cacheEntry{call.claims, start.Add(c.ttl)})
	}
	call.canceled = call.err != nil && ctx.Err() != nil
	delete(c.calls, hash)
	close(call.done)
}

// store adds an entry. If the cache is full, the entry takes the place of any other.
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
