"""
``@mcli.background`` and ``@mcli.api``: what is remembered of a command, and the wrapper
around its body.

A decorator only records; whether a call is sent to the daemon is decided when it is made.
"""

import functools
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, Literal, TypeVar, overload

from mcli import replay
from mcli.routing import DETACH, Passage

C = TypeVar("C", bound=Callable[..., Any])

_HELP: Final = "Run in the background: print the job's id and exit."


def _is_time(seconds: float) -> bool:
    from mcli.amount import TIME_MAX_S  # most commands say nothing of time

    return 0 < seconds <= TIME_MAX_S


class Background:
    """What ``@background`` was told about one command."""

    __slots__ = (
        "auto_route", "command_name", "fallback_to_local", "on_finish", "policy", "retry_on",
        "timeout",
    )  # fmt: skip

    def __init__(
        self,
        command_name: str | None,
        auto_route: bool,
        fallback_to_local: bool,
        timeout: float | None,
        on_finish: str | None = None,
        **policy: Any,
    ) -> None:
        if timeout is not None and not _is_time(timeout):
            raise ValueError(f"timeout={timeout!r}: seconds above 0, or None for no limit")
        if on_finish is not None:
            from mcli.url import check_url

            check_url(on_finish)
        self.command_name = command_name
        self.auto_route = auto_route
        self.fallback_to_local = fallback_to_local
        self.timeout = timeout
        self.on_finish = on_finish
        self.policy: dict[str, Any] = {}
        """``policy.Policy`` as a document: most commands need none of it, nor its import."""

        self.retry_on: tuple[type[BaseException], ...] = ()
        if any(value != _USUAL.get(name) for name, value in policy.items()):
            from mcli.policy import exceptions_of, policy_of

            self.policy = policy_of(**_USUAL | policy).document()
            self.retry_on = exceptions_of(policy.get("retry_on"))


_USUAL: Final[dict[str, Any]] = {
    "retries": 0,
    "retry_delay": 1.0,
    "retry_on": None,
    "on_lost": None,
    "memory_limit": None,
    "nice": 0,
    "max_output": None,
    "leave_children": False,
}
"""What of a policy is not said."""


@overload
def background(command: C, /) -> C: ...
@overload
def background(
    *,
    command_name: str | None = None,
    auto_route: bool = True,
    fallback_to_local: bool = True,
    timeout: float | None = None,
    retries: int = 0,
    retry_delay: float = 1.0,
    retry_on: Iterable[int | type[BaseException]] | None = None,
    on_lost: Literal["retry"] | None = None,
    memory_limit: int | str | None = None,
    nice: int = 0,
    max_output: int | str | None = None,
    leave_children: bool = False,
    on_finish: str | None = None,
) -> Callable[[C], C]: ...
def background(
    command: Any = None,
    /,
    *,
    command_name: str | None = None,
    auto_route: bool = True,
    fallback_to_local: bool = True,
    timeout: float | None = None,
    retries: int = 0,
    retry_delay: float = 1.0,
    retry_on: Iterable[int | type[BaseException]] | None = None,
    on_lost: Literal["retry"] | None = None,
    memory_limit: int | str | None = None,
    nice: int = 0,
    max_output: int | str | None = None,
    leave_children: bool = False,
    on_finish: str | None = None,
) -> Any:
    """Run a Click or Typer command in the background, as if it ran here.

    Goes above or below ``@click.command()`` / ``@group.command()`` / ``@app.command()``,
    with or without arguments, and on a finished ``click.Command``. Adds the option
    ``--detach``, unless the command has one of that name.

    Args:
        command_name: Name shown in lists. None: the command's own, as in its usage line.
        auto_route: False: run in the caller's process unless ``--detach`` is given.
        fallback_to_local: False: fail with exit code 125 when no daemon is running,
            instead of running in the caller's process.
        timeout: Seconds an attempt may run before it is ended with exit code 124: ``JobTimeout``
            is raised in the body, which has the time of ``MCLI_GRACE`` to end.
            None: the setting ``MCLI_BACKGROUND_TIMEOUT``.
        retries: How often it is tried again when it fails.
        retry_delay: Seconds until then, about; they double each time, up to an hour.
        retry_on: Exit codes and exceptions after which it is tried again, and no others.
            None: after whatever failure.
        on_lost: ``"retry"``: it is tried again also when its process has vanished and nothing
            tells how it ended. Its body may then have run, or half of it.
        memory_limit: Bytes of memory that it may have, as a number or as in ``"2GiB"``.
        nice: From 0 to 19: the higher, the more it stands back behind other processes.
        max_output: Bytes of output that are kept, the first and the last of them, as a number or
            as in ``"1GiB"``. None: the setting ``MCLI_MAX_OUTPUT``.
        leave_children: True: processes that it has started may live on after its end.
        on_finish: URL to which the daemon posts the job's document when it has ended, signed,
            again and again until it is taken.

    Raises:
        TypeError: It is a group, or has no function to run.
        ValueError: One of them is not what it may be; the message says what is.
    """
    told = Background(
        command_name,
        auto_route,
        fallback_to_local,
        timeout,
        on_finish,
        retries=retries,
        retry_delay=retry_delay,
        retry_on=retry_on,
        on_lost=on_lost,
        memory_limit=memory_limit,
        nice=nice,
        max_output=max_output,
        leave_children=leave_children,
    )
    if replay.current is not None:
        replay.prepare()
    if command is None:
        return functools.partial(_decorate, told)
    return _decorate(told, command)


