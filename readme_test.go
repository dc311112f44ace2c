package main

import (
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// What the README shows in its shell blocks is tested in demo/demo_test.go.

// readFile returns the text of a file of the repository.
func readFile(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// table returns the rows of the README's table with this header, without backquotes.
func table(t *testing.T, header string) [][]string {
	t.Helper()
	_, rest, found := strings.Cut(readFile(t, "README.md"), "\n| "+header+" |\n")
	if !found {
		t.Fatalf("got no table with the header %s", header)
	}
	var rows [][]string
	for line := range strings.Lines(rest) {
		if !strings.HasPrefix(line, "|") {
			break
		}
		line = strings.TrimSuffix(strings.ReplaceAll(line[1:], "`", ""), "|\n")
		cells := strings.Split(line, "|")
		for n := range cells {
			cells[n] = strings.TrimSpace(cells[n])
		}
		rows = append(rows, cells)
	}
	return rows[1:] // without the line under the header
}

func TestREADMERoutes(t *testing.T) {
	api := newTestAPI(t, answering(reader))
	var documented []string
	for _, row := range table(t, "route | who gets an answer") {
		method, path, _ := strings.Cut(row[0], " ")
		check(t, row[0], api.send(t, method, path, "Bearer "+testToken), 200)
		documented = append(documented, row[0])
	}
	var routes []string
	pattern := regexp.MustCompile(`mux\.Handle\("([^"]+)"`)
	for _, match := range pattern.FindAllStringSubmatch(readFile(t, "handlers.go"), -1) {
		routes = append(routes, match[1])
	}
	if !slices.Equal(documented, routes) {
		t.Errorf("got the routes %q in the README, want those of handlers.go, %q", documented, routes)
	}
}

func TestREADMEAnswers(t *testing.T) {
	const bearer = "Bearer " + testToken
	type exchange struct {
		authorization []string
		answer        string // ZITADEL's
	}
	rows := table(t, "the request, or ZITADEL's answer | status | `code` | `WWW-Authenticate`")
	exchanges := [][]exchange{ // in the order of the rows
		{{[]string{bearer, bearer}, reader}, {[]string{"", bearer}, reader}},
		{{nil, reader}, {[]string{"Basic " + testToken}, reader}},
		{{[]string{"Bearer a b"}, reader}, {[]string{bearer}, `{"active":false}`},
			{[]string{bearer}, `{"active":true,"exp":1}`}},
		{{[]string{bearer}, "oops"}, {[]string{bearer}, ""}},
		{{[]string{bearer}, active}},
		{{[]string{bearer}, reader}},
	}
	if len(rows) != len(exchanges) {
		t.Fatalf("got %d rows, want %d", len(rows), len(exchanges))
	}
	for n, row := range rows {
		for _, exchange := range exchanges[n] {
			api := newTestAPI(t, answering(exchange.answer))
			got := api.send(t, "GET", "/api/private-scoped", exchange.authorization...)
			challenge := got.header.Get("WWW-Authenticate")
			if strconv.Itoa(got.status) != row[1] || got.code() != row[2] || challenge != row[3] {
				t.Errorf("%s: got %d, %s, %s, want as in the README", row, got.status, got.code(), challenge)
			}
		}
	}
}

func TestREADMEConfiguration(t *testing.T) {
	program := map[string]string{} // defaults by variable
	pattern := regexp.MustCompile(`getenv\("(\w+)", "(.*?)"\)`)
	for _, match := range pattern.FindAllStringSubmatch(readFile(t, "main.go"), -1) {
		program[match[1]] = match[2]
		if match[2] == "" {
			program[match[1]] = "required"
		}
	}
	readme, example := map[string]string{}, map[string]string{}
	for _, row := range table(t, "variable | default | meaning") {
		readme[row[0]] = row[1]
	}
	pattern = regexp.MustCompile(`(?m)^(# )?(\w+) = '(.*)'$`)
	for _, match := range pattern.FindAllStringSubmatch(readFile(t, ".env.example"), -1) {
		example[match[2]] = match[3]
		if match[1] == "" {
			example[match[2]] = "required"
		}
	}
	if len(program) == 0 || !maps.Equal(readme, program) {
		t.Errorf("got %v in the README, want as in main.go, %v", readme, program)
	}
	if !maps.Equal(example, program) {
		t.Errorf("got %v in .env.example, want as in main.go, %v", example, program)
	}
}

func TestREADMEFiles(t *testing.T) {
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"demo"}
	for _, file := range files {
		if !strings.HasSuffix(file, "_test.go") {
			want = append(want, file)
		}
	}
	var got []string
	for _, row := range table(t, "file | its one job") {
		got = append(got, regexp.MustCompile(`^\[(.*)\]\((.*)\)$`).ReplaceAllString(row[0], "$1"))
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("got the files %q in the README, want %q", got, want)
	}
	link := regexp.MustCompile(`\]\(([^):#]+)\)`)
	for _, match := range link.FindAllStringSubmatch(readFile(t, "README.md"), -1) {
		if _, err := os.Stat(match[1]); err != nil {
			t.Errorf("got a link to %s, want one to what there is", match[1])
		}
	}
}

func TestREADMELogWords(t *testing.T) {
	status := func(status int) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(status) }
	}
	untrusted := httptest.NewTLSServer(answering(reader))
	defer untrusted.Close()
	words := regexp.MustCompile(`the log (?:says|shows) "?([^"|.\n]+)"?[ .]`).
		FindAllStringSubmatch(readFile(t, "README.md"), -1)
	faults := []func() *testAPI{ // in the order of the words
		func() *testAPI { return newTestAPI(t, status(429)) },
		func() *testAPI { return newTestAPI(t, status(401)) },
		func() *testAPI { return newTestAPI(t, status(404)) },
		func() *testAPI { return (&testAPI{log: newLogBuffer()}).serve(t, untrusted.URL) },
		func() *testAPI { return newTestAPI(t, answering(`{"active":true,"exp":1}`)) },
	}
	if len(words) != len(faults) {
		t.Fatalf("got %q, want %d words of the log", words, len(faults))
	}
	for n, fault := range faults {
		api := fault()
		api.get(t, "/api/private")
		api.log.waitFor(t, `introspection.*`+words[n][1])
	}
}

