package relay

import (
	"os"
	"testing"

	"github.com/seed-7f57ff33/tickwire/conn/relay/internal/engine"
)

func TestMain(m *testing.M) {
	engine.Main() // this process may be to be a node
	childMain()
	childGatewayMain()
	childClientMain()
	os.Exit(m.Run())
}
