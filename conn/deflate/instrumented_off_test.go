//go:build !race && !tickwiredebug

package deflate

const instrumented = false
