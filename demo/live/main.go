// Live runs the section "Testing the API" of README.md against the ZITADEL instance that is
// configured in .env, with the access token in TOKEN:
//
//	TOKEN='your personal access token' make live
//
// VISITOR_TOKEN, if it is set, is the access token of a user without the role read:messages.
package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"regexp"
	"strconv"
	"strings"
	"syscall"

	"example-api-go/demo/process"
	"example-api-go/demo/walk"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt,
		syscall.SIGTERM, syscall.SIGHUP, syscall.SIGPIPE) // the API would outlive these
	defer stop()
	err := run(ctx)
	if ctx.Err() != nil {
		err = errors.New("interrupted")
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "live:", err)
		os.Exit(1)
	}
}

// run runs the steps until one fails. The error says what to do.
func run(ctx context.Context) error {
	if err := checkSetup(); err != nil {
		return err
	}
	steps, err := readSteps()
	if err != nil {
		return fmt.Errorf("README.md: %w", err)
	}
	var log strings.Builder
	api, err := startAPI(ctx, &log)
	if err != nil {
		return fmt.Errorf("the API does not start: %w", err)
	}
	defer api.Stop()

	for _, step := range steps {
		token := "TOKEN"
		switch step.Needs {
		case "":
		case "a user without the role":
			token = "VISITOR_TOKEN"
		default: // something that an instance does not have
			continue
		}
		name := stepName(step, token)
		if !isSet(token) {
			fmt.Printf("skip  %s: set it to the access token of a user without the role\n", name)
			continue
		}
		output, err := runStep(ctx, step, api.URL, token)
		if err != nil {
			return err
		}
		got, want := parseResponse(output), parseResponse(step.Output)
		if output != step.Output {
			fmt.Printf("FAIL  %s: got %s, want %s\n", name, got, want)
			api.Stop() // completes the log
			return errors.New(advice(token, got, want, log.String()))
		}
		fmt.Printf("ok    %s: %s\n", name, got)
	}
	return nil
}

// runStep runs a step with url instead of http://localhost:5000, and returns what it prints.
func runStep(ctx context.Context, step walk.Step, url, token string) (string, error) {
	shell, err := walk.NewShell(ctx, "..", nil, "TOKEN="+os.Getenv(token))
	if err != nil {
		return "", err
	}
	defer shell.Close()
	return shell.Run(strings.ReplaceAll(step.Commands, "http://localhost:5000", url))
}

// readSteps returns the steps of the section in README.md.
func readSteps() ([]walk.Step, error) {
	readme, err := os.ReadFile("../README.md")
	if err != nil {
		return nil, err
	}
	all, err := walk.Parse(string(readme))
	if err != nil {
		return nil, err
	}
	var steps []walk.Step
	for _, step := range all {
		if step.Section == "Testing the API" {
			steps = append(steps, step)
		}
	}
	if steps == nil {
		return nil, errors.New(`no commands in the section "Testing the API"`)
	}
	return steps, nil
}

// checkSetup returns an error that names everything that is missing.
func checkSetup() error {
	var missing []string
	for _, tool := range []string{"sh", "curl"} {
		if _, err := exec.LookPath(tool); err != nil {
			missing = append(missing, "install "+tool+" (on Windows, run this in Git Bash)")
		}
	}
	_, err := os.Stat("../.env")
	if err != nil && !(isSet("ZITADEL_DOMAIN") && isSet("CLIENT_ID") && isSet("CLIENT_SECRET")) {
		missing = append(missing, "copy .env.example to .env and fill it in")
	}
	if !isSet("TOKEN") {
		missing = append(missing,
			"set TOKEN to a personal access token of a user with the role read:messages")
	}
	if missing != nil {
		return errors.New(strings.Join(missing, "; "))
	}
	return nil
}

// isSet reports whether a variable of the environment is not blank.
func isSet(name string) bool { return strings.TrimSpace(os.Getenv(name)) != "" }

// startAPI starts the API in the folder of .env, on a free port.
func startAPI(ctx context.Context, log io.Writer) (*process.API, error) {
	for try := 1; ; try++ {
		env := []string{"HOST=localhost", "PORT=" + process.FreePort()} // override .env
		api, err := process.StartAPI(ctx, "..", env, log)
		if err == nil || try == 5 || !strings.Contains(err.Error(), "listen tcp") {
			return api, err
		}
	}
}

var path = regexp.MustCompile(`http://localhost:5000(\S+)`)

// stepName returns the path that a step requests, and the variable with its token.
func stepName(step walk.Step, token string) string {
	name := strings.TrimSpace(step.Commands)
	if match := path.FindStringSubmatch(name); match != nil {
		name = match[1]
	}
	if strings.Contains(step.Commands, "$TOKEN") {
		name += " with " + token
	}
	return name
}

// response is what a step prints: a body and, in the last line, a status.
type response struct{ status, code string }

func parseResponse(output string) response {
	output = strings.TrimSpace(output)
	end := strings.LastIndex(output, "\n") + 1
	var refusal struct{ Code string }
	_ = json.Unmarshal([]byte(output[:end]), &refusal) // other bodies have no code
	return response{cmp.Or(output[end:], "no response"), refusal.Code}
}

func (r response) String() string { return strings.TrimSpace(r.status + " " + r.code) }

var introspection = regexp.MustCompile(`msg="(introspection [^"]+)"(?: reason=(.+))?\n`)

// advice says what to do about a response. token is the name of the variable with the token.
func advice(token string, got, want response, log string) string {
	if match := introspection.FindStringSubmatch(log); match != nil {
		message, reason := match[1], match[2]
		if unquoted, err := strconv.Unquote(reason); err == nil {
			reason = unquoted
		}
		return strings.TrimSuffix(message+": "+reason, ": ")
	}
	switch {
	case got == want:
		return "the body of the response is not the one in README.md"
	case got.code == "invalid_token":
		return token + " has expired or is revoked, is an ID token, is from another instance, or " +
			"does not have this project in its audience: create a new personal access token"
	case got.code == "insufficient_scope":
		return "assign the role read:messages in this project to the user of " + token
	case got.status == "400":
		return token + " has a line break in it: copy it again"
	case got.status == "200" && token == "VISITOR_TOKEN":
		return "the user of VISITOR_TOKEN has the role read:messages: use the token of another user"
	}
	return "look at Troubleshooting in README.md"
}