def _decorate(told: Background, command: Any) -> Any:
    if hasattr(command, "commands") or hasattr(command, "resolve_command"):
        raise TypeError("@mcli.background goes on commands, not on the group that holds them")
    if hasattr(command, "callback") and hasattr(command, "params"):
        if command.callback is None:
            raise TypeError(f"the command {command.name!r} has no function to run")
        if not replay.is_background(command.callback):
            command.callback = wrap(told, command.callback)
            _add_option(command.params, at_end=True)
        if not hasattr(command, "submit"):  # Typer's copy of Click has classes of its own
            command.submit = functools.partial(_submit, command)
        return command
    if not callable(command):
        raise TypeError(f"@mcli.background goes on a command, not on {command!r}")
    if replay.is_background(command):
        return command
    wrapper = wrap(told, command)
    _add_to_function(wrapper, command)
    wrapper.submit = functools.partial(_submit, wrapper)  # type: ignore[attr-defined]
    return wrapper


declaring: Final[dict[str, None]] = {}
"""Modules whose commands have endpoints, in the order in which they were declared."""

METHODS: Final = ("GET", "POST", "PUT", "PATCH", "DELETE")


class Api:
    """What one ``@api`` was told about one command."""

    __slots__ = (
        "background", "description", "method", "path", "public", "tags", "timeout_s",
    )  # fmt: skip

    def __init__(
        self,
        path: str,
        method: str,
        description: str | None,
        tags: Sequence[str],
        background: bool,
        timeout_s: float | None,
        public: bool,
    ) -> None:
        if not path.startswith("/"):
            raise ValueError(f"path={path!r}: it must begin with a slash, as in '/process-file'")
        if method.upper() not in METHODS:
            raise ValueError(f"method={method!r}: one of {', '.join(METHODS)}")
        if timeout_s is not None and not _is_time(timeout_s):
            raise ValueError(
                f"background_timeout={timeout_s!r}: seconds above 0, or None for no limit"
            )
        if isinstance(tags, str):
            raise TypeError(f"tags={tags!r}: a list of texts, as in [{tags!r}]")
        self.path = path
        self.method = method.upper()
        self.description = description
        self.tags = tuple(tags)
        self.background = background
        self.timeout_s = timeout_s
        self.public = public


def api(
    path: str,
    method: str = "POST",
    *,
    description: str | None = None,
    tags: Sequence[str] = (),
    enable_background: bool = False,
    background_timeout: float | None = None,
    public: bool = False,
) -> Callable[[C], C]:
    """Give a Click or Typer command an HTTP endpoint, made from its parameters.

    Goes where ``@background`` goes, with or without it, and may be given more than once.
    The endpoint is there when the app is: ``mcli daemon start --app``, ``mcli apps add``.

    Args:
        path: As in ``/process-file``; ``/items/{id}`` takes the parameter ``id`` from the path.
        method: ``GET``, ``POST``, ``PUT``, ``PATCH`` or ``DELETE``. GET and DELETE take
            parameters from the query, the others from a JSON body or a form.
        description: What the endpoint does, in Markdown. None: the command's help.
        tags: Headings under which the API's page lists it.
        enable_background: True: answer at once, with the job (202). False: answer with what
            the command returns, when it has (200).
        background_timeout: Seconds the job may run; None: the command's own ``timeout=``,
            or the setting ``MCLI_BACKGROUND_TIMEOUT``.
        public: True: this endpoint asks nobody for the token.

    Raises:
        TypeError: It is a group, or has no function to run.
        ValueError: The path, the method or the timeout is none.
    """
    told = Api(path, method, description, tags, enable_background, background_timeout, public)
    return functools.partial(_expose, told)


