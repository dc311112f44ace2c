package main

import (
	"encoding/base64"
	"encoding/pem"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
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
	z.clientID, z.clientSecret = "id@a+b", "a%b: c"
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

func TestParseClaims(t *testing.T) {
	for _, row := range []struct {
		name, body string
		active     bool
		expires    time.Time
		subject    string
		roles      []string
	}{
		{"inactive", `{"active":false}`, false, time.Time{}, "", nil},
		{"subject", `{"active":true,"sub":"1"}`, true, time.Time{}, "1", nil},
		{"roles", `{"active":true,"urn:zitadel:iam:org:project:roles":{"b":{},"a":{}}}`,
			true, time.Time{}, "", []string{"a", "b"}},
		{"exp", `{"active":true,"exp":1795441779}`, true, time.Unix(1795441779, 0), "", nil},
		{"exp 0", `{"active":true,"exp":0}`, true, time.Unix(0, 0), "", nil},
		{"exp null", `{"active":true,"exp":null}`, true, time.Time{}, "", nil},
		{"roles of another type", `{"active":true,"urn:zitadel:iam:org:project:roles":["a"]}`,
			true, time.Time{}, "", nil},
		// Names in another case are other claims. An Action can set them.
		{"another case", `{"active":false,"Active":true,"EXP":1,"SUB":"1",` +
			`"URN:ZITADEL:IAM:ORG:PROJECT:ROLES":{"a":{}}}`, false, time.Time{}, "", nil},
	} {
		t.Run(row.name, func(t *testing.T) {
			got, err := parseClaims([]byte(row.body))
			if err != nil {
				t.Fatal(err)
			}
			if got.Active != row.active {
				t.Errorf("got active %t, want %t", got.Active, row.active)
			}
			if !got.Expires.Equal(row.expires) {
				t.Errorf("got expiry %s, want %s", got.Expires, row.expires)
			}
			if got.Subject != row.subject {
				t.Errorf("got subject %q, want %q", got.Subject, row.subject)
			}
			if roles := slices.Sorted(maps.Keys(got.Roles)); !slices.Equal(roles, row.roles) {
				t.Errorf("got roles %q, want %q", roles, row.roles)
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
	const (
		active   = `{"active":true}`
		noObject = "the response is not a JSON object of at most 1 MiB: "
	)
	for _, row := range []struct {
		name    string
		handler http.HandlerFunc
		want    string // in the error
	}{
		{"HTML", respond(200, `<html>active</html>`), noObject + "invalid"},
		{"null", respond(200, `null`), "active in the response is not true or false"},
		{"two objects", respond(200, active+active), noObject + "invalid"},
		{"active a string", respond(200, `{"active":"true"}`), "active in the response is not true"},
		{"exp a string", respond(200, `{"active":true,"exp":"9999999999"}`),
			"exp in the response is not a number"},
		{"longer than 1 MiB", respond(200, `{"active":true,"a":"`+strings.Repeat("a", 1<<20)+`"}`),
			noObject + "unexpected end of JSON input"},
		{"part of the body", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "999")
			io.WriteString(w, active)
		}, "reading the response: unexpected EOF"},

		{"400", respond(400, active), "status 400 Bad Request: check CLIENT_ID and CLIENT_SECRET, " +
			"and that the application, its project and its organization are active"},
		{"401", respond(401, active), "status 401 Unauthorized: check CLIENT_ID and CLIENT_SECRET"},
		{"404", respond(404, active), "status 404 Not Found: no ZITADEL instance answers at " +
			"ZITADEL_DOMAIN: it must be the instance's own host name and port"},
		{"429", respond(429, active), "ZITADEL limits the rate: see INTROSPECTION_CACHE_TTL"},
		{"500", respond(500, active), "status 500 Internal Server Error: check ZITADEL_DOMAIN, " +
			"and that ZITADEL is healthy"},
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
			got, err := newTestClient(t, row.handler).introspect(t.Context(), testToken)
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
		if got := time.Since(start); err == nil || got != 5*time.Second {
			t.Errorf("got error %v after %s, want one after 5s", err, got)
		}
	})
}

// ZITADEL accepts connections and then says nothing, not even in the TLS handshake.
func TestTLSHandshakeTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := make(pipes)
		z := newPipesClient("https", network)
		go z.introspect(t.Context(), testToken)
		start := time.Now()
		conn, err := network.Accept()
		if err != nil {
			t.Fatal(err)
		}
		io.Copy(io.Discard, conn)
		if got := time.Since(start); got != 5*time.Second {
			t.Errorf("got the connection closed after %s, want 5s", got)
		}
	})
}

func TestIdleConnectionTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		var closed time.Duration
		network := listen(t, &http.Server{
			Handler: respond(200, `{"active":true}`),
			ConnState: func(_ net.Conn, state http.ConnState) {
				if state == http.StateClosed {
					closed = time.Since(start)
				}
			},
		})
		z := newPipesClient("http", network)
		if _, err := z.introspect(t.Context(), testToken); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Hour)
		synctest.Wait()
		if closed != 90*time.Second {
			t.Errorf("got the connection closed after %s, want 90s", closed)
		}
	})
}

