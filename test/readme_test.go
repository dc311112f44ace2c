package test

import (
	"bufio"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// readFile returns the text of a file of the project.
func readFile(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", name))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// section returns the part of a Markdown text below a heading.
func section(t *testing.T, markdown, heading string) string {
	t.Helper()
	_, text, ok := strings.Cut(markdown, "\n## "+heading+"\n")
	if !ok {
		t.Fatalf("got no section %q, want one", heading)
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

// A shell runs commands as a terminal into which they are pasted.
type shell struct {
	in  io.Writer
	out *bufio.Reader
}

// newShell starts a shell. It skips the test where a command of the README is missing.
func newShell(t *testing.T) shell {
	t.Helper()
	for _, name := range []string{"sh", "curl"} {
		if _, err := exec.LookPath(name); err != nil {
			t.Skipf("SKIPPED: %v", err)
		}
	}
	cmd := exec.Command("sh")
	cmd.Env = cleanEnv()
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		in.Close()
		cmd.Wait()
	})
	return shell{in, bufio.NewReader(out)}
}

// run runs commands and returns what they print.
func (s shell) run(t *testing.T, commands string) string {
	t.Helper()
	const end = "-- end of the output --"
	if _, err := io.WriteString(s.in, commands+"\necho '"+end+"'\n"); err != nil {
		t.Fatal(err)
	}
	for printed := ""; ; {
		line, err := s.out.ReadString('\n')
		if err != nil {
			t.Fatalf("got %v after\n%s\nwant the commands to end", err, printed)
		}
		if before, ok := strings.CutSuffix(line, end+"\n"); ok {
			return printed + before
		}
		printed += line
	}
}

// checkRun runs the shell blocks of a Markdown text and compares what they print with the text
// block that follows each. The replacer gives the URLs of the running programs.
func (s shell) checkRun(t *testing.T, markdown string, urls *strings.Replacer) {
	t.Helper()
	list := append(blocks(markdown), block{})
	for n, b := range list[:len(list)-1] {
		if b.language != "sh" {
			continue
		}
		got := s.run(t, urls.Replace(b.text))
		if next := list[n+1]; next.language == "text" && got != next.text {
			t.Errorf("%s\ngot\n%s\nwant\n%s", b.text, got, next.text)
		}
	}
}

// startDemo starts the demo on free ports, and returns it with a replacer of its URLs.
func startDemo(t *testing.T) (*process, *strings.Replacer) {
	t.Helper()
	needUnix(t) // the test could not end the API there
	binary := filepath.Join(t.TempDir(), "demo")
	build := exec.Command("go", "-C", "../demo", "build", "-buildvcs=false", "-o", binary, ".")
	if output, err := build.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, output)
	}
	cmd := exec.Command(binary)
	cmd.Dir = "../demo"
	demo := launch(t, cmd, "PORT=0", "DEMO_ZITADEL_PORT=0")
	t.Cleanup(func() {
		demo.cmd.Process.Signal(os.Interrupt)
		<-demo.exited
	})
	demo.waitReady(t)
	zitadel := demo.waitLog(t, `ZITADEL_DOMAIN=(\S+)\n(?s:.*)Ctrl-C`)
	return demo, strings.NewReplacer(
		"http://localhost:5000", demo.url, "http://localhost:8080", zitadel)
}

// TestREADMECommands runs the commands of the README against the demo.
func TestREADMECommands(t *testing.T) {
	t.Parallel()
	demo, urls := startDemo(t)
	t.Run("Try it", func(t *testing.T) { testTryIt(t, demo, urls) })
	t.Run("Add your own route", func(t *testing.T) { testOwnRoute(t, demo) })
}

// testTryIt walks through "Try it", and compares the output of the demo with it.
func testTryIt(t *testing.T, demo *process, urls *strings.Replacer) {
	try := section(t, readFile(t, "README.md"), "Try it")
	_, walk, ok := strings.Cut(try, "Call the API from a second terminal.")
	if !ok {
		t.Fatal("got no walk in the README, want one")
	}
	newShell(t).checkRun(t, walk, urls)

	// What the demo prints: the text in the README, and the commands of the README.
	printed := strings.NewReplacer(demo.url, "http://localhost:5000").Replace(demo.log())
	for _, b := range blocks(strings.TrimSuffix(try, walk)) {
		if b.language == "text" && !strings.Contains(printed, b.text) {
			t.Errorf("got output of the demo\n%s\nwant in it\n%s", printed, b.text)
		}
	}
	commands := regexp.MustCompile(`(?m)^(TOKEN=|curl ).*\n(  .*\n)?`)
	for _, command := range commands.FindAllString(walk, -1) {
		if !strings.Contains(demo.log(), urls.Replace(command)) {
			t.Errorf("got output of the demo\n%s\nwant in it\n%s", demo.log(), urls.Replace(command))
		}
	}
}

