package conn

import (
	"testing"

	"github.com/seed-7f57ff33/tickwire/conn/internal/transport"
)

// What is converted has the same values on both sides.
func TestSyscallsAreTheTransports(t *testing.T) {
	for ours, want := range map[Syscalls]transport.Syscalls{
		SyscallsAuto: transport.SyscallsAuto, SyscallsPlain: transport.SyscallsPlain, SyscallsRaw: transport.SyscallsRaw,
	} {
		if got := (&Config{Syscalls: ours}).transport().Syscalls; got != want {
			t.Errorf("%d is %d of the transport, want %d", ours, got, want)
		}
	}
}
