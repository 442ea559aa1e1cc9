"""The HTTP server's end."""

import asyncio
import socket

from starlette.applications import Starlette

from mcli.daemon.limits import Limits
from mcli.daemon.web import web_server

TURNS = 20
"""Turns of the event loop: none of them waits."""


def test_stop_waits_for_nothing_that_is_not_open() -> None:
    """
    With no answer open, a server that is stopped is done at once, and closes what connections
    it has.
    """

    async def serve() -> None:
        with socket.create_server(("127.0.0.1", 0)) as listening:
            place = listening.getsockname()
            server = web_server(Starlette(), Limits())
            serving = asyncio.create_task(server.serve(sockets=[listening]))
            reader, writer = await asyncio.open_connection(*place)
            writer.write(b"GET / HTTP/1.1\r\nHost: here\r\n\r\n")
            await reader.readuntil(b"\r\n\r\nNot Found")
            server.stop()
            for _ in range(TURNS):
                await asyncio.sleep(0)
            assert serving.done()
            assert await reader.read() == b""
            writer.close()
            await writer.wait_closed()

    asyncio.run(serve())
