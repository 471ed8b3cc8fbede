// Package websocket is the API of github.com/gorilla/websocket v1.5.3 on package conn: every
// exported name of it, with its type and its meaning. A program moves over by one line in
// its go.mod, with no change of its own or of the SDKs that it uses:
//
//	replace github.com/gorilla/websocket => github.com/seed-7f57ff33/tickwire/conn/gorilla/alias v0.0.0
//
// From a checkout the line names the folder, and a second one says where tickwire is:
//
//	replace github.com/gorilla/websocket => /path/to/tickwire/conn/gorilla/alias
//	replace github.com/seed-7f57ff33/tickwire => /path/to/tickwire
//
// New programs are better off with package conn: this package keeps the rules of the one
// whose name it takes, and they cost an allocation for each message.
//
// # What is as there
//
//   - ReadMessage returns memory that is the caller's for good.
//   - Errors have the same identity: ErrCloseSent, ErrReadLimit and ErrBadHandshake are found
//     by ==, *CloseError and HandshakeError by a type assertion, timeouts as net.Error. A
//     stream that ends without a Close is a *CloseError with code 1006.
//   - The first error of reading stays, also that of a passed deadline. The thousandth read
//     call that fails panics. The first error of writing stays too.
//   - One goroutine reads and one writes. A write beside another one panics. WriteControl,
//     Close and SetReadDeadline may be called by any.
//   - The handlers of pings, pongs and Close frames run within the read call. Each ping is
//     answered by its handler; the default one has a second for its pong.
//   - After the peer's Close the connection stays open until the program closes it. Close
//     closes the connection below at once, and says goodbye to nobody but TLS.
//   - NextWriter buffers up to WriteBufferSize bytes and sends a longer message in several
//     frames; the next write call ends a message that was left open.
//   - permessage-deflate is without context takeover in both directions, at level 1 until
//     SetCompressionLevel. Every text and binary message is compressed.
//   - The read limit counts the bytes on the wire, and there is none at first.
//   - Upgrade compares the Origin header, if there is one, with the Host header.
//   - Texts of messages need not be UTF-8, and lengths of frames need not be minimal.
//
// # What is better on purpose
//
//   - Options.Strict has text checked as UTF-8 and lengths as minimal, and bounds what a
//     message inflates to by the read limit: see WithOptions.
//   - A handshake is bounded. Without HandshakeTimeout, and without a deadline of the
//     context, it may take 45 seconds, except for what the NetDial functions take. The end
//     of the context ends it at once. The head of the server's answer, or of a proxy's, may
//     have 64 KiB.
//   - A compressed message inflates to 1 GiB at most.
//   - Mask keys come from crypto/rand, one for each frame of each connection.
//   - A window that the peer asks for, in its offer or its answer, is kept to.
//   - ReadJSON and WriteJSON work in pooled memory. WriteJSON sends nothing if v cannot be
//     encoded.
//   - Buffers grow with what is read and go back while nothing comes. So ReadBufferSize is
//     only looked at where it is over 64 KiB. Where WriteBufferPool is nil the buffer of
//     NextWriter is lent for the message.
//   - An error of a frame that breaks a rule wraps the *frame.ProtocolError, and an error of
//     a passed deadline matches os.ErrDeadlineExceeded.
//
// # What differs
//
//   - A message that is cut by an error is not returned in part by ReadMessage.
//   - After a frame that breaks a rule or passes the read limit, and after an error of the
//     network, the connection below is closed before the program closes it. After a write
//     that failed reading ends within five seconds.
//   - Over TLS that Dial has done, NetConn is the *tls.Conn, whose own NetConn is no socket
//     but what reads it.
//   - A peer's Close with a payload of one byte is refused, and so is a compressed message
//     with bytes after its end.
//   - After Close nothing more is delivered, not even what was read before.
//   - A write deadline that is set on NetConn holds until SetWriteDeadline is called.
//   - An answer about permessage-deflate that has a parameter twice, or one that is unknown,
//     opens no connection; a request that offers such a one is not compressed.
package websocket
