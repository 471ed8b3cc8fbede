//go:build unix

package engine

import (
	"fmt"
	"syscall"
)

// Pause stops the node's process until Resume. It returns when the process has stopped:
// the signal alone leaves it a moment, in which it can still answer.
func (n *Node) Pause() error {
	if err := n.command.Process.Signal(syscall.SIGSTOP); err != nil {
		return err
	}
	for {
		var status syscall.WaitStatus
		switch _, err := syscall.Wait4(n.Pid(), &status, syscall.WUNTRACED, nil); {
		case err == syscall.EINTR:
		case err != nil:
			return err
		case !status.Stopped():
			return fmt.Errorf("engine: %s has ended: %v", n.Name, status)
		default:
			return nil
		}
	}
}

// Resume continues a node after Pause.
func (n *Node) Resume() error { return n.command.Process.Signal(syscall.SIGCONT) }
