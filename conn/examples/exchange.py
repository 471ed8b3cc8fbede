#!/usr/bin/python3
"""An exchange to try the examples against: trades and order books over wss, with the faults of real ones.

    python3 exchange.py                      prints the flags that the examples need, and serves until Ctrl-C
    python3 exchange.py -loss 0.01 -max_age 10

It needs Python's websockets (Debian: python3-websockets) and the openssl command. Every path is a line of its own; all lines
bring the same feed. What a client sends, and what it gets:

    {"method":"SUBSCRIBE","params":["btcusdt@trade","btcusdt@depth"],"id":1}    {"result":null,"id":1}, some messages later
    {"method":"SNAPSHOT","params":["btcusdt"],"id":2}                           {"result":{"lastUpdateId":…,"bids":[…],…},"id":2}
    ping                                                                        pong
    {"pong":1700000000000}                                                      (asked for by {"ping":1700000000000})

A request that cannot be done gets {"error":{"code":…,"msg":…},"id":…}: 1 it is not understood, 2 an unknown stream or symbol, 3 too many
requests, which passes. GET /token gets a token for one handshake, which has it in its query: ?token=…

Trades are numbered by t. Updates of a book have the numbers U..u, and c, the CRC-32 of the whole book after them.
"""

import argparse
import asyncio
import collections
import dataclasses
import gzip
import http
import json
import random
import secrets
import signal
import ssl
import subprocess
import tempfile
import time
import zlib

import websockets

SYMBOLS = ("btcusdt", "ethusdt")
TICK = 0.01  # seconds from one look at the market to the next
UNSURE = 1.0  # seconds before the end of a connection in which what was sent may not have arrived
PATIENCE = 2.0  # seconds for the answer to a ping


@dataclasses.dataclass
class Faults:
    """What goes wrong. Zero is nothing."""

    seed: int = 1
    loss: float = 0  # part of the messages that a line loses, each line others
    both: int = 0  # every message of this number is lost by all lines
    busy: int = 0  # so many requests are too many
    unconfirmed: int = 0  # after those, so many subscriptions are never confirmed
    silent: int = 0  # after those, so many are confirmed and bring nothing
    refuse: int = 0  # so many handshakes get status
    status: int = 429
    tokens: bool = False  # a handshake without a token of its own gets 403
    retry_after: int = 1  # seconds that a refusal asks to wait
    max_age: float = 0  # seconds after which a connection is closed with 1001
    abort: float = 0  # seconds from one connection that is cut without a goodbye to the next
    gzip: bool = False  # messages are gzip members in binary frames
    ping: float = 0  # seconds from one {"ping":…} to the next; who does not answer in time is closed with 1008
    need_ping: float = 0  # seconds without a ping of the client's after which it is closed with 1008
    deaf: int = 0  # so many connections get no pong


class Book:
    """The order book of a symbol. Every change has a number."""

    def __init__(self, rng):
        self.rng, self.last, self.mid = rng, 0, 5000
        self.sides = {"b": {}, "a": {}}
        for _ in range(60):
            self.change()

    def change(self):
        """Makes a change, and returns it as (side, price, quantity). A quantity of 0 takes the price out."""
        side = self.rng.choice("ba")
        sign = -1 if side == "b" else 1
        price, quantity = self.mid + sign * self.rng.randint(1, 30), self.rng.randint(1, 99999)
        draw = self.rng.random()
        if draw < 0.05:  # the market moves into this side
            price = self.mid = self.mid + sign
        if draw < 0.3:
            quantity = 0
            self.sides[side].pop(price, None)
        else:
            self.sides[side][price] = quantity
        self.last += 1
        return side, price, quantity

    def levels(self, side):
        """The levels of a side, the best first, as they are sent."""
        return [level(p, q) for p, q in sorted(self.sides[side].items(), reverse=side == "b")]

    def checksum(self):
        return zlib.crc32("".join(f"{p}:{q}|" for side in "ba" for p, q in self.levels(side)).encode())


