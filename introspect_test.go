package main

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func TestIntrospectionRequest(t *testing.T) {
	const id, secret = "400884494992739366@a+project", "a+test%secret: 0"
	var got *http.Request
	var body []byte
	zitadel := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got = r
		body, _ = io.ReadAll(r.Body)
		_, _ = io.WriteString(w, activeResponse)
	}))
	defer zitadel.Close()
	if _, err := newIntrospect(zitadel.URL+"/", id, secret)(t.Context(), testToken); err != nil {
		t.Fatal(err)
	}

	if got.Method != "POST" || got.RequestURI != "/oauth/v2/introspect" {
		t.Errorf("got %s %s, want POST /oauth/v2/introspect", got.Method, got.RequestURI)
	}
	want := "token=test-token.AZaz09-._~%2B%2F%3D%3D&token_type_hint=access_token"
	if string(body) != want {
		t.Errorf("got body %s, want %s", body, want)
	}
	// RFC 6749 §2.3.1: each half is form-encoded.
	credentials := "400884494992739366%40a%2Bproject:a%2Btest%25secret%3A+0"
	for name, want := range map[string]string{
		"Accept":          "application/json",
		"Authorization":   "Basic " + base64.StdEncoding.EncodeToString([]byte(credentials)),
		"Content-Type":    "application/x-www-form-urlencoded",
		"Cookie":          "",
		"Idempotency-Key": "",
	} {
		if strings.Join(got.Header[name], ", ") != want {
			t.Errorf("got another %s header, want the one of the contract with ZITADEL", name)
		}
	}
}

func TestParseClaims(t *testing.T) {
	const roles = `"urn:zitadel:iam:org:project:roles"`
	const none = "no claims, but an error"
	year9999 := time.Unix(253_402_300_799, 0)
	for _, row := range []struct {
		name, response string
		want           string // the claims, as the function describe returns them
	}{
		{"the role", readerResponse, "active, roles [read:messages]"},
		{"white space around it", " \r\n\t" + readerResponse + "\n", "active, roles [read:messages]"},
		{"escapes in a name", `{"\u0061ctive":true}`, "active"},
		{"inactive", `{"active":false}`, "inactive"},
		{"user ID", `{"active":true,"sub":"42"}`, "active, user 42"},

		{"Active", `{"Active":true}`, none},
		{"ACTIVE", `{"ACTIVE":true}`, none},
		{"Active after active", `{"active":true,"Active":false}`, "active"},
		{"ACTIVE before active", `{"ACTIVE":false,"active":true}`, "active"},
		{"inactive but Active", `{"active":false,"Active":true}`, "inactive"},
		{"Active of another type", `{"active":true,"Active":"x"}`, "active"},
		{"active in an object", `{"a":{"active":true}}`, none},
		{"active twice", `{"active":true,"active":false}`, "inactive"},
		{"Exp and EXP", `{"active":true,"Exp":1,"EXP":"x"}`, "active"},
		{"Exp after exp", `{"active":true,"exp":1,"Exp":9e9}`, "active until 1"},
		{"Sub and SUB", `{"active":true,"SUB":"1","sub":"2","Sub":3}`, "active, user 2"},
		{"long s in a name", `{"active":true,` +
			`"urn:zitadel:iam:org:project:roleſ":{"read:messages":{}}}`, "active"},
		{"roles in upper case", `{"active":true,` + strings.ToUpper(roles) +
			`:{"read:messages":{}}}`, "active"},
		{"roles of one project", `{"active":true,"urn:zitadel:iam:org:project:1:roles":` +
			`{"read:messages":{}}}`, "active"},

		{"exp", `{"active":true,"exp":1795441779}`, "active until 1795441779"},
		{"exp with an exponent", `{"active":true,"exp":9.9e9}`, "active until 9900000000"},
		{"exp with a fraction", `{"active":true,"exp":1795441779.5}`, "active until 1795441779.5"},
		{"exp far in the future", `{"active":true,"exp":1e300}`, "active"},
		{"exp null", `{"active":true,"exp":null}`, "active"},
		{"exp 0", `{"active":true,"exp":0}`, "active until 0"},
		{"exp negative", `{"active":true,"exp":-1}`, "active until 0"},
		{"exp far in the past", `{"active":true,"exp":-1e300}`, "active until 0"},

		{"other role", `{"active":true,` + roles + `:{"write:messages":{}}}`,
			"active, roles [write:messages]"},
		{"role null", `{"active":true,` + roles + `:{"a":null}}`, "active, roles [a]"},
		{"role of another type", `{"active":true,` + roles + `:{"a":1e999}}`, "active, roles [a]"},
		{"roles null", `{"active":true,` + roles + `:null}`, "active"},
		{"scope", `{"active":true,"scope":"read:messages ` +
			`urn:zitadel:iam:org:project:role:read:messages"}`, "active"},
		{"sub null", `{"active":true,"sub":null}`, "active"},

		{"no active", `{"sub":"42"}`, none},
		{"active null", `{"active":null}`, none},
		{"active a string", `{"active":"true"}`, none},
		{"active a number", `{"active":1}`, none},
		{"active an object", `{"active":{}}`, none},
		{"exp a string", `{"active":true,"exp":"9999999999"}`, none},
		{"exp a boolean", `{"active":true,"exp":true}`, none},
		{"exp an object", `{"active":true,"exp":{}}`, none},
		{"exp an array", `{"active":false,"exp":[]}`, none},
		{"exp greater than any float64", `{"active":true,"exp":1e999}`, none},
		{"exp less than any float64", `{"active":true,"exp":-1e999}`, none},
		{"sub a number", `{"active":true,"sub":42}`, none},
		{"sub an object", `{"active":true,"sub":{}}`, none},
		{"roles an array", `{"active":true,` + roles + `:["read:messages"]}`, none},
		{"roles a string", `{"active":true,` + roles + `:"read:messages"}`, none},
		{"roles a boolean", `{"active":true,` + roles + `:true}`, none},
		{"nothing", ``, none},
		{"HTML", `<html>active</html>`, none},
		{"null", `null`, none},
		{"a boolean", `true`, none},
		{"an array", `[` + readerResponse + `]`, none},
		{"a string", `"active"`, none},
		{"cut short", readerResponse[:len(readerResponse)-1], none},
		{"second object", readerResponse + readerResponse, none},
		{"text after the object", readerResponse + `x`, none},
	} {
		t.Run(row.name, func(t *testing.T) {
			got := none
			c, err := parseClaims([]byte(row.response))
			if err == nil {
				got = describe(c, year9999)
			} else if !strings.Contains(err.Error(), "check ZITADEL_DOMAIN") {
				t.Errorf(`got error %q, want "check ZITADEL_DOMAIN" in it`, err)
			}
			if got != row.want {
				t.Errorf("got %s, want %s", got, row.want)
			}
		})
	}
}

