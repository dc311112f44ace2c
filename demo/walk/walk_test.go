package walk

import (
	"os/exec"
	"slices"
	"strings"
	"testing"
)

func TestParse(t *testing.T) {
	const readme = `# Title

## First

Do this:

~~~sh
one
# not a heading
~~~

It prints:

~~~text
1
~~~

## Second

~~~go
package main
~~~

### Subsection

1. Do that:

   <!-- needs an instance -->
   ~~~sh
   two \
     three
   ~~~
`
	want := []Step{
		{"First", "", "one\n# not a heading\n", "1\n"},
		{"Second", "an instance", "two \\\n  three\n", ""},
	}
	got, err := Parse(strings.ReplaceAll(readme, "~~~", "```"))
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("got %q, %v, want %q", got, err, want)
	}
}

func TestTextWithoutCommands(t *testing.T) {
	for name, readme := range map[string]string{
		"no block before":         "## First\n\n```text\n1\n```\n",
		"two text blocks":         "```sh\none\n```\n\n```text\n1\n```\n\n```text\n2\n```\n",
		"go block before":         "```sh\none\n```\n\n```go\n```\n\n```text\n2\n```\n",
		"sh block in the section": "## First\n\n```sh\none\n```\n\n## Second\n\n```text\n1\n```\n",
	} {
		if steps, err := Parse(readme); err == nil {
			t.Errorf("%s: got %q, want an error", name, steps)
		}
	}
}

func TestShell(t *testing.T) {
	if _, err := exec.LookPath("sh"); err != nil {
		t.Skip("SKIPPED: sh is missing")
	}
	shell, err := NewShell(t.Context(), t.TempDir(), t.Output(), "NAME=value")
	if err != nil {
		t.Fatal(err)
	}
	defer shell.Close()
	for _, row := range []struct{ commands, want string }{
		{"echo $NAME", "value\n"},
		{"NAME=other", ""},
		{"echo $NAME # as a terminal, it keeps variables", "other\n"},
		{"printf 'no line break at the end'", "no line break at the end"},
		{"printf '\\n\\n'", "\n\n"},
		{"echo an error >&2; false", ""},
	} {
		if got, err := shell.Run(row.commands); got != row.want || err != nil {
			t.Errorf("%s: got %q, %v, want %q", row.commands, got, err, row.want)
		}
	}
	if _, err := shell.Run("exit"); err == nil {
		t.Error("got no error after exit, want one")
	}
	if _, err := shell.Run("echo"); err == nil {
		t.Error("got no error from a shell that has ended, want one")
	}
}
