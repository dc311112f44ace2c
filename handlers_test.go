package main

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

const (
	testToken  = "test-token.AZaz09-._~+/=="
	testID     = "400884494992739366@a+project"
	testSecret = "a+test%secret: 0"

	active = `{"active":true}`
	reader = `{"active":true,"urn:zitadel:iam:org:project:roles":{"read:messages":{"1":"example"}}}`
)

// testAPI is the API as a server, and a scripted introspection endpoint that it asks.
type testAPI struct {
	*httptest.Server
	log   *logBuffer
	calls atomic.Int64 // of the introspection endpoint
}

// newTestAPI starts both until the test ends; the log must hold no token and no secret then.
func newTestAPI(t testing.TB, introspection http.HandlerFunc) *testAPI {
	api := &testAPI{log: newLogBuffer()}
	zitadel := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		api.calls.Add(1)
		introspection(w, r)
	}))
	t.Cleanup(zitadel.Close)
	return api.serve(t, zitadel.URL)
}

// serve starts the API alone, as one that asks the instance at domain.
func (api *testAPI) serve(t testing.TB, domain string) *testAPI {
	t.Helper()
	setLog(t, api.log)
	api.Server = httptest.NewServer(newTestHandler(t, domain))
	t.Cleanup(func() {
		api.Close()
		basic := base64.StdEncoding.EncodeToString([]byte(testID))[:20]
		for _, secret := range []string{"test-token", testSecret, "test%25secret", basic} {
			if strings.Contains(api.log.String(), secret) {
				t.Errorf("got a log with a token or a secret in it, want none")
			}
		}
	})
	return api
}

// setLog makes the log go to w until the test ends, and nowhere after that.
func setLog(t testing.TB, w io.Writer) {
	slog.SetDefault(slog.New(slog.NewTextHandler(w, nil)))
	t.Cleanup(func() { slog.SetDefault(slog.New(slog.DiscardHandler)) })
}

// answering is an introspection endpoint that answers with status 200 and body.
func answering(body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, body)
	}
}

// reply is what a caller of the API gets.
type reply struct {
	status int
	header http.Header
	body   string
}

// code is the code of an error.
func (r reply) code() string {
	var body struct{ Code, Description string }
	if json.Unmarshal([]byte(r.body), &body) != nil || body.Description == "" {
		return ""
	}
	return body.Code
}

// send sends a request with these Authorization headers.
func (api *testAPI) send(t testing.TB, method, path string, authorization ...string) reply {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), method, api.URL+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	request.Header["Authorization"] = authorization
	response, err := http.DefaultTransport.RoundTrip(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return reply{response.StatusCode, response.Header, string(body)}
}

// get sends a GET request with the test token.
func (api *testAPI) get(t testing.TB, path string) reply {
	t.Helper()
	return api.send(t, "GET", path, "Bearer "+testToken)
}

// ask returns what a handler answers to a GET request with this Authorization header.
func ask(handler http.Handler, path, authorization string) reply {
	r := httptest.NewRequest("GET", path, nil)
	r.Header.Set("Authorization", authorization)
	w := httptest.NewRecorder()
	handler.ServeHTTP(w, r)
	return reply{w.Code, w.Header(), w.Body.String()}
}

// check compares a status with the one that is wanted.
func check(t testing.TB, what string, got reply, want int) {
	t.Helper()
	if got.status != want {
		t.Errorf("%s: got %d %s, want %d", what, got.status, got.body, want)
	}
}

