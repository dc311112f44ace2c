// Package process runs the API, and other commands, as processes that stop when a context is done.
package process

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// API is a running API process.
type API struct {
	URL   string        // such as http://localhost:5000
	Ended chan struct{} // closed when the process has ended

	cmd    *exec.Cmd
	cancel context.CancelFunc
	folder string
}

var ready = regexp.MustCompile(`msg=ready url=(\S+)\n`)

// StartAPI builds the API in the parent folder, runs it, and returns when it is ready. The API
// runs until ctx is done or Stop is called. Its working directory is dir or, if dir is "", a
// folder without a .env. Variables in env replace those of the environment. Its log is copied to
// log. If the API ends before it is ready, the error is what it has printed.
func StartAPI(ctx context.Context, dir string, env []string, log io.Writer) (*API, error) {
	folder, err := os.MkdirTemp("", "example-api-go-")
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	a := &API{Ended: make(chan struct{}), cancel: cancel, folder: folder}
	binary := filepath.Join(folder, "api.exe") // Windows needs the suffix
	err = a.build(ctx, binary)
	if err == nil {
		a.cmd = Command(ctx, binary)
		a.cmd.Dir = cmp.Or(dir, folder)
		a.cmd.Env = append(os.Environ(), env...)
		err = a.start(log)
	}
	if err != nil {
		cancel()
		_ = os.RemoveAll(folder)
		return nil, err
	}
	return a, nil
}

func (a *API) build(ctx context.Context, binary string) error {
	build := Command(ctx, "go", "build", "-o", binary, ".")
	build.Dir = ".."
	// An interrupted go build can leave temporary files.
	build.Env = append(os.Environ(), "GOTMPDIR="+a.folder)
	if output, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("building the API: %w\n%s", err, output)
	}
	return nil
}

// start starts the process and returns when it is ready.
func (a *API) start(log io.Writer) error {
	stderr, err := a.cmd.StderrPipe()
	if err != nil {
		return err
	}
	if err := a.cmd.Start(); err != nil {
		return err
	}
	lines, printed := bufio.NewReader(stderr), ""
	for a.URL == "" {
		line, err := lines.ReadString('\n')
		printed += line
		if match := ready.FindStringSubmatch(line); match != nil {
			a.URL = match[1]
		} else if err != nil {
			_ = a.cmd.Wait()
			return errors.New(strings.TrimSpace(printed))
		}
	}
	_, _ = io.WriteString(log, printed)
	go func() {
		_, _ = io.Copy(log, lines)
		_ = a.cmd.Wait()
		close(a.Ended)
	}()
	return nil
}

// Stop ends the API, and returns when the process has ended.
func (a *API) Stop() {
	a.cancel()
	<-a.Ended
	_ = os.RemoveAll(a.folder)
}

// Status returns how the API has ended, such as "exit status 1".
func (a *API) Status() string { return a.cmd.ProcessState.String() }

// Command returns a command that is stopped when ctx is done. It has its own process group, so
// that Ctrl-C in the terminal reaches only the caller.
func Command(ctx context.Context, name string, args ...string) *exec.Cmd {
	// #nosec G204 -- the callers pass no input of users
	cmd := exec.CommandContext(ctx, name, args...)
	ownGroup(cmd)
	cmd.Cancel = func() error { return interrupt(cmd.Process) }
	cmd.WaitDelay = 15 * time.Second // longer than the API takes to stop
	return cmd
}

// FreePort returns a port of localhost that nothing listens on. It is below those that operating
// systems choose for outgoing connections. Another process can take it at any time.
func FreePort() (port string) {
	for range 100 {
		port = strconv.Itoa(10_000 + rand.IntN(20_000)) // #nosec G404 -- not a secret
		if listener, err := net.Listen("tcp", "localhost:"+port); err == nil {
			_ = listener.Close()
			break
		}
	}
	return port
}
