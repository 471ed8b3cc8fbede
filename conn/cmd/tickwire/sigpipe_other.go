//go:build !unix

package main

func ignoreBrokenPipes() {}

func ignoreTerminalInput() {}