// describe describes c. It omits zero values, and the expiry if it equals never.
func describe(c claims, never time.Time) string {
	s := "inactive"
	if c.active {
		s = "active"
	}
	if !c.expires.Equal(never) {
		s += " until " + strconv.FormatFloat(float64(c.expires.UnixMilli())/1000, 'f', -1, 64)
	}
	if c.Subject != "" {
		s += ", user " + c.Subject
	}
	if len(c.Roles) > 0 {
		var names []string
		for name := range c.Roles {
			names = append(names, name)
		}
		s += fmt.Sprintf(", roles %s", names)
	}
	return s
}

func TestResponseSize(t *testing.T) {
	const limit = 1 << 20
	for size, ok := range map[int]bool{limit: true, limit + 1: false, 2 * limit: false} {
		body := activeResponse + strings.Repeat(" ", size-len(activeResponse))
		_, err := introspectAt(t, respond(200, body))
		if (err == nil) != ok {
			t.Errorf("body of %d bytes: got error %v, want one: %v", size, err, !ok)
		}
	}
	if _, err := introspectAt(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("X", strings.Repeat("x", 64<<10))
	}); err == nil {
		t.Error("header of more than 64 KiB: got no error, want one")
	}
}

// introspectAt introspects the test token at a server with this handler.
func introspectAt(t *testing.T, handler http.HandlerFunc) (claims, error) {
	t.Helper()
	zitadel := httptest.NewServer(handler)
	defer zitadel.Close()
	return newIntrospect(zitadel.URL, "id", "secret")(t.Context(), testToken)
}

// respond returns a handler that responds with a status and a body.
func respond(status int, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}
}

// respondRaw returns a handler that writes a response as it is and closes the connection.
func respondRaw(response string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body) // unread data would reset the connection
		conn, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			panic(err)
		}
		_, _ = io.WriteString(conn, response)
		_ = conn.Close()
	}
}

