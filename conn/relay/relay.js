// A client of a tickwire relay gateway for browsers: subprotocol tickwire.relay.v1.
//
//   const client = new RelayClient("wss://example.com/", "feed", {
//     onrecord({kind, data, position, received}) {}, // "text" or "binary"; received: BigInt, ns since 1970
//     ongap({reason, from, to, position, first, last}) {}, // messages are missing here
//     onstate({state, text, attempt}) {}, // "connecting", "live", "waiting" or "closed"
//   });
//
// Options: start ("now" or "oldest"), after (a position of an earlier client), strict,
// protocols (more to offer, such as a token), base and cap (of the back-off, ms), timeout
// (ms for a welcome), quiet (ms without a record after which it reconnects; 0: never).
// Records come once and in order. An exception of a callback closes the client: position
// is then that of the last record that was taken.

const reasons = ["", "missing", "restarted", "disconnected", "overflowed", "taken over", "too long"];
const finals = [4400, 4403, 4404, 4409, 4410], endOfBatch = 65535, utf8 = new TextDecoder("utf-8", {fatal: true, ignoreBOM: true});

export class RelayClient {
  constructor(url, stream, options = {}) {
    this.options = {start: "now", strict: false, protocols: [], base: 250, cap: 30000, timeout: 10000, quiet: 0, ...options};
    this.url = url; this.stream = stream; this.attempt = 0;
    this.position = this.options.after ?? null; // of the last record; keep it to continue another time
    this.connect();
  }

  close() { this.finish("closed by this side"); }

  connect() {
    this.state("connecting");
    if (this.closed) return; // by the callback
    const socket = this.socket = new WebSocket(this.url, ["tickwire.relay.v1", ...this.options.protocols]);
    socket.binaryType = "arraybuffer";
    this.at = null; // not welcomed yet
    this.deadline(this.options.timeout, "no welcome in time");
    socket.onopen = () => {
      if (socket.protocol !== "tickwire.relay.v1") return this.finish("the server does not speak tickwire.relay.v1");
      const hello = {type: "hello", stream: this.stream, start: this.options.start};
      if (this.position) Object.assign(hello, {start: "after", after: this.position, strict: this.options.strict});
      socket.send(JSON.stringify(hello));
    };
    socket.onmessage = ({data}) => {
      if (socket !== this.socket) return;
      try { typeof data === "string" ? this.control(JSON.parse(data)) : this.record(new DataView(data)); }
      catch (error) { if (error instanceof Fault) return this.again(error.message); this.finish(String(error)); throw error; }
    };
    socket.onclose = ({code, reason}) => {
      if (socket !== this.socket) return;
      finals.includes(code) ? this.finish(`${code} ${reason}`) : this.again(`${code} ${reason}`);
    };
  }

  control(message) {
    if (message.type !== "welcome") return; // an error or a bye: the Close frame follows
    const before = this.position, [incarnation, sequence, index] = split(message.after);
    this.at = {incarnation, sequence: BigInt(sequence), index: Number(index), ended: message.after !== before || Number(index) === endOfBatch};
    this.deadline(this.options.quiet, "no record for too long");
    this.state("live");
    if (!message.recovered && before) {
      const [, old, had] = split(before);
      const first = BigInt(old) + (Number(had) === endOfBatch ? 1n : 0n);
      if (first <= this.at.sequence) this.options.ongap?.({reason: "expired", from: 0n, to: 0n, first, last: this.at.sequence, position: message.after});
    }
    this.position = message.after;
  }

  record(view) {
    if (!this.at) throw new Fault("a record before the welcome");
    if (view.byteLength < 19) throw new Fault("a message that is too short");
    const kind = view.getUint8(0) & 127, last = view.getUint8(0) > 127, index = view.getUint16(1);
    const sequence = view.getBigUint64(3), received = view.getBigInt64(11), at = this.at;
    const same = kind !== 4 && !at.ended && sequence === at.sequence && index === at.index + 1;
    const first = kind === 4 && view.byteLength === 27 ? view.getBigUint64(19) : 0n;
    const next = kind === 4 ? first === at.sequence + 1n || !at.ended && first === at.sequence
      : sequence === at.sequence + 1n && index === 0 && (at.ended || at.maybe !== false);
    if (!same && !next) throw new Fault(`${sequence}.${index} after ${at.sequence}.${at.index}`);
    const position = `${at.incarnation}.${sequence}.${last ? endOfBatch : index}`, gap = {from: 0n, to: 0n, position};
    if (kind === 1) this.options.onrecord?.({kind: "text", data: text(view), position, received});
    else if (kind === 2) this.options.onrecord?.({kind: "binary", data: view.buffer.slice(19), position, received});
    else if (kind === 3 && view.byteLength === 36) this.options.ongap?.({...gap, reason: reasons[view.getUint8(19)], from: view.getBigUint64(20), to: view.getBigUint64(28)});
    else if (kind === 4) this.options.ongap?.({...gap, reason: "expired", first, last: sequence});
    else throw new Fault(`a record of kind ${kind}`);
    this.at = {incarnation: at.incarnation, sequence, index, ended: last, maybe: false};
    this.position = position; this.attempt = 0;
    if (this.closed) return; // by a callback
    this.deadline(this.options.quiet, "no record for too long");
  }

  again(text) { // full jitter: gateways that end send their clients back at different times
    this.drop();
    const wait = Math.random() * Math.min(this.options.cap, this.options.base * 2 ** Math.min(this.attempt++, 30));
    this.state("waiting", text);
    if (!this.closed) this.timer = setTimeout(() => this.connect(), wait);
  }

  finish(text) {
    if (this.closed) return;
    this.drop();
    this.closed = true;
    this.state("closed", text);
  }

  drop() {
    clearTimeout(this.timer);
    const socket = this.socket; this.socket = null; socket?.close();
  }

  deadline(limit, text) {
    clearTimeout(this.timer);
    if (limit > 0) this.timer = setTimeout(() => this.again(text), limit);
  }

  state(state, text = "") { this.options.onstate?.({state, text, attempt: this.attempt}); }
}

class Fault extends Error {}
const split = (position) => position.split(".");
const text = (view) => utf8.decode(new Uint8Array(view.buffer, 19));
