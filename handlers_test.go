package main

import (
	"context"
	"encoding/json"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
)

// After a change of a route, of the role or of the status of a refusal, adapt the tests here.
const (
	public  = "/api/public"
	private = "/api/private"
	scoped  = "/api/private-scoped"
	role    = "read:messages"
)

func TestRoutes(t *testing.T) {
	reader := claims{Active: true, Roles: map[string]map[string]string{role: {"1": "x"}}}
	api := newAPI(introspectAs(reader, nil))
	for path, message := range map[string]string{
		public:  "Public route - You don't need to be authenticated to see this.",
		private: "Private route - You need to be authenticated to see this.",
		scoped: "Private, scoped route - You need to be authenticated and have the role " + role +
			" to see this.",
	} {
		got := get(t.Context(), api, path, bearer)
		checkStatus(t, path, got, 200)
		want := `{"message":"` + message + `"}` + "\n"
		if body := got.Body.String(); body != want {
			t.Errorf("%s: got body %q, want %q", path, body, want)
		}
	}
	checkStatus(t, "without a token", get(t.Context(), api, public), 200)
	w := httptest.NewRecorder()
	api.ServeHTTP(w, httptest.NewRequest("POST", public, nil))
	checkStatus(t, "POST", w, 405)
}

// TestDecision has a row for each reason to accept or to refuse a request.
func TestDecision(t *testing.T) {
	// active returns the body of ZITADEL's response about an active token.
	active := func(more string) string { return `{"active":true,"sub":"42"` + more + `}` }
	withRoles := func(roles map[string]map[string]string) string {
		text, err := json.Marshal(roles)
		if err != nil {
			t.Fatal(err)
		}
		return active(`,"urn:zitadel:iam:org:project:roles":` + string(text))
	}
	granted := map[string]string{"1": "x", "2": "y"} // by the organizations with these IDs
	similar := map[string]map[string]string{role + "2": granted, role[1:]: granted,
		strings.ToUpper(role): granted, strings.ToLower(role): granted}
	delete(similar, role)

	type decision struct {
		status               int
		code, challenge, log string
		introspections       int
	}
	const refused = `level=INFO msg="request refused" method=GET path=`
	var (
		missing = decision{401, "missing_authorization", `Bearer realm="api"`,
			refused + private + ` status=401 code=missing_authorization user=""`, 0}
		unavailable = decision{503, "temporarily_unavailable", "",
			`level=ERROR msg="introspection failed" method=GET path=` + private + ` reason="the response`, 1}
		invalid = decision{401, "invalid_token", `Bearer realm="api", error="invalid_token"`,
			refused + private + ` status=401 code=invalid_token user=""`, 1}
		denied = decision{401, "insufficient_scope", `Bearer realm="api", error="insufficient_scope"`,
			refused + scoped + ` status=401 code=insufficient_scope user=42`, 1}
		accepted = decision{200, "", "", "", 1}
	)
	token := []string{bearer}
	for _, row := range []struct {
		name, path    string
		authorization []string
		zitadel       string // body of ZITADEL's response
		want          decision
	}{
		{"no header", private, nil, active(""), missing},
		{"other scheme", private, []string{"Bearers hush"}, active(""), missing},
		{"no token", private, []string{"Bearer"}, active(""), missing},
		{"two tokens", private, []string{bearer + " x"}, active(""), missing},
		{"two headers", private, []string{bearer, bearer}, active(""), missing},
		{"token in the query", private + "?access_token=" + testToken, nil, active(""), missing},

		{"unusable response", private + "?access_token=" + testToken, token, `{}`, unavailable},
		{"inactive", private, token, `{"active":false}`, invalid},
		// In a bubble of synctest, the time is 946684800 s since the epoch.
		{"expired", private, token, active(`,"exp":946684800`), invalid},
		{"exp 0", private, token, active(`,"exp":0`), invalid},
		{"role in the scope only", scoped, token,
			active(`,"scope":"` + role + ` urn:zitadel:iam:org:project:role:` + role + `"`), denied},
		{"similar roles", scoped, token, withRoles(similar), denied},
		{"role granted by no organization", scoped, token,
			withRoles(map[string]map[string]string{role: {}}), denied},

		{"not expired", private, token, active(`,"exp":946684801`), accepted},
		{"exp and roles null", private, token,
			active(`,"exp":null,"urn:zitadel:iam:org:project:roles":null`), accepted},
		{"claims in another case", private, token,
			active(`,"Active":false,"EXP":1,"Sub":1,"exP":"x"`), accepted},
		{"role", scoped, token, withRoles(map[string]map[string]string{role: granted}), accepted},
		{"scheme in another case, more space", private, []string{"bEARER \t " + testToken},
			active(""), accepted},
	} {
		t.Run(row.name, func(t *testing.T) {
			log := captureLog(t)
			introspections := 0
			api := newAPI(func(_ context.Context, token string) (claims, error) {
				introspections++
				if token != testToken {
					t.Errorf("got token %q, want %q", token, testToken)
				}
				return parseClaims([]byte(row.zitadel))
			})
			var got *httptest.ResponseRecorder
			synctest.Test(t, func(t *testing.T) {
				got = get(t.Context(), api, row.path, row.authorization...)
			})

			checkStatus(t, row.path, got, row.want.status)
			var body map[string]string
			if err := json.Unmarshal(got.Body.Bytes(), &body); err != nil {
				t.Error(err)
			}
			if body["code"] != row.want.code || (body["description"] == "") != (row.want.code == "") {
				t.Errorf("got body %q, want code %q and a description", body, row.want.code)
			}
			for name, want := range map[string]string{
				"Cache-Control":    "no-store",
				"Content-Type":     "application/json",
				"Retry-After":      map[int]string{503: "5"}[row.want.status],
				"WWW-Authenticate": row.want.challenge,
			} {
				if got := got.Result().Header.Get(name); got != want {
					t.Errorf("got %s %q, want %q", name, got, want)
				}
			}
			if got := log.String(); !strings.Contains(got, row.want.log) ||
				strings.Contains(got, refused) != strings.Contains(row.want.log, refused) ||
				strings.Contains(got, testToken) || strings.Contains(got, "hush") {
				t.Errorf("got log %s, want in it %q, and no token", got, row.want.log)
			}
			if introspections != row.want.introspections {
				t.Errorf("got %d introspections, want %d", introspections, row.want.introspections)
			}
		})
	}
}