def _expose(told: Api, command: Any) -> Any:
    if hasattr(command, "commands") or hasattr(command, "resolve_command"):
        raise TypeError("@mcli.api goes on commands, not on the group that holds them")
    if not hasattr(command, "callback"):
        if not callable(command):
            raise TypeError(f"@mcli.api goes on a command, not on {command!r}")
        return _remember(told, command)
    if command.callback is None:
        raise TypeError(f"the command {command.name!r} has no function to run")
    command.callback = _remember(told, command.callback)
    return command


def _remember(told: Api, function: Callable[..., Any]) -> Callable[..., Any]:
    """*function*, whose value a job keeps; on it, what it was told."""
    declaring[function.__module__] = None

    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        replaying = replay.current
        first = replaying is not None and replaying.enter()
        value = function(*args, **kwargs)
        if replaying is not None and first:
            replaying.leave(value)
        return value

    wrapper.__mcli_api__ = [*getattr(function, "__mcli_api__", ()), told]  # type: ignore[attr-defined]
    return wrapper


def wrap(told: Background, function: Callable[..., Any]) -> Callable[..., Any]:
    """*function*, asked at each call where it is to run."""

    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        with Passage(told, _detach(kwargs)) as passage:
            if passage.here:
                passage.value = function(*args, **kwargs)
        return passage.value

    wrapper.__mcli__ = told  # type: ignore[attr-defined]
    return wrapper


def _detach(kwargs: dict[str, Any]) -> bool:
    return bool(kwargs.pop(DETACH, False))


def _submit(self: Any, /, **params: Any) -> Any:
    """Run this command in the background with these parameters; see ``mcli.submit``."""
    from mcli.submission import submit

    return submit(self, **params)


def _add_option(params: list[Any], *, at_end: bool) -> None:
    import click

    # The command that Click will make of a function is not ours to reach otherwise.
    if not hasattr(click.Command, "submit"):
        click.Command.submit = _submit  # type: ignore[attr-defined]

    if any("--detach" in getattr(param, "opts", ()) for param in params):
        return
    option = click.Option(["--detach", DETACH], is_flag=True, help=_HELP)
    params.insert(len(params) if at_end else 0, option)


def _add_to_function(wrapper: Any, function: Any) -> None:
    """Leave the option where Click's ``command()`` will look for it, and where Typer's will."""
    given = getattr(function, "__click_params__", None)
    params = list(given or ())
    # Click reads this list from the bottom decorator up: first here is last in --help.
    _add_option(params, at_end=False)
    wrapper.__click_params__ = params
    if "typer" in sys.modules and given is None:
        _add_typer_option(wrapper, function)


def _add_typer_option(wrapper: Any, function: Any) -> None:
    import inspect

    typer = sys.modules["typer"]
    signature = inspect.signature(function)
    if any(_declares_detach(parameter) for parameter in signature.parameters.values()):
        return
    option = inspect.Parameter(
        DETACH,
        inspect.Parameter.KEYWORD_ONLY,
        default=typer.Option(False, "--detach", help=_HELP),
        annotation=bool,
    )
    parameters = sorted([*signature.parameters.values(), option], key=lambda each: each.kind)
    wrapper.__signature__ = signature.replace(parameters=parameters)
    wrapper.__annotations__ = {**function.__annotations__, DETACH: bool}


def _declares_detach(parameter: Any) -> bool:
    """Whether a parameter of a Typer function is an option called ``--detach`` already."""
    told = [parameter.default, *getattr(parameter.annotation, "__metadata__", ())]
    named = any("--detach" in (getattr(item, "param_decls", None) or ()) for item in told)
    return named or parameter.name == "detach"
