"""
What can be set, each thing declared once.

A field of ``Settings`` carries its default, its environment variable, how its text is
read, its meaning and, where there is one, its option of ``mcli daemon start``; its key in
``config.toml`` is the field's name. The options and docs/reference/settings.md are
generated from here. Settings are read in this order, the first that has a value wins:
option, environment, ``config.toml``, default.

The caller's process loads them on each routed call, so this imports nothing dear.
"""

import math
import os
from collections.abc import Callable, Mapping
from dataclasses import MISSING, Field, dataclass, field, fields
from typing import Any, Final, Self

from mcli import allowance
from mcli.errors import BadSetting

PORT_MAX: Final = 65535


def yes_or_no(text: str) -> bool:
    """``true`` or ``false``, however one likes to write it."""
    word = text.strip().lower()
    if word in ("1", "true", "yes", "on"):
        return True
    if word in ("0", "false", "no", "off"):
        return False
    raise ValueError("true or false")


def host_name(text: str) -> str:
    """A host name or an address, without a port."""
    name = text.strip()
    if name and all(letter.isalnum() or letter in ".-_:" for letter in name):
        return name
    raise ValueError("a host name or an IP address, such as localhost")


def host_names(text: str) -> tuple[str, ...]:
    """Host names with or without a port, with commas between them."""
    names = tuple(name.strip() for name in text.split(",") if name.strip())
    for name in names:
        if not all(letter.isalnum() or letter in ".-_:[]" for letter in name):
            raise ValueError("host names with commas between them, such as jobs.example.org")
    return names


def file_path(text: str) -> str:
    """The path of a file, made absolute here: the daemon leaves this directory."""
    if not text.strip():
        raise ValueError("the path of a file")
    return os.path.abspath(os.path.expanduser(text))


def port_number(text: str) -> int:
    """A TCP port; 0 lets the kernel choose."""
    return _whole(text, 0, PORT_MAX, f"a port from 1 to {PORT_MAX}, or 0 for any free one")


def count_from_1(text: str) -> int:
    """A whole number from 1."""
    return _whole(text, 1, None, "a whole number from 1")


def count_from_0(text: str) -> int:
    """A whole number from 0."""
    return _whole(text, 0, None, "a whole number from 0")


def _whole(text: str, least: int, most: int | None, wanted: str) -> int:
    try:
        number = int(text)
    except ValueError:
        raise ValueError(wanted) from None
    if number < least or (most is not None and number > most):
        raise ValueError(wanted)
    return number


def seconds(text: str) -> float:
    """Seconds, 0 or more."""
    return _seconds(text, "a number of seconds from 0", lambda value: value >= 0)


def interval(text: str) -> float:
    """Seconds, more than 0."""
    return _seconds(text, "a number of seconds above 0", lambda value: value > 0)


def limit(text: str) -> float | None:
    """Seconds, more than 0; or ``none``, for no limit."""
    if text.strip().lower() == "none":
        return None
    wanted = "a number of seconds above 0, or none for no limit"
    return _seconds(text, wanted, lambda value: value > 0)


def _seconds(text: str, wanted: str, right: Callable[[float], bool]) -> float:
    try:
        value = float(text)
    except ValueError:
        raise ValueError(wanted) from None
    if not math.isfinite(value) or not right(value):
        raise ValueError(wanted)
    return value


def default_workers() -> int:
    """One for each core, and at least 5: commands often wait for something else."""
    return max(5, os.cpu_count() or 1)


