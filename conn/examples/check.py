#!/usr/bin/python3
"""Builds the examples, runs each against exchange.py, and compares what it did with what the exchange has sent.

    python3 check.py                 all of them
    python3 check.py book consumer   these
"""

import asyncio
import base64
import json
import os
import re
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import time
import traceback
import urllib.error
import urllib.parse
import urllib.request

import websockets

sys.dont_write_bytecode = True  # nothing is left in the checkout

from exchange import Exchange, make_certificate

LIMIT = 40  # seconds for a check
AT_ONCE = 3
checks = []


def check(f):
    checks.append(f)
    return f


class World:
    """What a check works with: the programs, a certificate, and a folder."""

    def __init__(self, folder):
        self.folder, self.certificate = folder, make_certificate(folder)

    def exchange(self, **faults):
        return Exchange(self.certificate, **faults)

    def start(self, name, *flags):
        """An example that knows the exchange's certificate."""
        return Program(f"{self.folder}/{name}", "-ca", self.certificate[0], *flags)

    def serve(self, name, *flags):
        """An example that is a server, at a port of its own."""
        return Program(f"{self.folder}/{name}", "-addr", "127.0.0.1:0", *flags)


class Program:
    """An example that runs, as a context manager. Its end, however it comes, is that of the process."""

    def __init__(self, *command):
        self.command = command

    async def __aenter__(self):
        pipe = asyncio.subprocess.PIPE
        self.process = await asyncio.create_subprocess_exec(*self.command, stdout=pipe, stderr=pipe, limit=1 << 20)
        self.out, self.log = [], []
        self.readers = [asyncio.create_task(read(self.process.stdout, self.out)), asyncio.create_task(read(self.process.stderr, self.log))]
        return self

    async def __aexit__(self, kind, *_):
        if self.process.returncode is None:
            self.process.kill()
        await self.process.wait()
        await asyncio.gather(*self.readers)
        if kind:
            print("\n".join([" ".join(self.command), *self.out[-10:], *self.log[-40:]]), flush=True)

    async def end(self, status=0):
        got = await self.process.wait()
        await asyncio.gather(*self.readers)
        assert got == status, f"exit status {got}"

    async def interrupt(self, sig=signal.SIGINT):
        self.process.send_signal(sig)
        await self.end()

    def logged(self, text):
        return [line for line in self.log if text in line]

    async def url(self, of="listening"):
        """Waits until the program has said where something is, and returns that."""
        await until(lambda: self.logged(f"{of} url="))
        return re.search(r" url=(\S+)", self.logged(f"{of} url=")[0])[1]

    async def scrape(self):
        """Asks for /metrics; the values by name and the values of labels."""
        url = await self.url("metrics")
        text = await asyncio.to_thread(lambda: urllib.request.urlopen(url, timeout=10).read().decode())
        lines = re.findall(r"^(\w+)(?:{(.*)})? (\S+)$", text, re.M)
        return {(name, *re.findall(r'="([^"]*)"', labels)): float(value) for name, labels, value in lines}


async def read(stream, lines):
    async for line in stream:
        lines.append(line.decode().rstrip("\n"))


async def until(condition):
    while not condition():
        await asyncio.sleep(0.02)


async def ended(exchange):
    """Waits until the exchange has seen the ends of all connections."""
    await until(lambda: not exchange.open())


def by_epoch(lines):
    epochs = {}
    for line in lines:
        epoch, data = line.split(" ", 1)
        epochs.setdefault(int(epoch), []).append(data)
    return epochs


def as_sent(exchange, lines):
    """Each epoch is a connection. What was printed of it is what was sent on it, from the first on: all of it where the exchange has said
    goodbye and the client has seen that."""
    epochs = by_epoch(lines)
    for epoch, printed in epochs.items():
        c = exchange.connections[epoch - 1]
        assert printed == c.sent[: len(printed)], f"epoch {epoch}: something else was printed than sent"
        if c.by_us and epoch != max(epochs):
            assert len(printed) == len(c.sent), f"epoch {epoch}: {len(printed)} printed of {len(c.sent)} sent"
    return epochs


def tiled(ranges):
    """Ranges that follow each other without a hole, in order."""
    for (_, last), (first, _) in zip(ranges, ranges[1:]):
        assert first == last + 1, f"{first} follows {last}"


def numbers(ranges):
    return {n for first, last in ranges for n in range(first, last + 1)}


