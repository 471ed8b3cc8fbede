package redial_test

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/seed-7f57ff33/tickwire/conn/redial"
)

// The README's table of limits has the defaults of this package.
func TestReadmeLimits(t *testing.T) {
	text, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		fmt.Sprintf("| %.0f s | `Client.ConnectTimeout` |", redial.DefaultConnectTimeout.Seconds()),
		fmt.Sprintf("| %d ms, doubled up to %.0f s | `Client.Backoff` |", redial.DefaultBase.Milliseconds(), redial.DefaultCap.Seconds()),
	} {
		if !strings.Contains(string(text), want) {
			t.Errorf("the README does not have %q", want)
		}
	}
}
