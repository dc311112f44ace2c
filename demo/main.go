// Demo runs the API of the parent folder together with a stand-in for a ZITADEL instance, so that
// it can be tried without an account:
//
//	go -C demo run .
//
// The environment variables PORT and DEMO_ZITADEL_PORT move the two from ports 5000 and 8080.
package main

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
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
  reader    reader-pat     read:messages
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

curl -X DELETE %[2]s/demo/users/reader/roles/read:messages
curl -w '%%{http_code}\n' %[1]s/api/private-scoped \
  -H "Authorization: Bearer $TOKEN"
curl -X PUT %[2]s/demo/users/reader/roles/read:messages

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
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	apiPort, apiErr := listen("PORT", "5000")
	listener, err := listen("DEMO_ZITADEL_PORT", "8080")
	if err := errors.Join(apiErr, err); err != nil {
		return err
	}
	apiPort.Close() // for the API
	domain := fmt.Sprintf("http://localhost:%d", listener.Addr().(*net.TCPAddr).Port)
	standIn := &http.Server{Handler: newStandIn(domain), ReadHeaderTimeout: time.Minute}
	defer standIn.Close()
	serveErr := make(chan error, 1)
	go func() { serveErr <- standIn.Serve(listener) }()

	folder, err := os.MkdirTemp("", "example-api-go-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(folder)
	program := filepath.Join(folder, "api.exe") // Windows needs the suffix; other systems ignore it
	if err := build(ctx, program); err != nil {
		if interrupted(ctx) {
			return nil
		}
		return err
	}
	api := exec.Command(program)
	api.Dir = filepath.Join(folder, "empty") // without a .env
	if err := os.Mkdir(api.Dir, 0o700); err != nil {
		return err
	}
	api.Env = append(os.Environ(), "ZITADEL_DOMAIN="+domain,
		"CLIENT_ID="+clientID, "CLIENT_SECRET="+clientSecret, "HOST=", "INTROSPECTION_CACHE_TTL=")
	log, err := api.StderrPipe()
	if err != nil {
		return err
	}
	if err := api.Start(); err != nil {
		return err
	}
	stopping, ended := make(chan struct{}), make(chan struct{})
	go func() {
		copyLog(log, domain, stopping)
		close(ended)
	}()

	select {
	case err = <-serveErr:
	case <-ended:
	case <-ctx.Done():
	}
	// A terminal sends Ctrl-C to the API too. A second signal would kill it.
	select {
	case <-stopping:
	case <-ended:
	case <-time.After(time.Second):
		terminate(api.Process)
	}
	<-ended
	api.Wait()
	if interrupted(ctx) {
		return nil
	}
	return errors.Join(err, fmt.Errorf("the API has ended: %s", api.ProcessState))
}

// interrupted reports whether ctx is done, or soon will be: Ctrl-C may reach the demo last.
func interrupted(ctx context.Context) bool {
	select {
	case <-ctx.Done():
		return true
	case <-time.After(time.Second):
		return false
	}
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

// build builds the API.
func build(ctx context.Context, program string) error {
	// Without -buildvcs=false, the build fails in a checkout that belongs to another user.
	command := exec.CommandContext(ctx, "go", "build", "-buildvcs=false", "-o", program, ".")
	command.Dir = ".."
	command.Cancel = func() error { return command.Process.Signal(os.Interrupt) }
	command.WaitDelay = 10 * time.Second
	if output, err := command.CombinedOutput(); err != nil {
		return fmt.Errorf("go build: %w\n%s", err, output)
	}
	return nil
}

// copyLog copies the log of the API to standard error. When the API is ready, it prints the
// welcome. When the API stops, it closes stopping.
func copyLog(log io.Reader, domain string, stopping chan<- struct{}) {
	lines := bufio.NewReader(log)
	for {
		line, err := lines.ReadString('\n')
		fmt.Fprint(os.Stderr, line)
		if err != nil {
			return
		}
		if _, url, ok := strings.Cut(line, " msg=ready url="); ok {
			fmt.Printf(welcome, strings.TrimSpace(url), domain, clientID, clientSecret)
		}
		if strings.Contains(line, ` msg="stopping: `) {
			close(stopping)
		}
	}
}

// terminate asks a process to end. Windows cannot, so the process is killed there.
func terminate(p *os.Process) {
	if err := p.Signal(syscall.SIGTERM); err != nil {
		p.Kill()
	}
}