func TestREADMECommands(t *testing.T) {
	variables := regexp.MustCompile(`(?m)^([A-Z]+) := (.*)$`)
	makefile := strings.ReplaceAll(readFile(t, "Makefile"), "$(RACE) ", "")
	for _, match := range variables.FindAllStringSubmatch(makefile, -1) {
		makefile = strings.ReplaceAll(makefile, "$("+match[1]+")", match[2])
	}
	makefile = strings.ReplaceAll(makefile, "$$", "$")
	var targets []string
	documented := []string{"help"}
	for _, match := range regexp.MustCompile(`(?m)^([a-z]+): ##`).FindAllStringSubmatch(makefile, -1) {
		targets = append(targets, match[1])
	}
	for _, row := range table(t, "command | what it does | without make") {
		documented = append(documented, strings.TrimPrefix(row[0], "make "))
	}
	slices.Sort(targets)
	slices.Sort(documented)
	if !slices.Equal(documented, targets) {
		t.Errorf("got the targets %q in the README, want those of the Makefile, %q", documented, targets)
	}
	_, development, _ := strings.Cut(readFile(t, "README.md"), "\n## Development\n")
	command := regexp.MustCompile("`((?:go|gofmt) [^`]+)`").FindAllStringSubmatch(development, -1)
	for _, match := range command {
		if !strings.Contains(makefile, match[1]) {
			t.Errorf("got %s in the README, want what the Makefile does", match[1])
		}
	}
	if len(command) < 10 {
		t.Errorf("got %d go commands in the README, want 10 at least", len(command))
	}
}

// The files that the README says to copy, and its snippet, are an API.
func TestCopyingWorks(t *testing.T) {
	_, section, _ := strings.Cut(readFile(t, "README.md"), "\n## Use it in your own API\n")
	section, _, _ = strings.Cut(section, "\n## ")
	folder, port := t.TempDir(), freePort(t)
	sentence, _, _ := strings.Cut(section, ".go` into") // up to where they are copied to
	files := regexp.MustCompile("`(\\w+)(?:\\.go`|$)").FindAllStringSubmatch(sentence, -1)
	if len(files) == 0 {
		t.Fatal("got no files to copy, want some")
	}
	write := func(name, text string) {
		if err := os.WriteFile(filepath.Join(folder, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, file := range files {
		write(file[1]+".go", readFile(t, file[1]+".go"))
	}
	_, snippet, _ := strings.Cut(section, "```go\n")
	snippet, _, _ = strings.Cut(snippet, "```")
	write("main.go", strings.Replace(snippet, "localhost:5001", "localhost:"+port, 1))
	write("go.mod", "module example\n\ngo 1.26\n")
	build := exec.Command("go", "build", "-o", "copy.exe", ".")
	build.Dir = folder
	if output, err := build.CombinedOutput(); err != nil {
		t.Fatalf("got %v, want the copy built:\n%s", err, output)
	}

	zitadel := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		answer := `{"active":true,"sub":"42","urn:zitadel:iam:org:project:roles":{"write:messages":{}}}`
		if r.FormValue("token") == "reader" {
			answer = reader
		}
		answering(answer)(w, r)
	}))
	defer zitadel.Close()
	launch(t, filepath.Join(folder, "copy.exe"), "", newLogBuffer(),
		"ZITADEL_DOMAIN="+zitadel.URL, "CLIENT_ID=id", "CLIENT_SECRET=secret")
	api := &testAPI{Server: &httptest.Server{URL: "http://localhost:" + port}}
	eventually(t, func() string {
		response, err := http.Get(api.URL)
		if err != nil {
			return err.Error()
		}
		_ = response.Body.Close()
		return ""
	})
	got := api.send(t, "POST", "/messages", "Bearer writer")
	check(t, "with the role", got, 200)
	if got.body != "Thank you, user 42.\n" {
		t.Errorf("got %q, want thanks with the user's ID", got.body)
	}
	check(t, "without the role", api.send(t, "POST", "/messages", "Bearer reader"), 401)
	check(t, "without a token", api.send(t, "POST", "/messages"), 401)
	check(t, "by another method", api.send(t, "GET", "/messages", "Bearer writer"), 405)
}
