"""
A receiver of webhooks: a real HTTP server that answers what its test says, and keeps what came.
"""

import json
import queue
import threading
from collections.abc import Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final, NamedTuple

DEADLINE_S: Final = 30.0


class Told(NamedTuple):
    """One request."""

    path: str
    headers: dict[str, str]
    body: str

    @property
    def job(self) -> dict[str, Any]:
        """The document that it holds."""
        data: dict[str, Any] = json.loads(self.body)["data"]
        return data


class Receiver:
    """Answers each request with the next of *answers*, and then 204. 0 is no answer at all."""

    def __init__(self, *, listen: bool = True) -> None:
        self.answers: Sequence[int] = ()
        self.headers: dict[str, str] = {}
        """Sent with each answer."""

        self._told: queue.Queue[Told] = queue.Queue()
        self._closing = threading.Event()
        self._server = ThreadingHTTPServer(
            ("127.0.0.1", 0), self._handler(), bind_and_activate=False
        )
        self._server.daemon_threads = False
        self._server.server_bind()
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        if listen:
            self.listen()

    def listen(self) -> None:
        """Until then connections are refused."""
        self._server.server_activate()
        self._thread.start()

    @property
    def place(self) -> str:
        return f"127.0.0.1:{self._server.server_address[1]}"

    @property
    def url(self) -> str:
        return f"http://{self.place}/done"

    def next(self) -> Told:
        """The next request that comes."""
        return self._told.get(timeout=DEADLINE_S)

    def quiet(self) -> bool:
        """Whether nothing has come that the test has not taken."""
        return self._told.empty()

    def close(self) -> None:
        self._closing.set()
        if self._thread.is_alive():
            self._server.shutdown()
            self._thread.join()
        self._server.server_close()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                size = int(self.headers["Content-Length"])
                body = self.rfile.read(size).decode()
                code, *receiver.answers = [*receiver.answers, 204][: len(receiver.answers) or 1]
                receiver._told.put(Told(self.path, dict(self.headers), body))
                if code == 0:
                    receiver._closing.wait()
                    return
                self.send_response(code)
                for name, value in receiver.headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_words: object) -> None:
                """Nothing: the test says what went wrong."""

        return Handler
