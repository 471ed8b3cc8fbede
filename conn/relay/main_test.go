package relay

import (
	"os"
	"testing"

	"github.com/seed-7f57ff33/tickwire/conn/relay/internal/engine"
)

func TestMain(m *testing.M) {
	engine.Main()
	childMain()
	os.Exit(m.Run())
}
