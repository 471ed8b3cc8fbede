//go:build !tickwiredebug

package buffer

const debugEnabled = false
