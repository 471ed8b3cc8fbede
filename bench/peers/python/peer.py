"""Libraries of Python as clients of the benchmarks. The Go package peers says what the arguments mean and what is printed."""

import asyncio
import importlib.metadata
import json
import resource
import ssl
import sys
import time


def cpu():
    """Returns the CPU time of this process in nanoseconds, as getrusage tells it."""
    u = resource.getrusage(resource.RUSAGE_SELF)
    return int((u.ru_utime + u.ru_stime) * 1e9)


def trusting():
    """Returns the TLS side of a client that takes any certificate: the server's is made anew for each run."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


class Turn:
    """What is measured: messages are taken one by one, by the functions that take returns."""

    def __init__(self, options):
        self.options = options
        self.bytes = self.sum = self.messages = self.cpu = self.wall = 0
        self.left = options["warm"]
        self.measuring = False
        self.times = None

    def begin(self):
        self.measuring = True
        self.wall_before = time.perf_counter_ns()
        self.cpu_before = cpu()

    def end(self):
        self.cpu = cpu() - self.cpu_before
        self.wall = time.perf_counter_ns() - self.wall_before

    def chunk(self):
        """Is called when all that were left have come. It returns how many to read before it is called again; 0 to end."""
        o = self.options
        if not self.measuring:
            self.begin()
            return o["chunk"]
        self.messages += o["chunk"]
        if cpu() - self.cpu_before >= o["cpu"] or self.messages + o["chunk"] > o["messages"]:
            self.end()
            return 0
        return o["chunk"]

    def text(self):
        return '{"x":"' + "x" * (self.options["size"] - 8) + '"}'

    def line(self, library):
        return json.dumps({
            "version": importlib.metadata.version(library), "messages": self.messages, "bytes": self.bytes, "sum": self.sum,
            "cpu_ns": self.cpu, "wall_ns": self.wall, **({"times_ns": self.times} if self.times is not None else {}),
        })


def took(turn, sent):
    """Takes a round trip. It returns false when it was the last one."""
    if turn.measuring:
        turn.times.append(time.perf_counter_ns() - sent)
        turn.messages += 1
        if turn.messages == turn.options["messages"]:
            turn.end()
            return False
    else:
        turn.left -= 1
        if turn.left <= 0:
            turn.begin()
    return True


async def picows(role, url, turn):
    from picows import WSListener, WSMsgType, ws_connect

    over = asyncio.get_running_loop().create_future()

    class Feed(WSListener):
        def on_ws_frame(self, transport, frame):
            if over.done():
                return
            # The payload is looked at in place; the check of UTF-8, which is the
            # caller's, makes the text.
            payload = frame.get_payload_as_memoryview()
            str(payload, "utf-8")
            n = len(payload)
            turn.bytes += n
            turn.sum += payload[0] + payload[n - 1]
            turn.left -= 1
            if turn.left <= 0:
                turn.left = turn.chunk()
                if turn.left == 0:
                    over.set_result(None)

    class Trips(WSListener):
        def on_ws_connected(self, transport):
            self.text = turn.text().encode()
            turn.times = []
            self.sent = time.perf_counter_ns()
            transport.send(WSMsgType.TEXT, self.text)

        def on_ws_frame(self, transport, frame):
            if len(str(frame.get_payload_as_memoryview(), "utf-8")) != len(self.text):
                over.set_exception(ValueError("not an echo"))
            elif not took(turn, self.sent):
                over.set_result(None)
            else:
                self.sent = time.perf_counter_ns()
                transport.send(WSMsgType.TEXT, self.text)

    listener = Feed if role == "feed" else Trips
    await ws_connect(listener, url, ssl_context=trusting() if url.startswith("wss") else None)
    await over


async def websockets(role, url, turn):
    from websockets.asyncio.client import connect

    async with connect(url, compression=None, ssl=trusting() if url.startswith("wss") else None, ping_interval=None, close_timeout=0.1, proxy=None) as ws:
        if role == "feed":
            while turn.left > 0:
                for _ in range(turn.left):
                    # decode=True is the default: the library makes a text, and checks it
                    # with that.
                    text = await ws.recv()
                    turn.bytes += len(text)
                    turn.sum += ord(text[0]) + ord(text[-1])
                turn.left = turn.chunk()
            finish(turn, "websockets")
        text = turn.text()
        turn.times = []
        while True:
            sent = time.perf_counter_ns()
            await ws.send(text)
            if len(await ws.recv()) != len(text):
                raise ValueError("not an echo")
            if not took(turn, sent):
                finish(turn, "websockets")


def websocket_client(role, url, turn):
    import socket

    import websocket

    ws = websocket.create_connection(
        url, sslopt={"cert_reqs": ssl.CERT_NONE, "check_hostname": False}, sockopt=((socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),))
    if role == "feed":
        while turn.left > 0:
            for _ in range(turn.left):
                text = ws.recv()
                turn.bytes += len(text)
                turn.sum += ord(text[0]) + ord(text[-1])
            turn.left = turn.chunk()
        return
    text = turn.text()
    turn.times = []
    while True:
        sent = time.perf_counter_ns()
        ws.send(text)
        if len(ws.recv()) != len(text):
            raise ValueError("not an echo")
        if not took(turn, sent):
            return


def finish(turn, library):
    """Prints what was measured and ends: a close handshake would read the feed to its end."""
    print(turn.line(library), flush=True)
    import os

    os._exit(0)


def main():
    library, role, url, *rest = sys.argv[1:]
    turn = Turn({k: int(v) for k, v in (s.split("=") for s in rest)})
    if library == "websocket-client":
        websocket_client(role, url, turn)
    else:
        import uvloop

        uvloop.run({"picows": picows, "websockets": websockets}[library](role, url, turn))
    finish(turn, library)


main()
