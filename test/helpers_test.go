// Package test tests the program as a process: by its signals, its log and its exit status.
package test

import (
	"fmt"
	"log"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"testing"
	"time"
)

// patience is how long a test waits for what has to happen, on the slowest machine.
const patience = 30 * time.Second

// programs is the folder of the programs that the tests start.
var programs string

func TestMain(m *testing.M) {
	var err error
	if programs, err = os.MkdirTemp("", "example-api-go-"); err != nil {
		log.Fatal(err)
	}
	status := 1
	if err := build("api.exe", "."); err != nil {
		log.Print(err)
	} else {
		status = m.Run()
	}
	os.RemoveAll(programs)
	os.Exit(status)
}

// read returns a file of the repository.
func read(t *testing.T, name string) string {
	text, err := os.ReadFile(filepath.Join("..", name))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// build builds a program from a folder of the repository. Windows needs the suffix .exe; other
// systems ignore it.
func build(program, folder string) error {
	cmd := exec.Command("go", "build", "-buildvcs=false", "-o", programs+"/"+program, folder)
	cmd.Dir = ".."
	if output, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("go build: %w\n%s", err, output)
	}
	return nil
}

// A process is a program that runs until the test ends.
type process struct {
	cmd   *exec.Cmd
	log   string        // name of the file with its output
	ended chan struct{} // closed when the process has ended
}

// start starts a program in a folder, with env instead of the variables that it reads.
func start(t *testing.T, program, folder string, env ...string) *process {
	t.Helper()
	file, err := os.Create(filepath.Join(t.TempDir(), "log"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	p := &process{exec.Command(filepath.Join(programs, program)), file.Name(), make(chan struct{})}
	p.cmd.Dir, p.cmd.Stdout, p.cmd.Stderr = folder, file, file
	p.cmd.Env = append(cleanEnv(), env...)
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { p.cmd.Wait(); close(p.ended) }()
	t.Cleanup(func() { p.cmd.Process.Kill(); <-p.ended })
	return p
}

// cleanEnv returns the environment without the variables that programs in the tests read.
func cleanEnv() []string {
	read := regexp.MustCompile(
		`(?i)^(ZITADEL_DOMAIN|CLIENT_\w+|HOST|(\w+_)?PORT|INTROSPECTION_\w+|TOKEN|\w+_PROXY)=`)
	return slices.DeleteFunc(os.Environ(), read.MatchString)
}

// wait waits until the process has ended, but not longer than d.
func (p *process) wait(d time.Duration) (ended bool) {
	select {
	case <-p.ended:
		return true
	case <-time.After(d):
		return false
	}
}

// waitLog waits until the log matches a pattern, and returns the text of its group, if any.
func (p *process) waitLog(t *testing.T, pattern string) string {
	t.Helper()
	re := regexp.MustCompile(pattern)
	for deadline := time.Now().Add(patience); ; {
		last := p.wait(10*time.Millisecond) || time.Now().After(deadline)
		text, err := os.ReadFile(p.log)
		if match := re.FindStringSubmatch(string(text)); match != nil {
			return match[len(match)-1]
		}
		if last || err != nil {
			t.Fatalf("got error %v and log\n%s\nwant a match of %s", err, text, pattern)
		}
	}
}

// checkExit waits until the process exits, and reports an error unless its exit status is want:
// -1 if a signal killed it.
func (p *process) checkExit(t *testing.T, want int) {
	t.Helper()
	if !p.wait(patience) {
		t.Fatal("got a process that does not end, want its end")
	}
	if got := p.cmd.ProcessState.ExitCode(); got != want {
		t.Errorf("got exit status %d, want %d", got, want)
	}
}
