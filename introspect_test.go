package main

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func TestIntrospectionRequest(t *testing.T) {
	var got *http.Request
	var body []byte
	api := newTestAPI(t, func(w http.ResponseWriter, r *http.Request) {
		got = r
		body, _ = io.ReadAll(r.Body)
		_, _ = io.WriteString(w, active)
	})
	api.get(t, "/api/private")

	if got.Method != "POST" || got.RequestURI != "/oauth/v2/introspect" {
		t.Errorf("got %s %s, want POST /oauth/v2/introspect", got.Method, got.RequestURI)
	}
	want := "token=test-token.AZaz09-._~%2B%2F%3D%3D&token_type_hint=access_token"
	if string(body) != want {
		t.Errorf("got body %s, want %s", body, want)
	}
	// RFC 6749 §2.3.1: each half is form-encoded.
	credentials := "400884494992739366%40a%2Bproject:a%2Btest%25secret%3A+0"
	header := http.Header{
		"Accept":         {"application/json"},
		"Authorization":  {"Basic " + base64.StdEncoding.EncodeToString([]byte(credentials))},
		"Content-Length": {fmt.Sprint(len(want))},
		"Content-Type":   {"application/x-www-form-urlencoded"},
		"User-Agent":     {"Go-http-client/1.1"},
	}
	if fmt.Sprint(got.Header) != fmt.Sprint(header) {
		t.Errorf("got other header fields than wanted: %d, want %d", len(got.Header), len(header))
	}
	id, secret, _ := got.BasicAuth()
	for _, half := range []struct{ got, want string }{{id, testID}, {secret, testSecret}} {
		if decoded, err := url.QueryUnescape(half.got); err != nil || decoded != half.want {
			t.Error("got other client credentials than the API has, want the same")
		}
	}
}

