package conn

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/seed-7f57ff33/tickwire/frame"
)

// A partner is another library, and what it can do.
type partner struct {
	name    string
	env     []string // with BUILT, FOLDER and SOURCE as in command
	command []string // BUILT is the folder of peersEnv, FOLDER the test's, SOURCE testdata/peers
	// begin starts it instead of command.
	begin func(t *testing.T, built, folder string) *partnerProgram

	// client and server say why the library is not spoken with in that role of its own.
	client, server string
	// asClient and asServer are what it does of permessage-deflate.
	asClient, asServer packing
	// cannot says what else it cannot do, and why a field below is set.
	cannot string
	codes  string          // which codes its program can send: "" for all of closings
	answer frame.CloseCode // the code with which it answers our Close, if not the same
	// bare is the code with which it answers a Close that has none, 0 for none.
	bare   frame.CloseCode
	untold bool // it does not tell the code that we answered with
}

// A packing is what a library does of permessage-deflate in one role.
type packing struct {
	deflate bool // at all
	alone   bool // it compresses without context takeover if we ask
	least   int  // the smallest window that it keeps if we ask, 0 for none
	// serverOnly says that the client's window stays 15 then: the client offers no less.
	serverOnly bool

	peerAlone bool // it asks us
	peerLeast int  // the smallest window that it asks us for
	// peerServerOnly says that it can ask for a window of the server only.
	peerServerOnly bool

	failsPlain bool // it hangs when a message is not compressed
	failsEmpty bool // it ends when it compresses a message of no bytes
	sendsPlain bool // it inflates, but sends nothing compressed
}

func (p *partner) packs(role frame.Role) packing {
	if role == frame.Client {
		return p.asServer
	}
	return p.asClient
}

// canSend tells whether the partner's program can close with the code.
func (p *partner) canSend(code frame.CloseCode) bool {
	switch p.codes {
	case "page": // as WebSocket of a browser, which has 1000 and the applications' codes
		return code == frame.CodeNormal || code == frame.CodeNoStatus || code >= 3000
	case "a code": // none is not one
		return code != frame.CodeNoStatus
	}
	return true
}

func (p *partner) start(t *testing.T, built, folder string) *partnerProgram {
	t.Helper()
	if p.begin != nil {
		return p.begin(t, built, folder)
	}
	source, err := filepath.Abs("testdata/peers")
	if err != nil {
		t.Fatal(err)
	}
	place := strings.NewReplacer("BUILT", built, "FOLDER", folder, "SOURCE", source)
	var env, command []string
	for _, e := range p.env {
		env = append(env, place.Replace(e))
	}
	for _, arg := range p.command {
		command = append(command, place.Replace(arg))
	}
	return startPartner(t, env, command)
}

func python(library string) []string {
	return []string{"/usr/bin/python3", "SOURCE/python/peer.py", library, "FOLDER"}
}

func node(library string) []string {
	return []string{"node", "SOURCE/node/peer.js", library, "FOLDER"}
}

var (
	pythonPath = []string{"PYTHONPATH=BUILT/python"}
	nodePath   = []string{"NODE_PATH=BUILT/node/node_modules"}
)

// nettyPath is where Debian has Netty. jzlib does the windows that Java's own Deflater
// does not.
const nettyPath = "/usr/share/java/netty-common.jar:/usr/share/java/netty-buffer.jar:/usr/share/java/netty-transport.jar:" +
	"/usr/share/java/netty-resolver.jar:/usr/share/java/netty-codec.jar:/usr/share/java/netty-codec-http.jar:" +
	"/usr/share/java/netty-handler.jar:/usr/share/java/jctools-core.jar:/usr/share/java/jzlib.jar"

const (
	noServer  = "the library has no server"
	noDeflate = "it has no permessage-deflate"
)

