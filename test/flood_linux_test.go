package test

import (
	"fmt"
	"os"
	"testing"
)

// Clients that connect and send nothing use up the file descriptors of the program, before its
// first introspection. What fails then must not fail for good: Go, for example, reads the CA
// certificates once.
func TestFlood(t *testing.T) {
	t.Parallel()
	z := newZITADEL(t, respondActive)
	z.StartTLS()
	const limit = 128 // of file descriptors
	command := []string{"sh", "-c", fmt.Sprintf(`ulimit -n %d; exec "$0"`, limit), program}
	p := startCommand(t, command, z.URL, "SSL_CERT_FILE="+caFile(t, z))
	early := mustConnect(t, p)
	if got := early.get("/api/public", tokenPrefix); got != 200 {
		t.Fatalf("got status %d before the flood, want 200", got)
	}

	// Leave one descriptor for the connection to ZITADEL, and none for anything beside it.
	var flood []*client
	for free := p.freeFiles(limit); free > 1; free = p.freeFiles(limit) {
		flood = append(flood, mustConnect(t, p))
		eventually(t, func() string {
			if p.freeFiles(limit) == free {
				return "got a connection that is not accepted, want it accepted"
			}
			return ""
		})
	}
	t.Logf("status %d at the first introspection", early.get("/api/private", tokenPrefix))

	for range limit {
		flood = append(flood, mustConnect(t, p))
	}
	p.waitForLog(t, "Accept error")
	t.Logf("status %d during the flood", early.get("/api/private", tokenPrefix))

	for _, c := range flood {
		_ = c.Close()
	}
	eventually(t, func() string {
		if got := p.get("/api/private", tokenPrefix); got != 200 {
			return "got no response with status 200 after the flood, want one; the log:\n" + p.lastLog()
		}
		return ""
	})
}

// freeFiles returns how many of the file descriptors below limit the process does not use.
func (p *process) freeFiles(limit int) int {
	free := 0
	for fd := range limit {
		_, err := os.Lstat(fmt.Sprintf("/proc/%d/fd/%d", p.cmd.Process.Pid, fd))
		if os.IsNotExist(err) {
			free++
		}
	}
	return free
}
