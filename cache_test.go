package main

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// A token is introspected again at the TTL, which counts from the beginning of an introspection, or
// at exp. What is not an active token is not kept.
func TestCachedToken(t *testing.T) {
	for name, row := range map[string]struct{ exp, end time.Duration }{
		"no exp":         {0, 30 * time.Second},
		"TTL before exp": {time.Hour, 30 * time.Second},
		"exp before TTL": {20 * time.Second, 20 * time.Second},
	} {
		synctest.Test(t, func(t *testing.T) {
			calls := 0
			var result claims
			var oops error
			cached := withCache(func(ctx context.Context, _ string) (claims, error) {
				calls++
				time.Sleep(time.Second)
				if ctx.Done() == nil {
					t.Error("got a context that never ends, want the caller's")
				}
				return result, oops
			}, 30*time.Second)
			check := func(wantCalls int) {
				t.Helper()
				got, err := cached(t.Context(), testToken)
				if got.Active != result.Active || err != oops || calls != wantCalls {
					t.Errorf("%s: got active %t, error %v, %d introspections, want %t, %v, %d",
						name, got.Active, err, calls, result.Active, oops, wantCalls)
				}
			}
			result = claims{Active: false}
			check(1)
			start := time.Now()
			result = claims{Active: true}
			if row.exp > 0 {
				result.Expires = start.Add(row.exp)
			}
			check(2)
			time.Sleep(time.Until(start.Add(row.end - time.Nanosecond)))
			check(2)
			time.Sleep(time.Nanosecond)
			result, oops = claims{}, errors.New("oops")
			check(3)
			result, oops = claims{Active: false}, nil
			check(4)
		})
	}
}

// A full cache is emptied for one more token, but not for a token that has an entry already.
func TestFullCache(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		calls := 0
		cached := withCache(func(_ context.Context, token string) (claims, error) {
			calls++
			return claims{Active: true, Subject: token}, nil
		}, time.Minute)
		check := func(n, wantCalls int) {
			t.Helper()
			token := strings.Repeat("long", 100) + strconv.Itoa(n)
			got, err := cached(t.Context(), token)
			if err != nil || got.Subject != token || calls != wantCalls {
				t.Errorf("got claims of %s, error %v, %d introspections, want those of %s, none, %d",
					got.Subject, err, calls, token, wantCalls)
			}
		}
		check(0, 1)
		time.Sleep(30 * time.Second)
		for n := range maxCacheEntries {
			check(n, n+1)
		}
		time.Sleep(30 * time.Second) // the entry of token 0 ends
		check(0, maxCacheEntries+1)
		check(1, maxCacheEntries+1)
		check(maxCacheEntries, maxCacheEntries+2)
		check(1, maxCacheEntries+3)
	})
}

func TestConcurrentCache(t *testing.T) {
	cached := withCache(introspectAs(claims{Active: true}, nil), time.Hour)
	var callers sync.WaitGroup
	for range 4 {
		callers.Go(func() { cached(t.Context(), testToken) })
	}
	callers.Wait()
}