def _setting(
    variable: str,
    parse: Callable[[str], Any],
    default: Any,
    meaning: str,
    *,
    option: str = "",
) -> Any:
    metadata = {"variable": variable, "parse": parse, "meaning": meaning, "option": option}
    if callable(default):
        return field(default_factory=default, metadata=metadata)
    return field(default=default, metadata=metadata)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Every setting, with its value."""

    enabled: bool = _setting(
        "MCLI_BACKGROUND_ENABLED",
        yes_or_no,
        True,
        "Whether commands go to the daemon. false runs each in the caller's own process.",
    )
    host: str = _setting(
        "MCLI_BACKGROUND_HOST",
        host_name,
        "localhost",
        "Where the daemon serves HTTP. localhost is 127.0.0.1. "
        "Of another machine: the verbs ask the daemon there.",
        option="--host",
    )
    port: int = _setting(
        "MCLI_BACKGROUND_PORT",
        port_number,
        8001,
        "TCP port of the daemon. 0 takes a free one.",
        option="--port",
    )
    ca: str | None = _setting(
        "MCLI_BACKGROUND_CA",
        file_path,
        None,
        "File of the authorities that vouch for a daemon on another machine. none: the system's.",
    )
    timeout_s: float | None = _setting(
        "MCLI_BACKGROUND_TIMEOUT",
        limit,
        None,
        "Seconds a job may run; a command's own timeout= wins. none is no limit.",
    )
    workers: int = _setting(
        "MCLI_WORKERS",
        count_from_1,
        default_workers,
        "Jobs that run at once. Unless set: one for each core, at least 5.",
        option="--workers",
    )
    worker_check_interval_s: float = _setting(
        "MCLI_WORKER_CHECK_INTERVAL",
        interval,
        1.0,
        "Seconds between two looks at the queue, in case an event was missed. "
        "Work itself is started by events, not by this.",
    )
    grace_s: float = _setting(
        "MCLI_GRACE",
        seconds,
        10.0,
        "Seconds a job gets between SIGTERM and SIGKILL. 0 kills at once.",
    )
    reconnect_s: float = _setting(
        "MCLI_RECONNECT",
        seconds,
        10.0,
        "Seconds a caller waits for a daemon that went away while its job runs.",
    )
    worker_idle_s: float = _setting(
        "MCLI_WORKER_IDLE",
        seconds,
        600.0,
        "Seconds a warm worker is kept without work. 0 keeps none.",
    )
    workers_warm_max: int = _setting(
        "MCLI_WORKERS_WARM",
        count_from_0,
        8,
        "Idle workers kept warm, one for each app. 0 keeps none.",
    )
    queue_max: int = _setting(
        "MCLI_QUEUE_MAX",
        count_from_1,
        100_000,
        "Jobs that may wait in the queue. One more is refused.",
    )
    watchdog_s: float | None = _setting(
        "MCLI_WATCHDOG",
        limit,
        10.0,
        "Seconds for which the daemon may hang: then it ends, with exit code 70 and what it hung "
        "on in its log. Time in which it was stopped or suspended does not count. none: for ever.",
    )
    body_max: int = _setting(
        "MCLI_BODY_MAX",
        count_from_1,
        10_000_000,
        "Bytes that the body of an HTTP request may have.",
    )
    tls_cert: str | None = _setting(
        "MCLI_TLS_CERT",
        file_path,
        None,
        "File with the certificate (PEM) for HTTPS. Needed, with its key, to serve other machines.",
        option="--tls-cert",
    )
    tls_key: str | None = _setting(
        "MCLI_TLS_KEY",
        file_path,
        None,
        "File with the key (PEM) of that certificate.",
        option="--tls-key",
    )
    allowed_hosts: tuple[str, ...] = _setting(
        "MCLI_ALLOWED_HOSTS",
        host_names,
        (),
        "Names by which other machines call the daemon, with commas between them. "
        "Without a port it is the daemon's own.",
    )

    webhook_retry_s: float = _setting(
        "MCLI_WEBHOOK_RETRY",
        interval,
        5.0,
        "Seconds within which a webhook that failed is tried again the first time. "
        "The bound doubles each time, up to 3 hours; after 3 days it is given up.",
    )
    keep_age: allowance.Allowance = _setting(  # noqa: RUF009 - it makes a field
        "MCLI_KEEP_AGE",
        allowance.ages,
        allowance.ages(allowance.AGE),
        "How long a job is kept after its end, with all that it has printed. "
        "A state may have its own: 7d,failed=30d. none keeps it for ever.",
    )
    keep_jobs: allowance.Allowance = _setting(  # noqa: RUF009 - it makes a field
        "MCLI_KEEP_JOBS",
        allowance.counts,
        allowance.counts(allowance.JOBS),
        "How many jobs that have ended are kept; the first that ended go first. "
        "A state may have its own: 1000,failed=none. none is no limit.",
    )
    keep_bytes: allowance.Allowance = _setting(  # noqa: RUF009 - it makes a field
        "MCLI_KEEP_BYTES",
        allowance.sizes,
        allowance.sizes(allowance.BYTES),
        "How much of the disk the files of jobs that have ended may take; the first that ended "
        "go first. A state may have its own: 1GiB,failed=200MB. none is no limit.",
    )
    keep_interval_s: float = _setting(
        "MCLI_KEEP_INTERVAL",
        interval,
        60.0,
        "Seconds at least between two looks at what may go.",
    )

    @property
    def bind_host(self) -> str:
        """The address to listen at. ``localhost`` could be ::1 as well; here it never is."""
        return "127.0.0.1" if self.host == "localhost" else self.host

    @classmethod
    def load(
        cls,
        overrides: Mapping[str, object] | None = None,
        environ: Mapping[str, str] = os.environ,
        config_path: str | None = None,
    ) -> Self:
        """The settings in force.

        Args:
            overrides: Options by field name; None and missing ones were not given.
            environ: The environment. An empty variable counts as unset.
            config_path: A file to read instead of the one ``config_file`` names.

        Raises:
            BadSetting: A value is wrong, a key is unknown, or the file cannot be read.
        """
        path = config_file(environ) if config_path is None else config_path
        sources = (
            _from_file(cls, path) | _from_environment(cls, environ) | _given(cls, overrides or {})
        )
        values: dict[str, Any] = {
            name: _parsed(cls, name, *found) for name, found in sources.items()
        }
        return cls(**values)


def origins(environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Where each setting comes from that is not as it is by default, by its key.

    Raises:
        BadSetting: The file cannot be read.
    """
    found = _from_file(Settings, config_file(environ)) | _from_environment(Settings, environ)
    return {name: place for name, (place, _text) in found.items()}