def level(price, quantity):
    return [f"{price / 100:.2f}", f"{quantity / 1000:.3f}"]


@dataclasses.dataclass(eq=False)
class Event:
    """A message of a stream, and the connections that got it."""

    first: int
    last: int
    at: float
    sure: set = dataclasses.field(default_factory=set)
    unsure: set = dataclasses.field(default_factory=set)


class Connection:
    def __init__(self, exchange, ws, line):
        self.exchange, self.ws, self.line = exchange, ws, line
        self.queue, self.streams, self.recent = asyncio.Queue(), set(), collections.deque()
        self.sent = []  # of its streams
        self.began = self.pinged = time.monotonic()
        self.deaf = exchange.spend("deaf")
        self.unanswered = None  # since when a ping of ours is
        self.gone = None  # when nothing could be sent any more: before ended, which waits for the transport
        self.ended = self.by_us = None  # when; why
        self.code = None  # the client's
        self.subscribed = False  # and to be confirmed
        self.confirmed = False
        self.pings = self.pongs = 0

    def send(self, text):
        self.queue.put_nowait(text)

    def answer(self, id, **fields):
        self.send(json.dumps({**fields, "id": id}))

    def close(self, code, reason):
        """Says goodbye after what is queued."""
        if not self.by_us:
            self.by_us = reason
            self.queue.put_nowait((code, reason))

    def abort(self):
        self.by_us = self.by_us or "cut"
        self.ws.transport.abort()

    async def run(self):
        tasks = [asyncio.create_task(f()) for f in (self.sender, self.clocks)]
        try:
            async for text in self.ws:
                self.receive(text)
        except websockets.ConnectionClosed:
            pass
        finally:
            for task in tasks:
                task.cancel()
            self.ended, self.code = time.monotonic(), self.ws.close_code
            self.gone = self.gone or self.ended

    async def sender(self):
        while True:
            item = await self.queue.get()
            try:
                if isinstance(item, tuple):
                    await self.ws.close(*item)
                else:
                    await self.ws.send(gzip.compress(item.encode(), 1) if self.exchange.faults.gzip else item)
            except (websockets.ConnectionClosed, ConnectionError):
                self.gone = time.monotonic()
                return

    async def clocks(self):
        f, asked = self.exchange.faults, self.began
        while True:
            await asyncio.sleep(0.05)
            now = time.monotonic()
            if f.max_age and now - self.began > f.max_age:
                self.close(1001, "too old")
            if f.need_ping and now - self.pinged > f.need_ping:
                self.close(1008, "no ping")
            if f.ping and now - asked > f.ping:
                if self.unanswered and now - self.unanswered > PATIENCE:
                    self.close(1008, "no pong")
                self.unanswered, asked = self.unanswered or now, now
                self.send(json.dumps({"ping": time.time_ns() // 1_000_000}))

    def receive(self, text):
        if text == "ping":
            self.pinged, self.pings = time.monotonic(), self.pings + 1
            if not self.deaf:
                self.send("pong")
            return
        message = json.loads(text)
        if "pong" in message:
            self.unanswered, self.pongs = None, self.pongs + 1
        elif message["method"] not in ("SUBSCRIBE", "SNAPSHOT"):
            self.refuse(message, 1, f"unknown method {message['method']}")
        elif self.exchange.spend("busy"):
            self.refuse(message, 3, "too many requests")
        elif message["method"] == "SUBSCRIBE":
            self.subscribe(message)
        else:
            self.snapshot(message)

    def refuse(self, message, code, why):
        self.answer(message["id"], error={"code": code, "msg": why})

    def snapshot(self, message):
        symbol = message["params"][0]
        book = self.exchange.books.get(symbol)
        if not book:
            return self.refuse(message, 2, f"unknown symbol {symbol}")
        snapshot = {"symbol": symbol, "lastUpdateId": book.last, "bids": book.levels("b"), "asks": book.levels("a")}
        later(0.05, lambda: self.answer(message["id"], result=snapshot))

    def subscribe(self, message):
        unknown = [s for s in message["params"] if s not in self.exchange.events]
        if unknown:
            self.refuse(message, 2, f"unknown stream {unknown[0]}")
        elif not self.exchange.spend("unconfirmed"):
            if not self.exchange.spend("silent"):
                self.streams.update(message["params"])
            self.subscribed = True
            later(0.05, lambda: self.confirm(message))  # messages cross it

    def confirm(self, message):
        self.confirmed = True
        self.answer(message["id"], result=None)


def later(seconds, f):
    asyncio.get_running_loop().call_later(seconds, f)


class Exchange:
    """An exchange on a port of its own, as a context manager."""

    def __init__(self, certificate, port=0, **faults):
        self.certificate, self.port, self.faults = certificate, port, Faults(**faults)
        self.rng = random.Random(self.faults.seed)
        self.books = {s: Book(random.Random(f"{self.faults.seed} {s}")) for s in SYMBOLS}
        self.events = {f"{s}@{kind}": [] for s in SYMBOLS for kind in ("trade", "depth")}
        self.checksums = {}  # by symbol and number
        self.connections, self.refused, self.most_open = [], [], {}
        self.tokens, self.spent = [], []  # that were given, and that a handshake had

    async def __aenter__(self):
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(*self.certificate)
        self.server = await websockets.serve(
            self.serve, "127.0.0.1", self.port, ssl=tls, process_request=self.request, close_timeout=2
        )
        self.port = self.server.sockets[0].getsockname()[1]
        self.market = asyncio.create_task(self.run())
        return self

    async def __aexit__(self, *_):
        self.market.cancel()
        self.server.close()
        await self.server.wait_closed()

    def url(self, line="stream"):
        return f"wss://127.0.0.1:{self.port}/{line}"

    def spend(self, fault):
        """Whether a fault that happens a number of times happens now."""
        left = getattr(self.faults, fault)
        setattr(self.faults, fault, max(left - 1, 0))
        return left > 0

    def open(self, line=None):
        return [c for c in self.connections if c.ended is None and line in (None, c.line)]

    async def request(self, connection, request):  # or, in versions before 14, path and headers
        old = isinstance(connection, str)
        status, text, headers = self.judge(connection if old else request.path)
        if not status:
            return None
        if old:
            return status, headers, text.encode()
        response = connection.respond(status, text)
        response.headers.update(headers)
        return response

    def judge(self, path):
        """The answer to a request as status, text and headers; without a status it becomes a connection."""
        path, _, query = path.partition("?")
        if path == "/token":
            self.tokens.append(secrets.token_hex(16))
            return http.HTTPStatus.OK, self.tokens[-1], {}
        if self.spend("refuse"):
            self.refused.append(time.monotonic())
            return http.HTTPStatus(self.faults.status), "not now\n", {"Retry-After": str(self.faults.retry_after)}
        if self.faults.tokens:
            token = query.removeprefix("token=")
            if token not in self.tokens or token in self.spent:
                self.refused.append(time.monotonic())
                return http.HTTPStatus.FORBIDDEN, "a token that is unknown or spent\n", {}
            self.spent.append(token)
        return None, "", {}

    async def serve(self, ws, *_):
        path = ws.request.path if hasattr(ws, "request") else ws.path
        c = Connection(self, ws, path.partition("?")[0].lstrip("/"))
        self.connections.append(c)
        self.most_open[c.line] = max(self.most_open.get(c.line, 0), len(self.open(c.line)))
        await c.run()
        for event in c.recent:
            if c.by_us in (None, "cut") and c.gone - event.at < UNSURE:
                event.sure.discard(c)
                event.unsure.add(c)
        c.recent.clear()

    async def run(self):
        pending, trades = {s: [] for s in SYMBOLS}, dict.fromkeys(SYMBOLS, 0)
        cut = time.monotonic()
        while True:
            await asyncio.sleep(TICK)
            for symbol, book in self.books.items():
                pending[symbol] += [book.change() for _ in range(self.rng.randint(0, 2))]
                if pending[symbol] and self.rng.random() < 0.5:
                    self.publish_depth(symbol, book, pending[symbol])
                    pending[symbol] = []
                if self.rng.random() < 0.5:
                    trades[symbol] += 1
                    price, quantity = level(book.mid, self.rng.randint(1, 999))
                    self.publish(f"{symbol}@trade", trades[symbol], trades[symbol], {"e": "trade", "t": trades[symbol], "p": price, "q": quantity})
            if self.faults.abort and time.monotonic() - cut > self.faults.abort:
                cut = time.monotonic()
                for c in [c for c in self.open() if c.streams][:1]:
                    c.abort()

    def publish_depth(self, symbol, book, changes):
        first, checksum = book.last - len(changes) + 1, book.checksum()
        self.checksums[symbol, book.last] = checksum
        latest = {(side, price): quantity for side, price, quantity in changes}
        sides = {side: [level(p, q) for (s, p), q in latest.items() if s == side] for side in "ba"}
        self.publish(f"{symbol}@depth", first, book.last, {"e": "depthUpdate", "U": first, "u": book.last, **sides, "c": checksum})

    def publish(self, stream, first, last, data):
        data = {**data, "E": time.time_ns() // 1_000_000, "s": stream.split("@")[0].upper()}
        text = json.dumps({"stream": stream, "data": data}, separators=(",", ":"))
        now = time.monotonic()
        event = Event(first, last, now)
        self.events[stream].append(event)
        if self.faults.both and len(self.events[stream]) % self.faults.both == 0:
            return
        for c in self.open():
            if stream in c.streams and not c.by_us and not c.gone and not self.loses(c.line, stream, last):
                # What comes before the confirmation is not lost, but waits for it: perhaps for too long.
                (event.sure if c.confirmed else event.unsure).add(c)
                c.recent.append(event)
                while now - c.recent[0].at > UNSURE:
                    c.recent.popleft()
                c.sent.append(text)
                c.send(text)

    def loses(self, line, stream, number):
        return self.faults.loss and random.Random(f"{self.faults.seed} {line} {stream} {number}").random() < self.faults.loss

    def begin(self, stream):
        """The first number that a connection has surely brought; none before there is one."""
        now = time.monotonic()
        return next((e.first for e in self.events[stream] if e.sure and now - e.at > UNSURE), None)

    def missing(self, stream, first, last):
        """The numbers from first to last that no connection can have brought, and those that perhaps none has brought."""
        surely, perhaps = set(), set()
        for event in self.events[stream]:
            if first <= event.first and event.last <= last and not event.sure:
                perhaps.update(range(event.first, event.last + 1))
                if not event.unsure:
                    surely.update(range(event.first, event.last + 1))
        return surely, perhaps


def make_certificate(folder):
    """Makes a certificate for 127.0.0.1 that is its own root, and returns the names of its file and of its key's."""
    files = f"{folder}/exchange.pem", f"{folder}/exchange.key"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "30"]
        + ["-subj", "/CN=exchange.py", "-addext", "subjectAltName=IP:127.0.0.1", "-out", files[0], "-keyout", files[1]],
        check=True, capture_output=True,
    )
    return files


async def main():
    parser = argparse.ArgumentParser(description="An exchange to try the examples against.", allow_abbrev=False)
    parser.add_argument("-port", type=int, default=0)
    for f in dataclasses.fields(Faults):
        flag = {"action": "store_true"} if f.type is bool else {"type": f.type, "default": f.default}
        parser.add_argument(f"-{f.name}", **flag)
    stop = asyncio.Event()
    for s in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(s, stop.set)
    with tempfile.TemporaryDirectory() as folder:
        certificate = make_certificate(folder)
        async with Exchange(certificate, **vars(parser.parse_args())) as exchange:
            print(f"-url {exchange.url()} -ca {certificate[0]}", flush=True)
            await stop.wait()


if __name__ == "__main__":
    asyncio.run(main())
