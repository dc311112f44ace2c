// Demo runs the API of the parent folder against a stand-in for a ZITADEL instance, so that
// it can be tried with nothing set up:
//
//	go -C demo run .
//
// PORT and DEMO_ZITADEL_PORT move the two from localhost:5000 and localhost:8080.
package main

import (
	"cmp"
	"context"
	"crypto/rand"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"sync"
	"syscall"
	"time"
)

// The client credentials have characters that get lost where the form-encoding inside Basic
// is forgotten (RFC 6749 §2.3.1).
var (
	clientID     = "400884494992739366@demo:100%+api"
	clientSecret = "+%2F: " + rand.Text()
)

const welcome = `
This is a stand-in for a ZITADEL instance and no identity provider: it knows two users,
checks no passwords, and is for this demo and the tests only.
  reader   has the personal access token reader-pat and the role read:messages
  visitor  has the personal access token visitor-pat and no role

Paste these into another terminal. Ctrl-C ends the demo.

  curl -w '\n%%{http_code}\n' %[1]s/api/public
  curl -w '\n%%{http_code}\n' %[1]s/api/private -H 'Authorization: Bearer visitor-pat'
  curl -w '\n%%{http_code}\n' %[1]s/api/private-scoped -H 'Authorization: Bearer reader-pat'

`

func main() {
	slog.SetDefault(slog.New(slog.DiscardHandler)) // for the stand-in's library, which logs much
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		os.Exit(1)
	}
}

// run starts the stand-in and the API, and ends both when ctx is done or one of them ends.
func run(ctx context.Context) error {
	address := net.JoinHostPort("localhost", cmp.Or(os.Getenv("DEMO_ZITADEL_PORT"), "8080"))
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return fmt.Errorf("%w: DEMO_ZITADEL_PORT changes the port of the stand-in", err)
	}
	folder, err := os.MkdirTemp("", "example-api-go-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(folder)
	binary := filepath.Join(folder, "api.exe") // Windows wants the ending, others don't mind
	// #nosec G204 -- the folder is the one just made
	build := exec.CommandContext(ctx, "go", "build", "-o", binary, ".")
	build.Dir = ".."
	build.Stderr = os.Stderr
	if err := build.Run(); err != nil {
		return fmt.Errorf("building the API of the parent folder: %w", err)
	}

	instance := &http.Server{Handler: newStandIn("http://" + address), ReadHeaderTimeout: time.Minute}
	defer instance.Close()
	running, failed := context.WithCancelCause(ctx)
	go func() { failed(instance.Serve(listener)) }()

	api := exec.CommandContext(running, binary) // #nosec G204 -- as above
	api.Dir = folder                            // where there is no .env
	api.Env = append(os.Environ(), "ZITADEL_DOMAIN=http://"+address,
		"CLIENT_ID="+clientID, "CLIENT_SECRET="+clientSecret)
	api.Stdout, api.Stderr = os.Stdout, &greeter{}
	api.Cancel = func() error {
		time.Sleep(time.Second) // Ctrl-C reaches the API too, and a second one would cut it off
		return api.Process.Signal(os.Interrupt)
	}
	api.WaitDelay = 15 * time.Second // longer than the API takes to stop
	err = api.Run()
	if ctx.Err() != nil {
		return nil
	}
	return fmt.Errorf("the API or the stand-in ended: %w", cmp.Or(context.Cause(running), err))
}

// greeter passes the API's log on, and says what to paste once the API is ready.
type greeter struct{ once sync.Once }

var ready = regexp.MustCompile(`msg=ready url=(\S+)`)

func (g *greeter) Write(log []byte) (int, error) {
	n, err := os.Stderr.Write(log)
	if match := ready.FindSubmatch(log); match != nil {
		g.once.Do(func() { fmt.Printf(welcome, match[1]) })
	}
	return n, err
}
