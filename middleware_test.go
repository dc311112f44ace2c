package main

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestAHandlerGetsTheClaims(t *testing.T) {
	for _, subject := range []string{"400884495143668774", ""} {
		introspect := func(context.Context, string) (claims, error) {
			return parseAnswer(fmt.Appendf(nil, `{"active":true,"SUB":"x","sub":%q,"Sub":"y"}`, subject))
		}
		var got string
		handler := requireToken(introspect)(http.HandlerFunc(
			func(_ http.ResponseWriter, r *http.Request) { got = claimsFrom(r.Context()).subject }))
		ask(handler, "/", "Bearer "+testToken)
		if got != subject {
			t.Errorf("got user ID %q, want %q", got, subject)
		}
	}
}

func TestRequireRoleWithoutRequireTokenRefuses(t *testing.T) {
	handler := requireRole("any")(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		t.Error("got into the handler, want 401")
	}))
	check(t, "no claims", ask(handler, "/", ""), 401)
}

func TestATokenExpiresAtExp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log strings.Builder
		setLog(t, &log)
		exp := now() + 2.5
		api := newAPI(func(context.Context, string) (claims, error) {
			return claims{active: true, exp: exp}, nil
		})
		for _, step := range []struct {
			after time.Duration
			want  int
		}{{0, 200}, {2499 * time.Millisecond, 200}, {time.Millisecond, 401}, {time.Hour, 401}} {
			time.Sleep(step.after)
			got := ask(api, "/api/private", "Bearer "+testToken)
			check(t, fmt.Sprint("after ", step.after), got, step.want)
		}
		if got := strings.Count(log.String(), "is the clock right?"); got != 2 {
			t.Errorf("got %d hints at the clock, want 2:\n%s", got, log.String())
		}
	})
}

func TestTheRequestLogDoesNotHideTheConnection(t *testing.T) {
	api := httptest.NewServer(logRequests(http.HandlerFunc(
		func(w http.ResponseWriter, _ *http.Request) {
			if err := http.NewResponseController(w).Flush(); err != nil {
				t.Errorf("got %v, want to flush through the request log", err)
			}
		})))
	defer api.Close()
	response, err := http.Get(api.URL)
	if err != nil {
		t.Fatal(err)
	}
	_ = response.Body.Close()
}

// FuzzAuthorization: nothing but a well-formed token ever reaches ZITADEL.
func FuzzAuthorization(f *testing.F) {
	for _, seed := range []string{"", "Bearer", "Bearer ", "Bearer a", "bearer  a==", "BEARER a=b",
		"Basic a", "Bearer a b", "Bearer\ta", "Bearer a,Bearer b", "Bearer =", "Bearer \u017f",
		"Bearer a\n", `Bearer "a"`, " Bearer a", "Bearer a ", "\u212aearer a"} {
		f.Add(seed)
	}
	// RFC 6750 §2.1, with the scheme in any case (RFC 9110 §11.1).
	wellFormed := regexp.MustCompile(`^(?:[Bb][Ee][Aa][Rr][Ee][Rr]) +([A-Za-z0-9._~+/-]+=*)$`)
	f.Fuzz(func(t *testing.T, authorization string) {
		var asked []string
		api := newAPI(func(_ context.Context, token string) (claims, error) {
			asked = append(asked, token)
			return claims{active: true, exp: now() + 60}, nil
		})
		var want []string
		if match := wellFormed.FindStringSubmatch(authorization); match != nil {
			want = match[1:]
		}
		got := ask(api, "/api/private", authorization).status
		if fmt.Sprint(asked) != fmt.Sprint(want) || (got == 200) != (want != nil) {
			t.Errorf("got %d after introspections of %q, want %q", got, asked, want)
		}
	})
}
