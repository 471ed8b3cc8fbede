// Package handshake is the opening handshake of RFC 6455 §4 as bytes and values, for both sides.
package handshake
