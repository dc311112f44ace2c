package test

import (
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"runtime"
	"syscall"
	"testing"
	"time"
)

// The program exits with status 1 and one line that says what to do.
func TestBadConfiguration(t *testing.T) {
	p := start(t, "api.exe", t.TempDir())
	p.checkExit(t, 1)
	p.waitLog(t, `^.*ERROR.*ZITADEL_DOMAIN, CLIENT_ID, CLIENT_SECRET: not set.*\n$`)
}

// After the first signal, a request in flight finishes. A second signal kills the process.
func TestSignals(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("SKIPPED: Windows has no signals")
	}
	protected := regexp.MustCompile(`"GET (/\S*)",\s*requireToken\(`)
	route := protected.FindStringSubmatch(read(t, "handlers.go"))
	if route == nil {
		t.Skip("SKIPPED: no GET route with requireToken in handlers.go")
	}
	for _, first := range []os.Signal{syscall.SIGTERM, os.Interrupt} {
		t.Run(first.String(), func(t *testing.T) {
			introspecting, respond := make(chan bool, 9), make(chan bool)
			zitadel := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
				introspecting <- true
				<-respond
			}))
			t.Cleanup(zitadel.Close)
			t.Cleanup(func() { close(respond) }) // before Close, which waits for the handler
			p := start(t, "api.exe", t.TempDir(), "ZITADEL_DOMAIN="+zitadel.URL, "CLIENT_ID=client",
				"CLIENT_SECRET=hush", "PORT=0")
			url := p.waitLog(t, `ready.*\burl\W+(http://[^\s"]+)`) // as text or as JSON
			req, err := http.NewRequest("GET", url+route[1], nil)
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("Authorization", "Bearer any")
			response := make(chan error, 1)
			client := http.Client{Timeout: patience}
			go func() { _, err := client.Do(req); response <- err }()
			select {
			case <-introspecting:
			case <-time.After(patience):
				t.Fatal("got no introspection, want one")
			}
			p.cmd.Process.Signal(first)
			p.waitLog(t, "stopping")
			if first == syscall.SIGTERM {
				respond <- true
				if err := <-response; err != nil {
					t.Errorf("got error %v for the request in flight, want a response", err)
				}
				p.checkExit(t, 0)
			} else {
				for n := 0; n < 100 && !p.wait(10*time.Millisecond); n++ { // one may come too early
					p.cmd.Process.Signal(syscall.SIGTERM)
				}
				p.checkExit(t, -1)
			}
		})
	}
}
