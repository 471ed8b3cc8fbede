// Package compat compares conn/gorilla with the module whose API that has: the exported
// names by type, that module's own tests, and SDKs that stand on it.
//
//	go -C conn/gorilla/compat test ./...
//	go -C conn/gorilla/compat test -modfile=dropin.mod ./...
//	go -C conn/gorilla/compat run ./cmd/own
//	go -C conn/gorilla/compat run ./cmd/sdks
//
// go.mod has the genuine module, dropin.mod one replace line in addition.
package compat
