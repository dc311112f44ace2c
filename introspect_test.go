package main

import (
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func TestIntrospectionRequest(t *testing.T) {
	var got *http.Request
	var body []byte
	z := newOfflineClient(func(r *http.Request) (*http.Response, error) {
		got = r
		body, _ = io.ReadAll(r.Body)
		return recorded(t, "role"), nil
	})
	if _, err := z.introspect(t.Context(), "a+b/c=&\xff"); err != nil {
		t.Fatal(err)
	}
	if want := "http://zitadel.invalid/oauth/v2/introspect"; got.Method != "POST" ||
		got.URL.String() != want {
		t.Errorf("got %s %s, want POST %s", got.Method, got.URL, want)
	}
	if want := "token=a%2Bb%2Fc%3D%26%FF&token_type_hint=access_token"; string(body) != want {
		t.Errorf("got body %s, want %s", body, want)
	}
	credentials := base64.StdEncoding.EncodeToString([]byte("id%40a%2Bb:a%25b%3A+c"))
	for name, want := range map[string]string{
		"Accept":        "application/json",
		"Authorization": "Basic " + credentials, // each half is form-encoded
		"Content-Type":  "application/x-www-form-urlencoded",
	} {
		if got := strings.Join(got.Header[name], ", "); got != want {
			t.Errorf("got %s %q, want %q", name, got, want)
		}
	}
}

// The responses in testdata were recorded from a ZITADEL v4 server. In those of an Action, the
// owner of the user's organization has added claims that look like others.
func TestRecordedResponses(t *testing.T) {
	for _, row := range []struct {
		name    string
		subject string
		roles   string // as fmt prints them
	}{
		{"other-role", "400884495462435878",
			"map[write:messages:map[400884465347398694:example.localhost]]"},
		{"role-in-another-organization", "400885154437925926",
			"map[read:messages:map[400885154102381606:second-org.localhost]]"},
		{"pat-without-expiration-date", "401096378731727910",
			"map[read:messages:map[401094407526353958:zitadel.localhost]]"},
		{"login-other-project", "401247771144814593", "map[]"},
		{"claims-of-an-action", "401094819222391846", "map[]"},
		{"long-s-of-an-action", "401247972572004353", "map[]"},
		{"metadata-of-an-action", "401247734503309313",
			"map[read:messages:map[401247732657815553:bravo8285623.localhost]]"},
	} {
		t.Run(row.name, func(t *testing.T) {
			z := newOfflineClient(func(*http.Request) (*http.Response, error) {
				return recorded(t, row.name), nil
			})
			got, err := z.introspect(t.Context(), testToken)
			if err != nil || !got.Active {
				t.Errorf("got active %t, error %v, want true, none", got.Active, err)
			}
			if got.Subject != row.subject {
				t.Errorf("got subject %q, want %q", got.Subject, row.subject)
			}
			if got.Expires.IsZero() {
				t.Error("got no expiry, want one")
			}
			if roles := fmt.Sprint(got.Roles); roles != row.roles {
				t.Errorf("got roles %s, want %s", roles, row.roles)
			}
		})
	}
}

// respond returns a handler that responds with a status and a body.
func respond(status int, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(status)
		io.WriteString(w, body)
	}
}

