// Demo runs the API of the parent folder together with a stand-in for a ZITADEL instance, so that
// it can be tried without an account:
//
//	go -C demo run .
//
// The environment variables PORT and DEMO_ZITADEL_PORT move the two from ports 5000 and 8080.
package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

const welcome = `
This is a stand-in for a ZITADEL instance. It is no identity provider: it knows
two users, checks no passwords, and is for trying out and for tests only.

  user      access token   role
  reader    reader-pat     %[5]s
  visitor   visitor-pat

The API is ready. Call it from another terminal:

curl -w '%%{http_code}\n' %[1]s/api/public
curl -w '%%{http_code}\n' %[1]s/api/private
TOKEN=reader-pat
curl -w '%%{http_code}\n' %[1]s/api/private \
  -H "Authorization: Bearer $TOKEN"
curl -w '%%{http_code}\n' %[1]s/api/private-scoped \
  -H "Authorization: Bearer $TOKEN"

Take the role away, call the API again, and give the role back:

curl -X DELETE %[2]s/demo/users/reader/roles/%[5]s
curl -w '%%{http_code}\n' %[1]s/api/private-scoped \
  -H "Authorization: Bearer $TOKEN"
curl -X PUT %[2]s/demo/users/reader/roles/%[5]s

An API of your own can use the stand-in too:

ZITADEL_DOMAIN=%[2]s
CLIENT_ID=%[3]s
CLIENT_SECRET=%[4]s

Ctrl-C ends the demo.

`

func main() {
	slog.SetDefault(slog.New(slog.DiscardHandler)) // package op logs every request
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		os.Exit(1)
	}
}

// run runs the stand-in and the API until a signal arrives or one of them ends.
func run() error {
	ctx, stop := signal.NotifyContext(context.Background(),
		os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	apiPort, apiErr := listen("PORT", "5000")
	listener, err := listen("DEMO_ZITADEL_PORT", "8080")
	if err := errors.Join(apiErr, err); err != nil {
		return err
	}
	apiPort.Close() // for the API
	domain := fmt.Sprintf("http://localhost:%d", listener.Addr().(*net.TCPAddr).Port)
	standIn := &http.Server{Handler: newStandIn(domain), ReadHeaderTimeout: time.Minute}
	standInCtx, cancel := context.WithCancelCause(ctx)
	go func() { cancel(standIn.Serve(listener)) }()

	folder, err := os.MkdirTemp("", "example-api-go-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(folder)
	program := filepath.Join(folder, "api.exe") // Windows needs the suffix; other systems ignore it
	// Without -buildvcs=false, the build fails in a checkout that belongs to another user.
	build := command(standInCtx, "go", "build", "-buildvcs=false", "-o", program, ".")
	build.Dir = ".."
	build.Env = append(os.Environ(), "GOTMPDIR="+folder) // which an interrupted build does not remove
	api := command(standInCtx, program)
	api.Dir = filepath.Join(folder, "empty") // without a .env
	api.Env = append(os.Environ(), "ZITADEL_DOMAIN="+domain,
		"CLIENT_ID="+clientID, "CLIENT_SECRET="+clientSecret, "HOST=", "INTROSPECTION_CACHE_TTL=")
	api.Stderr = apiLog{domain}
	if err := os.Mkdir(api.Dir, 0o700); err != nil {
		return err
	}
	if output, err := build.CombinedOutput(); err != nil {
		// Ctrl-C in a terminal interrupts the build too, perhaps before it is noticed here.
		if ctx.Err() != nil || build.ProcessState.String() == "signal: interrupt" {
			return nil
		}
		return fmt.Errorf("go build: %w\n%s", err, output)
	}
	if err := api.Run(); err != nil && ctx.Err() == nil {
		return errors.Join(fmt.Errorf("the API has ended: %w", err), context.Cause(standInCtx))
	}
	return nil
}

// listen listens on a port of localhost: the one in an environment variable or, if it is not set,
// fallback.
func listen(variable, fallback string) (net.Listener, error) {
	port := cmp.Or(os.Getenv(variable), fallback)
	listener, err := net.Listen("tcp", net.JoinHostPort("localhost", port))
	if err != nil {
		return nil, fmt.Errorf("port %s cannot be used, set %s to another: %w",
			port, variable, err)
	}
	return listener, nil
}

// command returns a command that is interrupted when ctx is done, and killed a second later.
func command(ctx context.Context, name string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = time.Second
	return cmd
}

// apiLog copies the log of the API to standard error. When the API is ready, it prints the
// welcome.
type apiLog struct{ domain string }

func (l apiLog) Write(p []byte) (int, error) {
	n, err := os.Stderr.Write(p)
	if _, rest, ok := strings.Cut(string(p), " msg=ready url="); ok {
		url, _, _ := strings.Cut(rest, "\n")
		fmt.Printf(welcome, url, l.domain, clientID, clientSecret, projectRole)
	}
	return n, err
}
