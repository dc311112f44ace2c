package main

import (
	"context"
	"errors"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// counted returns introspect and the number of its calls.
func counted(introspect introspectFunc) (introspectFunc, *atomic.Int64) {
	var calls atomic.Int64
	return func(ctx context.Context, token string) (claims, error) {
		calls.Add(1)
		return introspect(ctx, token)
	}, &calls
}

// checkCalls reports an error unless there were want introspections so far.
func checkCalls(t *testing.T, when string, calls *atomic.Int64, want int64) {
	t.Helper()
	if got := calls.Load(); got != want {
		t.Errorf("%s: got %d introspections, want %d", when, got, want)
	}
}

// slow returns an introspectFunc that takes d, or until ctx is done, to return c and err.
func slow(d time.Duration, c claims, err error) introspectFunc {
	return func(ctx context.Context, _ string) (claims, error) {
		select {
		case <-time.After(d):
			return c, err
		case <-ctx.Done():
			return claims{}, ctx.Err()
		}
	}
}

func TestCacheKeepsActiveTokens(t *testing.T) {
	for _, row := range []struct {
		name   string
		claims claims
		err    error
		want   int64 // introspections for 3 calls, one after the other
	}{
		{"active", readerClaims(), nil, 1},
		{"inactive", claims{Subject: "1"}, nil, 3},
		{"fault", claims{}, errors.New("some reason"), 3},
	} {
		introspect, calls := counted(introspectAs(row.claims, row.err))
		c := newCache(introspect, time.Hour)
		for range 3 {
			got, err := c.introspect(t.Context(), testToken)
			checkClaims(t, got, row.claims)
			if err != row.err {
				t.Errorf("%s: got error %v, want %v", row.name, err, row.err)
			}
		}
		checkCalls(t, row.name, calls, row.want)
	}
}

func TestCacheKeepsTokensApart(t *testing.T) {
	c := newCache(func(_ context.Context, token string) (claims, error) {
		return claims{Active: true, Subject: token}, nil
	}, time.Hour)
	for range 2 {
		for _, token := range []string{"a", "b"} {
			if got, _ := c.introspect(t.Context(), token); got.Subject != token {
				t.Errorf("token %s: got the claims of token %s", token, got.Subject)
			}
		}
	}
}

// The TTL counts from the beginning of the introspection, which takes a second here.
func TestCacheTTL(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		introspect, calls := counted(slow(time.Second, readerClaims(), nil))
		c := newCache(introspect, 30*time.Second)
		c.introspect(t.Context(), testToken)
		time.Sleep(29*time.Second - time.Nanosecond)
		c.introspect(t.Context(), testToken)
		checkCalls(t, "just before the TTL ends", calls, 1)
		time.Sleep(time.Nanosecond)
		c.introspect(t.Context(), testToken)
		checkCalls(t, "when the TTL ends", calls, 2)
	})
}

func TestCachedTokenIsChecked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		introspect, calls := counted(introspectAs(
			claims{Active: true, Expires: time.Now().Add(time.Minute)}, nil))
		api := newAPI(newCache(introspect, time.Hour).introspect)
		checkStatus(t, "private route", get(api, "/api/private"), 200)
		if got := get(api, "/api/private-scoped"); got.StatusCode == 200 {
			t.Error("got status 200 without the role, want another")
		}
		time.Sleep(time.Minute)
		checkStatus(t, "expired token", get(api, "/api/private"), 401)
		checkCalls(t, "after all", calls, 1)
	})
}

func TestCacheIsBounded(t *testing.T) {
	introspect, calls := counted(introspectAs(readerClaims(), nil))
	c := newCache(introspect, time.Hour)
	for n := range maxCacheEntries + 100 {
		token := strconv.Itoa(n)
		c.introspect(t.Context(), token)
		c.introspect(t.Context(), token) // the new entry is there
	}
	checkCalls(t, "new tokens", calls, maxCacheEntries+100)
	if got := len(c.entries); got != maxCacheEntries {
		t.Errorf("got %d entries, want %d", got, maxCacheEntries)
	}
}

// Only a new token takes the place of another.
func TestFullCacheRenewsEntry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCache(introspectAs(readerClaims(), nil), time.Hour)
		for n := range maxCacheEntries {
			c.introspect(t.Context(), strconv.Itoa(n))
		}
		time.Sleep(time.Hour)
		c.introspect(t.Context(), "0")
		if got := len(c.entries); got != maxCacheEntries {
			t.Errorf("got %d entries, want %d", got, maxCacheEntries)
		}
	})
}