func TestAnswers(t *testing.T) {
	const roles = `"urn:zitadel:iam:org:project:roles"`
	soon := fmt.Sprint(time.Now().Unix() + 60)
	for _, row := range []struct {
		name, answer    string
		private, scoped int
	}{
		{"the role", reader, 200, 200},
		{"white space around", " \r\n\t" + reader + "\n", 200, 200},
		{"names with escapes", `{"\u0061ctive":true}`, 200, 401},

		{"Active is not active", `{"Active":true}`, 401, 401},
		{"ACTIVE is not active", `{"ACTIVE":true}`, 401, 401},
		{"Active doesn't change active", `{"active":true,"Active":false}`, 200, 401},
		{"nor before it", `{"ACTIVE":false,"active":true}`, 200, 401},
		{"nor the other way round", `{"active":false,"Active":true}`, 401, 401},
		{"active in an object is not active", `{"a":{"active":true}}`, 401, 401},
		{"the last of two active counts", `{"active":true,"active":false}`, 401, 401},
		{"Exp is not exp", `{"active":true,"Exp":1,"EXP":"x"}`, 200, 401},
		{"Exp doesn't change exp", `{"active":true,"exp":1,"Exp":9e9}`, 401, 401},
		{"Kelvin and long s are other letters", `{"active":true,"` +
			`urn:zitadel:iam:org:project:roleſ":{"read:messages":{}}}`, 200, 401},
		{"the roles claim in capitals is another", `{"active":true,` +
			strings.ToUpper(roles) + `:{"read:messages":{}}}`, 200, 401},
		{"a project's roles claim is another", `{"active":true,` +
			`"urn:zitadel:iam:org:project:1:roles":{"read:messages":{}}}`, 200, 401},

		{"exp is soon", `{"active":true,"exp":` + soon + `}`, 200, 401},
		{"exp is far away", `{"active":true,"exp":9.9e9}`, 200, 401},
		{"exp is further than a float64", `{"active":true,"exp":1e999}`, 200, 401},
		{"exp is a fraction", `{"active":true,"exp":` + soon + `.5}`, 200, 401},
		{"exp is null", `{"active":true,"exp":null}`, 200, 401},
		{"exp is 0", `{"active":true,"exp":0}`, 401, 401},
		{"exp is negative", `{"active":true,"exp":-1}`, 401, 401},
		{"exp is before all float64", `{"active":true,"exp":-1e999}`, 401, 401},
		{"exp of an inactive token", `{"active":false,"exp":9.9e9}`, 401, 401},

		{"another role", `{"active":true,` + roles + `:{"write:messages":{}}}`, 200, 401},
		{"a role in other case", `{"active":true,` + roles + `:{"Read:messages":{}}}`, 200, 401},
		{"a role with a space", `{"active":true,` + roles + `:{"read:messages ":{}}}`, 200, 401},
		{"a role without organisations", `{"active":true,` + roles + `:{"read:messages":{}}}`, 200, 200},
		{"a role of null", `{"active":true,` + roles + `:{"read:messages":null}}`, 200, 200},
		{"a role of a number", `{"active":true,` + roles + `:{"read:messages":1e999}}`, 200, 200},
		{"roles in an array", `{"active":true,` + roles + `:["read:messages"]}`, 200, 401},
		{"roles in a string", `{"active":true,` + roles + `:"read:messages"}`, 200, 401},
		{"roles of true", `{"active":true,` + roles + `:true}`, 200, 401},
		{"roles of null", `{"active":true,` + roles + `:null}`, 200, 401},
		{"a scope is no role", `{"active":true,"scope":"read:messages` +
			` urn:zitadel:iam:org:project:role:read:messages"}`, 200, 401},
		{"sub is no string", strings.Replace(reader, "{", `{"sub":{},`, 1), 200, 200},

		{"active is a string", `{"active":"true"}`, 503, 503},
		{"active is a number", `{"active":1}`, 503, 503},
		{"active is null", `{"active":null}`, 503, 503},
		{"active is an object", `{"active":{}}`, 503, 503},
		{"exp is a string", `{"active":true,"exp":"9999999999"}`, 503, 503},
		{"exp is a boolean", `{"active":true,"exp":true}`, 503, 503},
		{"exp is an object", `{"active":true,"exp":{}}`, 503, 503},
		{"exp is an array", `{"active":false,"exp":[]}`, 503, 503},
		{"nothing", ``, 503, 503},
		{"not JSON", `<html>active</html>`, 503, 503},
		{"null", `null`, 503, 503},
		{"true", `true`, 503, 503},
		{"an array", `[` + reader + `]`, 503, 503},
		{"a string", `"active"`, 503, 503},
		{"cut short", reader[:len(reader)-1], 503, 503},
		{"a second object", reader + reader, 503, 503},
		{"something behind", reader + `x`, 503, 503},
		{"1 MiB", reader + strings.Repeat(" ", 1<<20-len(reader)), 200, 200},
		{"more than 1 MiB", reader + strings.Repeat(" ", 1<<20-len(reader)+1), 503, 503},
	} {
		t.Run(row.name, func(t *testing.T) {
			api := newTestAPI(t, answering(row.answer))
			check(t, "private", api.get(t, "/api/private"), row.private)
			check(t, "scoped", api.get(t, "/api/private-scoped"), row.scoped)
			log := api.log.String()
			if fault := strings.Contains(log, "introspection failed"); fault != (row.private == 503) {
				t.Errorf("got log:\n%s\nwant it to say why there was no usable answer", log)
			}
		})
	}
}

