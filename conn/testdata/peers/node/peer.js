// Libraries of Node as peers of conn's TestPeerInterop, which says what is read and
// printed: peer.js LIBRARY FOLDER. NODE_PATH is where the libraries are.
"use strict"
const crypto = require("crypto"), fs = require("fs"), http = require("http"), https = require("https"), readline = require("readline")

const [library, folder] = process.argv.slice(2)
const read = name => fs.readFileSync(`${folder}/${name}`)
const say = (...words) => fs.writeSync(1, words.join(" ") + "\n")
const tell = (binary, data) => say(binary ? "binary" : "text", data.length, crypto.createHash("sha256").update(data).digest("hex"))

// The code and the reason if the message asks for them; 1005 is none.
function askedToClose(binary, data) {
  if (binary || data.length < 6 || data.subarray(0, 6).toString() !== "close ") return null
  const [, code, reason] = /^close (\d+) (.*)$/.exec(data.toString())
  return +code === 1005 ? [] : [+code, reason]
}

const ws = {
  options(mode, bits) {
    const alone = mode === "alone"
    const asked = bits ? { serverMaxWindowBits: bits, clientMaxWindowBits: bits } : {}
    if (alone) Object.assign(asked, { serverNoContextTakeover: true, clientNoContextTakeover: true })
    return { maxPayload: 1 << 30, perMessageDeflate: mode !== "none" && { threshold: 0, ...asked } }
  },

  echo(socket, done) {
    socket.on("message", (data, binary) => {
      tell(binary, data)
      const close = askedToClose(binary, data)
      if (close) socket.close(...close)
      else socket.send(data, { binary })
    })
    socket.on("error", e => say("error", e))
    socket.on("close", (code, reason) => {
      say("closed", code, reason)
      done()
    })
  },

  listen(scheme, mode, bits, done) {
    const { WebSocketServer } = require("ws")
    const server = scheme === "ws" ? http.createServer() : https.createServer({ cert: read("cert.pem"), key: read("key.pem") })
    new WebSocketServer({ server, ...this.options(mode, bits) }).on("connection", socket => {
      server.close()
      this.echo(socket, done)
    })
    server.listen(0, "127.0.0.1", () => say("port", server.address().port))
  },

  dial(url, mode, bits, done) {
    const WebSocket = require("ws")
    this.echo(new WebSocket(url, { ca: read("ca.pem"), ...this.options(mode, bits) }), done)
  },
}

const undici = {
  dial(url, mode, bits, done) {
    const { Agent, WebSocket } = require("undici")
    const socket = new WebSocket(url, { dispatcher: new Agent({ connect: { ca: read("ca.pem") } }) })
    socket.binaryType = "arraybuffer"
    socket.onmessage = ({ data }) => {
      const binary = typeof data !== "string"
      tell(binary, Buffer.from(data))
      const close = binary ? null : askedToClose(binary, Buffer.from(data.slice(0, 200)))
      if (close) socket.close(...close)
      else socket.send(data)
    }
    socket.onerror = e => say("error", e.message)
    socket.onclose = ({ code, reason }) => {
      say("closed", code, reason)
      done()
    }
  },
}

async function main() {
  const peer = { ws, undici }[library]
  say("version", require(`${library}/package.json`).version)
  for await (const line of readline.createInterface({ input: process.stdin })) {
    const [verb, scheme, ...rest] = line.split(" ")
    await new Promise(done => {
      if (verb === "listen") peer.listen(scheme, rest[0], +rest[1], done)
      else peer.dial(`${scheme}://127.0.0.1:${rest[0]}/`, rest[1], +rest[2], done)
    })
  }
}

main()
