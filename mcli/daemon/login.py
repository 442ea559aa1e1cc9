"""
Signing in from a browser, which cannot read the token's file.

``mcli docs`` asks for a code with the token and prints it in the fragment of an address,
which browsers send to nobody. The page exchanges it, once and within a minute, for the
secret of a session. Everything is held in memory only: it ends with the daemon. There are no
cookies, because a browser would send them to every other server on this host as well.
"""

import secrets
import time
from collections.abc import Callable
from typing import Annotated, Any, Final

from fastapi import APIRouter, Body, Request
from starlette.exceptions import HTTPException

from mcli.job import timestamp

CODE_S: Final = 60.0
"""Seconds in which a code can be used."""

SESSION_S: Final = 12 * 3600.0
"""Seconds for which a session is good."""

CODES_MAX: Final = 100
"""Codes that wait to be used; with one more the oldest is gone."""

Session = tuple[str, float]
"""Its secret, and the clock's time at which it ends."""


class Logins:
    """The codes and sessions of one daemon. *clock* tells Unix seconds."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._codes: dict[str, float] = {}
        self._sessions: dict[str, float] = {}

    def code(self) -> Session:
        """A new code, and when it ends."""
        self._codes = dict(list(self._current(self._codes).items())[-(CODES_MAX - 1) :])
        return self._add(self._codes, CODE_S)

    def redeem(self, code: str) -> Session | None:
        """The session that *code* opens; None if it opens none, or has opened one before."""
        self._codes = self._current(self._codes)
        if self._codes.pop(code, None) is None:
            return None
        self._sessions = self._current(self._sessions)
        return self._add(self._sessions, SESSION_S)

    def is_session(self, secret: str) -> bool:
        """Whether it is the secret of a session that has not ended."""
        return self._clock() < self._sessions.get(secret, 0.0)

    def _add(self, kept: dict[str, float], seconds: float) -> Session:
        # Found by looking it up: 256 bits of chance are not guessed from how long that takes.
        secret, ends = secrets.token_urlsafe(32), self._clock() + seconds
        kept[secret] = ends
        return secret, ends

    def _current(self, kept: dict[str, float]) -> dict[str, float]:
        now = self._clock()
        return {secret: ends for secret, ends in kept.items() if now < ends}


routes = APIRouter()


@routes.post("/v1/login/code", status_code=201)
async def code(request: Request) -> dict[str, Any]:
    """A code with which a browser can sign in, once, within a minute."""
    if request.state.client != "token":  # a session does not prolong itself
        raise HTTPException(403, "a code is given for the token only; run: mcli docs")
    found, ends = request.app.state.logins.code()
    return {"code": found, "expires_at": timestamp(ends)}


@routes.post("/v1/login")
async def login(request: Request, code: Annotated[str, Body(embed=True)]) -> dict[str, Any]:
    """Exchange a code for the secret of a session, to be sent as ``Authorization: Bearer``."""
    session = request.app.state.logins.redeem(code)
    if session is None:
        raise HTTPException(401, "the code is wrong, used or too old; get another with: mcli docs")
    secret, ends = session
    return {"token": secret, "expires_at": timestamp(ends)}
