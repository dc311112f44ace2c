package test

import (
	"encoding/json"
	"io"
	"log/slog"
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

// The commands in the README are tested in demo.

// readFile returns the text of a file of the repository.
func readFile(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", name))
	if err != nil {
		t.Fatal(err)
	}
	return strings.ReplaceAll(string(text), "\r\n", "\n")
}

// section returns the README between two lines of text.
func section(t *testing.T, start, end string) string {
	t.Helper()
	_, rest, foundStart := strings.Cut(readFile(t, "README.md")+"\n", start)
	text, _, foundEnd := strings.Cut(rest, end)
	if !foundStart || !foundEnd {
		t.Fatalf("got no text between %q and %q in the README, want some", start, end)
	}
	return text
}

// table returns the cells of the README's table with this header, without backquotes.
func table(t *testing.T, header string) [][]string {
	t.Helper()
	var rows [][]string
	for line := range strings.Lines(section(t, "\n| "+header+" |\n", "\n\n") + "\n") {
		line = strings.TrimSuffix(strings.TrimPrefix(line, "|"), "|\n")
		cells := strings.Split(strings.ReplaceAll(line, "`", ""), "|")
		for n := range cells {
			cells[n] = strings.TrimSpace(cells[n])
		}
		rows = append(rows, cells)
	}
	return rows[1:] // the first has the dashes below the header
}

// column returns a column of a table.
func column(rows [][]string, n int) []string {
	var cells []string
	for _, row := range rows {
		cells = append(cells, row[n])
	}
	return cells
}

// request sends a request with these Authorization headers.
func request(t *testing.T, method, url string, authorization ...string) (*http.Response, string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header["Authorization"] = authorization
	response, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response, string(body)
}

func TestREADMERoutes(t *testing.T) {
	z := startZITADEL(t, respondActive)
	p := startProgram(t, z.URL)
	got := column(table(t, "route | who can call it"), 0)
	want := []string{"GET /api/public", "GET /api/private", "GET /api/private-scoped"}
	if !slices.Equal(got, want) {
		t.Errorf("got routes %q, want %q", got, want)
	}
	for _, route := range got {
		method, path, _ := strings.Cut(route, " ")
		if r, _ := request(t, method, p.url+path, "Bearer "+tokenPrefix); r.StatusCode != 200 {
			t.Errorf("%s: got status %d, want 200", route, r.StatusCode)
		}
	}
}

func TestREADMEResponses(t *testing.T) {
	const bearer = "Bearer " + tokenPrefix
	var zitadelResponse string
	z := startZITADEL(t, func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, zitadelResponse)
	})
	p := startProgram(t, z.URL)
	type exchange struct {
		authorization []string
		response      string // of ZITADEL
	}
	exchanges := [][]exchange{ // for each row
		{{[]string{bearer, bearer}, withRole}, {[]string{"Basic x", bearer}, withRole}},
		{{nil, withRole}, {[]string{"Basic x"}, withRole}},
		{{[]string{"Bearer"}, withRole}, {[]string{"Bearer a b"}, withRole}},
		{{[]string{bearer}, "oops"}, {[]string{bearer}, `{}`}},
		{{[]string{bearer}, `{"active":false}`}, {[]string{bearer}, `{"active":true,"exp":1}`}},
		{{[]string{bearer}, `{"active":true}`}},
		{{[]string{bearer}, withRole}},
	}
	rows := table(t, "condition | status | `code` | `WWW-Authenticate`")
	if len(rows) != len(exchanges) {
		t.Fatalf("got %d rows, want %d", len(rows), len(exchanges))
	}
	for n, row := range rows {
		for _, e := range exchanges[n] {
			zitadelResponse = e.response
			r, body := request(t, "GET", p.url+"/api/private-scoped", e.authorization...)
			var problem struct{ Code string }
			if err := json.Unmarshal([]byte(body), &problem); err != nil {
				t.Error(err)
			}
			got := []string{row[0], strconv.Itoa(r.StatusCode), problem.Code,
				r.Header.Get("WWW-Authenticate")}
			if !slices.Equal(got, row) {
				t.Errorf("got %q, want %q as in the README", got, row)
			}
		}
	}
}

// The program's own test checks that the defaults in .env.example are its defaults.
func TestREADMEConfiguration(t *testing.T) {
	var got, want [][]string
	for _, row := range table(t, "variable | default | meaning") {
		got = append(got, row[:2])
	}
	missing := launch(t, exec.Command(program))
	if status := missing.exitStatus(t); status != 1 {
		t.Errorf("got exit status %d without configuration, want 1", status)
	}
	required := regexp.MustCompile(`(?m)^(\w+) must be `)
	for _, match := range required.FindAllStringSubmatch(missing.log(), -1) {
		want = append(want, []string{match[1], "required"})
	}
	defaults := regexp.MustCompile(`(?m)^# (\w+) = '(.*)'$`)
	for _, match := range defaults.FindAllStringSubmatch(readFile(t, ".env.example"), -1) {
		want = append(want, match[1:])
	}
	if !slices.EqualFunc(got, want, slices.Equal) {
		t.Errorf("got variables and defaults %q, want %q", got, want)
	}
}

