package deflate

import (
	"math"

	"github.com/seed-7f57ff33/tickwire/frame"
)

// SetMaxMessage changes InflateOptions.MaxMessage. It must be called between messages.
func (d *Inflater) SetMaxMessage(n int64) {
	switch {
	case n == 0:
		n = frame.DefaultMaxMessage
	case n < 0:
		n = frame.HardMaxMessage
	}
	d.limit = int(min(n, math.MaxInt/2))
}
