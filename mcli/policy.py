"""
How the jobs of a command are to be run, beside how long: how often, with how much, leaving what.

Told to ``@mcli.background``, carried by each invocation, obeyed by the daemon (retries) and
the worker (limits).
"""

import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Self

from mcli.amount import TIME_MAX_S, size
from mcli.errors import JobTimeout

TIMEOUT_CODE: Final = 124
"""Exit code of a job that ran longer than it may."""

NICE_MAX: Final = 19

RETRIES_MAX: Final = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """What ``@mcli.background`` was told. The defaults are what it is told by saying nothing."""

    retries: int = 0
    """Attempts after the first one."""

    retry_delay_s: float = 1.0
    """Seconds from the first failure to the next attempt, about; they double each time."""

    retry_codes: tuple[int, ...] = ()
    """Exit codes after which it is tried again."""

    retry_exceptions: bool = False
    """Exceptions were named as well; the job says whether its own is among them."""

    retry_lost: bool = False
    """It is tried again also when nothing tells how it ended: it may run twice."""

    memory_bytes: int | None = None
    """Memory that it may have; None: as much as there is."""

    nice: int = 0
    """What is added to its niceness: from 0, as usual, to 19, last of all."""

    output_bytes: int | None = None
    """Bytes of output that are kept; None: what the setting ``MCLI_MAX_OUTPUT`` says."""

    leave_children: bool = False
    """What it has started may live on after its end."""

    @property
    def retry_some(self) -> bool:
        """Whether not every failure is tried again, but those that were named."""
        return bool(self.retry_codes) or self.retry_exceptions

    def document(self) -> dict[str, Any]:
        """What differs from the defaults, as JSON takes it."""
        given = {each.name: getattr(self, each.name) for each in dataclasses.fields(self)}
        return {name: value for name, value in given.items() if value != getattr(USUAL, name)}

    @classmethod
    def parse(cls, document: Mapping[str, Any]) -> Self:
        """The inverse of ``document``.

        Raises:
            TypeError: It is not one.
        """
        codes = tuple(document.get("retry_codes", ()))
        retries = min(document.get("retries", 0), RETRIES_MAX)
        return cls(**{**document, "retry_codes": codes, "retries": retries})


USUAL: Final = Policy()


def policy_of(
    *,
    retries: int,
    retry_delay: float,
    retry_on: Iterable[int | type[BaseException]] | None,
    on_lost: str | None,
    memory_limit: int | str | None,
    nice: int,
    max_output: int | str | None,
    leave_children: bool,
) -> Policy:
    """What a command's author has said, checked.

    Raises:
        TypeError, ValueError: One of them is not what it may be; the message says what is.
    """
    if isinstance(retries, bool) or not isinstance(retries, int):
        raise ValueError(f"retries={retries!r}: a whole number from 0")
    if not 0 <= retries <= RETRIES_MAX:
        raise ValueError(f"retries={retries!r}: a whole number from 0 to {RETRIES_MAX}")
    if not 0 <= retry_delay <= TIME_MAX_S:
        raise ValueError(f"retry_delay={retry_delay!r}: seconds from 0")
    if on_lost not in (None, "retry"):
        raise ValueError(f'on_lost={on_lost!r}: "retry", or None to leave it at that')
    if on_lost and not retries:
        raise ValueError('on_lost="retry": retries=1 or more says how often')
    if not isinstance(nice, int) or not 0 <= nice <= NICE_MAX:
        raise ValueError(f"nice={nice!r}: a whole number from 0 to {NICE_MAX}")
    named = () if retry_on is None else tuple(retry_on)
    codes, exceptions = _codes(named), exceptions_of(named)
    return Policy(
        retries=retries,
        retry_delay_s=float(retry_delay),
        retry_codes=codes,
        retry_exceptions=bool(exceptions),
        retry_lost=on_lost == "retry",
        memory_bytes=_bytes("memory_limit", memory_limit),
        nice=nice,
        output_bytes=_bytes("max_output", max_output),
        leave_children=leave_children,
    )


def exceptions_of(
    named: Iterable[int | type[BaseException]] | None,
) -> tuple[type[BaseException], ...]:
    """The exceptions of a ``retry_on=``."""
    return tuple(each for each in named or () if isinstance(each, type))


def _codes(named: tuple[int | type[BaseException], ...]) -> tuple[int, ...]:
    """The exit codes; one that stands for the timeout, if that is among the exceptions."""
    codes: list[int] = []
    for each in named:
        if isinstance(each, type) and issubclass(each, BaseException):
            codes += [TIMEOUT_CODE] if issubclass(JobTimeout, each) else []
        elif isinstance(each, int) and not isinstance(each, bool) and 0 < each < 256:
            codes.append(each)
        else:
            raise ValueError(f"retry_on: {each!r} is neither an exit code (1 to 255) nor an error")
    return tuple(codes)


def _bytes(name: str, value: int | str | None) -> int | None:
    try:
        number = size(value) if isinstance(value, str) else value
    except ValueError as wanted:
        raise ValueError(f"{name}={value!r}: {wanted}") from None
    if number is not None and not (isinstance(number, int) and number > 0):
        raise ValueError(f"{name}={value!r}: a number of bytes above 0, or such as '2GiB'")
    return number
