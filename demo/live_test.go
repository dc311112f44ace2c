//go:build unix

package main

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"example-api-go/demo/process"
)

// liveFolder returns a clone with a .env for a stand-in. Live must not use HOST and PORT in it.
func liveFolder(t *testing.T) string {
	t.Helper()
	requireTools(t, "sh", "curl")
	folder := clone(t)
	standIn := startStandIn(t)
	_, usedPort, _ := net.SplitHostPort(standIn.Listener.Addr().String())
	env := fmt.Sprintf("ZITADEL_DOMAIN='%s'\nCLIENT_ID='%s'\nCLIENT_SECRET='%s'\n"+
		"HOST='192.0.2.1'\nPORT='%s'\n", standIn.URL, clientID, clientSecret, usedPort)
	if err := os.WriteFile(filepath.Join(folder, ".env"), []byte(env), 0o600); err != nil {
		t.Fatal(err)
	}
	return folder
}

// checkLive checks the exit status of live and all that it prints. If want ends in "...", the
// words of the API follow.
func checkLive(t *testing.T, live *terminal, status int, want string) {
	t.Helper()
	got, wanted := live.wait(), live.output == want
	if begin, ok := strings.CutSuffix(want, "..."); ok {
		wanted = strings.HasPrefix(live.output, begin)
	}
	if got != status || !wanted {
		t.Errorf("got exit status %d and\n%s\nwant %d and\n%s", got, live.output, status, want)
	}
	for _, secret := range []string{clientSecret, "reader-pat", "visitor-pat", "foreign-pat"} {
		if strings.Contains(live.output, secret) {
			t.Error("got a token or the client secret in the output, want none")
		}
	}
	live.checkTmp(t)
}

const (
	public  = "ok    /api/public: 200\n"
	noToken = "ok    /api/private: 401 missing_authorization\n"
	private = "ok    /api/private with TOKEN: 200\n"
	scoped  = "ok    /api/private-scoped with TOKEN: 200\n"
	visitor = "ok    /api/private-scoped with VISITOR_TOKEN: 401 insufficient_scope\n"
	skipped = "skip  /api/private-scoped with VISITOR_TOKEN: set it to the access token of a user " +
		"without the role\n"
	unavailable = "FAIL  /api/private with TOKEN: got 503 temporarily_unavailable, want 200\n"
)

func TestLive(t *testing.T) {
	t.Parallel()
	folder := liveFolder(t)
	wrongHost := startReplay(t, "wrong-host")
	refused := refusingAddress(t)
	for _, row := range []struct {
		name   string
		env    []string
		status int
		want   string
	}{
		{"two users", []string{"TOKEN=reader-pat", "VISITOR_TOKEN=visitor-pat"}, 0,
			public + noToken + private + scoped + visitor},
		{"no visitor", []string{"TOKEN=reader-pat"}, 0,
			public + noToken + private + scoped + skipped},
		{"foreign token", []string{"TOKEN=foreign-pat"}, 1, public + noToken +
			"FAIL  /api/private with TOKEN: got 401 invalid_token, want 200\n" +
			"live: TOKEN has expired or is revoked, is an ID token, is from another instance, or " +
			"does not have this project in its audience: create a new personal access token\n"},
		{"token with a line break", []string{"TOKEN=reader-pat\nx"}, 1, public + noToken +
			"FAIL  /api/private with TOKEN: got 400, want 200\n" +
			"live: TOKEN has a line break in it: copy it again\n"},
		{"no role", []string{"TOKEN=visitor-pat"}, 1, public + noToken + private +
			"FAIL  /api/private-scoped with TOKEN: got 401 insufficient_scope, want 200\n" +
			"live: assign the role read:messages in this project to the user of TOKEN\n"},
		{"foreign visitor", []string{"TOKEN=reader-pat", "VISITOR_TOKEN=foreign-pat"}, 1,
			public + noToken + private + scoped + "FAIL  /api/private-scoped with VISITOR_TOKEN: " +
				"got 401 invalid_token, want 401 insufficient_scope\n" +
				"live: VISITOR_TOKEN has expired or is revoked, is an ID token, is from another " +
				"instance, or does not have this project in its audience: create a new personal " +
				"access token\n"},
		{"visitor with the role", []string{"TOKEN=reader-pat", "VISITOR_TOKEN=reader-pat"}, 1,
			public + noToken + private + scoped + "FAIL  /api/private-scoped with VISITOR_TOKEN: " +
				"got 200, want 401 insufficient_scope\n" +
				"live: the user of VISITOR_TOKEN has the role read:messages: " +
				"use the token of another user\n"},
		{"wrong client secret", []string{"TOKEN=reader-pat", "CLIENT_SECRET=x"}, 1,
			public + noToken + unavailable + "live: introspection failed: status 400 Bad Request: " +
				"ZITADEL rejected the client credentials: check CLIENT_ID and CLIENT_SECRET..."},
		{"stopped instance", []string{"TOKEN=reader-pat", "ZITADEL_DOMAIN=http://" + refused}, 1,
			public + noToken + unavailable + "live: introspection failed: dial tcp " + refused +
				": connect: connection refused: check ZITADEL_DOMAIN..."},
		{"wrong domain", []string{"TOKEN=reader-pat", "ZITADEL_DOMAIN=" + wrongHost.URL}, 1,
			public + noToken + unavailable + "live: introspection failed: status 404 Not Found: " +
				"no ZITADEL instance answers there: check ZITADEL_DOMAIN..."},
		{"wrong setting", []string{"TOKEN=reader-pat", "INTROSPECTION_CACHE_TTL=x"}, 1,
			"live: the API does not start: INTROSPECTION_CACHE_TTL..."},
		{"no token", []string{"TOKEN= "}, 1, "live: set TOKEN to a personal access token " +
			"of a user with the role read:messages\n"},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			live := start(t, filepath.Join(folder, "demo"), row.env, filepath.Join(binaries, "live"))
			checkLive(t, live, row.status, row.want)
		})
	}
}

