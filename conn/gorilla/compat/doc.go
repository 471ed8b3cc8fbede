// Package compat compares conn/gorilla with gorilla/websocket: the exported names by
// type, gorilla's own tests, and SDKs that use it.
//
//	go -C conn/gorilla/compat test ./...
//	go -C conn/gorilla/compat test -modfile=dropin.mod ./...
//	go -C conn/gorilla/compat run ./cmd/own
//	go -C conn/gorilla/compat run ./cmd/sdks
//
// go.mod requires the original module. dropin.mod has one more line, which replaces it.
package compat