func TestREADMEFiles(t *testing.T) {
	files, err := filepath.Glob("../*.go")
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"demo", "test"}
	for _, file := range files {
		if !strings.HasSuffix(file, "_test.go") {
			want = append(want, filepath.Base(file))
		}
	}
	slices.Sort(want)
	var got []string
	for _, cell := range column(table(t, "file | content"), 0) {
		got = append(got, strings.TrimPrefix(cell[:strings.Index(cell, "]")], "["))
	}
	slices.Sort(got)
	if !slices.Equal(got, want) {
		t.Errorf("got files %q, want %q", got, want)
	}
	readme := readFile(t, "README.md")
	anchors := map[string]bool{}
	for _, heading := range regexp.MustCompile(`(?m)^#+ (.*)$`).FindAllStringSubmatch(readme, -1) {
		anchors["#"+strings.ReplaceAll(strings.ToLower(heading[1]), " ", "-")] = true
	}
	for _, link := range regexp.MustCompile(`\]\(([^):]+)\)`).FindAllStringSubmatch(readme, -1) {
		if _, err := os.Stat(filepath.Join("..", link[1])); err != nil && !anchors[link[1]] {
			t.Errorf("got a link to %s, want one to a file or a heading", link[1])
		}
	}
}

// TestREADMELog causes the log lines that the README quotes.
func TestREADMELog(t *testing.T) {
	status := func(status int) string {
		return startZITADEL(t, func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(status)
		}).URL
	}
	untrusted := httptest.NewUnstartedServer(http.HandlerFunc(respondActive))
	untrusted.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, 0)
	untrusted.StartTLS()
	defer untrusted.Close()
	domains := map[string]string{ // of an instance that causes the line
		"rejected the client credentials":        status(401),
		"no ZITADEL instance answers there":      status(404),
		"certificate":                            untrusted.URL,
		"ZITADEL limits the rate":                status(429),
		`level=ERROR msg="introspection failed"`: status(500),
		`level=ERROR msg="requests cut off"`:     "", // see TestDrainTimeout
		`level=ERROR msg="http: panic serving`:   "", // see TestREADMECopy
	}
	quoted := column(table(t, "line contains | meaning"), 0)
	for _, match := range regexp.MustCompile(`the log says "([^"]+)"`).
		FindAllStringSubmatch(readFile(t, "README.md"), -1) {
		quoted = append(quoted, match[1])
	}
	for _, text := range quoted {
		domain, known := domains[text]
		if !known {
			t.Errorf("got the log line %q in the README, want one that this test knows", text)
		}
		delete(domains, text)
		if domain == "" {
			continue
		}
		p := startProgram(t, domain)
		p.get("/api/private", tokenPrefix)
		p.waitForLog(t, text)
	}
	if len(domains) > 0 {
		t.Errorf("got no %q in the README, want every line", domains)
	}
}

func TestREADMECommands(t *testing.T) {
	targets := []string{}
	makefile := regexp.MustCompile(`(?m)^([a-z-]+):.*## `)
	for _, match := range makefile.FindAllStringSubmatch(readFile(t, "Makefile"), -1) {
		if match[1] != "help" {
			targets = append(targets, "make "+match[1])
		}
	}
	if got := column(table(t, "command | what it does"), 0); !slices.Equal(got, targets) {
		t.Errorf("got commands %q, want the targets of the Makefile, %q", got, targets)
	}
}

// TestREADMEDockerfile builds the program as the Dockerfile does, and starts it.
func TestREADMEDockerfile(t *testing.T) {
	dockerfile := section(t, "\n```dockerfile\n", "```")
	goVersion := regexp.MustCompile(`(?m)^go (.*)$`).FindStringSubmatch(readFile(t, "go.mod"))[1]
	if image := "FROM golang:" + goVersion + " AS build\n"; !strings.Contains(dockerfile, image) {
		t.Errorf("got a Dockerfile without %q, want the release of go.mod", image)
	}
	run := regexp.MustCompile(`(?m)^RUN CGO_ENABLED=0 go (build .*) -o (/\S+) (\S+)$`).
		FindStringSubmatch(dockerfile)
	if run == nil {
		t.Fatal("got no line RUN CGO_ENABLED=0 go build, want one")
	}
	for _, line := range []string{"COPY --from=build " + run[2] + " /\n",
		`ENTRYPOINT ["` + run[2] + `"]` + "\n"} {
		if !strings.Contains(dockerfile, line) {
			t.Errorf("got a Dockerfile without %q, want it", line)
		}
	}
	binary := filepath.Join(t.TempDir(), "api.exe")
	build := exec.Command("go", append(strings.Fields(run[1]), "-o", binary, run[3])...)
	build.Dir = ".."
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if output, err := build.CombinedOutput(); err != nil {
		t.Fatalf("got %v, want the program built:\n%s", err, output)
	}
	p := startCommand(t, []string{binary}, noZITADEL)
	if got := p.get("/api/public", tokenPrefix); got != 200 {
		t.Errorf("got status %d, want 200", got)
	}
}

