package main

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// A slowZITADEL introspects every token in the same way, which takes a time.
type slowZITADEL struct {
	takes  time.Duration
	claims claims // with the token as the subject
	err    error
	calls  atomic.Int64
}

// introspect is an introspectFunc.
func (z *slowZITADEL) introspect(ctx context.Context, token string) (claims, error) {
	z.calls.Add(1)
	select {
	case <-time.After(z.takes):
		c := z.claims
		c.Subject = token
		return c, z.err
	case <-ctx.Done():
		return claims{}, ctx.Err()
	}
}

// checkCalls reports an error unless there were want introspections so far.
func (z *slowZITADEL) checkCalls(t *testing.T, when string, want int64) {
	t.Helper()
	if got := z.calls.Load(); got != want {
		t.Errorf("%s: got %d introspections, want %d", when, got, want)
	}
}

// 100 callers come while a token is introspected, and one more later.
func TestCacheSharesIntrospection(t *testing.T) {
	for _, row := range []struct {
		name   string
		claims claims
		err    error
		want   int64 // introspections
	}{
		{"active", claims{Active: true}, nil, 1},
		{"inactive", claims{}, nil, 2},
		{"fault", claims{Active: true}, errors.New("some reason"), 2},
	} {
		t.Run(row.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				z := &slowZITADEL{takes: 4 * time.Second, claims: row.claims, err: row.err}
				c := newCache(z.introspect, time.Hour)
				var callers sync.WaitGroup
				for n := range 100 {
					callers.Go(func() {
						time.Sleep(time.Duration(n) * 10 * time.Millisecond)
						got, err := c.introspect(t.Context(), "a")
						if got.Active != row.claims.Active || err != row.err {
							t.Errorf("got active %t, error %v, want %t, %v",
								got.Active, err, row.claims.Active, row.err)
						}
					})
				}
				callers.Wait()
				z.checkCalls(t, "100 callers", 1)
				c.introspect(t.Context(), "a")
				z.checkCalls(t, "one more", row.want)
			})
		})
	}
}

// The TTL counts from the beginning of the introspection, which takes a second here.
func TestCacheTTL(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		z := &slowZITADEL{takes: time.Second, claims: claims{Active: true}}
		c := newCache(z.introspect, 30*time.Second)
		c.introspect(t.Context(), "a")
		time.Sleep(29*time.Second - time.Nanosecond)
		c.introspect(t.Context(), "a")
		z.checkCalls(t, "just before the TTL ends", 1)
		time.Sleep(time.Nanosecond)
		c.introspect(t.Context(), "a")
		z.checkCalls(t, "when the TTL ends", 2)
	})
}

func TestCachedTokenExpires(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		expires := time.Now().Add(time.Minute)
		z := &slowZITADEL{claims: claims{Active: true, Expires: expires}}
		handler := requireToken(newCache(z.introspect, time.Hour).introspect, message("hello"))
		checkStatus(t, "before it expires", get(handler, "/"), 200)
		time.Sleep(time.Minute)
		checkStatus(t, "when it expires", get(handler, "/"), 401)
		z.checkCalls(t, "after both", 1)
	})
}

// A token is introspected by one request at a time, even if the TTL ends before the introspection.
func TestShortCacheTTL(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		z := &slowZITADEL{takes: 3 * time.Second, claims: claims{Active: true}}
		c := newCache(z.introspect, 100*time.Millisecond)
		for n := range 50 {
			go func() {
				time.Sleep(time.Duration(n) * 100 * time.Millisecond) // 20 of 50 wait for a second one
				if _, err := c.introspect(t.Context(), "a"); err != nil {
					t.Errorf("got error %v, want none", err)
				}
			}()
		}
		time.Sleep(time.Minute)
		z.checkCalls(t, "50 callers in 5 s", 2)
	})
}

