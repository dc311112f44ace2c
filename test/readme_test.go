package test

// This file tests the README, docs and the demo. Delete it with one of them: nothing else needs it.

import (
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"testing"
)

var pages = []string{"README.md", "docs/adapt.md", "docs/decisions.md", "docs/production.md",
	"docs/troubleshooting.md"}

// fence matches a fenced block: its language and its text.
var fence = regexp.MustCompile("(?ms)^```(\\w+)\n(.*?)^```$")

// The commands of the walk print what the README shows, and the demo prints the commands.
func TestREADMEWalk(t *testing.T) {
	if _, err := exec.LookPath("curl"); err != nil {
		t.Skipf("SKIPPED: %v", err)
	}
	if err := build("demo.exe", "./demo"); err != nil {
		t.Fatal(err)
	}
	demo := start(t, "demo.exe", "..", "DEMO_ZITADEL_PORT=0", "PORT=0")
	api := demo.waitLog(t, `(http://\S+)/api/`)
	t.Cleanup(func() { // end the API, too
		if runtime.GOOS == "windows" {
			exec.Command("taskkill", "/T", "/F", "/PID", fmt.Sprint(demo.cmd.Process.Pid)).Run()
		}
		demo.cmd.Process.Signal(os.Interrupt)
		demo.wait(patience)
		if _, err := http.Get(api); err == nil {
			t.Error("got an API that runs after the demo, want none")
		}
	})
	welcome := demo.waitLog(t, `(?s)(.*\nCLIENT_SECRET=)`)
	zitadel := demo.waitLog(t, `\nZITADEL_DOMAIN=(\S+)\n`)
	_, text, _ := strings.Cut(read(t, "README.md"), "go run ./demo\n```\n")
	walk, _, _ := strings.Cut(text, "\n## ")
	script, want := "", ""
	for _, block := range fence.FindAllStringSubmatch(walk, -1) {
		if block[1] == "text" {
			want += block[2]
			continue
		}
		commands := strings.NewReplacer("http://localhost:8080", zitadel,
			"http://localhost:5000", api).Replace(block[2])
		if !strings.Contains(welcome, commands) {
			t.Errorf("got welcome\n%s\nwant in it\n%s", welcome, commands)
		}
		script += commands
	}
	cmd := exec.Command("sh", "-c", script)
	cmd.Env = append(cleanEnv(), "CURL_HOME="+t.TempDir()) // no .curlrc
	if got, err := cmd.Output(); err != nil || string(got) != want || want == "" {
		t.Errorf("got error %v and output\n%s\nwant\n%s", err, got, want)
	}
}

// The routes in the README are those of handlers.go, and the codes those of middleware.go.
func TestREADMEDecisions(t *testing.T) {
	readme := read(t, "README.md")
	for _, block := range fence.FindAllStringSubmatch(readme, -1) {
		handlers := strings.ReplaceAll(read(t, "handlers.go"), "\n\t", "\n")
		if block[1] == "go" && !strings.Contains(handlers, block[2]) {
			t.Errorf("got in the README\n%s\nwant what is in handlers.go", block[2])
		}
	}
	code := regexp.MustCompile("[|] `([a-z]+_[a-z]+)` [|]")
	for _, match := range code.FindAllStringSubmatch(readme, -1) {
		if !strings.Contains(read(t, "middleware.go"), `"`+match[1]+`"`) {
			t.Errorf("got code %s in the README, want one of middleware.go", match[1])
		}
	}
}

// The Go files in docs are parts of a service of one's own, and its test passes.
func TestREADMECode(t *testing.T) {
	files := map[string]string{"go.mod": "module example\n\ngo 1.26.0\n"}
	for _, name := range []string{"introspect.go", "middleware.go", "cache.go"} {
		files[name] = read(t, name)
	}
	for n, page := range pages {
		for m, block := range fence.FindAllStringSubmatch(read(t, page), -1) {
			if strings.Contains(block[2], "testing.T") {
				files["me_test.go"] = block[2]
			} else if strings.HasPrefix(block[2], "package ") {
				files[fmt.Sprintf("file%d-%d.go", n, m)] = block[2]
			}
		}
	}
	dir := t.TempDir()
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command("go", "test", ".")
	cmd.Dir = dir
	if output, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("go test: %v\n%s", err, output)
	}
}

// Each link inside the repository leads to a file and, if it names one, to a heading there.
func TestREADMELinks(t *testing.T) {
	link := regexp.MustCompile(`\]\(([^):]+)\)`)
	for _, page := range pages {
		for _, match := range link.FindAllStringSubmatch(read(t, page), -1) {
			name, anchor, ok := strings.Cut(match[1], "#")
			text := read(t, filepath.Join(filepath.Dir(page), name))
			heading := `(?im)^#+ ` + strings.ReplaceAll(anchor, "-", `\W+`) + `$`
			if ok && !regexp.MustCompile(heading).MatchString(text) {
				t.Errorf("%s: got no heading for the link %s, want one", page, match[1])
			}
		}
	}
}
