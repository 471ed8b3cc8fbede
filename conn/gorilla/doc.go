// Package websocket has the API of github.com/gorilla/websocket v1.5.3, implemented on
// package conn. Every exported name has the same type and meaning. A program changes over
// with one line in its go.mod. It needs no other change, nor do the SDKs that it uses:
//
//	replace github.com/gorilla/websocket => github.com/seed-7f57ff33/tickwire/conn/gorilla/alias v0.0.0
//
// From a checkout the line names the folder, and a second line says where tickwire is:
//
//	replace github.com/gorilla/websocket => /path/to/tickwire/conn/gorilla/alias
//	replace github.com/seed-7f57ff33/tickwire => /path/to/tickwire
//
// New programs should use package conn. This package keeps gorilla's rules, and they cost
// an allocation for each message.
//
// # What is the same
//
//   - ReadMessage returns memory that belongs to the caller.
//   - Errors have the same identity. ErrCloseSent, ErrReadLimit and ErrBadHandshake are
//     compared with ==, *CloseError and HandshakeError by a type assertion, timeouts as
//     net.Error. A stream that ends without a Close frame is a *CloseError with code
//     1006.
//   - The first read error is final, also that of a deadline. The thousandth failed read
//     call panics. The first write error is final too.
//   - One goroutine may read and one may write. A concurrent write panics. Any goroutine
//     may call WriteControl, Close and SetReadDeadline.
//   - The handlers of pings, pongs and Close frames run within the read call. Each ping
//     is answered by its handler; the default one has a second for its pong.
//   - After the peer's Close frame the connection stays open until the program closes it.
//     Close closes the connection below at once. It sends no Close frame, but over TLS a
//     close_notify.
//   - NextWriter buffers up to WriteBufferSize bytes and sends a longer message in
//     several frames. The next write call ends a message that was left open.
//   - permessage-deflate has no context takeover in either direction, and level 1 until
//     SetCompressionLevel. Every text and binary message is compressed.
//   - The read limit counts the received bytes, before inflation. There is none by
//     default.
//   - Upgrade compares the Origin header, if there is one, with the Host header.
//   - Text messages need not be UTF-8, and lengths of frames need not be minimal.
//
// # What is better on purpose
//
//   - Options.Strict requires UTF-8 text and minimal lengths. It also applies the read
//     limit to the inflated size of a message: see WithOptions.
//   - A handshake is bounded: 45 seconds if neither HandshakeTimeout nor the context
//     sets a limit. The NetDial functions are not bounded by this default. The end of
//     the context ends it at once. The head of the server's answer, or of a proxy's, may
//     have 64 KiB.
//   - A compressed message inflates to 1 GiB at most.
//   - Mask keys come from crypto/rand. Each frame of each connection has its own.
//   - A window size that the peer asks for, in its offer or its answer, is respected.
//   - ReadJSON and WriteJSON use pooled memory. WriteJSON sends nothing if v cannot be
//     encoded.
//   - Buffers grow with the traffic and are returned while there is none. So
//     ReadBufferSize is only used if it is over 64 KiB. If WriteBufferPool is nil,
//     NextWriter has a buffer only during the message.
//   - An error of a frame that breaks a rule wraps the *frame.ProtocolError, and a
//     timeout matches os.ErrDeadlineExceeded.
//
// # What differs
//
//   - ReadMessage returns no part of a message that is cut by an error.
//   - After a frame that breaks a rule or exceeds the read limit, and after a network
//     error, the connection below is closed before the program closes it. After a failed
//     write, reading ends within five seconds.
//   - If Dial has done TLS, NetConn returns the *tls.Conn. The tls.Conn's own NetConn is
//     not the socket, but a connection that reads the socket.
//   - A peer's Close frame with a payload of one byte is refused, and so is a compressed
//     message with bytes after its end.
//   - After Close nothing more is delivered, not even messages that were read before.
//   - A write deadline that is set on NetConn is valid until SetWriteDeadline is called.
//   - An answer about permessage-deflate that has a parameter twice, or an unknown one,
//     opens no connection. A request that offers such a one is not compressed.
package websocket