func TestUnusableResponses(t *testing.T) {
	const active = `{"active":true}`
	for _, row := range []struct {
		name    string
		handler http.HandlerFunc
		want    string // in the error
	}{
		{"two objects", respond(200, active+active), "not a JSON object of at most 1 MiB: "},
		{"null", respond(200, `null`), "does not say whether the token is active"},
		{"active in another case", respond(200, `{"Active":true}`), "does not say whether"},
		{"active a string", respond(200, `{"active":"true"}`), "active in the response: "},
		{"exp a string", respond(200, `{"active":true,"exp":"9999999999"}`), "exp in the response: "},
		{"sub a number", respond(200, `{"active":true,"sub":1}`), "sub in the response: "},
		{"roles a list", respond(200, `{"active":true,"urn:zitadel:iam:org:project:roles":["a"]}`),
			"urn:zitadel:iam:org:project:roles in the response: "},
		{"longer than 1 MiB", respond(200, `{"active":true,"a":"`+strings.Repeat("a", 1<<20)+`"}`),
			"not a JSON object of at most 1 MiB: "},
		{"part of the body", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "999")
			io.WriteString(w, active)
		}, "unexpected EOF"},

		{"400", respond(400, active), "status 400 Bad Request: check CLIENT_ID and CLIENT_SECRET"},
		{"401", respond(401, active), "status 401 Unauthorized: check CLIENT_ID and CLIENT_SECRET"},
		{"404", respond(404, active), "no ZITADEL instance answers at ZITADEL_DOMAIN"},
		{"429", respond(429, active), "see INTROSPECTION_CACHE_TTL"},
		{"500", respond(500, active), "status 500 Internal Server Error: check ZITADEL_DOMAIN"},
		{"redirect", func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/elsewhere" {
				t.Error("got a request where the redirect leads, want none")
			}
			http.Redirect(w, r, "/elsewhere", http.StatusTemporaryRedirect)
		}, "status 307 Temporary Redirect"},
		// The body does not end before ZITADEL closes the connection.
		{"switching protocols", func(w http.ResponseWriter, r *http.Request) {
			conn, _, err := http.NewResponseController(w).Hijack()
			if err != nil {
				t.Error(err)
				return
			}
			defer conn.Close()
			io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\n\r\n")
			io.Copy(io.Discard, conn)
		}, "status 101 Switching Protocols"},
	} {
		t.Run(row.name, func(t *testing.T) {
			z := newZitadelClient(startZITADEL(t, row.handler), "id", "hush")
			got, err := z.introspect(t.Context(), testToken)
			if err == nil || !strings.Contains(err.Error(), row.want) {
				t.Errorf("got error %v, want one with %q in it", err, row.want)
			}
			if got.Active {
				t.Error("got an active token, want none")
			}
		})
	}
}

func TestIntrospectionTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		_, err := newOfflineClient(hang).introspect(t.Context(), testToken)
		if got := time.Since(start); err == nil || got != zitadelTimeout {
			t.Errorf("got error %v after %s, want one after %s", err, got, zitadelTimeout)
		}
	})
}

// ZITADEL closes each connection when it is used again. The caller notices nothing.
func TestReusedConnectionCloses(t *testing.T) {
	var client atomic.Value // the address of the last one
	client.Store("")
	z := newZitadelClient(startZITADEL(t, func(w http.ResponseWriter, r *http.Request) {
		if client.Swap(r.RemoteAddr) == r.RemoteAddr {
			panic(http.ErrAbortHandler)
		}
		io.WriteString(w, `{"active":true}`)
	}), "id", "hush")
	for range 3 {
		if _, err := z.introspect(t.Context(), testToken); err != nil {
			t.Error(err)
		}
	}
}

// Over HTTP/2, net/http would not always send the request again.
func TestClientDoesNotOfferHTTP2(t *testing.T) {
	offered := make(chan []string, 1)
	zitadel := httptest.NewUnstartedServer(nil)
	zitadel.TLS = &tls.Config{
		GetConfigForClient: func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
			offered <- hello.SupportedProtos
			return nil, errors.New("the test has seen enough")
		},
	}
	zitadel.StartTLS()
	defer zitadel.Close()
	instance := &url.URL{Scheme: "https", Host: zitadel.Listener.Addr().String()}
	newZitadelClient(instance, "id", "hush").introspect(t.Context(), testToken)
	if got := <-offered; slices.Contains(got, "h2") {
		t.Errorf("got protocols %q offered, want no h2", got)
	}
}

// net/http itself honors these settings.
func TestTransportSettings(t *testing.T) {
	got := newZitadelClient(&url.URL{}, "id", "hush").httpClient.Transport.(*http.Transport)
	if got.Proxy == nil || got.TLSHandshakeTimeout == 0 || got.IdleConnTimeout == 0 ||
		got.MaxIdleConnsPerHost <= 100 || got.MaxConnsPerHost != 0 {
		t.Errorf("got %+v, want a proxy, timeouts, and many idle connections", got)
	}
}
