package test

// This file tests the README and the pages in docs. Delete it when you write your own README:
// nothing else depends on it.

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// read returns a file of the repository.
func read(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", name))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// fence matches a fenced block: its language and its text.
var fence = regexp.MustCompile("(?ms)^```(\\w+)\n(.*?)^```$")

// The commands of the walk print what the README shows, and the stand-in prints the commands.
func TestREADMEWalk(t *testing.T) {
	if _, err := exec.LookPath("curl"); err != nil {
		t.Skipf("SKIPPED: %v", err)
	}
	demo := start(t, "demo.exe", "DEMO_ZITADEL_PORT=0")
	welcome := demo.waitLog(t, `(?s)(.*Ctrl-C ends)`)
	assignments := strings.Fields(demo.waitLog(t, `(ZITADEL_DOMAIN=.*) go run`))
	_, api := startAPI(t, assignments...)
	zitadel := strings.TrimPrefix(assignments[0], "ZITADEL_DOMAIN=")
	_, text, _ := strings.Cut(read(t, "README.md"), "make demo\n```\n")
	walk, _, _ := strings.Cut(text, "\n## ")
	script, want := "", ""
	for _, block := range fence.FindAllStringSubmatch(walk, -1) {
		if block[1] == "text" {
			want += block[2]
			continue
		}
		commands := strings.ReplaceAll(block[2], "http://localhost:8080", zitadel)
		if !strings.Contains(welcome, commands) {
			t.Errorf("got welcome\n%s\nwant in it\n%s", welcome, commands)
		}
		script += strings.ReplaceAll(commands, "http://localhost:5000", api)
	}
	cmd := exec.Command("sh", "-c", script)
	cmd.Env = cleanEnv()
	if got, err := cmd.Output(); err != nil || string(got) != want || want == "" {
		t.Errorf("got error %v and output\n%s\nwant\n%s", err, got, want)
	}
}

// The codes in the decision table are those of middleware.go.
func TestREADMEDecisions(t *testing.T) {
	code := regexp.MustCompile("[|] `([a-z]+_[a-z]+)` [|]")
	for _, match := range code.FindAllStringSubmatch(read(t, "README.md"), -1) {
		if !strings.Contains(read(t, "middleware.go"), `"`+match[1]+`"`) {
			t.Errorf("got code %s in the README, want one of middleware.go", match[1])
		}
	}
}

// The Go files in docs/adapt.md are a service of one's own, and its test passes.
func TestREADMECode(t *testing.T) {
	files := map[string]string{"go.mod": "module example\n\ngo 1.26.0\n"}
	for _, name := range []string{"introspect.go", "middleware.go", "cache.go"} {
		files[name] = read(t, name)
	}
	for n, block := range fence.FindAllStringSubmatch(read(t, "docs/adapt.md"), -1) {
		if strings.Contains(block[2], "testing.T") {
			files["me_test.go"] = block[2]
		} else if strings.HasPrefix(block[2], "package ") {
			files[fmt.Sprint("file", n, ".go")] = block[2]
		}
	}
	dir := t.TempDir()
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, command := range []string{"vet", "test", "build"} {
		cmd := exec.Command("go", command, ".")
		cmd.Dir = dir
		if output, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("go %s: %v\n%s", command, err, output)
		}
	}
}

// Each link inside the repository leads to a file and, if it names one, to a heading there.
func TestREADMELinks(t *testing.T) {
	link := regexp.MustCompile(`\]\(([^):]+)\)`)
	for _, page := range []string{"README.md", "docs/adapt.md", "docs/decisions.md",
		"docs/production.md", "docs/troubleshooting.md"} {
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
