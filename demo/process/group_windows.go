package process

import (
	"os"
	"os/exec"
	"syscall"
)

// ownGroup runs cmd in a process group of its own.
func ownGroup(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{CreationFlags: syscall.CREATE_NEW_PROCESS_GROUP}
}

// interrupt kills p: Windows cannot send a signal to a process.
func interrupt(p *os.Process) error { return p.Kill() }