def same_book(exchange, symbol, last, checksum):
    assert f"{exchange.checksums[symbol, int(last)]:08x}" == checksum, f"the book of {symbol} is not the exchange's at {last}"


def said_goodbye(exchange, code=1001):
    last = exchange.connections[-1]
    assert last.code == code, f"the last connection ended with {last.code}"


@check
async def subscribe(world):
    """A refusal with Retry-After, a subscription that is never confirmed, messages across the confirmation, ends by the server."""
    async with world.exchange(refuse=1, unconfirmed=1, max_age=1.2) as x:
        async with world.start("subscribe", "-url", x.url(), "-connect-timeout", "1s", "-n", "80") as p:
            await p.end()
        await ended(x)
        assert len(p.out) == 80
        epochs = as_sent(x, p.out)
        assert not x.connections[0].subscribed and x.connections[0].by_us is None, "the unconfirmed one was not given up"
        assert x.connections[0].began - x.refused[0] >= 1, "Retry-After was not obeyed"
        assert 1 not in epochs and len(epochs) >= 2
        said_goodbye(x)
        return f"{len(p.out)} messages as sent, in {len(epochs)} sessions, after 1 refusal and 1 silence"


@check
async def subscribe_busy(world):
    """An error that passes, too many requests, is tried again."""
    async with world.exchange(busy=2) as x:
        async with world.start("subscribe", "-url", x.url(), "-n", "20") as p:
            await p.end()
        await ended(x)
        assert len(p.logged("subscribe: too many requests")) >= 2 and not any(c.subscribed for c in x.connections[:2])
        assert list(as_sent(x, p.out)) == [3] and len(p.out) == 20
        said_goodbye(x)
        return f"{len(p.out)} messages as sent, after 2 answers that there were too many requests"


@check
async def subscribe_refused(world):
    """A subscription that is refused ends the program."""
    async with world.exchange() as x:
        async with world.start("subscribe", "-url", x.url(), "-stream", "btcusdt@nothing") as p:
            await p.end(1)
        await ended(x)
        assert p.logged("unknown stream btcusdt@nothing") and not p.out and len(x.connections) == 1
        return "exit status 1"


@check
async def token(world):
    """URLs that are good for one handshake."""
    async with world.exchange(tokens=True, refuse=1, retry_after=0, max_age=0.5) as x:
        tokens = x.url("token").replace("wss:", "https:")
        async with world.start("token", "-url", x.url(), "-tokens", tokens, "-n", "40") as p:
            await p.end()
        await ended(x)
        epochs = as_sent(x, p.out)
        assert len(p.out) == 40 and len(epochs) >= 2 and len(x.refused) == 1, f"{len(x.refused)} refusals"
        assert len(set(x.spent)) == len(x.connections) == len(x.tokens) - 1
        assert not [line for line in p.log for t in x.tokens if t in line], "a token is in the log"
        said_goodbye(x)
        return f"{len(p.out)} messages as sent, in {len(epochs)} sessions, each with a token of its own"


@check
async def textping(world):
    """A connection that is deaf to pings is replaced; neither side's pings reach the handler, and both are answered."""
    async with world.exchange(need_ping=4, ping=0.4, deaf=1) as x:
        async with world.start("textping", "-url", x.url(), "-every", "300ms", "-timeout", "1s", "-n", "200") as p:
            await p.end()
        await ended(x)
        as_sent(x, p.out)
        assert len(p.out) == 200 and p.logged("no answer to a sign of life"), "the deaf one was not replaced"
        assert len(x.connections) >= 2 and not any(c.by_us for c in x.connections), [c.by_us for c in x.connections]
        assert x.connections[-1].pings and x.connections[-1].pongs
        said_goodbye(x)
        return f"{len(p.out)} messages as sent, {sum(c.pings for c in x.connections)} pings, {sum(c.pongs for c in x.connections)} pongs"


@check
async def watch(world):
    """A subscription that is confirmed and silent, beside one that is not."""
    async with world.exchange(silent=1) as x:
        async with world.start("watch", "-url", x.url(), "-silence", "1500ms", "-n", "200") as p:
            await p.end()
        await ended(x)
        epochs = as_sent(x, p.out)
        lost = p.logged("feed: lost")
        assert len(p.out) == 200 and len(lost) == 1 and "no message for a watched key" in lost[0] and "btcusdt" in lost[0], lost
        assert not any("btcusdt" in m for m in epochs[1]) and any("btcusdt" in m for m in epochs[2])
        return f"{len(p.out)} messages as sent, in {len(epochs)} sessions"