// startReplay starts a server that answers every request with a recorded response.
func startReplay(t *testing.T, name string) *httptest.Server {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		resp := recorded(t, name)
		w.WriteHeader(resp.StatusCode)
		_, _ = io.Copy(w, resp.Body)
	}))
	t.Cleanup(server.Close)
	return server
}

// refusingAddress returns an address that refuses connections until the end of the test: the
// local one of a connection.
func refusingAddress(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "localhost:0")
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

func TestLiveWithoutConfiguration(t *testing.T) {
	t.Parallel()
	requireTools(t, "sh", "curl")
	folder := t.TempDir()
	env := []string{"TOKEN=reader-pat", "ZITADEL_DOMAIN=http://localhost:8080", "CLIENT_ID=x"}
	live := start(t, folder, env, filepath.Join(binaries, "live"))
	checkLive(t, live, 1, "live: copy .env.example to .env and fill it in\n")
	live = start(t, folder, nil, filepath.Join(binaries, "live"))
	checkLive(t, live, 1, "live: copy .env.example to .env and fill it in; set TOKEN to a personal "+
		"access token of a user with the role read:messages\n")
}

func TestLiveWithOtherREADME(t *testing.T) {
	t.Parallel()
	folder := liveFolder(t)
	for _, row := range []struct{ name, old, new, want string }{
		{"other body", "Public route - ", "Public route: ",
			"FAIL  /api/public: got 200, want 200\n" +
				"live: the body of the response is not the one in README.md\n"},
		{"no section", "## Testing the API\n", "## Testing\n",
			"live: README.md: no commands in the section \"Testing the API\"\n"},
	} {
		t.Run(row.name, func(t *testing.T) {
			path := filepath.Join(folder, "README.md")
			readme, err := os.ReadFile("../README.md")
			if err != nil {
				t.Fatal(err)
			}
			readme = []byte(strings.ReplaceAll(string(readme), row.old, row.new))
			if err := os.WriteFile(path, readme, 0o600); err != nil {
				t.Fatal(err)
			}
			live := start(t, filepath.Join(folder, "demo"), []string{"TOKEN=reader-pat"},
				filepath.Join(binaries, "live"))
			checkLive(t, live, 1, row.want)
		})
	}
}

func TestMakeLive(t *testing.T) {
	t.Parallel()
	requireTools(t, "make")
	folder := liveFolder(t)
	live := start(t, folder, []string{"TOKEN=reader-pat"}, "make", "live")
	checkLive(t, live, 0, public+noToken+private+scoped+skipped)
}

func TestLiveInterrupted(t *testing.T) {
	t.Parallel()
	folder := liveFolder(t)
	arrived := make(chan struct{}, 1)
	instance := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body) // the server then sees that the connection is closed
		arrived <- struct{}{}
		<-r.Context().Done()
	}))
	defer instance.Close()
	env := []string{"TOKEN=reader-pat", "ZITADEL_DOMAIN=" + instance.URL}
	live := start(t, filepath.Join(folder, "demo"), env, filepath.Join(binaries, "live"))
	for waiting := true; waiting; {
		select {
		case <-arrived:
			waiting = false
		case line, ok := <-live.lines:
			live.output += line
			if !ok {
				t.Fatalf("got no request to the instance, want one:\n%s", live.output)
			}
		}
	}
	if err := live.signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	checkLive(t, live, 1, public+noToken+"live: interrupted\n")
}

// The API ends, too, if the output of live or of the demo is closed.
func TestClosedOutput(t *testing.T) {
	t.Parallel()
	live := start(t, filepath.Join(liveFolder(t), "demo"), []string{"TOKEN=reader-pat"},
		"sh", "-c", filepath.Join(binaries, "live")+" | true")
	checkLive(t, live, 0, "live: interrupted\n") // the status is that of true
	env := []string{"PORT=" + process.FreePort(), "DEMO_ZITADEL_PORT=" + process.FreePort()}
	term := start(t, ".", env, "sh", "-c", filepath.Join(binaries, "demo")+" | true")
	term.wait()
	term.checkTmp(t)
}
