"""The table of a storm, in Markdown: one row for each kind of fault."""

import re
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from itertools import accumulate
from pathlib import Path
from statistics import quantiles
from typing import Final

from .judge import Verdict

HEAD: Final = (
    "| fault | injected | jobs in flight | lost | twice | wrong state | bytes missing "
    "| recovery: p50 / p99 / max | 95 % bound |\n"
    "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |"
)
CAPTION: Final = (
    "Injected: faults that hit something. Recovery: from the fault until a body began whose job "
    "was claimed after it, so that after a daemon's death the next one has done it. Bound: 3 by "
    "the number of faults, where nothing was wrong. Bytes missing: of what attempts have noted to "
    "have printed; but for those that were killed while their worker was dead and there was no "
    "daemon, which have nobody left to read what is in their pipes. Wrong state: also an end that "
    "was told more than 5 s after it could be known, when the storm was over."
)
LOST: Final = ("accepted and lost", "refused, and run")
TWICE: Final = ("run twice",)
BYTES: Final = ("bytes missing",)
MARKS: Final = re.compile(r"(<!-- storm -->\n).*?(<!-- /storm -->)", re.DOTALL)


def table(faults: Mapping[str, Sequence[float]], found: Verdict) -> str:
    """The rows.

    Args:
        faults: When each kind hit, in Unix seconds.
        found: What was wrong. It is held against every fault that hit while its job lived.
    """
    every = sorted(at for times in faults.values() for at in times)
    rows = [_row(kind, sorted(times), found) for kind, times in faults.items()]
    return "\n".join([HEAD, *rows, _row("**all**", every, found)])


def _row(kind: str, times: Sequence[float], found: Verdict) -> str:
    hit = {tag for tag, span in found.spans.items() if _within(times, span)}
    known = set(found.spans)
    counts = [
        sum(
            each.split()[0] in hit or each.split()[0] not in known
            for name, all_of_it in found.wrong.items()
            if name in kinds
            for each in all_of_it
        )
        for kinds in (LOST, TWICE, _others(found), BYTES)
    ]
    bound = "-" if any(counts) or not times else f"{min(100, 300 / len(times)):.2f} %"
    cells = [kind, len(times), len(hit), *counts, _recovery(times, found.begun), bound]
    return f"| {' | '.join(map(str, cells))} |"


def _others(found: Verdict) -> set[str]:
    return set(found.wrong) - {*LOST, *TWICE, *BYTES}


def _within(times: Sequence[float], span: tuple[float, float]) -> bool:
    return bisect_right(times, span[1]) > bisect_right(times, span[0])


def _recovery(times: Sequence[float], begun: Sequence[tuple[float, float]]) -> str:
    """From a fault until a body begins that was claimed after it."""
    claims = [claimed for claimed, _ in begun]
    first = [*accumulate((start for _, start in reversed(begun)), min)][::-1]
    waits = [
        first[at] - time_s for time_s in times if (at := bisect_right(claims, time_s)) < len(first)
    ]
    if len(waits) < 2:
        return "-"
    cuts = quantiles(waits, n=100, method="inclusive")
    return f"{cuts[49]:.2f} s / {cuts[98]:.2f} s / {max(waits):.2f} s"


def summary(found: Verdict) -> Iterator[str]:
    """What the table does not say: jobs by state, and each thing that was wrong."""
    states = ", ".join(f"{count} {state}" for state, count in found.states.most_common())
    wrong = sum(map(len, found.wrong.values()))
    yield f"{found.jobs} jobs: {states}. {found.accepted} acknowledged to programs. Wrong: {wrong}."
    for kind, each in found.wrong.items():
        if each:
            yield f"- {kind}: {len(each)}: {each[:5]}"


def put_into(path: Path, text: str) -> None:
    """Replace what stands between the marks of *path*."""
    page = path.read_text(encoding="utf-8")
    assert MARKS.search(page), f"{path} has no place for it"
    path.write_text(MARKS.sub(lambda found: found[1] + text + "\n" + found[2], page), "utf-8")