@check
async def gzip(world):
    """Messages and pings that are gzip members."""
    async with world.exchange(gzip=True, ping=0.3) as x:
        async with world.start("gzip", "-url", x.url(), "-n", "150") as p:
            await p.end()
        await ended(x)
        as_sent(x, p.out)
        assert len(p.out) == 150 and len(x.connections) == 1 and x.connections[0].pongs
        said_goodbye(x)
        return f"{len(p.out)} messages as sent, {x.connections[0].pongs} pongs"


@check
async def book(world):
    """A book whose updates are lost now and then."""
    async with world.exchange(both=100, busy=1) as x:
        async with world.start("book", "-url", x.url(), "-n", "200") as p:
            await p.end()
        await ended(x)
        again = [re.fullmatch(r"again: (\d+) to (\d+) are missing", line) for line in p.out[:-2]]
        assert all(again) and len(again) == len(x.connections) - 2 >= 2, p.out  # the first was told that there is too much
        for m in again:
            first, last = int(m[1]), int(m[2])
            assert x.missing("btcusdt@depth", first, last)[0] == numbers([(first, last)]), f"{first} to {last} are not missing"
        _, symbol, last, checksum = p.out[-1].split()
        same_book(x, symbol, last, checksum)
        said_goodbye(x)
        return f"the book is the exchange's at {last}, after {len(again)} losses"


@check
async def rotation(world):
    """A server that ends connections at an age which they never reach."""
    async with world.exchange(max_age=5) as x:
        async with world.start("rotation", "-url", x.url(), "-max-age", "1500ms", "-duration", "6s") as p:
            await p.end()
        await ended(x)
        got = [int(line) for line in p.out]
        assert got == list(range(got[0], got[-1] + 1)), "a trade is missing"
        assert got[0] == int(re.search(r'"t":(\d+)', x.connections[0].sent[0])[1])
        assert p.logged(" 0 are missing") and not p.logged("feed: lost")
        assert re.search(r" [1-9][0-9]* messages came twice", p.log[-1]), "no two connections brought the same: they did not overlap"
        codes = [c.code for c in x.connections]
        if codes[-1] == 1006:  # the end came while this one was being made
            codes.pop()
        assert codes == [1000] * (len(codes) - 1) + [1001] and len(codes) >= 4, codes
        assert x.most_open["stream"] == 2, x.most_open
        return f"{len(got)} trades without a hole, over {len(codes)} connections, 2 at once at most"


@check
async def lines(world):
    """Two lines that lose messages, sometimes the same."""
    async with world.exchange(loss=0.05, both=40) as x:
        urls = "-url", x.url("a"), "-url", x.url("b")
        async with world.start("lines", *urls, "-window", "500ms", "-duration", "5s") as p:
            await p.end()
        await ended(x)
        gaps = [tuple(map(int, line.split()[1:])) for line in p.out if line.startswith("gap")]
        got = [tuple(map(int, line.split())) for line in p.out if not line.startswith("gap")]
        tiled([tuple(map(int, line.removeprefix("gap ").split())) for line in p.out])
        missing, _ = x.missing("btcusdt@depth", got[0][0], got[-1][1])
        assert numbers(gaps) == missing and gaps, f"gaps {sorted(numbers(gaps))}, missing {sorted(missing)}"
        lost = [len([e for e in x.events["btcusdt@depth"] if got[0][0] <= e.first and e.last <= got[-1][1] and x.loses(n, "btcusdt@depth", e.last)]) for n in "ab"]
        return f"{len(got)} updates in order, {lost[0]} and {lost[1]} lost by the lines, {len(missing)} numbers by both: as told"


@check
async def shutdown(world):
    """A signal: what was taken is written, and the server hears a goodbye."""
    for sig in signal.SIGINT, signal.SIGTERM:
        async with world.exchange() as x:
            file = f"{world.folder}/trades.{sig.name}"
            async with world.start("shutdown", "-url", x.url(), "-o", file) as p:
                await until(lambda: x.connections and len(x.connections[0].sent) > 50)
                await p.interrupt(sig)
            await ended(x)
            with open(file) as f:
                written = f.read().splitlines()
            assert len(written) > 30 and written == x.connections[0].sent[: len(written)]
            assert f"messages={len(written)} " in p.logged("feed: closed")[0], "not all that was delivered is written"
            said_goodbye(x)
    return f"{len(written)} messages delivered and written, goodbye with 1001"