func TestRoutesAnswerWithTheirMessage(t *testing.T) {
	api := newTestAPI(t, answering(reader))
	for path, message := range map[string]string{
		"/api/public":  "Public route - You don't need to be authenticated to see this.",
		"/api/private": "Private route - You need to be authenticated to see this.",
		"/api/private-scoped": "Private, scoped route - " +
			"You need to be authenticated and have the role read:messages to see this.",
	} {
		noStore := ""
		if path != "/api/public" {
			noStore = "no-store"
		}
		for method, body := range map[string]string{"GET": `{"message":"` + message + `"}`, "HEAD": ""} {
			got := api.send(t, method, path, "Bearer "+testToken)
			check(t, method+" "+path, got, 200)
			if got.body != body {
				t.Errorf("%s %s: got body %q, want %q", method, path, got.body, body)
			}
			for name, want := range map[string]string{
				"Content-Type": "application/json", "Cache-Control": noStore, "WWW-Authenticate": "",
			} {
				if got := got.header.Get(name); got != want {
					t.Errorf("%s %s: got %s %q, want %q", method, path, name, got, want)
				}
			}
		}
		for _, method := range []string{"POST", "PUT", "PATCH", "DELETE", "OPTIONS"} {
			got := api.send(t, method, path, "Bearer "+testToken)
			check(t, method+" "+path, got, 405)
			if allow := got.header.Get("Allow"); allow != "GET, HEAD" {
				t.Errorf("%s %s: got Allow %q, want GET, HEAD", method, path, allow)
			}
		}
	}
}

func TestOtherPathsAreNotFound(t *testing.T) {
	api := newTestAPI(t, answering(reader))
	for _, path := range []string{"/", "/api", "/api/", "/api/public/", "/api/private/",
		"/api/privat", "//api/private", "/api//private", "/api/./private", "/x/../api/private",
		"/api/..", "/api/public/.", "/api/private//", "//", "/.", "/..",
		"/API/private", "/api/private-scoped/x", "/api/private%2F", "/api/private;x"} {
		check(t, path, api.get(t, path), 404)
	}
	if got := api.calls.Load(); got != 0 {
		t.Errorf("got %d introspections, want none", got)
	}
}