// testOwnRoute builds a service of the files that the README and docs/production.md print and
// those that they say to copy, runs its test, and calls it.
func testOwnRoute(t *testing.T, demo *process) {
	readme := section(t, readFile(t, "README.md"), "Add your own route")
	service := section(t, readFile(t, "docs/production.md"), "The files in a service of your own")
	main := goBlock(t, service, "func main()")
	files := map[string]string{
		"go.mod":     "module example\n\ngo 1.26.0\n",
		"me.go":      goBlock(t, readme, "func me(") + goBlock(t, readme, "func hasRoleIn("),
		"me_test.go": goBlock(t, readme, "func TestMe("),
		"main.go":    strings.Replace(main, "localhost:5002", "localhost:0", 1),
	}
	sentence, _, _ := strings.Cut(service, " into your package")
	for _, match := range regexp.MustCompile("`(\\w+\\.go)`").FindAllStringSubmatch(sentence, -1) {
		files[match[1]] = readFile(t, match[1])
	}
	dir := t.TempDir()
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, args := range [][]string{
		{"vet", "."}, {"test", "-v", "-run", "TestMe", "."}, {"build", "-o", "service.exe", "."},
	} {
		cmd := exec.Command("go", args...)
		cmd.Dir = dir
		output, err := cmd.CombinedOutput()
		if err != nil || args[0] == "test" && !strings.Contains(string(output), "--- PASS: TestMe") {
			t.Fatalf("go %q: %v\n%s", args, err, output)
		}
	}

	env := regexp.MustCompile(`(?m)^(ZITADEL_DOMAIN|CLIENT_ID|CLIENT_SECRET)=.*$`)
	values := env.FindAllString(demo.log(), -1)
	p := launch(t, exec.Command(filepath.Join(dir, "service.exe")), values...)
	p.waitReady(t)
	sh := newShell(t)
	urls := strings.NewReplacer("http://localhost:5000", p.url, "http://localhost:5002", p.url)
	sh.checkRun(t, readme, urls)
	sh.checkRun(t, service, urls)

	// The command that introspects a token.
	sh.run(t, strings.Join(values, "\n"))
	for _, b := range blocks(section(t, readFile(t, "README.md"), "When it says no")) {
		if got := sh.run(t, b.text); !strings.Contains(got, `"active":true`) {
			t.Errorf("%s\ngot\n%s\nwant an active token", b.text, got)
		}
	}
}

// table returns the cells of a table, without backquotes, that has this header.
func table(t *testing.T, markdown, header string) [][]string {
	t.Helper()
	_, text, ok := strings.Cut(markdown, "\n| "+header+" |\n")
	if !ok {
		t.Fatalf("got no table with the header %q, want one", header)
	}
	var rows [][]string
	for line := range strings.Lines(text) {
		line, ok := strings.CutSuffix(strings.TrimPrefix(line, "|"), "|\n")
		if !ok {
			break
		}
		cells := strings.Split(strings.ReplaceAll(line, "`", ""), "|")
		for i := range cells {
			cells[i] = strings.TrimSpace(cells[i])
		}
		rows = append(rows, cells)
	}
	return rows[1:] // the first has the dashes below the header
}

func TestREADMEErrors(t *testing.T) {
	t.Parallel()
	var zitadel string
	p := startProgram(t, startZITADEL(t, func(w http.ResponseWriter, _ *http.Request) {
		io.WriteString(w, zitadel)
	}).URL)
	rows := table(t, readFile(t, "README.md"), "request | status | `code` | `WWW-Authenticate`")
	for n, row := range []struct{ authorization, zitadel string }{
		{"Bearer", withRole},
		{"Bearer " + token, "oops"},
		{"Bearer " + token, `{"active":false}`},
		{"Bearer " + token, `{"active":true}`},
		{"Bearer " + token, withRole},
	} {
		zitadel = row.zitadel
		r, err := http.NewRequest("GET", p.url+"/api/private-scoped", nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Authorization", row.authorization)
		resp, err := http.DefaultTransport.RoundTrip(r)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		var body map[string]string
		if err := json.NewDecoder(resp.Body).Decode(&body); err != nil {
			t.Fatal(err)
		}
		got := []string{rows[n][0], strconv.Itoa(resp.StatusCode), body["code"],
			resp.Header.Get("WWW-Authenticate")}
		if !slices.Equal(got, rows[n]) {
			t.Errorf("/api/private-scoped: got %q, want %q as in the README", got, rows[n])
		}
	}
}

// checkQuoted reports an error unless the README or docs/production.md quotes a text of the log.
func checkQuoted(t *testing.T, text string) {
	t.Helper()
	docs := readFile(t, "README.md") + readFile(t, "docs/production.md")
	if !strings.Contains(docs, "`"+text+"`") {
		t.Errorf("got no %q in the README and docs/production.md, want it in one of them", text)
	}
}

// TestREADMELog causes the log lines that the README and docs/production.md quote.
func TestREADMELog(t *testing.T) {
	t.Parallel()
	for status, want := range map[int]string{
		400: "check CLIENT_ID and CLIENT_SECRET",
		404: "no ZITADEL instance answers",
		500: `level=ERROR msg="introspection failed"`,
	} {
		checkQuoted(t, want)
		p := startProgram(t, startZITADEL(t, func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(status)
		}).URL)
		p.checkGet(t, "/api/private", token, 503)
		p.waitLog(t, regexp.QuoteMeta(want))
	}
}

// TestDockerfile builds the program as the Dockerfile does.
func TestDockerfile(t *testing.T) {
	t.Parallel()
	run := regexp.MustCompile(`(?m)^RUN CGO_ENABLED=0 go build (.*) -o /\S+ \.$`).
		FindStringSubmatch(readFile(t, "Dockerfile"))
	if run == nil {
		t.Fatal("got no line RUN CGO_ENABLED=0 go build, want one")
	}
	binary := filepath.Join(t.TempDir(), "api.exe")
	args := append(strings.Fields("build -buildvcs=false "+run[1]), "-o", binary, ".")
	build := exec.Command("go", args...)
	build.Dir = ".."
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if output, err := build.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, output)
	}
}