@check
async def consumer(world):
    """Everything at once."""
    once = dict(refuse=1, busy=2, unconfirmed=1, silent=1)
    async with world.exchange(**once, loss=0.03, both=83, abort=2.3, max_age=3, need_ping=3) as x:
        flags = "-connect-timeout 1s -ping-every 400ms -max-age 2s -window 600ms -silence 1500ms -metrics 127.0.0.1:0".split()
        async with world.start("consumer", "-url", x.url("a"), "-url", x.url("b"), *flags) as p:

            def all_faults():
                spent = not any(getattr(x.faults, name) for name in once) and p.logged("no message for a watched key")
                gaps = re.findall(r"msg=gap stream=(\S+@depth) from=(\d+)", "\n".join(p.logged("msg=gap")))
                lost = any(x.begin(stream) and int(first) >= x.begin(stream) for stream, first in gaps)
                cut = any(c.by_us == "cut" for c in x.connections)
                return spent and lost and cut and {c.line for c in x.connections if c.code == 1000} == {"a", "b"}  # rotations

            await until(all_faults)
            x.faults.loss = x.faults.both = x.faults.abort = 0
            await until(lambda: {c.line for c in x.open() if c.streams} == {"a", "b"})
            values = await settled(x, p)
            last_open = x.open()
            await p.interrupt()
        await ended(x)
        check_metrics(x, values)
        books = [line.split() for line in p.out if line.startswith("book")]
        assert len(books) == 2
        for _, symbol, last, checksum, live, _ in books:
            assert live == "live=true", f"the book of {symbol} is not live"
            same_book(x, symbol, last, checksum)
        assert not p.logged("checksum") and not p.logged("follows"), "a gap was not told"
        gaps = {}
        for line in p.out:
            if line.startswith("gap"):
                _, stream, first, last = line.split()
                gaps.setdefault(stream, []).append((int(first), int(last)))
        told = 0
        for _, symbol, last, *_ in books:
            stream = f"{symbol}@depth"
            begin = x.begin(stream)
            surely, perhaps = x.missing(stream, begin, int(last))
            got = {n for n in numbers(gaps.get(stream, [])) if begin <= n <= int(last)}
            assert surely <= got <= perhaps, f"{stream}: gaps {sorted(got)}, missing {sorted(surely)}, perhaps {sorted(perhaps)}"
            told += len(got)
        assert told, "nothing was missing"
        reasons = [c.by_us for c in x.connections if c.by_us and c.subscribed]
        assert "cut" in reasons and not {"no ping", "too old"} & set(reasons), reasons
        assert all(re.search(r" rotations=[1-9]", line) for line in p.out if line.startswith("line")), p.out
        assert {c.line for c in last_open if c.code == 1001} == {"a", "b"}, [(c.line, c.code) for c in last_open]
        assert all(n <= 2 for n in x.most_open.values()), x.most_open
        return f"2 books are the exchange's, {told} numbers missing as told, {len(x.connections)} connections, {reasons.count('cut')} of them cut"


async def settled(x, p):
    """Waits until the consumer has told all gaps and its books are live, where nothing is lost any more; returns what it tells then. A book
    is begun by a snapshot, which can be ahead of the lines: that is over when updates bring it further, without another gap meanwhile."""
    values = await p.scrape()
    while True:
        gaps, last = values[GAPS], {symbol: b.last for symbol, b in x.books.items()}
        while not all(values.get(("consumer_book_live", s)) and values["consumer_book_last_update", s] > n for s, n in last.items()):
            values = await p.scrape()
        if values[GAPS] == gaps:
            return values


GAPS = "tickwire_arbiter_gaps_total", "market"


def check_metrics(x, values):
    """What the consumer has told Prometheus before its end is no more than the exchange has seen, and tells of every kind of fault."""

    def total(name, *labels):
        return sum(v for (n, *has), v in values.items() if n == f"tickwire_{name}" and set(labels) <= set(has))

    assert total("client_failed_attempts_total", "refused_4xx") == len(x.refused) == 1
    assert total("client_failed_attempts_total", "other") >= 2, "too many requests, twice"
    assert total("client_failed_attempts_total", "timeout") >= 1, "the unconfirmed one"
    assert total("conn_closed_total", "clock") >= 2, "the unconfirmed one, and the silent one"
    assert total("conn_closed_total", "network") >= 1, "those that were cut"
    assert total("conn_closed_total") + total("conn_open") <= len(x.connections)
    assert total("arbiter_gaps_total", "market") >= 1
    for line in "01":
        assert total("client_rotations_total", "market", line) >= 1 and total("arbiter_line_messages_total", line, "first") > 0