func TestTheLogSaysWhyThereIsNoUsableAnswer(t *testing.T) {
	cutShort := func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "99")
		_, _ = io.WriteString(w, `{"active":true,`)
		panic(http.ErrAbortHandler)
	}
	respond := func(status int, body string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(status)
			_, _ = io.WriteString(w, body)
		}
	}
	raw := func(answer string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			conn, _, err := http.NewResponseController(w).Hijack()
			if err != nil {
				panic(err)
			}
			_, _ = io.WriteString(conn, answer)
			_ = conn.Close()
		}
	}
	const credentials = "client credentials, check CLIENT_ID and CLIENT_SECRET"
	const echo = ` {"token":"` + testToken + `"}`
	for _, row := range []struct {
		name   string
		answer http.HandlerFunc
		log    string
	}{
		{"cut short", cutShort, "no whole HTTP answer: check ZITADEL_DOMAIN"},
		{"dropped", raw(""), "no whole HTTP answer: check ZITADEL_DOMAIN"},
		{"not HTTP", raw(testToken + "\r\n\r\n"), "no whole HTTP answer: check ZITADEL_DOMAIN"},
		{"a broken status", raw("HTTP/1.1 " + testToken + "\r\n\r\n"), "no whole HTTP answer"},
		{"a broken header", raw("HTTP/1.1 200 OK\r\n" + testToken + "\r\n\r\n"), "no whole HTTP answer"},
		{"not JSON", respond(200, testToken), "not one JSON object"},
		{"other client credentials", respond(400, `{"error":"unauthorized_client"}`), credentials},
		{"no such client", respond(400, `{"error":"invalid_client"}`), credentials},
		{"any 401", respond(401, testToken), "status 401 Unauthorized: ZITADEL rejected the " +
			credentials},
		{"another 400", respond(400, `{"error":"`+testToken+`"}`),
			"status 400 Bad Request: check ZITADEL_DOMAIN"},
		{"403", respond(403, active), "status 403 Forbidden: check ZITADEL_DOMAIN"},
		{"404", respond(404, echo), "status 404 Not Found: no ZITADEL instance answers there, " +
			"check ZITADEL_DOMAIN"},
		{"429", respond(429, ""), "status 429 Too Many Requests: ZITADEL limits the rate, " +
			"see INTROSPECTION_CACHE_TTL"},
		{"500", respond(500, reader), "status 500 Internal Server Error: check ZITADEL_DOMAIN"},
		{"502", respond(502, echo), "status 502 Bad Gateway: check ZITADEL_DOMAIN"},
		{"201", respond(201, reader), "status 201 Created: check ZITADEL_DOMAIN"},
		{"204", respond(204, ""), "status 204 No Content: check ZITADEL_DOMAIN"},
	} {
		t.Run(row.name, func(t *testing.T) {
			api := newTestAPI(t, row.answer)
			check(t, "scoped", api.get(t, "/api/private-scoped"), 503)
			wantLog(t, api, row.log)
		})
	}

	t.Run("nothing listens", func(t *testing.T) {
		api := (&testAPI{log: newLogBuffer()}).serve(t, "http://localhost:"+freePort(t))
		check(t, "private", api.get(t, "/api/private"), 503)
		wantLog(t, api, "connection refused: check ZITADEL_DOMAIN")
	})
	t.Run("no such host", func(t *testing.T) {
		api := (&testAPI{log: newLogBuffer()}).serve(t, "http://zitadel.invalid")
		check(t, "private", api.get(t, "/api/private"), 503)
		wantLog(t, api, "zitadel.invalid")
	})
	t.Run("a certificate that nobody trusts", func(t *testing.T) {
		zitadel := httptest.NewTLSServer(answering(reader))
		t.Cleanup(zitadel.Close)
		api := (&testAPI{log: newLogBuffer()}).serve(t, zitadel.URL)
		check(t, "private", api.get(t, "/api/private"), 503)
		wantLog(t, api, "certificate.*check ZITADEL_DOMAIN, and SSL_CERT_FILE")
	})
	t.Run("HTTPS that is HTTP", func(t *testing.T) {
		zitadel := httptest.NewServer(answering(reader))
		t.Cleanup(zitadel.Close)
		api := (&testAPI{log: newLogBuffer()}).serve(t, "https"+strings.TrimPrefix(zitadel.URL, "http"))
		check(t, "private", api.get(t, "/api/private"), 503)
		wantLog(t, api, "also for http or https")
	})
}

// wantLog wants an error about the introspection in the log that matches pattern.
func wantLog(t *testing.T, api *testAPI, pattern string) {
	t.Helper()
	api.log.waitFor(t, `level=ERROR msg="introspection failed" reason=".*`+pattern)
}

func TestRedirectsAreNotFollowed(t *testing.T) {
	for _, status := range []int{301, 302, 303, 307, 308} {
		elsewhere := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
			t.Errorf("got a request elsewhere after %d, want none", status)
		}))
		api := newTestAPI(t, func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, elsewhere.URL, status)
		})
		check(t, fmt.Sprint(status), api.get(t, "/api/private"), 503)
		wantLog(t, api, fmt.Sprintf("status %d %s: check ZITADEL_DOMAIN, also for http or https",
			status, http.StatusText(status)))
		elsewhere.Close()
	}
}

// What hangs is the header of the answer on one route, and its body on the other.
func TestAnIntrospectionTakesFiveSecondsAtMost(t *testing.T) {
	stop := make(chan struct{})
	api := newTestAPI(t, func(w http.ResponseWriter, r *http.Request) {
		if r.FormValue("token") == "body" {
			_, _ = io.WriteString(w, `{"active":`)
			_ = http.NewResponseController(w).Flush()
		}
		<-stop
	})
	defer close(stop)

	var callers sync.WaitGroup
	for _, token := range []string{"header", "body"} {
		callers.Go(func() {
			began := time.Now()
			got := api.send(t, "GET", "/api/private", "Bearer "+token)
			check(t, token, got, 503)
			if took := time.Since(began); took < 4*time.Second {
				t.Errorf("%s: got an answer after %s, want one after 5 s", token, took)
			}
		})
	}
	callers.Wait()
	wantLog(t, api, "no whole answer within 5s: check ZITADEL_DOMAIN")
}