func TestUnusableResponses(t *testing.T) {
	const (
		credentials = "ZITADEL rejected the client credentials: check CLIENT_ID and CLIENT_SECRET"
		other       = "check ZITADEL_DOMAIN (http or https?) and that ZITADEL is healthy"
		notHTTP     = "connection lost or invalid HTTP: check ZITADEL_DOMAIN"
		private     = "alice" // in a response; no error may repeat it
		body        = `{"active":true,"username":"alice"}`
	)
	for _, row := range []struct {
		name    string
		handler http.HandlerFunc
		want    string
	}{
		{"not JSON", respond(200, private),
			"not an introspection response: check ZITADEL_DOMAIN"},
		{"no active", respond(200, `{"x":"alice"}`),
			"the response has no member active: check ZITADEL_DOMAIN"},
		{"too long", respond(200, body+strings.Repeat(" ", 1<<20)),
			"the response is longer than 1 MiB: check ZITADEL_DOMAIN"},
		{"unauthorized_client", respond(400, `{"error":"unauthorized_client"}`),
			"status 400 Bad Request: " + credentials},
		{"invalid_client", respond(400, `{"error":"invalid_client"}`),
			"status 400 Bad Request: " + credentials},
		{"401", respond(401, private), "status 401 Unauthorized: " + credentials},
		{"other OAuth error", respond(400, `{"error":"alice"}`), "status 400 Bad Request: " + other},
		{"403", respond(403, body), "status 403 Forbidden: " + other},
		{"404", respond(404, body),
			"status 404 Not Found: no ZITADEL instance answers there: check ZITADEL_DOMAIN"},
		{"429", respond(429, ""),
			"status 429 Too Many Requests: ZITADEL limits the rate: set or raise INTROSPECTION_CACHE_TTL"},
		{"500", respond(500, body), "status 500 Internal Server Error: " + other},
		{"502", respond(502, body), "status 502 Bad Gateway: " + other},
		{"201", respond(201, body), "status 201 Created: " + other},
		{"204", respond(204, ""), "status 204 No Content: " + other},
		{"redirect", func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "/alice", http.StatusTemporaryRedirect)
		}, "status 307 Temporary Redirect: " + other},
		{"101", respondRaw("HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n" +
			"Connection: Upgrade\r\n\r\nalice"), "status 101 Switching Protocols: " + other},

		{"cut short", respondRaw("HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{"), "unexpected EOF"},
		{"no response", respondRaw(""), "EOF"},
		{"not HTTP", respondRaw("alice\r\n\r\n"), notHTTP},
		{"malformed status", respondRaw("HTTP/1.1 alice\r\n\r\n"), notHTTP},
		{"malformed header", respondRaw("HTTP/1.1 200 OK\r\nalice\r\n\r\n"), notHTTP},
		{"malformed length", respondRaw("HTTP/1.1 200 OK\r\nContent-Length: alice\r\n\r\n"), notHTTP},
	} {
		t.Run(row.name, func(t *testing.T) {
			_, err := introspectAt(t, row.handler)
			if err == nil || !strings.HasPrefix(err.Error(), row.want) {
				t.Errorf("got error %v, want %s", err, row.want)
			}
			if strings.Contains(fmt.Sprint(err), private) {
				t.Errorf("got error %v, want nothing of the response in it", err)
			}
		})
	}
}

func TestUnreachableInstance(t *testing.T) {
	quiet := slog.NewLogLogger(slog.DiscardHandler, 0)
	tls := httptest.NewUnstartedServer(respond(200, activeResponse))
	tls.Config.ErrorLog = quiet
	tls.StartTLS()
	defer tls.Close()
	plain := httptest.NewUnstartedServer(respond(200, activeResponse))
	plain.Config.ErrorLog = quiet
	plain.Start()
	defer plain.Close()
	for _, row := range []struct{ name, domain, want string }{
		{"nothing listens", "http://" + refusingAddress(t), "dial tcp "},
		{"unknown host", "http://zitadel.invalid", "zitadel.invalid"},
		{"untrusted certificate", tls.URL, "certificate"},
		{"http server for https", strings.Replace(plain.URL, "http:", "https:", 1),
			"not look like a TLS handshake"},
		{"https server for http", strings.Replace(tls.URL, "https:", "http:", 1), "status 400"},
	} {
		t.Run(row.name, func(t *testing.T) {
			_, err := newIntrospect(row.domain, "id", "secret")(t.Context(), testToken)
			if err == nil || !strings.Contains(err.Error(), row.want) ||
				!strings.Contains(err.Error(), ": check ZITADEL_DOMAIN") {
				t.Errorf("got error %v, want %q and \": check ZITADEL_DOMAIN\" in it", err, row.want)
			}
		})
	}
}

