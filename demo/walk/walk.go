// Package walk runs the commands in a README, so that what they print can be compared with what
// the README shows.
package walk

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"regexp"
	"strings"

	"example-api-go/demo/process"
)

// Step is a sh block of a README.
type Step struct {
	Section  string // the heading above it, of level 2
	Needs    string // X in a line <!-- needs X --> directly above it
	Commands string
	Output   string // what the commands print: the text block that follows
}

// A heading of a section, or a fenced block with its language and its text.
var parts = regexp.MustCompile("(?ms)^## ([^\n]+)$|" +
	"(?:^ *<!-- needs ([^\n]*) -->\n)?^( *)```(\\w*)\n(.*?)^ *```$")

// Parse returns the steps of a README in order. A text block that does not follow a sh block is
// an error.
func Parse(readme string) ([]Step, error) {
	var steps []Step
	var section, previous string
	for _, match := range parts.FindAllStringSubmatch(readme, -1) {
		heading, needs, indent, language, text := match[1], match[2], match[3], match[4], match[5]
		text = strings.TrimPrefix(strings.ReplaceAll("\n"+text, "\n"+indent, "\n"), "\n")
		switch {
		case heading != "":
			section = heading
		case language == "sh":
			steps = append(steps, Step{Section: section, Needs: needs, Commands: text})
		case language == "text" && previous == "sh":
			steps[len(steps)-1].Output = text
		case language == "text":
			return nil, fmt.Errorf("section %q: no sh block before the text block\n%s", section, text)
		}
		previous = language
	}
	return steps, nil
}

// Shell is a shell that commands are pasted into, as into a terminal.
type Shell struct {
	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Reader
}

// NewShell starts a shell in the folder dir, until ctx is done or Close is called. Variables in
// env replace those of the environment. What commands print on standard error goes to stderr.
func NewShell(ctx context.Context, dir string, stderr io.Writer, env ...string) (*Shell, error) {
	cmd := process.Command(ctx, "sh")
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), env...)
	cmd.Stderr = stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	return &Shell{cmd, in, bufio.NewReader(out)}, cmd.Start()
}

// Run runs commands and returns what they print on standard output.
func (s *Shell) Run(commands string) (string, error) {
	const end = "-- end of the output --\n"
	if _, err := io.WriteString(s.in, commands+"\nprintf '\\n"+end+"'\n"); err != nil {
		return "", fmt.Errorf("the shell has ended: %w", err)
	}
	var printed strings.Builder
	for {
		line, err := s.out.ReadString('\n')
		if err != nil {
			return printed.String(), fmt.Errorf("the shell has ended: %w", err)
		}
		if line == end {
			return strings.TrimSuffix(printed.String(), "\n"), nil
		}
		printed.WriteString(line)
	}
}

// Close ends the shell.
func (s *Shell) Close() {
	_ = s.in.Close()
	_ = s.cmd.Wait()
}
