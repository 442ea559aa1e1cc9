"""
Where a background command's body runs: here, or in a worker of the daemon.

``decide`` is pure: it is given what is known and names the place. ``Passage`` is one call
of a wrapper; it asks ``decide``, and sends the call to the daemon or lets it run here.
"""

import os
import sys
from contextlib import suppress
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Literal, NoReturn

from mcli import replay
from mcli.errors import BadSetting, DaemonDied, DaemonError, DaemonNotRunning, MCLIError

if TYPE_CHECKING:
    from mcli.decorators import Background

Place = Literal["here", "daemon"]

DETACH: Final = "mcli_detach"
"""The parameter behind ``--detach``: the body is not given it."""

_NOT_REPLAYABLE: Final = (
    "--detach needs a command that was started from the command line; call submit() instead"
)

_passed_here = False
"""A body has run in this process. A replay would run it again, so nothing is routed any more."""


def decide(
    *, inside_job: bool, enabled: bool, auto_route: bool, detach: bool, replayable: bool
) -> Place:
    """Where the body should run, if the daemon takes it."""
    if inside_job or not replayable:
        return "here"
    if detach:
        return "daemon"
    return "daemon" if enabled and auto_route else "here"


class Passage:
    """One call of a wrapper. ``with`` it; if ``here``, the body is to run inside."""

    __slots__ = ("_background", "_detach", "_first", "_settled", "here", "value")

    def __init__(self, background: "Background", detach: bool) -> None:
        self._background = background
        self._detach = detach
        self._first = False
        self._settled: str | None = None
        self.here = True
        self.value: Any = None

    def __enter__(self) -> "Passage":
        global _passed_here
        ctx = current_context()
        if replay.current is not None:
            if ctx is not None:
                self._arrive(replay.current, ctx)
            self._first = replay.current.enter()
        elif ctx is not None:
            self._detach = self._detach or _detach_variable()
            if not _passed_here:
                self._route(ctx)
                _passed_here = True
            elif self._detach and not inside_job():
                _fail(DaemonError(_NOT_REPLAYABLE))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._first and replay.current is not None:
            if error is None:
                replay.current.leave(self.value)
            else:
                replay.current.fail(error, self._background.retry_on)
        if self._settled is not None:
            _note_end(self._settled, error)

    def _arrive(self, replaying: replay.Replaying, ctx: Any) -> None:
        from mcli.call import fingerprint

        told = self._background
        replaying.arrive(replay.path_of(ctx), fingerprint(ctx), told.timeout, told.policy)

    def _route(self, ctx: Any) -> None:
        """Send the call to the daemon; return only if the body is to run here."""
        try:
            place, invocation = self._prepare(ctx)
            if place == "daemon" and invocation is not None:
                self._send(ctx, invocation)
                self._take_back(invocation)
            elif self._detach and not inside_job():
                raise DaemonError(_NOT_REPLAYABLE)
        except MCLIError as error:
            _fail(error)

    def _prepare(self, ctx: Any) -> tuple[Place, dict[str, Any] | None]:
        from mcli.call import describe
        from mcli.settings import Settings

        if inside_job():
            return "here", None
        settings = Settings.load()
        wanted = self._detach or (settings.enabled and self._background.auto_route)
        limit_s = self._background.timeout or settings.timeout_s
        invocation = describe(ctx, self._background, limit_s) if wanted else None
        place = decide(
            inside_job=False,
            enabled=settings.enabled,
            auto_route=self._background.auto_route,
            detach=self._detach,
            replayable=invocation is not None,
        )
        return place, invocation

    def _send(self, ctx: Any, invocation: dict[str, Any]) -> None:
        from mcli import attach

        here = self._background.fallback_to_local and not self._detach
        try:
            end = attach.run(invocation, detach=self._detach, here=here)
        except DaemonError as error:
            if not here:
                raise
            if isinstance(error, DaemonDied) or not isinstance(error, DaemonNotRunning):
                _say_here(error)
            return
        if end.reached:
            release(ctx)
            end.leave()
        _say_here(end.why)
        if end.settled:
            self._settled = end.job_id

    def _take_back(self, invocation: dict[str, Any]) -> None:
        """It runs here after all: with what had been taken out of standard input."""
        from mcli import standard_input

        standard_input.unread(invocation["ahead"])


def _say_here(why: object) -> None:
    """Somebody counts on the daemon; where none was started, there is nothing to say."""
    from mcli.stdio import say

    say(f"{why}; running here")


def _detach_variable() -> bool:
    """What ``MCLI_DETACH`` says. In a job it says nothing: that one is detached already."""
    text = os.environ.get("MCLI_DETACH")
    if not text or inside_job():
        return False
    from mcli.settings import yes_or_no

    try:
        return yes_or_no(text)
    except ValueError as wanted:
        _fail(BadSetting(f"MCLI_DETACH is {text!r}; it must be {wanted}"))


def _note_end(job_id: str, error: BaseException | None) -> None:
    """Tell the store how a job ended that this process took from the daemon."""
    from mcli.attach import note_end
    from mcli.home import Home

    code = 0 if error is None else getattr(error, "exit_code", getattr(error, "code", 1))
    code = code if isinstance(code, int) else 0 if code is None else 1
    note_end(Home.find(), job_id, code)


def inside_job() -> bool:
    """Whether this process is a job, or was started by one."""
    return "MCLI_JOB_ID" in os.environ


def current_context() -> Any:
    """The context of the innermost command, of Click or of Typer's copy of it; or None."""
    for name in ("click.globals", "typer._click.globals"):
        module = sys.modules.get(name)
        ctx = module.get_current_context(silent=True) if module else None
        if ctx is not None:
            return ctx
    return None


def release(ctx: Any) -> None:
    """Let go of what the caller's own process holds: the job has closed its own.

    Callbacks for the end were run by the job; here they would come a second time. What a
    resource says when it is closed was said by the job's. An atomic file of ``click.File``
    must not be closed: that would put it in place, empty.
    """
    from types import MethodType

    from mcli import stdio

    while ctx is not None:
        for value in ctx.params.values():
            draft = getattr(getattr(value, "_f", value), "_tmp_filename", None)
            if draft is not None and os.path.exists(draft):
                os.unlink(draft)
        stack = getattr(ctx, "_exit_stack", None)
        for _, close in reversed(getattr(stack, "_exit_callbacks", ())):
            if isinstance(close, MethodType):
                stdio.mute()
                with suppress(Exception):
                    close(None, None, None)
        ctx = ctx.parent


def _fail(error: MCLIError) -> NoReturn:
    from mcli.stdio import say

    say(str(error))
    raise SystemExit(error.exit_code)