func TestDecision(t *testing.T) {
	bearer := "Bearer " + testToken
	past, future := `{"active":true,"exp":1}`, `{"active":true,"exp":9.9e9}`
	const noError = `Bearer realm="api"`
	challenge := func(code string) string { return noError + `, error="` + code + `"` }

	for _, row := range []struct {
		name          string
		authorization []string
		answer        string // ZITADEL's
		path          string
		status        int
		code          string
		challenge     string
		calls         int64
	}{
		{"no Authorization header", nil, reader, "/api/private",
			401, "missing_authorization", noError, 0},
		{"no Authorization header on the scoped route", nil, reader, "/api/private-scoped",
			401, "missing_authorization", noError, 0},
		{"an empty header", []string{""}, reader, "/api/private",
			401, "missing_authorization", noError, 0},
		{"another scheme", []string{"Basic " + testToken}, reader, "/api/private",
			401, "missing_authorization", noError, 0},
		{"a longer scheme", []string{"Bearers " + testToken}, reader, "/api/private",
			401, "missing_authorization", noError, 0},
		{"a token without a scheme", []string{testToken}, reader, "/api/private",
			401, "missing_authorization", noError, 0},
		{"a tab after the scheme", []string{"Bearer\t" + testToken}, reader, "/api/private",
			401, "missing_authorization", noError, 0},
		{"two headers", []string{bearer, bearer}, reader, "/api/private",
			400, "invalid_request", challenge("invalid_request"), 0},
		{"two schemes", []string{"Basic x", bearer}, reader, "/api/private-scoped",
			400, "invalid_request", challenge("invalid_request"), 0},
		{"Bearer alone", []string{"Bearer"}, reader, "/api/private",
			401, "invalid_token", challenge("invalid_token"), 0},
		{"Bearer and spaces", []string{"Bearer   "}, reader, "/api/private",
			401, "invalid_token", challenge("invalid_token"), 0},
		{"= alone", []string{"Bearer =="}, reader, "/api/private",
			401, "invalid_token", challenge("invalid_token"), 0},
		{"= within", []string{"Bearer a=b"}, reader, "/api/private",
			401, "invalid_token", challenge("invalid_token"), 0},
		{"a token in quotes", []string{`Bearer "a"`}, reader, "/api/private",
			401, "invalid_token", challenge("invalid_token"), 0},
		{"two tokens", []string{"Bearer a b"}, reader, "/api/private",
			401, "invalid_token", challenge("invalid_token"), 0},
		{"two tokens in a list", []string{"Bearer a, Bearer b"}, reader, "/api/private",
			401, "invalid_token", challenge("invalid_token"), 0},
		{"a letter that b64token lacks", []string{"Bearer ä"}, reader, "/api/private",
			401, "invalid_token", challenge("invalid_token"), 0},

		{"not active", []string{bearer}, `{"active":false}`, "/api/private",
			401, "invalid_token", challenge("invalid_token"), 1},
		{"not active but with the role", []string{bearer},
			strings.Replace(reader, "true", "false", 1), "/api/private-scoped",
			401, "invalid_token", challenge("invalid_token"), 1},
		{"active is absent", []string{bearer}, `{}`, "/api/private",
			401, "invalid_token", challenge("invalid_token"), 1},
		{"exp has passed", []string{bearer}, past, "/api/private",
			401, "invalid_token", challenge("invalid_token"), 1},
		{"no role", []string{bearer}, active, "/api/private-scoped",
			401, "insufficient_scope", challenge("insufficient_scope"), 1},
		{"no usable answer", []string{bearer}, `oops`, "/api/private",
			503, "temporarily_unavailable", "", 1},
		{"no usable answer on the scoped route", []string{bearer}, `oops`, "/api/private-scoped",
			503, "temporarily_unavailable", "", 1},

		{"active", []string{bearer}, active, "/api/private", 200, "", "", 1},
		{"active, expires later", []string{bearer}, future, "/api/private", 200, "", "", 1},
		{"active with the role", []string{bearer}, reader, "/api/private-scoped", 200, "", "", 1},
		{"the scheme in lower case", []string{"bearer " + testToken}, active, "/api/private",
			200, "", "", 1},
		{"more spaces", []string{"BEARER   " + testToken}, active, "/api/private", 200, "", "", 1},
		{"on the public route nothing is asked", []string{bearer, bearer}, `oops`, "/api/public",
			200, "", "", 0},
	} {
		t.Run(row.name, func(t *testing.T) {
			api := newTestAPI(t, answering(row.answer))
			got := api.send(t, "GET", row.path, row.authorization...)
			check(t, row.path, got, row.status)
			if got.code() != row.code {
				t.Errorf("got body %s, want code %q and a description", got.body, row.code)
			}
			if challenge := got.header.Get("WWW-Authenticate"); challenge != row.challenge {
				t.Errorf("got challenge %q, want %q", challenge, row.challenge)
			}
			if retry := got.header.Get("Retry-After"); (retry == "5") != (row.status == 503) {
				t.Errorf("got Retry-After %q with status %d, want it with 503 alone", retry, row.status)
			}
			if noStore := got.header.Get("Cache-Control"); (noStore == "no-store") !=
				(row.path != "/api/public") {
				t.Errorf("got Cache-Control %q, want no-store on protected routes", noStore)
			}
			if calls := api.calls.Load(); calls != row.calls {
				t.Errorf("got %d introspections, want %d", calls, row.calls)
			}
		})
	}
}

func TestATokenOutsideTheHeaderIsNotTaken(t *testing.T) {
	api := newTestAPI(t, answering(reader))
	check(t, "in the query", api.send(t, "GET", "/api/private?access_token="+testToken), 401)
	form := strings.NewReader("access_token=" + testToken)
	request, _ := http.NewRequestWithContext(t.Context(), "GET", api.URL+"/api/private", form)
	request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	response, err := http.DefaultTransport.RoundTrip(request)
	if err != nil {
		t.Fatal(err)
	}
	_ = response.Body.Close()
	check(t, "in a form", reply{status: response.StatusCode}, 401)
	if got := api.calls.Load(); got != 0 {
		t.Errorf("got %d introspections, want none", got)
	}
}