func TestAnIntrospectionEndsWhenTheCallerGoesAway(t *testing.T) {
	asked, ended := make(chan struct{}), make(chan struct{})
	api := newTestAPI(t, func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		close(asked)
		<-r.Context().Done()
		close(ended)
	})
	ctx, cancel := context.WithCancel(t.Context())
	request, _ := http.NewRequestWithContext(ctx, "GET", api.URL+"/api/private", nil)
	request.Header.Set("Authorization", "Bearer "+testToken)
	go func() {
		<-asked
		cancel()
	}()
	if response, err := http.DefaultTransport.RoundTrip(request); err == nil {
		_ = response.Body.Close()
		t.Errorf("got status %d, want the request cancelled", response.StatusCode)
	}
	<-ended
	api.log.waitFor(t, "msg=request method=GET path=/api/private status=503")
	if log := api.log.String(); strings.Contains(log, "level=ERROR") {
		t.Errorf("got log:\n%s\nwant no error: ZITADEL did nothing wrong", log)
	}
}

func TestProxiesAreUsed(t *testing.T) {
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.RequestURI != "http://zitadel.invalid/oauth/v2/introspect" {
			t.Errorf("got a request for %s, want the introspection endpoint", r.RequestURI)
		}
		_, _ = io.WriteString(w, reader)
	}))
	defer proxy.Close()
	p := start(t, "api", apiEnv(t, "http://zitadel.invalid", "HTTP_PROXY="+proxy.URL)...)
	api := &testAPI{Server: &httptest.Server{URL: p.url}}
	check(t, "scoped", api.get(t, "/api/private-scoped"), 200)
}

// counted is an introspection that answers with claims by token, and counts its calls.
func counted(answers map[string]claims) (introspectFunc, map[string]int) {
	calls := map[string]int{}
	return func(_ context.Context, token string) (claims, error) {
		calls[token]++
		c, ok := answers[token]
		if !ok {
			return claims{}, errors.New("no usable answer")
		}
		return c, nil
	}, calls
}

func TestTheCacheKeepsPositiveAnswersAlone(t *testing.T) {
	forever := now() + 1e9
	introspect, calls := counted(map[string]claims{
		"reader":   {active: true, exp: forever, subject: "1"},
		"visitor":  {active: true, exp: forever, subject: "2"},
		"inactive": {active: false, exp: forever},
		"expired":  {active: true, exp: now() - 1},
	})
	introspect = cached(introspect, time.Hour)
	for range 3 {
		for token, subject := range map[string]string{
			"reader": "1", "visitor": "2", "inactive": "", "expired": "", "fault": "",
		} {
			got, err := introspect(t.Context(), token)
			if got.subject != subject || (err != nil) != (token == "fault") ||
				got.active != (token != "inactive" && token != "fault") {
				t.Errorf("%s: got %+v, %v", token, got, err)
			}
		}
	}
	want := map[string]int{"reader": 1, "visitor": 1, "inactive": 3, "expired": 3, "fault": 3}
	if fmt.Sprint(calls) != fmt.Sprint(want) {
		t.Errorf("got introspections %v, want %v", calls, want)
	}
}

func TestTheCacheKeepsAnAnswerUntilTheTTLOrExp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		introspect, calls := counted(map[string]claims{
			"long":  {active: true, exp: now() + 3600},
			"short": {active: true, exp: now() + 10},
		})
		introspect = cached(introspect, 30*time.Second)
		began := time.Now()
		for _, step := range []struct {
			at          time.Duration
			long, short int // introspections so far
		}{
			{0, 1, 1},
			{9999 * time.Millisecond, 1, 1},
			{10 * time.Second, 1, 2},
			{29999 * time.Millisecond, 1, 3},
			{30 * time.Second, 2, 4},
			{59999 * time.Millisecond, 2, 5},
			{60 * time.Second, 3, 6},
		} {
			time.Sleep(time.Until(began.Add(step.at)))
			_, _ = introspect(t.Context(), "long")
			_, _ = introspect(t.Context(), "short")
			if calls["long"] != step.long || calls["short"] != step.short {
				t.Errorf("at %s: got introspections %v, want %d long, %d short",
					step.at, calls, step.long, step.short)
			}
		}
	})
}

