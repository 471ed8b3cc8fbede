//go:build race || tickwiredebug

package deflate

// instrumented says that memory and time are not what they are otherwise.
const instrumented = true
