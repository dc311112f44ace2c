package test

// This file tests the README and the pages in docs: it runs their commands and builds their code.
// Delete it when you write your own README. Nothing else depends on it.

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"syscall"
	"testing"
)

// section returns the part of a Markdown file below a heading.
func section(t *testing.T, name, heading string) string {
	t.Helper()
	markdown, err := os.ReadFile(filepath.Join("..", name))
	if err != nil {
		t.Fatal(err)
	}
	_, text, ok := strings.Cut(string(markdown), "\n## "+heading+"\n")
	if !ok {
		t.Fatalf("got no section %q in %s, want one", heading, name)
	}
	text, _, _ = strings.Cut(text, "\n## ")
	return text
}

// A block is a fenced block of a Markdown text.
type block struct{ language, text string }

// blocks returns the fenced blocks of a Markdown text.
func blocks(markdown string) []block {
	var list []block
	fence := regexp.MustCompile("(?ms)^```(\\w+)\n(.*?)^```$")
	for _, match := range fence.FindAllStringSubmatch(markdown, -1) {
		list = append(list, block{match[1], match[2]})
	}
	return list
}

// goBlock returns the block of Go in a Markdown text that contains a word.
func goBlock(t *testing.T, markdown, word string) string {
	t.Helper()
	for _, b := range blocks(markdown) {
		if b.language == "go" && strings.Contains(b.text, word) {
			return b.text
		}
	}
	t.Fatalf("got no Go with %q, want some", word)
	return ""
}

// runCommands runs the shell blocks of a Markdown text one after the other, in one shell, and
// returns them and what each has printed. It compares that with the text block that follows.
func runCommands(t *testing.T, markdown string, env ...string) (commands, printed []string) {
	t.Helper()
	const end = "-- end of a block --\n"
	script := ""
	list := append(blocks(markdown), block{})
	want := []string{}
	for n, b := range list[:len(list)-1] {
		if b.language != "sh" {
			continue
		}
		script += b.text + "printf -- '" + end + "'\n"
		commands = append(commands, b.text)
		output := ""
		if next := list[n+1]; next.language == "text" {
			output = next.text
		}
		want = append(want, output)
	}
	cmd := exec.Command("sh", "-c", script)
	cmd.Env = append(cleanEnv(), env...)
	output, err := cmd.Output()
	if err != nil {
		t.Fatalf("sh: %v", err)
	}
	printed = strings.Split(string(output), end)
	for n := range commands {
		if want[n] != "" && printed[n] != want[n] {
			t.Errorf("%s\ngot\n%s\nwant\n%s", commands[n], printed[n], want[n])
		}
	}
	return commands, printed
}

// goCommand runs the go command in a folder.
func goCommand(t *testing.T, dir string, args ...string) string {
	t.Helper()
	cmd := exec.Command("go", args...)
	cmd.Dir = dir
	output, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("go %q: %v\n%s", args, err, output)
	}
	return string(output)
}

// startDemo starts the demo on free ports.
func startDemo(t *testing.T) *process {
	t.Helper()
	for _, name := range []string{"sh", "curl"} {
		if _, err := exec.LookPath(name); err != nil {
			t.Skipf("SKIPPED: %v", err)
		}
	}
	if runtime.GOOS == "windows" {
		t.Skip("SKIPPED: Windows has no signals, so the test could not end the API of the demo")
	}
	binary := filepath.Join(t.TempDir(), "demo")
	goCommand(t, "../demo", "build", "-buildvcs=false", "-o", binary, ".")
	cmd := exec.Command(binary)
	cmd.Dir = "../demo"
	demo := launch(t, cmd, "PORT=0", "DEMO_ZITADEL_PORT=0")
	t.Cleanup(func() {
		demo.signal(t, syscall.SIGTERM)
		<-demo.exited
	})
	demo.waitReady(t)
	demo.waitLog(t, "Ctrl-C ends the demo")
	return demo
}

