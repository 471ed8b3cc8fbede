"""Libraries of Python as peers of conn's TestPeerInterop, which says what is read and printed: peer.py LIBRARY FOLDER."""

import asyncio
import hashlib
import ssl
import sys

library, folder = sys.argv[1:]
LARGEST = 1 << 30


def say(*words):
    print(*words, flush=True)


def tell(message):
    kind, data = ("text", message.encode()) if isinstance(message, str) else ("binary", message)
    say(kind, len(data), hashlib.sha256(data).hexdigest())


def asked_to_close(message):
    """The code and the reason if the message asks for them; 1005 is none."""
    if isinstance(message, str) and message.startswith("close "):
        _, code, reason = message.split(" ", 2)
        return int(code), reason
    return None


def server_tls(scheme):
    if scheme == "ws":
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(f"{folder}/cert.pem", f"{folder}/key.pem")
    return context


def client_tls(scheme):
    return ssl.create_default_context(cafile=f"{folder}/ca.pem") if scheme == "wss" else None


class Websockets:
    @staticmethod
    def version():
        import websockets

        return websockets.__version__

    async def echo(self, ws):
        from websockets.exceptions import ConnectionClosed

        try:
            while True:
                message = await ws.recv()
                tell(message)
                if close := asked_to_close(message):
                    await ws.close(*close)
                else:
                    await ws.send(message)
        except ConnectionClosed:
            await ws.wait_closed()
        say("closed", ws.close_code, ws.close_reason)

    def window(self, factory, mode, bits):
        if mode == "none":
            return None
        alone = mode == "alone"
        return [
            factory(
                server_no_context_takeover=alone,
                client_no_context_takeover=alone,
                server_max_window_bits=bits or None,
                client_max_window_bits=bits or (True if "Client" in factory.__name__ else None),
            )
        ]

    async def listen(self, scheme, mode, bits):
        from websockets.asyncio.server import serve
        from websockets.extensions.permessage_deflate import ServerPerMessageDeflateFactory

        done = asyncio.Event()

        async def handle(ws):
            await self.echo(ws)
            done.set()

        extensions = self.window(ServerPerMessageDeflateFactory, mode, bits)
        async with serve(
            handle, "127.0.0.1", 0, ssl=server_tls(scheme), compression=None, extensions=extensions, max_size=None
        ) as server:
            say("port", server.sockets[0].getsockname()[1])
            await done.wait()

    async def dial(self, url, scheme, mode, bits):
        from websockets.asyncio.client import connect
        from websockets.extensions.permessage_deflate import ClientPerMessageDeflateFactory

        extensions = self.window(ClientPerMessageDeflateFactory, mode, bits)
        async with connect(
            url, ssl=client_tls(scheme), compression=None, extensions=extensions, max_size=None, proxy=None
        ) as ws:
            await self.echo(ws)


class Aiohttp:
    @staticmethod
    def version():
        import aiohttp

        return aiohttp.__version__

    async def echo(self, ws):
        from aiohttp import WSMsgType

        while True:
            m = await ws.receive()
            if m.type not in (WSMsgType.TEXT, WSMsgType.BINARY):
                break
            tell(m.data)
            if close := asked_to_close(m.data):
                code, reason = close
                await ws.close(code=code, message=reason.encode())
                say("closed", ws.close_code)
                return
            await (ws.send_str if m.type is WSMsgType.TEXT else ws.send_bytes)(m.data)
        if m.type is WSMsgType.CLOSE:
            # A Close without a code has 0.
            say("closed", m.data or 1005, m.extra or "")
        else:
            say("error", m.type, ws.exception())

    async def listen(self, scheme, mode, bits):
        from aiohttp import web

        done = asyncio.Event()

        async def handle(request):
            ws = web.WebSocketResponse(compress=mode != "none", max_msg_size=0)
            await ws.prepare(request)
            await self.echo(ws)
            done.set()
            return ws

        app = web.Application()
        app.router.add_get("/", handle)
        runner = web.AppRunner(app, shutdown_timeout=1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=server_tls(scheme)).start()
        say("port", runner.addresses[0][1])
        await done.wait()
        await runner.cleanup()

    async def dial(self, url, scheme, mode, bits):
        import aiohttp

        compress = 0 if mode == "none" else bits or 15
        async with aiohttp.ClientSession() as session:
            async with session.ws_connect(
                url, ssl=client_tls(scheme) or True, compress=compress, max_msg_size=0
            ) as ws:
                await self.echo(ws)


