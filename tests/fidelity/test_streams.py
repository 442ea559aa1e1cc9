"""Output, input, and the terminal."""

from pathlib import Path

from mcli.stage import Step, nothing, resize, send

from .case import PIPES, TERMINAL, Case, python, shell
from .conftest import Twins

MEGABYTES = 50


def app(*args: str) -> list[str | bytes]:
    return python("streams.py", *args)


def three_lines(cwd: Path) -> None:
    (cwd / "list").write_text("one\ntwo\nthree\n")


def binary_file(cwd: Path) -> None:
    (cwd / "data").write_bytes(bytes(range(256)) * 1000)


OUTPUT = [
    Case(id="text", argv=app("text")),
    Case(id="no-newline", argv=app("no-newline")),
    Case(id="bytes", argv=app("binary")),
    Case(id="invalid-utf8", argv=app("invalid-utf8")),
    Case(id="no-output", argv=app("nothing")),
    Case(id="flood-50-mb", argv=app("flood", str(MEGABYTES)), stages=(PIPES,), deadline_s=60),
    Case(id="flood-terminal", argv=app("flood", "2"), stages=(TERMINAL,)),
    Case(id="two-streams", argv=app("interleave"), stages=(PIPES,)),
    Case(id="interleaved", argv=shell("exec {0} 2>&1", app("interleave"))),
    Case(id="buffering", argv=app("buffered")),
    Case(id="buffering-interleaved", argv=shell("exec {0} 2>&1", app("buffered"))),
    Case(id="output-of-a-subprocess", argv=app("child"), stages=(PIPES,), stdin=b"for cat\n"),
    Case(
        id="output-of-a-subprocess-terminal",
        argv=app("child"),
        stages=(TERMINAL,),
        steps=[Step(rb"child err\r\n", send(b"typed\n")), Step(rb"\ntyped\r\n", send(b"\x04"))],
    ),
    Case(id="log-and-warnings", argv=app("log-and-warn")),
    Case(id="stdout-to-a-file", argv=shell("exec {0} > out", app("interleave")), stages=(PIPES,)),
    Case(id="both-to-a-file", argv=shell("exec {0} > out 2>&1", app("interleave"))),
    Case(id="appended-to-a-file", argv=shell("echo 1 > out; {0} >> out", app("text"))),
    Case(id="stdout-to-null", argv=shell("exec {0} > /dev/null", app("text"))),
    Case(
        id="head",
        argv=shell('{0} | head -1; echo "${{PIPESTATUS[@]}}"', app("count", "3000000")),
    ),
    Case(id="closed-stdout", argv=shell("{0} >&-; echo $?", app("text"))),
    Case(id="closed-stderr", argv=shell("{0} 2>&-; echo $?", app("text"))),
]

INPUT = [
    Case(
        id="stdin-text",
        argv=app("lines"),
        stdin="eins\nzwei ü\r\n\nno end".encode(),
        stages=(PIPES,),
    ),
    Case(id="stdin-binary", argv=app("digest"), stdin=bytes(range(256)) * 999, stages=(PIPES,)),
    Case(id="stdin-empty", argv=app("digest"), stdin=b"", stages=(PIPES,)),
    Case(
        id="stdin-100-mb",
        argv=shell("seq 1 12500000 | {0}", app("digest")),
        stages=(PIPES,),
        deadline_s=60,
    ),
    Case(id="stdin-unread", argv=shell("seq 1 1000000 | {0}; echo $?", app("say", "hi"))),
    Case(
        id="stdin-conversation",
        argv=app("child"),
        stages=(PIPES,),
        steps=[Step(rb"child out\n", send(b"one\n")), Step(rb"one\n", send(b"two\n"))],
    ),
    Case(id="stdin-file", argv=shell("exec {0} < data", app("digest")), prepare=binary_file),
    Case(id="stdin-seek", argv=shell("exec {0} < list", app("seek")), prepare=three_lines),
    Case(id="stdin-null", argv=shell("exec {0} < /dev/null", app("digest"))),
    Case(id="stdin-closed", argv=shell("exec {0} <&-", app("isatty"))),
    Case(id="stdin-closed-text", argv=shell("exec {0} <&-", app("text"))),
    Case(
        id="loop-keeps-its-stdin",
        argv=shell('while read x; do {0} "$x"; done < list; echo end', app("say")),
        prepare=three_lines,
        jobs=3,
    ),
    Case(
        id="loop-keeps-its-pipe",
        argv=shell('cat list | while read x; do {0} "$x"; done; echo end', app("say")),
        prepare=three_lines,
        jobs=3,
    ),
    Case(
        id="rest-of-stdin",
        argv=shell("({0}; echo then; cat) < list", app("take", "4")),
        prepare=three_lines,
    ),
]

TERMINALS = [
    Case(id="isatty", argv=app("isatty")),
    Case(id="isatty-stdin-only", argv=shell("{0} 2>/dev/null | cat", app("isatty"))),
    Case(id="isatty-without-stdin", argv=shell("{0} < /dev/null", app("isatty"))),
    Case(id="isatty-without-stderr", argv=shell("{0} 2> /dev/null", app("isatty"))),
    Case(id="controlling", argv=app("controlling")),
    Case(id="controlling-without-stdin", argv=shell("{0} < /dev/null", app("controlling"))),
    Case(id="terminal-modes", argv=app("terminal-modes")),
    Case(
        id="terminal-modes-changed",
        argv=shell("stty erase ^H -ixon tostop; {0}; stty -a", app("terminal-modes")),
        stages=(TERMINAL,),
    ),
    Case(id="terminal-modes-after", argv=shell("{0}; stty -a", app("text")), stages=(TERMINAL,)),
    Case(id="colours", argv=app("colours")),
    Case(id="no-color", argv=app("colours"), env={"NO_COLOR": "1"}),
    Case(id="force-color", argv=app("colours"), env={"FORCE_COLOR": "1"}),
    Case(id="dumb-terminal", argv=app("colours"), env={"TERM": "dumb"}),
    Case(id="width", argv=app("width")),
    Case(id="width-from-environment", argv=app("width"), env={"COLUMNS": "132", "LINES": "50"}),
    Case(
        id="narrow",
        argv=shell("stty cols 20 rows 5; exec {0}", app("width")),
        stages=(TERMINAL,),
    ),
    Case(
        id="resize",
        argv=app("resize"),
        stages=(TERMINAL,),
        steps=[
            Step(rb"at first.*\r\n", resize(30, 100)),
            Step(rb"then \(100, 30\)\r\n", resize(10, 40)),
            Step(rb"then \(40, 10\)\r\n", nothing),
        ],
    ),
    Case(id="progressbar", argv=app("progress")),
    Case(id="redraw", argv=app("spinner")),
]

CASES = OUTPUT + INPUT + TERMINALS


def test_streams(twins: Twins, case: Case, stage: str) -> None:
    """Every byte arrives, in order, on its own stream; the terminal looks like a terminal."""
    twins.check(case, stage)