@check
async def consumer_refused(world):
    """A feed that cannot be had is exit status 1, and flags that make no sense are 2."""
    async with world.exchange() as x:
        async with world.start("consumer", "-url", x.url("a"), "-url", x.url("b"), "-symbols", "nosuch") as p:
            await p.end(1)
        assert len(p.logged("a line has ended")) == 2 and p.logged("unknown stream nosuch@trade")
    async with world.start("consumer") as p:
        await p.end(2)
    return "exit status 1, and 2"


# Where a page of an example runs in place of a browser: its own script, on a WebSocket of
# package ws. The steps are {"set": {id: value}}, {"submit": id} and {"until": [id,
# text]}: until an element, or a child of it, has that text.
PAGE = r"""
const vm = require("vm"), assert = require("assert"), WebSocket = require("ws")
const [address, steps] = process.argv.slice(1), url = new URL(address)
const element = () => ({ value: "", textContent: "", children: [], prepend(e) { this.children.unshift(e) } })
const elements = {}
class Socket extends WebSocket {
  constructor(address) { super(address, { origin: url.origin }) }
}
async function main() {
  const html = await (await fetch(url)).text()
  const document = {
    createElement: element,
    getElementById(id) {
      assert(html.includes(`id="${id}"`), `the page has no ${id}`)
      return elements[id] ??= element()
    },
  }
  vm.runInNewContext(html.match(/<script>([^]*)<\/script>/)[1], { document, location: url, WebSocket: Socket, encodeURIComponent })
  for (const step of JSON.parse(steps)) {
    for (const [id, value] of Object.entries(step.set ?? {})) document.getElementById(id).value = value
    if (step.submit) document.getElementById(step.submit).onsubmit({ preventDefault() {} })
    if (step.until) {
      const [id, text] = step.until, e = document.getElementById(id)
      while (e.textContent !== text && !e.children.some(c => c.textContent === text)) await new Promise(r => setTimeout(r, 10))
    }
  }
  process.exit()
}
main()
"""


def in_page(url, *steps):
    """Does the steps in the page of a server; a Program."""
    return Program("node", "-e", PAGE, url, json.dumps(steps))


async def goodbye(ws, code=1001):
    """Reads until the end, which is a Close frame with that code, and returns what came before it."""
    messages = []
    try:
        while True:
            messages.append(await ws.recv())
    except websockets.ConnectionClosed:
        assert ws.close_code == code, f"the server ended a connection with {ws.close_code}"
    return messages


async def by_another_name(url):
    """A server that browsers reach refuses to be called by a name that is not its own."""
    address = urllib.parse.urlsplit(url)
    try:
        async with websockets.connect(f"ws://rebound.example:{address.port}{address.path}", host=address.hostname, port=address.port):
            raise AssertionError("a name that is not the server's was taken")
    except websockets.InvalidStatusCode as e:
        assert e.status_code == 421, e.status_code


@check
async def echo(world):
    """Every kind of message, compressed and from the page; a page of another name."""
    async with world.serve("echo", "-deflate") as p:
        page = await p.url()
        url = page.replace("http:", "ws:") + "echo"
        async with websockets.connect(url) as ws:
            assert "permessage-deflate" in ws.response_headers["Sec-WebSocket-Extensions"]
            for message in "", "é" * 5000, b"\0\1", ["in ", "pieces"]:
                await ws.send(message)
                assert await ws.recv() == (message if isinstance(message, (str, bytes)) else "".join(message))
            await (await ws.ping("x"))
            hello = [{"until": ["state", "open"]}, {"set": {"text": "hello"}, "submit": "form"}, {"until": ["messages", "hello"]}]
            async with in_page(page, *hello) as browser:
                await browser.end()
            await by_another_name(url)
            await p.interrupt()
            await goodbye(ws)
    return "5 messages returned, 1 of them to the page; goodbye with 1001"