// partners are spoken with by step peers of .ci/run.
var partners = []partner{
	{
		name: "python websockets", command: python("websockets"), env: pythonPath,
		asClient: packing{deflate: true, alone: true, least: 9, peerAlone: true, peerLeast: 9},
		asServer: packing{deflate: true, alone: true, least: 9, peerAlone: true, peerLeast: 9},
		codes:    "a code",
	},
	{
		name: "python websocket-client", command: python("websocket-client"), env: pythonPath,
		server: noServer, cannot: noDeflate + "; it answers every Close with 1000",
		codes: "a code", answer: frame.CodeNormal,
	},
	{
		name: "python websocket-client, wsaccel", command: python("websocket-client, wsaccel"),
		env:    []string{"PYTHONPATH=BUILT/python:BUILT/wsaccel"},
		server: noServer, cannot: noDeflate + "; it answers every Close with 1000",
		codes: "a code", answer: frame.CodeNormal,
	},
	{
		name: "python aiohttp", command: python("aiohttp"), env: pythonPath,
		asClient: packing{deflate: true, alone: true, least: 9, peerLeast: 9, peerServerOnly: true},
		asServer: packing{deflate: true, alone: true, least: 9},
		cannot:   "it answers every Close with 1000; as a client it asks for a window of the server only, as a server for none",
		codes:    "a code", answer: frame.CodeNormal,
	},
	{
		name: "python tornado", command: python("tornado"), env: pythonPath,
		asClient: packing{deflate: true, least: 9},
		asServer: packing{deflate: true, least: 9},
		cannot:   "it does not see parameters without a value, no_context_takeover among them, and asks for none",
	},
	{
		name: "node ws", command: node("ws"), env: nodePath,
		asClient: packing{deflate: true, alone: true, least: 9, peerAlone: true, peerLeast: 9},
		asServer: packing{deflate: true, alone: true, least: 9, peerAlone: true, peerLeast: 9},
	},
	{
		name: "node undici", command: node("undici"), env: nodePath,
		server: noServer, asClient: packing{deflate: true, alone: true, least: 9, sendsPlain: true},
		cannot: "it inflates, but sends nothing compressed; it has the codes of a page",
		codes:  "page",
	},
	{
		name: "rust tokio-tungstenite", command: []string{"BUILT/rust/debug/peer", "tokio-tungstenite", "FOLDER"},
		cannot: noDeflate,
	},
	{
		name: "rust fastwebsockets", command: []string{"BUILT/rust/debug/peer", "fastwebsockets", "FOLDER"},
		cannot: noDeflate,
	},
	{
		name: "java java.net.http", command: []string{"java", "-Xmx512m", "-cp", "BUILT/java", "Peer", "FOLDER"},
		server: noServer, cannot: noDeflate + "; it answers a Close without a code with 1000",
		codes: "a code", bare: frame.CodeNormal,
	},
	{
		name: "c++ beast", command: []string{"BUILT/beast", "FOLDER"},
		cannot: "it answers a Close without a code with 1000", bare: frame.CodeNormal,
		asClient: packing{deflate: true, alone: true, least: 9, peerAlone: true, peerLeast: 9},
		asServer: packing{deflate: true, alone: true, least: 9, peerAlone: true, peerLeast: 9},
	},
	{
		name: "c libwebsockets", command: []string{"BUILT/lws", "FOLDER"},
		asClient: packing{failsPlain: true, failsEmpty: true, deflate: true, alone: true, least: 9, peerAlone: true, peerLeast: 9},
		asServer: packing{failsEmpty: true, deflate: true, alone: true},
		cannot: "it does not tell the answer to its Close; a server of it agrees to no window; an empty message " +
			"that it compresses ends the program; as a client that compresses it spins on a message that is not",
		untold: true,
	},
}

// morePartners are spoken with by step peers_more, which is run by name: they take longer
// than all of partners.
var morePartners = []partner{
	{
		name: "java netty", command: []string{"java", "-Xmx1g", "-cp", "BUILT/netty:" + nettyPath, "NettyPeer", "FOLDER"},
		asClient: packing{deflate: true},
		asServer: packing{deflate: true, alone: true, least: 9},
		cannot: "a client of it ends a connection whose server limits what it has not asked to be limited, and asks for no context " +
			"takeover where a window is meant; a server of it asks for no context takeover only if the client has",
	},
	{
		name: "chromium", begin: chromium,
		server: noServer, asClient: packing{deflate: true, alone: true, least: 9}, codes: "page",
	},
	{
		name: "firefox", begin: firefox,
		server: noServer, asClient: packing{deflate: true, alone: true, least: 9, serverOnly: true}, codes: "page",
	},
}
