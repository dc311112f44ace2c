package main

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// The TTL counts from the beginning of the introspection, which takes a second here.
func TestCacheTTL(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		calls := 0
		cached := withCache(func(context.Context, string) (claims, error) {
			calls++
			time.Sleep(time.Second)
			return claims{Active: true}, nil
		}, 30*time.Second)
		check := func(want int) {
			t.Helper()
			if c, err := cached(t.Context(), testToken); err != nil || !c.Active || calls != want {
				t.Errorf("got active %t, error %v, %d introspections, want %d", c.Active, err, calls, want)
			}
		}
		check(1)
		time.Sleep(29*time.Second - time.Nanosecond)
		check(1)
		time.Sleep(time.Nanosecond)
		check(2)
	})
}

func TestCacheKeepsOnlyActiveTokens(t *testing.T) {
	for _, want := range []error{nil, errors.New("some reason")} {
		calls := 0
		cached := withCache(func(context.Context, string) (claims, error) {
			calls++
			return claims{Active: want != nil}, want
		}, time.Hour)
		for range 2 {
			if _, err := cached(t.Context(), testToken); err != want {
				t.Errorf("got error %v, want %v", err, want)
			}
		}
		if calls != 2 {
			t.Errorf("error %v: got %d introspections, want 2", want, calls)
		}
	}
}

func TestCachedTokenExpires(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		introspect := introspectAs(claims{Active: true, Expires: time.Now().Add(time.Minute)}, nil)
		handler := requireToken(withCache(introspect, time.Hour), message("hello"))
		checkStatus(t, "before it expires", get(t.Context(), handler, "/", bearer), 200)
		time.Sleep(time.Minute)
		checkStatus(t, "when it has expired", get(t.Context(), handler, "/", bearer), 401)
	})
}

// A new token takes the place of one other, and no token gets the claims of another.
func TestCacheIsBounded(t *testing.T) {
	calls := 0
	c := &cache{ttl: time.Hour, entries: make(map[tokenHash]cacheEntry)}
	c.introspect = func(_ context.Context, token string) (claims, error) {
		calls++
		return claims{Active: true, Subject: token}, nil
	}
	prefix := strings.Repeat("long", 100)
	for n := range 2 * (maxCacheEntries + 100) {
		token := prefix + strconv.Itoa(n/2) // every second time, it is in the cache
		if got, err := c.get(t.Context(), token); err != nil || got.Subject != token {
			t.Fatalf("got claims of %s, error %v, want those of %s", got.Subject, err, token)
		}
	}
	for hash, entry := range c.entries { // an entry that is replaced takes no other's place
		c.put(hash, entry)
	}
	if want := maxCacheEntries + 100; calls != want || len(c.entries) != maxCacheEntries {
		t.Errorf("got %d introspections and %d entries, want %d and %d",
			calls, len(c.entries), want, maxCacheEntries)
	}
}