func TestAFullCacheTakesNewAnswers(t *testing.T) {
	const bound = 10_000
	began := now()
	calls := map[string]int{}
	// Token n expires n seconds after the first hour, but none later than 3 hours.
	introspect := cached(func(_ context.Context, token string) (claims, error) {
		calls[token]++
		n, err := strconv.Atoi(token)
		return claims{active: true, exp: began + 3600 + float64(min(n, 7200))}, err
	}, 100*time.Hour)
	ask := func(n, want int) {
		t.Helper()
		if _, err := introspect(t.Context(), fmt.Sprint(n)); err != nil {
			t.Fatal(err)
		}
		if got := calls[fmt.Sprint(n)]; got != want {
			t.Errorf("got %d introspections of token %d, want %d", got, n, want)
		}
	}
	for n := range bound {
		ask(n, 1)
	}
	ask(0, 1)       // all fit
	ask(bound+1, 1) // makes the first to expire go
	ask(bound+1, 1)
	ask(1, 1)
	ask(bound-1, 1)
	ask(0, 2) // makes the next go, though it expires before all others
	ask(0, 2)
	ask(2, 1)
	ask(1, 2)
}

func TestAFullCacheTakesNewAnswersThatExpireWithTheOthers(t *testing.T) {
	exp, calls := now()+3600, 0
	introspect := cached(func(context.Context, string) (claims, error) {
		calls++
		return claims{active: true, exp: exp}, nil
	}, 100*time.Hour)
	for n := range 10_001 {
		_, _ = introspect(t.Context(), fmt.Sprint(n))
	}
	for range 3 {
		_, _ = introspect(t.Context(), "10000")
	}
	if calls != 10_001 {
		t.Errorf("got %d introspections, want 10001: the last token's answer is kept", calls)
	}
}

func TestACachedUserIsStillJudgedByRole(t *testing.T) {
	introspect, calls := counted(map[string]claims{testToken: {active: true, exp: now() + 3600}})
	api := newAPI(cached(introspect, time.Hour))
	for path, want := range map[string]int{"/api/private": 200, "/api/private-scoped": 401} {
		for range 2 {
			check(t, path, ask(api, path, "Bearer "+testToken), want)
		}
	}
	if calls[testToken] != 1 {
		t.Errorf("got %d introspections, want 1", calls[testToken])
	}
}

// FuzzAnswer: no answer but a positive one ever gives 200.
func FuzzAnswer(f *testing.F) {
	for _, seed := range []string{"", "{}", active, reader, `{"active":false}`, `{"Active":true}`,
		`{"active":true,"active":false}`, `{"active":true,"exp":1}`, `{"active":true,"exp":9.9e9}`,
		`{"active":true,"exp":"1"}`, `{"active":true,"exp":null}`, reader + "{}", `{"active":tru`,
		`{"active":true,"urn:zitadel:iam:org:project:roles":["read:messages"]}`,
		`{"active":true,"URN:zitadel:iam:org:project:roles":{"read:messages":{}}}`,
		`{"active":true,"urn:zitadel:iam:org:project:roles":{"Read:messages":{}}}`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		if bytes.Count(body, []byte("iam:org:project:roles")) > 1 {
			return // RFC 8259 §4 leaves open what a repeated name means
		}
		api := newAPI(func(context.Context, string) (claims, error) { return parseAnswer(body) })
		private, scoped := judge(body)
		for path, allowed := range map[string]bool{
			"/api/private": private, "/api/private-scoped": scoped,
		} {
			got := ask(api, path, "Bearer "+testToken).status
			if (got == 200) != allowed || got != 200 && got != 401 && got != 503 {
				t.Errorf("%s: got %d, want 200: %v", path, got, allowed)
			}
		}
	})
}

// judge says for both routes whether an answer lets its token's user in. It reads the
// answer in another way than the API does: all of it, into maps.
func judge(body []byte) (private, scoped bool) {
	var members map[string]json.RawMessage
	if json.Unmarshal(body, &members) != nil {
		return false, false
	}
	var exp *json.Number
	if json.Unmarshal(members["exp"], &exp) == nil && exp != nil {
		if strings.HasPrefix(string(members["exp"]), `"`) {
			return false, false
		}
		if seconds, err := exp.Float64(); err == nil && seconds <= now() || (*exp)[0] == '-' {
			return false, false
		}
	} else if _, ok := members["exp"]; ok && string(members["exp"]) != "null" {
		return false, false
	}
	private = string(members["active"]) == "true"
	var roles map[string]json.RawMessage
	_ = json.Unmarshal(members["urn:zitadel:iam:org:project:roles"], &roles)
	_, ok := roles["read:messages"]
	return private, private && ok
}