Source = tuple[str, str]
"""Where a value was found, to name it in a message, and its text."""


def _parsed(settings: type[Settings], name: str, place: str, text: str) -> object:
    try:
        return settings.__dataclass_fields__[name].metadata["parse"](text)
    except ValueError as wanted:
        raise BadSetting(f"{place} is {text!r}; it must be {wanted}") from None


def _given(settings: type[Settings], overrides: Mapping[str, object]) -> dict[str, Source]:
    return {
        each.name: (each.metadata["option"] or each.name, str(overrides[each.name]))
        for each in fields(settings)
        if overrides.get(each.name) is not None
    }


def _from_environment(settings: type[Settings], environ: Mapping[str, str]) -> dict[str, Source]:
    return {
        each.name: (variable, environ[variable])
        for each in fields(settings)
        if environ.get(variable := each.metadata["variable"])
    }


def config_file(environ: Mapping[str, str] = os.environ) -> str:
    """The path of ``config.toml``: in ``$MCLI_HOME`` if there is one, else in the XDG directory."""
    home = environ.get("MCLI_HOME")
    if home:
        path = os.path.join(os.path.abspath(os.path.expanduser(home)), "config.toml")
        if os.path.exists(path):
            return path
    folder = environ.get("XDG_CONFIG_HOME", "")
    if not os.path.isabs(folder):
        folder = os.path.join(os.path.expanduser("~"), ".config")
    return os.path.join(folder, "mcli", "config.toml")


def _from_file(settings: type[Settings], path: str) -> dict[str, Source]:
    try:
        with open(path, "rb") as file:
            content = _table(path, file.read())
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise BadSetting(
            f"cannot read the settings file {path}: {error.strerror}; "
            "make it readable, or remove it"
        ) from error
    known = [each.name for each in fields(settings)]
    for key in content:
        if key not in known:
            raise BadSetting(f"{path}: there is no setting {key!r}; known are {', '.join(known)}")
    return {key: (f"{path}: {key}", str(value)) for key, value in content.items()}


def _table(path: str, content: bytes) -> dict[str, object]:
    import tomllib  # only for those who have a settings file

    try:
        return tomllib.loads(content.decode())
    except ValueError as error:  # not UTF-8, or not TOML
        raise BadSetting(f"the settings file {path} is not valid TOML: {error}") from None


def default(each: "Field[Any]") -> object:
    """The value of a field that nobody has set."""
    return each.default if each.default_factory is MISSING else each.default_factory()