@check
async def chat(world):
    """Two clients and the page in one room."""
    async with world.serve("chat") as p:
        page = await p.url()
        url = page.replace("http:", "ws:") + "chat"
        async with websockets.connect(url + "?name=Ann") as ann:
            assert json.loads(await ann.recv()) == {"from": "Ann", "text": "is here", "in": 1}
            async with websockets.connect(url + "?name=Bob") as bob:
                for ws in ann, bob:
                    assert json.loads(await ws.recv()) == {"from": "Bob", "text": "is here", "in": 2}
                await bob.send('{"text":"hello","from":"Ann"}')  # a name is not the client's to choose
                for ws in ann, bob:
                    assert json.loads(await ws.recv()) == {"from": "Bob", "text": "hello"}
                await bob.send("{")
                assert "not understood" in json.loads(await bob.recv())["text"]
                await bob.send("x" * 5000)
                await goodbye(bob, 1009)
            assert json.loads(await ann.recv()) == {"from": "Bob", "text": "has left", "in": 1}
            enter = [{"set": {"name": "Eve"}, "submit": "enter"}, {"until": ["messages", "Eve: is here"]}, {"until": ["state", "2 in the room"]}]
            say = [{"set": {"text": "from a page"}, "submit": "form"}, {"until": ["messages", "Eve: from a page"]}]
            async with in_page(page, *enter, *say) as browser:
                await browser.end()
            told = [json.loads(await ann.recv()) for _ in range(3)]
            assert [(m["from"], m["text"]) for m in told] == [("Eve", "is here"), ("Eve", "from a page"), ("Eve", "has left")], told
            async with websockets.connect(url) as nameless:
                await goodbye(nameless, 1008)
            await by_another_name(url + "?name=Mallory")
            await p.interrupt()
            await goodbye(ann)
    return "3 in a room, 1 of them a page; goodbye with 1001"


@check
async def fanout(world):
    """Clients that read, and one that does not."""
    async with world.serve("fanout", "-every", "2ms", "-size", "10000", "-lag", "1000000") as p:
        url = await p.url()
        address = urllib.parse.urlsplit(url)
        async with websockets.connect(url) as a, websockets.connect(url) as b:
            readers = [asyncio.create_task(goodbye(ws)) for ws in (a, b)]
            with socket.socket() as slow:
                slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
                slow.connect((address.hostname, address.port))
                key = base64.b64encode(os.urandom(16)).decode()
                lines = f"GET / HTTP/1.1", f"Host: {address.netloc}", "Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13", f"Sec-WebSocket-Key: {key}"
                slow.sendall("\r\n".join([*lines, "", ""]).encode())
                await until(lambda: p.logged("left behind"))
            await p.interrupt()
            got = [[json.loads(m)["n"] for m in await r] for r in readers]
    sent, clients, too_slow = map(int, re.findall(r"\d+", p.out[-1]))
    assert (clients, too_slow) == (2, 1), p.out
    for numbers in got:
        assert numbers == list(range(numbers[0], sent + 1)), f"a message is missing, or the last of {sent} did not come"
    return f"{sent} messages, all of them to 2 clients; the one that does not read was ended"


@check
async def routers(world):
    """The same behind net/http, chi, gin and echo."""
    for router in "net/http", "chi", "gin", "echo":
        async with world.serve("routers", "-router", router) as p:
            base = await p.url()
            url = base.replace("http:", "ws:") + "rooms/"
            async with websockets.connect(url + "north") as a, websockets.connect(url + "south") as b:
                for i in range(100):
                    await a.send(f"a {i}")
                    await b.send(f"b {i}")
                    assert await a.recv() == f"north: a {i}", router
                    assert await b.recv() == f"south: b {i}", router
                for path, status in ("rooms/north", 426), ("nothing", 404):
                    try:
                        await asyncio.to_thread(urllib.request.urlopen, base + path)
                    except urllib.error.HTTPError as e:
                        assert e.code == status, f"{router}: {path} is {e.code}"
                await p.interrupt()
                for ws in a, b:
                    await goodbye(ws)
    return "4 routers, 2 rooms in each; goodbye with 1001"


def certificates(folder):
    """A root, a server and a client by it, and a client by another root; the files' names without their ends."""

    def openssl(name, subject, *more):
        command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "30", "-subj", f"/CN={subject}"]
        subprocess.run([*command, "-out", f"{folder}/{name}.pem", "-keyout", f"{folder}/{name}.key", *more], check=True, capture_output=True)

    def leaf(name, subject, root, use):
        openssl(name, subject, "-CA", f"{folder}/{root}.pem", "-CAkey", f"{folder}/{root}.key", "-addext", "basicConstraints=critical,CA:false",
                "-addext", f"extendedKeyUsage={use}", "-addext", "subjectAltName=IP:127.0.0.1")

    for root in "root", "foreign":
        openssl(root, root)
    leaf("server", "server", "root", "serverAuth")
    leaf("client", "trader-7", "root", "clientAuth")
    leaf("stranger", "trader-7", "foreign", "clientAuth")