// 16 concurrent callers use 16 connections, however often they come.
func TestConnectionsAreReused(t *testing.T) {
	const callers = 16
	var connections sync.Map // by the address of the client
	var arrived sync.WaitGroup
	z := newTestClient(t, func(w http.ResponseWriter, r *http.Request) {
		connections.Store(r.RemoteAddr, nil)
		arrived.Done()
		arrived.Wait()
		io.WriteString(w, `{"active":true}`)
	})
	for range 3 {
		arrived.Add(callers)
		var round sync.WaitGroup
		for range callers {
			round.Go(func() {
				if _, err := z.introspect(t.Context(), testToken); err != nil {
					t.Error(err)
				}
			})
		}
		round.Wait()
	}
	checkConnections(t, &connections, callers)
}

// ZITADEL closes each connection when it is used again. The caller notices nothing.
func TestReusedConnectionCloses(t *testing.T) {
	var connections sync.Map // by the address of the client
	z := newTestClient(t, func(w http.ResponseWriter, r *http.Request) {
		if _, reused := connections.LoadOrStore(r.RemoteAddr, nil); reused {
			panic(http.ErrAbortHandler)
		}
		io.WriteString(w, `{"active":true}`)
	})
	for range 3 {
		if _, err := z.introspect(t.Context(), testToken); err != nil {
			t.Error(err)
		}
	}
	checkConnections(t, &connections, 3)
}

// checkConnections reports an error unless there are n connections.
func checkConnections(t *testing.T, connections *sync.Map, want int) {
	t.Helper()
	got := 0
	connections.Range(func(any, any) bool { got++; return true })
	if got != want {
		t.Errorf("got %d connections, want %d", got, want)
	}
}

// Go reads the variables for a proxy and for CAs only once. So this test runs itself as another
// process with the variables set, where it introspects a token.
func TestProxyAndPrivateCA(t *testing.T) {
	if instance := os.Getenv("TEST_INSTANCE"); instance != "" {
		u, err := url.Parse(instance)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := newZitadelClient(u, "id", "hush").introspect(t.Context(), testToken); err != nil {
			t.Fatal(err)
		}
		return
	}
	introspect := func(instance string, env ...string) error {
		cmd := exec.Command(os.Args[0], "-test.run=^TestProxyAndPrivateCA$")
		cmd.Env = append(os.Environ(), "NO_PROXY=", "no_proxy=", "TEST_INSTANCE="+instance)
		cmd.Env = append(cmd.Env, env...)
		return cmd.Run()
	}
	var got []string
	z := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got = append(got, r.Proto+" "+r.RequestURI)
		io.WriteString(w, `{"active":true}`)
	}))
	z.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	z.EnableHTTP2 = true

	proxy := httptest.NewServer(z.Config.Handler)
	if err := introspect("http://zitadel.invalid", "HTTP_PROXY="+proxy.URL); err != nil {
		t.Errorf("through a proxy: got error %v, want none", err)
	}
	proxy.Close() // waits for the handler
	z.StartTLS()
	if err := introspect(z.URL); err == nil {
		t.Error("unknown CA: got no error, want one")
	}
	want := []string{"HTTP/1.1 http://zitadel.invalid/oauth/v2/introspect"}
	if runtime.GOOS != "windows" && runtime.GOOS != "darwin" { // which have no SSL_CERT_FILE
		file := filepath.Join(t.TempDir(), "ca.pem")
		ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: z.Certificate().Raw})
		if err := os.WriteFile(file, ca, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := introspect(z.URL, "SSL_CERT_FILE="+file); err != nil {
			t.Errorf("private CA: got error %v, want none", err)
		}
		want = append(want, "HTTP/1.1 /oauth/v2/introspect")
	}
	z.Close()
	if !slices.Equal(got, want) {
		t.Errorf("got requests %q, want %q", got, want)
	}
}

// The responses in testdata were recorded from a ZITADEL v4 server.
func TestRecordedResponses(t *testing.T) {
	const role = "read:messages"
	for _, row := range []struct {
		name            string
		active, hasRole bool
		err             string // in the error
	}{
		{"role", true, true, ""},
		{"thirty-roles", true, true, ""},
		{"role-in-another-organization", true, true, ""},
		{"client-credentials-with-audience", true, true, ""},
		{"login-same-project-jwt", true, true, ""},
		{"pat-without-expiration-date", true, true, ""},

		{"no-role", true, false, ""},
		{"other-role", true, false, ""},
		{"asked-by-another-project", true, false, ""},
		{"few-claims", true, false, ""},
		{"claims-of-an-action", true, false, ""},
		{"username-of-an-action", true, false, ""},

		{"garbage-token", false, false, ""},

		{"wrong-secret", false, false, "check CLIENT_ID and CLIENT_SECRET"},
		{"secret-not-form-encoded", false, false, "check CLIENT_ID and CLIENT_SECRET"},
		{"wrong-host", false, false, "ZITADEL_DOMAIN"},
		{"wrong-path", false, false, "ZITADEL_DOMAIN"},
	} {
		t.Run(row.name, func(t *testing.T) {
			z := newOfflineClient(func(*http.Request) (*http.Response, error) {
				return recorded(t, row.name), nil
			})
			got, err := z.introspect(t.Context(), testToken)
			if (err != nil) != (row.err != "") || err != nil && !strings.Contains(err.Error(), row.err) {
				t.Errorf("got error %v, want %q in it", err, row.err)
			}
			if _, ok := got.Roles[role]; got.Active != row.active || ok != row.hasRole {
				t.Errorf("got active %t with the role %t, want %t, %t", got.Active, ok, row.active, row.hasRole)
			}
			if row.active && (got.Subject == "" || got.Expires.IsZero()) {
				t.Errorf("got subject %q, expiry %s, want both set", got.Subject, got.Expires)
			}
		})
	}
}
