//go:build unix

package engine

import "syscall"

// Pause stops the node's process until Resume.
func (n *Node) Pause() error { return n.command.Process.Signal(syscall.SIGSTOP) }

// Resume continues a node after Pause.
func (n *Node) Resume() error { return n.command.Process.Signal(syscall.SIGCONT) }