@check
async def mutualtls(world):
    """A client with a certificate, one without, and one with another root's."""
    folder = f"{world.folder}/certificates"
    os.mkdir(folder)
    certificates(folder)
    own = lambda name: ("-cert", f"{folder}/{name}.pem", "-key", f"{folder}/{name}.key")
    program, root = f"{world.folder}/mutualtls", ("-ca", f"{folder}/root.pem")
    async with Program(program, "-serve", "-addr", "127.0.0.1:0", *own("server"), *root) as p:
        url = await p.url()
        async with Program(program, "-url", url, *own("client"), *root) as client:
            await client.end()
            assert client.out == ["hello trader-7"], client.out
        for flags in (), own("stranger"):
            async with Program(program, "-url", url, *flags, *root) as client:
                await client.end(1)
                assert not client.out, client.out
        await until(lambda: len(p.logged("refused")) == 2)
        context = ssl.create_default_context(cafile=f"{folder}/root.pem")
        context.load_cert_chain(f"{folder}/client.pem", f"{folder}/client.key")
        async with websockets.connect(url, ssl=context) as ws:
            assert await ws.recv() == "hello trader-7"
            await ws.send("again")
            assert await ws.recv() == "again"
            await p.interrupt()
            await goodbye(ws)
    return "2 clients known by their certificates, 2 refused"


ANSWER = re.compile(r'"id": 1}$')  # to a subscription


class TokenProxy:
    """A proxy that wants a token, as a context manager, and counts its tunnels."""

    def __init__(self, token):
        self.token, self.tunnels, self.refused = token, 0, 0

    async def __aenter__(self):
        self.server = await asyncio.start_server(self.serve, "127.0.0.1", 0)
        self.port = self.server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_):
        self.server.close()

    async def serve(self, reader, writer):
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        if f"\r\nProxy-Authorization: Bearer {self.token}\r\n" not in head:
            self.refused += 1
            writer.write(b"HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Bearer\r\nContent-Length: 0\r\n\r\n")
            return writer.close()
        host, port = re.match(r"CONNECT (\S+):(\d+) ", head).groups()
        up_reader, up_writer = await asyncio.open_connection(host, int(port))
        self.tunnels += 1
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        await asyncio.gather(self.pass_on(reader, up_writer), self.pass_on(up_reader, writer), return_exceptions=True)

    async def pass_on(self, reader, writer):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
        writer.close()


async def listening(port):
    """Waits until somebody listens there."""
    while True:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            return writer.close()
        except ConnectionRefusedError:
            await asyncio.sleep(0.02)


