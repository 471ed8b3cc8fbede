// The library ws as a client of the benchmarks. The package peers says what the arguments
// mean and what is printed.
'use strict';

const WebSocket = require('ws');
const [library, role, url, ...rest] = process.argv.slice(2);
if (library !== 'ws') throw new Error(`no library ${library}`);
const options = Object.fromEntries(rest.map((s) => s.split('=')).map(([k, v]) => [k, Number(v)]));

// CPU time in nanoseconds: getrusage, which counts all threads of the process.
function cpu() {
  const u = process.cpuUsage();
  return (u.user + u.system) * 1000;
}

const line = {version: require('ws/package.json').version, messages: 0, bytes: 0, sum: 0, cpu_ns: 0, wall_ns: 0};
let left = options.warm; // messages until the next look at the clock
let measuring = false;
let cpuBefore = 0;
let wallBefore = 0n;

function begin() {
  measuring = true;
  wallBefore = process.hrtime.bigint();
  cpuBefore = cpu();
}

function end() {
  line.cpu_ns = cpu() - cpuBefore;
  line.wall_ns = Number(process.hrtime.bigint() - wallBefore);
  process.stdout.write(JSON.stringify(line) + '\n', () => process.exit(0));
}

const ws = new WebSocket(url, {rejectUnauthorized: false, perMessageDeflate: false});
ws.on('error', (err) => {
  console.error(err);
  process.exit(1);
});

function feed(data) {
  line.bytes += data.length;
  line.sum += data[0] + data[data.length - 1];
  if (--left > 0) return;
  if (!measuring) {
    begin();
  } else {
    line.messages += options.chunk;
    if (cpu() - cpuBefore >= options.cpu || line.messages + options.chunk > options.messages) {
      ws.removeAllListeners('message');
      end();
      return;
    }
  }
  left = options.chunk;
}

function trips() {
  const text = `{"x":"${'x'.repeat(options.size - 8)}"}`;
  let sent = 0n;
  line.times_ns = [];
  ws._socket.setNoDelay(true);
  ws.on('message', (data) => {
    if (data.length !== text.length) throw new Error('not an echo');
    if (measuring) {
      line.times_ns.push(Number(process.hrtime.bigint() - sent));
      if (++line.messages === options.messages) {
        end();
        return;
      }
    } else if (--left <= 0) {
      begin();
    }
    sent = process.hrtime.bigint();
    ws.send(text);
  });
  sent = process.hrtime.bigint();
  ws.send(text);
}

if (role === 'feed') ws.on('message', feed);
else ws.on('open', trips);