// An introspection belongs to no caller: those who stay get the claims, whoever leaves.
func TestCallersLeave(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		z := &slowZITADEL{takes: 3 * time.Second, claims: claims{Active: true}}
		c := newCache(z.introspect, time.Hour)
		start := time.Now()
		call := func(patience, want time.Duration, wantErr error) {
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			_, err := c.introspect(ctx, "a")
			if got := time.Since(start); got != want || err != wantErr {
				t.Errorf("caller with patience %s: got error %v after %s, want %v after %s",
					patience, err, got, wantErr, want)
			}
		}
		go call(2700*time.Millisecond, 2700*time.Millisecond, context.DeadlineExceeded)
		synctest.Wait() // the first caller has made the introspection
		for n := range 100 {
			go call(time.Duration(n)*time.Millisecond, time.Duration(n)*time.Millisecond,
				context.DeadlineExceeded)
			go call(time.Hour, 3*time.Second, nil)
		}
		time.Sleep(time.Minute)
		z.checkCalls(t, "all callers", 1)
	})
}

// A caller that leaves leaves nothing behind once the introspection has ended. Otherwise, synctest
// would report a deadlock.
func TestNothingIsLeftInCache(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCache((&slowZITADEL{takes: 5 * time.Second}).introspect, time.Hour)
		for n := range 1_000 {
			go func() {
				ctx, cancel := context.WithTimeout(t.Context(), time.Second)
				defer cancel()
				c.introspect(ctx, strconv.Itoa(n))
			}()
		}
		time.Sleep(6 * time.Second)
		synctest.Wait()
		if len(c.entries) != 0 || c.pending != 0 {
			t.Errorf("got %d entries, %d in progress, want none", len(c.entries), c.pending)
		}
	})
}

// checkCached reports an error unless the cache has the claims of n tokens, named 0, 1 and so on.
func checkCached(t *testing.T, c *cache, z *slowZITADEL, n int) {
	t.Helper()
	before := z.calls.Load()
	for token := range n {
		name := strconv.Itoa(token)
		if got, err := c.introspect(t.Context(), name); err != nil || got.Subject != name {
			t.Fatalf("token %s: got claims of token %s, error %v", name, got.Subject, err)
		}
	}
	if got := z.calls.Load() - before; got != 0 {
		t.Errorf("got %d of %d tokens introspected, want all of them in the cache", got, n)
	}
}

func TestCacheIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		z := &slowZITADEL{claims: claims{Active: true}}
		inactive := &slowZITADEL{takes: time.Second}
		c := newCache(func(ctx context.Context, token string) (claims, error) {
			if strings.HasPrefix(token, "made-up") {
				return inactive.introspect(ctx, token)
			}
			return z.introspect(ctx, token)
		}, time.Hour)
		for n := range maxCacheEntries - 1 {
			c.introspect(t.Context(), strconv.Itoa(n))
		}
		// Inactive tokens take no place, neither the last one nor that of another token.
		for n := range maxCacheEntries + 2_000 {
			go c.introspect(t.Context(), "made-up "+strconv.Itoa(n))
		}
		synctest.Wait()
		c.introspect(t.Context(), strconv.Itoa(maxCacheEntries-1))
		checkCached(t, c, z, maxCacheEntries)

		// More active tokens take the places of others.
		for n := range 100 {
			c.introspect(t.Context(), "new "+strconv.Itoa(n))
			before := z.calls.Load()
			c.introspect(t.Context(), "new "+strconv.Itoa(n))
			z.checkCalls(t, "new token again", before)
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if got := len(c.entries); got != maxCacheEntries {
			t.Errorf("got %d entries, want %d", got, maxCacheEntries)
		}

		// One whose entry has expired keeps its place.
		time.Sleep(time.Hour)
		c.introspect(t.Context(), "new 99")
		if got := len(c.entries); got != maxCacheEntries {
			t.Errorf("got %d entries after one has expired, want %d", got, maxCacheEntries)
		}
	})
}

// A panic fails those who wait, and neither the next caller nor the process.
func TestIntrospectionPanics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var calls atomic.Int64
		c := newCache(func(context.Context, string) (claims, error) {
			if calls.Add(1) == 1 {
				time.Sleep(time.Second)
				panic("some reason")
			}
			return claims{Active: true}, nil
		}, time.Hour)
		for range 10 {
			go func() {
				if _, err := c.introspect(t.Context(), "a"); err == nil {
					t.Error("got no error, want one")
				}
			}()
		}
		time.Sleep(2 * time.Second)
		if _, err := c.introspect(t.Context(), "a"); err != nil {
			t.Errorf("next caller: got error %v, want none", err)
		}
	})
}