// 100 callers come while a token is introspected, and one more later.
func TestSharedIntrospection(t *testing.T) {
	for _, row := range []struct {
		name   string
		claims claims
		err    error
		want   int64 // introspections
	}{
		{"active", readerClaims(), nil, 1},
		{"inactive", claims{}, nil, 2},
		{"fault", claims{}, errors.New("some reason"), 2},
	} {
		t.Run(row.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				introspect, calls := counted(slow(4*time.Second, row.claims, row.err))
				c := newCache(introspect, time.Hour)
				var callers sync.WaitGroup
				for n := range 100 {
					callers.Go(func() {
						time.Sleep(time.Duration(n) * 10 * time.Millisecond)
						got, err := c.introspect(t.Context(), testToken)
						checkClaims(t, got, row.claims)
						if err != row.err {
							t.Errorf("got error %v, want %v", err, row.err)
						}
					})
				}
				callers.Wait()
				checkCalls(t, "100 callers", calls, 1)
				c.introspect(t.Context(), testToken)
				checkCalls(t, "one more", calls, row.want)
			})
		})
	}
}

// ZITADEL does not respond. The introspection ends for all who wait when it ends for its caller.
func TestSharedTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		introspect, calls := counted(slow(introspectTimeout, claims{}, context.DeadlineExceeded))
		c := newCache(introspect, time.Hour)
		start := time.Now()
		var callers sync.WaitGroup
		for n := range 100 {
			callers.Go(func() {
				time.Sleep(time.Duration(n) * 10 * time.Millisecond)
				_, err := c.introspect(t.Context(), testToken)
				if got := time.Since(start); err == nil || got != 5*time.Second {
					t.Errorf("got error %v after %s, want one after 5s", err, got)
				}
			})
		}
		callers.Wait()
		checkCalls(t, "100 callers", calls, 1)
	})
}

// A caller that leaves stops waiting. If it made the introspection, that ends, and one of those
// who wait makes another.
func TestCallerLeaves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		introspect, calls := counted(slow(3*time.Second, readerClaims(), nil))
		c := newCache(introspect, time.Hour)
		start := time.Now()
		var callers sync.WaitGroup
		call := func(patience, want time.Duration) {
			callers.Go(func() {
				ctx, cancel := context.WithTimeout(t.Context(), patience)
				defer cancel()
				_, err := c.introspect(ctx, testToken)
				if got := time.Since(start); got != want || (err != nil) != (patience == want) {
					t.Errorf("caller with patience %s: got error %v after %s, want to return after %s",
						patience, err, got, want)
				}
			})
			synctest.Wait() // for one caller after the other
		}
		call(time.Second, time.Second) // makes the introspection
		call(500*time.Millisecond, 500*time.Millisecond)
		for range 10 {
			call(time.Hour, 4*time.Second)
		}
		callers.Wait()
		checkCalls(t, "after all", calls, 2)
	})
}

// The second caller has little time left when the first one leaves, and ZITADEL responds again.
// The third one still has time: it makes an introspection of its own.
func TestLateCall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		first := slow(time.Hour, claims{}, nil)
		introspect := slow(time.Second, readerClaims(), nil)
		c := newCache(func(ctx context.Context, token string) (claims, error) {
			if first != nil {
				hang := first
				first = nil
				return hang(ctx, token)
			}
			return introspect(ctx, token)
		}, time.Hour)
		call := func(patience time.Duration, want bool) {
			go func() {
				ctx, cancel := context.WithTimeout(t.Context(), patience)
				defer cancel()
				if _, err := c.introspect(ctx, testToken); (err == nil) != want {
					t.Errorf("caller with patience %s: got error %v, want one: %t", patience, err, !want)
				}
			}()
		}
		call(4900*time.Millisecond, false)
		time.Sleep(100 * time.Millisecond)
		call(time.Hour, false)
		time.Sleep(4700 * time.Millisecond)
		call(time.Hour, true)
		time.Sleep(time.Minute)
	})
}

// The first callers leave one after the other. The last one waits 5 s all the same.
func TestWaitIsLimited(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCache(slow(time.Hour, claims{}, nil), time.Hour)
		for n := range 20 {
			go func() {
				ctx, cancel := context.WithTimeout(t.Context(), time.Duration(n)*time.Second)
				defer cancel()
				c.introspect(ctx, testToken)
			}()
		}
		synctest.Wait()
		start := time.Now()
		_, err := c.introspect(t.Context(), testToken)
		if got := time.Since(start); err == nil || got < 5*time.Second || got > 5200*time.Millisecond {
			t.Errorf("got error %v after %s, want one after 5s", err, got)
		}
		time.Sleep(time.Minute) // for the others
	})
}

// A panic ends the introspection for those who wait, too. None of them repeats it.
func TestIntrospectionPanics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		introspect, calls := counted(func(context.Context, string) (claims, error) {
			time.Sleep(time.Second)
			panic("some reason")
		})
		c := newCache(introspect, time.Hour)
		go func() {
			defer func() { recover() }() // as net/http does
			c.introspect(t.Context(), testToken)
		}()
		synctest.Wait()
		for range 10 {
			go func() {
				if _, err := c.introspect(t.Context(), testToken); err == nil {
					t.Error("got no error, want one")
				}
			}()
		}
		time.Sleep(2 * time.Second)
		checkCalls(t, "11 callers", calls, 1)
	})
}