@check
async def proxy(world):
    """tinyproxy with a password, right and wrong; a proxy that wants a token that changes."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    config = f"{world.folder}/tinyproxy.conf"
    with open(config, "w") as f:
        f.write(f"Port {port}\nListen 127.0.0.1\nTimeout 60\nMaxClients 20\nLogLevel Connect\nBasicAuth user secret\n")
    async with world.exchange(max_age=0.7) as x, Program("tinyproxy", "-d", "-c", config) as tiny:
        await listening(port)
        async with world.start("proxy", "-url", x.url(), "-proxy", f"http://user:secret@127.0.0.1:{port}", "-n", "40") as p:
            await p.end()
            assert len(p.out) == 40
            epochs = as_sent(x, [line for line in p.out if not ANSWER.search(line)])
            assert len(epochs) >= 2
        begun = len(x.connections)
        async with world.start("proxy", "-url", x.url(), "-proxy", f"http://user:wrong@127.0.0.1:{port}") as p:
            await p.end(1)
            assert p.logged("the proxy did not open a tunnel") and not [line for line in p.log if "wrong" in line or "secret" in line], p.log
        assert len(x.connections) == begun
        connects = [line for line in tiny.out + tiny.log if f"CONNECT 127.0.0.1:{x.port}" in line]
        assert len(connects) >= begun, f"{len(connects)} tunnels of tinyproxy for {begun} connections"
    token = f"{world.folder}/token.txt"
    async with world.exchange() as x, TokenProxy("first") as tunnel:
        with open(token, "w") as f:
            f.write("first\n")
        async with world.start("proxy", "-url", x.url(), "-proxy", f"http://127.0.0.1:{tunnel.port}", "-token", token) as p:
            await until(lambda: len(p.out) > 10)
            tunnel.token = "second"
            with open(token, "w") as f:
                f.write("second\n")
            await x.connections[0].ws.close(1012)
            await until(lambda: any(line.startswith("2 ") for line in p.out))
            await p.interrupt()
        assert (tunnel.tunnels, tunnel.refused) == (2, 0), (tunnel.tunnels, tunnel.refused)
        said_goodbye(x)
    return f"{begun} connections through tinyproxy, 2 with a token each of their own"


@check
async def recording(world):
    """What was recorded over several connections is read again: all that was sent on each."""
    file = f"{world.folder}/feed.rec"
    async with world.exchange(max_age=0.7) as x:
        async with world.start("recording", "-url", x.url(), "-o", file, "-n", "60") as p:
            await p.end()
            assert p.out == ["60 messages recorded, 0 bytes dropped"], p.out
        await ended(x)
        async with Program(f"{world.folder}/recording", "-play", file) as again:
            await again.end()
        played = {}
        last = 0.0
        for line in again.out:
            number, at, data = line.split(" ", 2)
            assert float(at) >= last, "time goes back"
            last = float(at)
            if not ANSWER.search(data):
                played.setdefault(int(number), []).append(data)
        assert len(played) >= 2 and sum(map(len, played.values())) + len(played) >= 60
        for number, data in played.items():
            sent = x.connections[number - 1].sent
            assert data == sent[: len(data)], f"connection {number}: something else was recorded than sent"
            assert number == max(played) or data == sent, f"connection {number}: not all was recorded"
    with open(file, "r+b") as f:  # a file that was cut tells so, after what is whole
        f.truncate(os.path.getsize(file) - 10)
    async with Program(f"{world.folder}/recording", "-play", file) as cut:
        await cut.end(1)
        assert cut.out == again.out[: len(cut.out)] and cut.log, "a file that was cut"
    return f"{len(again.out)} messages of {len(played)} connections, as sent"


@check
async def prometheus(world):
    """The metrics of a feed that is passed on are those that both ends have seen."""
    async with world.exchange() as x:
        async with world.start("prometheus", "-url", x.url(), "-addr", "127.0.0.1:0") as p:
            url = await p.url()
            async with websockets.connect(url) as a, websockets.connect(url) as b:
                for ws in a, b:
                    got = [m for m in [await ws.recv() for _ in range(20)] if not ANSWER.search(m)]
                    at = x.connections[0].sent.index(got[0])
                    assert got == x.connections[0].sent[at : at + len(got)], "something else came than was sent"
                values = await p.scrape()
                total = lambda name, *labels: sum(v for (n, *has), v in values.items() if n == f"tickwire_{name}" and set(labels) <= set(has))
                assert 20 <= total("client_messages_delivered_total", "feed") <= len(x.connections[0].sent) + 1
                assert total("client_up", "feed") == 1
                assert total("conn_open", "viewers") == 2, values
                assert total("group_connections", "viewers") == 2, values
                assert total("conn_messages_total", "viewers") >= 0
                await p.interrupt()
                for ws in a, b:
                    await goodbye(ws)
        await ended(x)
        said_goodbye(x)
    return f"{int(total('client_messages_delivered_total'))} messages passed on to 2 clients, {len(values)} values"


async def run(f, world, turn):
    async with turn:
        began = time.monotonic()
        try:
            said = await asyncio.wait_for(f(world), LIMIT)
        except Exception as e:
            lines = [frame.lineno for frame in traceback.extract_tb(e.__traceback__) if frame.filename == __file__]
            print(f"FAIL {f.__name__}, line {lines[-1]}: {type(e).__name__} {e}", flush=True)
        else:
            print(f"ok   {f.__name__} ({time.monotonic() - began:.1f} s): {said}", flush=True)
            return True
        return False


async def main(names):
    chosen = [f for f in checks if not names or f.__name__ in names]
    if len(chosen) < len(names):
        sys.exit(f"there are {' '.join(f.__name__ for f in checks)}")
    with tempfile.TemporaryDirectory() as folder:
        here = os.path.dirname(os.path.abspath(__file__))
        subprocess.run(["go", "build", "-o", folder + "/", "./..."], cwd=here, env={**os.environ, "GOWORK": "off"}, check=True)
        world, turn = World(folder), asyncio.Semaphore(AT_ONCE)
        # The longest goes first.
        chosen.sort(key=lambda f: f is not consumer)
        done = await asyncio.gather(*(run(f, world, turn) for f in chosen))
    sys.exit(not all(done))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1:]))
