"""The HTTP server's end."""

import asyncio
import socket

from starlette.applications import Starlette

from mcli.daemon import bind
from mcli.daemon.limits import Limits
from mcli.daemon.web import web_server
from mcli.settings import Settings

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


def test_answers_are_sent_at_once() -> None:
    """
    No connection waits with an answer's body until its headers have been acknowledged, which
    takes the other side 40 ms.
    """

    async def accepted() -> int:
        told: asyncio.Future[int] = asyncio.get_running_loop().create_future()

        def accept(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            connection = writer.get_extra_info("socket")
            told.set_result(connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
            writer.close()

        listening = bind.bind(Settings(port=0), i_know=False).socket
        async with await asyncio.start_server(accept, sock=listening):
            _, writer = await asyncio.open_connection(*listening.getsockname()[:2])
            try:
                return await told
            finally:
                writer.close()
                await writer.wait_closed()

    assert asyncio.run(accepted())