// TestREADMECopy builds and runs the API in the README, with the files that it says to copy.
func TestREADMECopy(t *testing.T) {
	z := startZITADEL(t, func(w http.ResponseWriter, r *http.Request) {
		role := "read:messages"
		if r.FormValue("token") == tokenPrefix+"writer" {
			role = "write:messages"
		}
		_, _ = io.WriteString(w, `{"active":true,"sub":"42","username":"alice",`+
			`"urn:zitadel:iam:org:project:roles":{"`+role+`":{}}}`)
	})
	claim := section(t, "in `introspect.go`:\n\n```go\n", "```")
	for _, row := range []struct {
		name, handler, body string
		status              int
		log                 string
	}{
		{"as it is", "", "Thank you, user 42.\n", 200, "level=INFO msg=request "},
		{"with one more claim", `fmt.Fprint(w, claimsFrom(r.Context()).Username)`, "alice", 200,
			"level=INFO msg=request "},
		{"with a panic", `fmt.Fprint(w, "x"); panic("some reason")`, "", 0,
			`level=ERROR msg="http: panic serving `},
	} {
		t.Run(row.name, func(t *testing.T) {
			p := startCopy(t, z.URL, claim, row.handler)
			status, body := post(t, p, "writer")
			if status != row.status || body != row.body {
				t.Errorf("got status %d and body %q, want %d and %q", status, body, row.status, row.body)
			}
			p.waitForLog(t, " msg=request method=POST path=/messages status="+strconv.Itoa(row.status)+" ")
			p.waitForLog(t, row.log)
			if status, _ := post(t, p, "reader"); status != 401 {
				t.Errorf("got status %d for a user without the role, want 401", status)
			}
			if status, _ := post(t, p, ""); status != 401 {
				t.Errorf("got status %d without a token, want 401", status)
			}
		})
	}
}

// startCopy starts the API in the README with a claim more. Its handler does what the README
// says or, if it is not empty, what handler says.
func startCopy(t *testing.T, domain, claim, handler string) *process {
	t.Helper()
	dir, port := t.TempDir(), pickPort(t)
	write := func(name, text string) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	sentence := section(t, "\nCopy ", " into your package")
	for _, file := range regexp.MustCompile("`(.*?)`").FindAllStringSubmatch(sentence, -1) {
		write(file[1], strings.Replace(readFile(t, file[1]), "type claims struct {\n",
			"type claims struct {\n"+claim, 1))
	}
	snippet := strings.Replace(section(t, "\n```go\n", "```"), "localhost:5001", "127.0.0.1:"+port, 1)
	if handler != "" {
		snippet = regexp.MustCompile(`fmt\.Fprintf\(w, .*`).ReplaceAllLiteralString(snippet, handler)
	}
	write("main.go", snippet)
	write("go.mod", "module example\n\ngo 1.26\n")
	build := exec.Command("go", "build", "-o", "copy.exe", ".")
	build.Dir = dir
	if output, err := build.CombinedOutput(); err != nil {
		t.Fatalf("got %v, want the copy built:\n%s", err, output)
	}
	p := launch(t, exec.Command(filepath.Join(dir, "copy.exe")), "ZITADEL_DOMAIN="+domain,
		"CLIENT_ID="+clientID, "CLIENT_SECRET="+clientSecret)
	p.url = "http://127.0.0.1:" + port
	eventually(t, func() string {
		c, err := p.connect()
		if err != nil {
			return err.Error()
		}
		_ = c.Close()
		return ""
	})
	return p
}

// post posts a message to a copy as a user, or without a token. It returns the status and the
// body of the response, or 0 if there is none.
func post(t *testing.T, p *process, user string) (int, string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), "POST", p.url+"/messages", nil)
	if err != nil {
		t.Fatal(err)
	}
	if user != "" {
		r.Header.Set("Authorization", "Bearer "+tokenPrefix+user)
	}
	response, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		return 0, ""
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Error(err)
	}
	return response.StatusCode, string(body)
}
