// Package test tests the program as a process: by its signals, its log and its exit status.
package test

import (
	"context"
	"log"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"testing"
	"time"
)

// patience is how long a test waits for what has to happen, on the slowest machine.
const patience = 2 * time.Minute

// programs is the folder of api.exe and demo.exe. Windows needs the suffix; others ignore it.
var programs string

func TestMain(m *testing.M) {
	os.Exit(buildAndRun(m))
}

// buildAndRun builds the programs, runs the tests and returns their exit status.
func buildAndRun(m *testing.M) int {
	dir, err := os.MkdirTemp("", "example-api-go-")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	programs = dir
	for name, folder := range map[string]string{"api.exe": "..", "demo.exe": "../demo"} {
		build := exec.Command("go", "build", "-buildvcs=false", "-o", filepath.Join(dir, name), folder)
		if output, err := build.CombinedOutput(); err != nil {
			log.Printf("go build: %v\n%s", err, output)
			return 1
		}
	}
	return m.Run()
}

// A process is a program that runs until the test ends, but not longer than patience.
type process struct {
	cmd *exec.Cmd
	log string // name of the file with its output
}

// start starts a program in an empty folder, with env instead of the variables that it reads.
func start(t *testing.T, program string, env ...string) *process {
	t.Helper()
	file, err := os.Create(filepath.Join(t.TempDir(), "log"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	ctx, kill := context.WithTimeout(context.Background(), patience)
	cmd := exec.CommandContext(ctx, filepath.Join(programs, program))
	cmd.Dir, cmd.Stdout, cmd.Stderr = t.TempDir(), file, file
	cmd.Env = append(cleanEnv(), env...)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		kill()
		cmd.Wait()
	})
	return &process{cmd, file.Name()}
}

// startAPI starts the API on a free port and returns its URL when it is ready.
func startAPI(t *testing.T, env ...string) (*process, string) {
	t.Helper()
	configuration := []string{"ZITADEL_DOMAIN=https://zitadel.invalid", "CLIENT_ID=client",
		"CLIENT_SECRET=hush", "PORT=0"}
	p := start(t, "api.exe", append(configuration, env...)...)
	return p, p.waitLog(t, `ready.*\burl\W+(http://[^\s"]+)`) // as text or as JSON
}

// get sends a request and waits for the response, whatever it is.
func get(t *testing.T, url string) {
	t.Helper()
	resp, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
}

// cleanEnv returns the environment without the variables that programs in the tests read.
func cleanEnv() []string {
	read := regexp.MustCompile(`(?i)^(ZITADEL_DOMAIN|CLIENT_ID|CLIENT_SECRET|HOST|PORT|` +
		`INTROSPECTION_CACHE_TTL|DEMO_ZITADEL_PORT|TOKEN|\w+_PROXY)=`)
	return slices.DeleteFunc(os.Environ(), read.MatchString)
}

// waitLog waits until the log matches a pattern, and returns the text of its group, if any.
func (p *process) waitLog(t *testing.T, pattern string) string {
	t.Helper()
	re := regexp.MustCompile(pattern)
	for deadline := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
		text, err := os.ReadFile(p.log)
		if match := re.FindStringSubmatch(string(text)); match != nil {
			return match[len(match)-1]
		}
		if err != nil || time.Now().After(deadline) {
			t.Fatalf("got error %v and log\n%s\nwant a match of %s", err, text, pattern)
		}
	}
}

// checkExit waits until the process exits, and reports an error unless its exit status is want:
// -1 if a signal killed it.
func (p *process) checkExit(t *testing.T, want int) {
	t.Helper()
	p.cmd.Wait()
	if got := p.cmd.ProcessState.ExitCode(); got != want {
		t.Errorf("got exit status %d, want %d", got, want)
	}
}