// refusingAddress returns an address that refuses connections until the test ends: the local
// address of a connection.
func refusingAddress(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	conn, err := net.Dial("tcp", listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn.LocalAddr().String()
}

func TestIntrospectionCanceled(t *testing.T) {
	ctx, leave := context.WithCancel(t.Context())
	defer leave()
	ended := make(chan struct{})
	zitadel := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		leave()
		<-r.Context().Done()
		close(ended)
	}))
	defer zitadel.Close()
	if _, err := newIntrospect(zitadel.URL, "id", "secret")(ctx, testToken); err == nil {
		t.Error("got no error, want one")
	}
	<-ended
}

// A counter counts the introspections of each token.
type counter struct {
	mu     sync.Mutex
	counts map[string]int
}

// count returns introspect with c counting its calls.
func (c *counter) count(introspect introspectFunc) introspectFunc {
	c.counts = make(map[string]int)
	return func(ctx context.Context, token string) (claims, error) {
		c.mu.Lock()
		c.counts[token]++
		c.mu.Unlock()
		return introspect(ctx, token)
	}
}

func (c *counter) of(token string) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.counts[token]
}

func TestCacheKeepsActiveTokensOnly(t *testing.T) {
	var calls counter
	introspect := cached(calls.count(func(_ context.Context, token string) (claims, error) {
		switch token {
		case "inactive":
			return claims{expires: year(9999)}, nil
		case "expired":
			return claims{active: true, expires: year(2000)}, nil
		case "fault":
			return claims{}, errors.New("no usable response")
		}
		return claims{active: true, expires: year(9999), Subject: token}, nil
	}), time.Hour)
	for token, want := range map[string]int{
		"reader": 1, "visitor": 1, "inactive": 3, "expired": 3, "fault": 3,
	} {
		for range 3 {
			c, err := introspect(t.Context(), token)
			if (err != nil) != (token == "fault") || c.active == (token == "inactive" || err != nil) ||
				want == 1 && c.Subject != token {
				t.Errorf("%s: got %+v, %v, want active: %v, an error: %v", token, c, err,
					token != "inactive" && token != "fault", token == "fault")
			}
		}
		if got := calls.of(token); got != want {
			t.Errorf("%s: got %d introspections for 3 calls, want %d", token, got, want)
		}
	}
}

func TestCacheEntryExpires(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		var calls counter
		introspect := cached(calls.count(func(_ context.Context, token string) (claims, error) {
			time.Sleep(50 * time.Millisecond) // the TTL counts from the request
			exp := start.Add(time.Hour)
			if token == "short" {
				exp = start.Add(10 * time.Second)
			}
			return claims{active: true, expires: exp}, nil
		}), 30*time.Second)
		for _, step := range []struct {
			at          time.Duration
			long, short int // introspections so far
		}{
			{0, 1, 1},
			{9900 * time.Millisecond, 1, 1},
			{10 * time.Second, 1, 2},
			{29900 * time.Millisecond, 1, 3},
			{30 * time.Second, 2, 4},
			{59900 * time.Millisecond, 2, 5},
			{60 * time.Second, 3, 6},
		} {
			time.Sleep(time.Until(start.Add(step.at)))
			for _, token := range []string{"long", "short"} {
				go func() { _, _ = introspect(t.Context(), token) }()
			}
			synctest.Wait()
			if long, short := calls.of("long"), calls.of("short"); long != step.long ||
				short != step.short {
				t.Errorf("at %s: got %d and %d introspections, want %d and %d",
					step.at, long, short, step.long, step.short)
			}
		}
		time.Sleep(time.Second)
	})
}

