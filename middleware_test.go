package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestClaimsFrom(t *testing.T) {
	for _, want := range []string{"400884495143668774", ""} {
		var got string
		handler := requireToken(returnClaims(claims{Subject: want, active: true, expires: year(9999)}))(
			http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
				got = claimsFrom(r.Context()).Subject
			}))
		checkStatus(t, "with a token", get(handler, "/"), 200)
		if got != want {
			t.Errorf("got user ID %q, want %q", got, want)
		}
	}
}

func TestRequireRoleWithoutToken(t *testing.T) {
	handler := requireRole("any")(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		t.Error("got a call of the handler, want none")
	}))
	checkStatus(t, "no claims", send(handler, "GET", "/"), 401)
}

func TestTokenExpires(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		captureLog(t)
		expires := time.Now().Add(2500 * time.Millisecond)
		api := newAPI(returnClaims(claims{active: true, expires: expires}))
		for _, step := range []struct {
			after time.Duration
			want  int
		}{{0, 200}, {2499 * time.Millisecond, 200}, {time.Millisecond, 401}, {time.Hour, 401}} {
			time.Sleep(step.after)
			checkStatus(t, fmt.Sprint("after ", step.after), get(api, "/api/private"), step.want)
		}
	})
}

func TestFailedIntrospectionIsLogged(t *testing.T) {
	ctx, leave := context.WithCancel(t.Context())
	defer leave()
	handler := requireToken(func(ctx context.Context, _ string) (claims, error) {
		return claims{}, errors.Join(errors.New("some reason"), ctx.Err())
	})(nil)
	request := httptest.NewRequestWithContext(ctx, "GET", "/", nil)
	request.Header.Set("Authorization", "Bearer "+testToken)
	for _, want := range []int{1, 0} { // lines in the log, before and after the caller leaves
		log := captureLog(t)
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, request)
		checkStatus(t, "failed introspection", w, 503)
		line := `level=ERROR msg="introspection failed" reason="some reason"`
		if got := strings.Count(log.String(), line); got != want ||
			got != strings.Count(log.String(), "\n") {
			t.Errorf("got log %q, want %d lines with %s", log, want, line)
		}
		leave()
	}
}

func TestRequestLog(t *testing.T) {
	for _, row := range []struct {
		name    string
		handler http.HandlerFunc
		status  int
	}{
		{"nothing written", func(http.ResponseWriter, *http.Request) {}, 200},
		{"body only", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("x")) }, 200},
		{"status", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(404) }, 404},
		{"status after the body", func(w http.ResponseWriter, _ *http.Request) {
			_, _ = w.Write([]byte("x"))
			w.WriteHeader(500)
		}, 200},
		{"two statuses", func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(404)
			w.WriteHeader(500)
		}, 404},
		{"switching protocols", func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusSwitchingProtocols)
		}, 101},
		{"informational response first", func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusEarlyHints)
			w.WriteHeader(201)
		}, 201},
		{"informational response only", func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusEarlyHints)
		}, 200},
		{"panic", func(http.ResponseWriter, *http.Request) { panic("some reason") }, 0},
		{"panic after the status", func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(201)
			panic("some reason")
		}, 0},
	} {
		t.Run(row.name, func(t *testing.T) {
			log := captureLog(t)
			func() {
				defer func() {
					if reason := recover(); (reason != nil) != (row.status == 0) {
						t.Errorf("got panic %v, want one: %v", reason, row.status == 0)
					}
				}()
				send(logRequests(row.handler), "POST", "/some/path?access_token="+testToken)
			}()
			want := regexp.MustCompile(fmt.Sprintf(
				`^time=\S+ level=INFO msg=request method=POST path=/some/path status=%d duration=\d\S*\n$`,
				row.status))
			if !want.MatchString(log.String()) {
				t.Errorf("got log %q, want %s", log, want)
			}
		})
	}
}

func TestResponseController(t *testing.T) {
	handler := logRequests(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if err := http.NewResponseController(w).Flush(); err != nil {
			t.Errorf("got %v, want no error", err)
		}
	}))
	captureLog(t)
	if got := send(handler, "GET", "/"); !got.Flushed {
		t.Error("got no flush of the response, want one")
	}
}

// FuzzAuthorization checks that only a token with the syntax of RFC 6750 §2.1 is introspected.
func FuzzAuthorization(f *testing.F) {
	for _, seed := range []string{"", "Bearer", "Bearer ", "Bearer a", "bearer  a==", "BEARER a=b",
		"Basic a", "Bearer a b", "Bearer\ta", "Bearer a,Bearer b", "Bearer =", "Bearer \u017f",
		"Bearer a\n", `Bearer "a"`, " Bearer a", "Bearer a ", "\u212aearer a"} {
		f.Add(seed)
	}
	valid := regexp.MustCompile(`^(?i:bearer) +([A-Za-z0-9._~+/-]+=*)$`)
	f.Fuzz(func(t *testing.T, authorization string) {
		var got, want []string
		handler := requireToken(func(_ context.Context, token string) (claims, error) {
			got = append(got, token)
			return claims{active: true, expires: year(9999)}, nil
		})(http.NotFoundHandler())
		if match := valid.FindStringSubmatch(authorization); match != nil {
			want = match[1:]
		}
		status := send(handler, "GET", "/", authorization).Code
		if fmt.Sprint(got) != fmt.Sprint(want) || (status == 404) != (want != nil) {
			t.Errorf("got introspections of %q and status %d, want introspections of %q",
				got, status, want)
		}
	})
}