class Tornado:
    @staticmethod
    def version():
        import tornado

        return tornado.version

    async def listen(self, scheme, mode, bits):
        from tornado.httpserver import HTTPServer
        from tornado.netutil import bind_sockets
        from tornado.web import Application
        from tornado.websocket import WebSocketHandler

        done = asyncio.Event()

        class Handler(WebSocketHandler):
            def get_compression_options(self):
                return None if mode == "none" else {}

            async def on_message(self, message):
                tell(message)
                if close := asked_to_close(message):
                    self.close(*(close if close[0] != 1005 else ()))
                else:
                    await self.write_message(message, binary=isinstance(message, bytes))

            def on_close(self):
                say("closed", self.close_code or 1005, self.close_reason or "")
                done.set()

        server = HTTPServer(Application([("/", Handler)], websocket_max_message_size=LARGEST), ssl_options=server_tls(scheme))
        sockets = bind_sockets(0, "127.0.0.1")
        server.add_sockets(sockets)
        say("port", sockets[0].getsockname()[1])
        await done.wait()
        server.stop()

    async def dial(self, url, scheme, mode, bits):
        from tornado.httpclient import HTTPRequest
        from tornado.websocket import websocket_connect

        ws = await websocket_connect(
            HTTPRequest(url, ssl_options=client_tls(scheme)),
            compression_options=None if mode == "none" else {},
            max_message_size=LARGEST,
        )
        while (message := await ws.read_message()) is not None:
            tell(message)
            if close := asked_to_close(message):
                ws.close(*(close if close[0] != 1005 else ()))
            else:
                await ws.write_message(message, binary=isinstance(message, bytes))
        say("closed", ws.close_code or 1005, ws.close_reason or "")


class WebsocketClient:
    """It blocks, which hinders nobody here."""

    @staticmethod
    def version():
        import websocket

        return websocket.__version__

    async def dial(self, url, scheme, mode, bits):
        from websocket import ABNF, create_connection

        ws = create_connection(url, sslopt={"ca_certs": f"{folder}/ca.pem"}, timeout=60)
        while True:
            opcode, data = ws.recv_data()
            if opcode == ABNF.OPCODE_CLOSE:  # answered
                code = int.from_bytes(data[:2], "big") if data else 1005
                say("closed", code, data[2:].decode())
                break
            message = data.decode() if opcode == ABNF.OPCODE_TEXT else data
            tell(message)
            if close := asked_to_close(message):
                code, reason = close
                ws.close(code, reason.encode())
                answer = ws.close_frame.data if ws.close_frame else b""
                say("closed", int.from_bytes(answer[:2], "big"))
                break
            ws.send(data, opcode)
        ws.shutdown()


LIBRARIES = {
    "websockets": Websockets,
    "aiohttp": Aiohttp,
    "tornado": Tornado,
    "websocket-client": WebsocketClient,
    "websocket-client, wsaccel": WebsocketClient,
}


async def main():
    peer = LIBRARIES[library]()
    version = peer.version()
    if library.startswith("websocket-client"):
        from websocket import _abnf, _utils

        accelerated = hasattr(_abnf, "XorMaskerSimple") and hasattr(_utils, "Utf8Validator")
        assert accelerated == library.endswith("wsaccel"), "wsaccel"
    say("version", version)
    loop = asyncio.get_running_loop()
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        try:
            match line.split():
                case ["listen", scheme, mode, bits]:
                    await asyncio.wait_for(peer.listen(scheme, mode, int(bits)), 120)
                case ["dial", scheme, port, mode, bits]:
                    await asyncio.wait_for(peer.dial(f"{scheme}://127.0.0.1:{port}/", scheme, mode, int(bits)), 120)
        except Exception as e:
            say("error", repr(e))


asyncio.run(main())