func TestCacheEvictsWhenFull(t *testing.T) {
	const size = 10_000
	var calls counter
	introspect := cached(calls.count(func(_ context.Context, token string) (claims, error) {
		return claims{active: true, expires: year(9999)}, nil
	}), time.Hour)
	lookup := func(n int) {
		t.Helper()
		if _, err := introspect(t.Context(), strconv.Itoa(n)); err != nil {
			t.Fatal(err)
		}
	}
	for range 2 {
		for n := range size {
			lookup(n)
		}
	}
	if got := calls.of("0") + calls.of(strconv.Itoa(size-1)); got != 2 {
		t.Errorf("got %d introspections of the first and the last token, want 2", got)
	}
	for n := range 2 * size { // each new token replaces another
		lookup(size + n)
		lookup(size + n)
		if got := calls.of(strconv.Itoa(size + n)); got != 1 {
			t.Fatalf("got %d introspections of a new token in a full cache, want 1", got)
		}
	}
	for n := range 3 * size {
		lookup(n)
	}
	twice := 0
	for n := range 3 * size {
		if calls.of(strconv.Itoa(n)) > 1 {
			twice++
		}
	}
	if twice < 2*size {
		t.Errorf("got %d evicted tokens, want at least %d", twice, 2*size)
	}
}

// TestCachePendingEntry fills the cache while a token is being introspected.
func TestCachePendingEntry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var calls counter
		introspect := cached(calls.count(func(_ context.Context, token string) (claims, error) {
			if token == "slow" {
				time.Sleep(introspectTimeout)
			}
			return claims{active: true, expires: year(9999)}, nil
		}), time.Hour)
		lookup := func(token string) {
			if _, err := introspect(t.Context(), token); err != nil {
				t.Error(err)
			}
		}
		var first sync.WaitGroup
		first.Go(func() { lookup("slow") })
		synctest.Wait()
		for n := range 30_000 {
			lookup(strconv.Itoa(n))
		}
		lookup("slow")
		first.Wait()
		if got := calls.of("slow"); got != 1 {
			t.Errorf("got %d introspections of the token, want 1", got)
		}
	})
}

func TestCacheKeepsRoleCheck(t *testing.T) {
	captureLog(t)
	var calls counter
	introspect := calls.count(returnClaims(claims{active: true, expires: year(9999)}))
	api := newAPI(cached(introspect, time.Hour))
	for range 2 {
		checkStatus(t, "private route", get(api, "/api/private"), 200)
		checkStatus(t, "scoped route", get(api, "/api/private-scoped"), 401)
	}
	if got := calls.of(testToken); got != 1 {
		t.Errorf("got %d introspections, want 1", got)
	}
}

// TestSharedIntrospection introspects one token for 100 concurrent callers: first a new token, and
// then one whose entry has just expired.
func TestSharedIntrospection(t *testing.T) {
	fault := errors.New("no usable response")
	for _, row := range []struct {
		name   string
		claims claims
		err    error
		later  int // introspections for another caller after the crowd
	}{
		{"active token", claims{active: true, expires: year(9999)}, nil, 0},
		{"inactive token", claims{expires: year(9999)}, nil, 1},
		{"fault", claims{}, fault, 1},
		{"timeout", claims{}, context.DeadlineExceeded, 1},
	} {
		t.Run(row.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var calls counter
				const ttl = 30 * time.Second
				introspect := cached(calls.count(func(context.Context, string) (claims, error) {
					time.Sleep(introspectTimeout)
					return row.claims, row.err
				}), ttl)
				for range 3 {
					before := calls.of(testToken)
					var crowd sync.WaitGroup
					for n := range 100 {
						crowd.Go(func() {
							time.Sleep(time.Duration(n) * 10 * time.Millisecond)
							c, err := introspect(t.Context(), testToken)
							if c.active != row.claims.active || !errors.Is(err, row.err) {
								t.Errorf("got %+v, %v, want %+v, %v", c, err, row.claims, row.err)
							}
						})
					}
					crowd.Wait()
					if got := calls.of(testToken) - before; got != 1 {
						t.Errorf("got %d introspections for the crowd, want 1", got)
					}
					_, _ = introspect(t.Context(), testToken)
					if got := calls.of(testToken) - before - 1; got != row.later {
						t.Errorf("got %d introspections after the crowd, want %d", got, row.later)
					}
					time.Sleep(ttl)
				}
			})
		})
	}
}