// The answers were recorded from a ZITADEL v4 server.
func TestRecordedAnswers(t *testing.T) {
	const credentials, domain = "CLIENT_ID and CLIENT_SECRET", "ZITADEL_DOMAIN"
	for _, row := range []struct {
		name            string
		private, scoped int
		log             string // what it says to check
	}{
		{"role", 200, 200, ""},
		{"two-roles", 200, 200, ""},
		{"role-in-another-organisation", 200, 200, ""},
		{"client-credentials-with-audience", 200, 200, ""},
		{"no-role", 200, 401, ""},
		{"role-removed", 200, 401, ""},
		{"authorization-deactivated", 200, 401, ""},
		{"other-role", 200, 401, ""},
		{"asked-by-another-project", 200, 401, ""},
		{"few-claims", 200, 401, ""},
		{"garbage-token", 401, 401, ""},
		{"token-removed", 401, 401, ""},
		{"token-expired", 401, 401, ""},
		{"user-deactivated", 401, 401, ""},
		{"client-credentials-without-audience", 401, 401, ""},
		{"wrong-secret", 503, 503, credentials},
		{"unknown-client", 503, 503, credentials},
		{"application-deactivated", 503, 503, credentials},
		{"empty-secret", 503, 503, credentials},
		{"secret-not-form-encoded", 503, 503, credentials},
		{"wrong-host", 503, 503, domain},
		{"wrong-path", 503, 503, domain},
		{"no-client-authentication", 503, 503, domain},
		{"empty-token", 503, 503, domain},
	} {
		t.Run(row.name, func(t *testing.T) {
			recorded, err := testdata.ReadFile("testdata/" + row.name + ".http")
			if err != nil {
				t.Fatal(err)
			}
			tomorrow := fmt.Appendf(nil, `"exp":%d`, time.Now().AddDate(0, 0, 1).Unix())
			recorded = regexp.MustCompile(`"exp":\d+`).ReplaceAll(recorded, tomorrow)
			api := newTestAPI(t, func(w http.ResponseWriter, _ *http.Request) {
				response, err := http.ReadResponse(bufio.NewReader(bytes.NewReader(recorded)), nil)
				if err != nil {
					panic(err)
				}
				for name, values := range response.Header {
					w.Header()[name] = values
				}
				w.WriteHeader(response.StatusCode)
				_, _ = io.Copy(w, response.Body)
			})
			check(t, "private", api.get(t, "/api/private"), row.private)
			check(t, "scoped", api.get(t, "/api/private-scoped"), row.scoped)
			log := api.log.String()
			fault := strings.Contains(log, "level=ERROR")
			if fault != (row.log != "") || !strings.Contains(log, row.log) {
				t.Errorf("got log:\n%s\nwant it to say %q", log, row.log)
			}
			for _, personal := range []string{"400884", "alice", "bob", "Instance not found"} {
				if strings.Contains(log, personal) {
					t.Errorf("got log:\n%s\nwant nothing of the answer's members", log)
				}
			}
		})
	}
}

func TestEachRequestIsOneLogLine(t *testing.T) {
	api := newTestAPI(t, answering(active))
	for i, row := range []struct {
		method, path string
		status       int
	}{
		{"GET", "/api/public", 200},
		{"GET", "/api/private", 200},
		{"GET", "/api/private-scoped", 401},
		{"POST", "/api/private", 405},
		{"GET", "//nowhere", 404},
	} {
		api.send(t, row.method, row.path+"?access_token="+testToken, "Bearer "+testToken)
		api.log.waitFor(t, fmt.Sprintf(`level=INFO msg=request method=%s path=%s status=%d duration=\d+`,
			row.method, row.path, row.status))
		if got, want := strings.Count(api.log.String(), "\n"), i+1; got != want {
			t.Errorf("got %d log lines after %d requests:\n%s", got, want, api.log)
		}
	}
}