func TestREADME(t *testing.T) {
	demo := startDemo(t)
	zitadel := demo.waitLog(t, `ZITADEL_DOMAIN=(\S+)\n`)
	urls := strings.NewReplacer("http://localhost:5000", demo.url, "http://localhost:8080", zitadel)
	variables := regexp.MustCompile(`(?m)^(ZITADEL_DOMAIN|CLIENT_ID|CLIENT_SECRET)=.*$`).
		FindAllString(demo.log(), -1)

	t.Run("Try it", func(t *testing.T) {
		text := urls.Replace(section(t, "README.md", "Try it"))
		start, walk, ok := strings.Cut(text, "Call the API from a second terminal.")
		if !ok {
			t.Fatal("got no walk, want one")
		}
		commands, _ := runCommands(t, walk)
		for _, b := range blocks(start) {
			if b.language == "text" {
				commands = append(commands, b.text)
			}
		}
		for _, text := range commands {
			if !strings.Contains(demo.log(), text) {
				t.Errorf("got output of the demo\n%s\nwant in it\n%s", demo.log(), text)
			}
		}
	})

	t.Run("When it says no", func(t *testing.T) {
		env := append(variables, "TOKEN=reader-pat")
		_, printed := runCommands(t, section(t, "README.md", "When it says no"), env...)
		if !strings.Contains(printed[0], `"active":true`) {
			t.Errorf("got introspection %s, want an active token", printed[0])
		}
	})

	// A service of the files that the README and docs print, and those that they say to copy.
	t.Run("A service of your own", func(t *testing.T) {
		route := section(t, "README.md", "Add your own route")
		roles := section(t, "docs/roles.md", "Several roles") +
			section(t, "docs/roles.md", "Roles in one organization")
		service := section(t, "docs/production.md", "The files in a service of your own")
		listener, err := net.Listen("tcp", "localhost:0")
		if err != nil {
			t.Fatal(err)
		}
		address := listener.Addr().String()
		listener.Close() // for the service
		me := goBlock(t, route, `"GET /api/me"`)
		main := goBlock(t, service, "func main()")
		if !strings.Contains(main, me) {
			t.Errorf("got a service without the line\n%s", me)
		}
		for _, b := range blocks(roles) {
			if strings.Contains(b.text, "mux.Handle") {
				main = strings.Replace(main, me, me+b.text, 1)
			}
		}
		files := map[string]string{
			"go.mod":          "module example\n\ngo 1.26.0\n",
			"me.go":           goBlock(t, route, "func me("),
			"me_test.go":      goBlock(t, route, "func TestMe("),
			"roles.go":        goBlock(t, roles, "func requireAnyRole("),
			"organization.go": goBlock(t, roles, "func requireRoleInOrganization("),
			"main.go":         strings.ReplaceAll(main, "localhost:5002", address),
		}
		dir := t.TempDir()
		for _, name := range []string{"introspect.go", "middleware.go", "cache.go"} {
			text, err := os.ReadFile(filepath.Join("..", name))
			if err != nil {
				t.Fatal(err)
			}
			files[name] = string(text)
		}
		for name, text := range files {
			if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		goCommand(t, dir, "vet", ".")
		if output := goCommand(t, dir, "test", "-v", "."); !strings.Contains(output, "PASS: TestMe") {
			t.Errorf("got output\n%s\nwant TestMe passed", output)
		}
		goCommand(t, dir, "build", "-o", "service", ".")
		p := launch(t, exec.Command(filepath.Join(dir, "service")), variables...)
		eventually(t, func() string {
			conn, err := net.Dial("tcp", address)
			if err != nil {
				return err.Error() + "\n" + p.log()
			}
			conn.Close()
			return ""
		})
		urls := strings.NewReplacer("localhost:5000", address, "localhost:5002", address)
		for _, text := range []string{route, service, roles} {
			runCommands(t, urls.Replace(text))
		}
	})
}