// TestSharedIntrospectionCallerLeaves lets the caller who began an introspection leave, and one of
// those who wait for it.
func TestSharedIntrospectionCallerLeaves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var calls counter
		introspect := cached(calls.count(func(ctx context.Context, _ string) (claims, error) {
			select {
			case <-time.After(3 * time.Second):
				return claims{active: true, expires: year(9999)}, nil
			case <-ctx.Done():
				return claims{}, ctx.Err()
			}
		}), time.Hour)
		start := time.Now()
		var callers sync.WaitGroup
		for n, patience := range []time.Duration{
			time.Second, 10 * time.Second, 2 * time.Second, 10 * time.Second,
		} {
			callers.Go(func() {
				ctx, cancel := context.WithTimeout(t.Context(), patience)
				defer cancel()
				c, err := introspect(ctx, testToken)
				want := min(patience, 3*time.Second)
				if took := time.Since(start); took != want || c.active != (patience > want) ||
					(err == nil) != c.active {
					t.Errorf("caller %d: got %+v, %v after %s, want a result after %s", n, c, err, took, want)
				}
			})
			synctest.Wait() // the callers come one after the other
		}
		callers.Wait()
		if got := calls.of(testToken); got != 1 {
			t.Errorf("got %d introspections, want 1", got)
		}
	})
}

// TestPendingIntrospection introspects a token while the introspection of another is pending.
func TestPendingIntrospection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		introspect := cached(func(_ context.Context, token string) (claims, error) {
			if token == "slow" {
				time.Sleep(introspectTimeout)
			}
			return claims{active: true, expires: year(9999), Subject: token}, nil
		}, time.Hour)
		start := time.Now()
		go func() { _, _ = introspect(t.Context(), "slow") }()
		synctest.Wait()
		c, err := introspect(t.Context(), "fast")
		if took := time.Since(start); took != 0 || c.Subject != "fast" || err != nil {
			t.Errorf("got %+v, %v after %s, want the claims of the other token at once", c, err, took)
		}
		time.Sleep(introspectTimeout)
	})
}

// FuzzParseClaims compares parseClaims with a parser that reads all members into maps.
func FuzzParseClaims(f *testing.F) {
	for _, seed := range []string{"", "{}", activeResponse, readerResponse, `{"active":false}`,
		`{"Active":true}`, `{"active":true,"active":false}`, `{"active":true,"exp":1}`,
		`{"active":true,"exp":9.9e9}`, `{"active":true,"exp":"1"}`, `{"active":true,"exp":null}`,
		`{"active":true,"sub":1}`, readerResponse + "{}", `{"active":tru`,
		`{"active":true,"urn:zitadel:iam:org:project:roles":["read:messages"]}`,
		`{"active":true,"URN:zitadel:iam:org:project:roles":{"read:messages":{}}}`,
		`{"active":true,"urn:zitadel:iam:org:project:roles":{"Read:messages":{}}}`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		for _, name := range []string{"active", "exp", "sub", "iam:org:project:roles"} {
			if bytes.Count(body, []byte(name)) > 1 || bytes.Contains(body, []byte(`\u`)) {
				return // RFC 8259 §4 leaves open what a repeated name means
			}
		}
		got, err := parseClaims(body)
		want, ok := parseMembers(body)
		if (err == nil) != ok || ok && describe(got, year(1)) != describe(want, year(1)) {
			t.Errorf("got %+v, %v, want %+v, error: %v", got, err, want, !ok)
		}
	})
}

// parseMembers is a second implementation of parseClaims. It reports whether body is an
// introspection response.
func parseMembers(body []byte) (c claims, ok bool) {
	var members map[string]any
	if json.Unmarshal(body, &members) != nil {
		return c, false
	}
	c.active, ok = members["active"].(bool)
	exp, isNumber := members["exp"].(float64)
	ok = ok && (isNumber || members["exp"] == nil)
	if !isNumber || exp > 253_402_300_799 {
		exp = 253_402_300_799
	}
	c.expires = time.UnixMilli(int64(max(exp, 0) * 1000))
	subject, isString := members["sub"].(string)
	c.Subject = subject
	ok = ok && (isString || members["sub"] == nil)
	roles, isObject := members["urn:zitadel:iam:org:project:roles"].(map[string]any)
	ok = ok && (isObject || members["urn:zitadel:iam:org:project:roles"] == nil)
	c.Roles = make(map[string]json.RawMessage)
	for name := range roles {
		c.Roles[name] = nil
	}
	return c, ok
}
