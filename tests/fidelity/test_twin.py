"""The comparison itself: what it must find, and what it must not."""

import sys
from pathlib import Path

from mcli.stage import Program, Step, nothing, perform, send
from mcli.twin import Difference, differences, files_below, first_difference


def program(code: str, cwd: Path, **options: object) -> Program:
    """A one-line Python program."""
    argv = [sys.executable, "-c", code]
    return Program(argv=argv, cwd=str(cwd), env={"LANG": "C.UTF-8"}, **options)  # type: ignore[arg-type]


def test_pipes_keep_the_streams_apart(tmp_path: Path) -> None:
    """stdout, stderr and the exit code of a run with pipes."""
    code = "import sys; print('out'); print('err', file=sys.stderr); sys.exit(3)"
    run = perform(program(code, tmp_path), terminal=False)
    assert (run.stdout, run.stderr, run.ending) == (b"out\n", b"err\n", "exit 3")


def test_terminal_is_one(tmp_path: Path) -> None:
    """The program leads a session at a terminal of 80 columns, and hears what is typed."""
    code = "import os; print(os.get_terminal_size(), os.ttyname(0) != ''); print(input('? '))"
    steps = [Step(rb"\? $", send(b"typed\n"))]
    run = perform(program(code, tmp_path, steps=steps), terminal=True)
    assert run.stdout.startswith(b"os.terminal_size(columns=80, lines=24) True\r\n")
    assert run.stdout.endswith(b"? typed\r\ntyped\r\n")


def test_death_by_signal_is_named(tmp_path: Path) -> None:
    """A process that a signal has ended is told from one that exited."""
    run = perform(program("import os; os.kill(os.getpid(), 9)", tmp_path), terminal=False)
    assert run.ending == "killed by SIGKILL"


def test_stuck_program_is_killed(tmp_path: Path) -> None:
    """At the deadline the program is killed, and the run says which cue did not come."""
    steps = [Step(b"never", nothing)]
    stuck = program("import signal; signal.pause()", tmp_path, steps=steps, deadline_s=0.2)
    run = perform(stuck, terminal=False)
    assert run.ending == "still running at the deadline, waiting for b'never'"


def test_input_that_nobody_reads_is_no_error(tmp_path: Path) -> None:
    """A program may end without having read its input."""
    run = perform(program("pass", tmp_path, stdin=b"x" * 10_000_000), terminal=False)
    assert run.ending == "exit 0"


def test_equal_runs_have_no_difference(tmp_path: Path) -> None:
    """Two runs of one program are equal."""
    runs = [perform(program("print('same')", tmp_path), terminal=False) for _ in range(2)]
    assert differences(*runs, terminal=False) == []


def test_each_aspect_is_compared(tmp_path: Path) -> None:
    """A difference in either stream or in the ending is found, and named."""
    one = perform(program("print(1)", tmp_path), terminal=False)
    two = perform(program("import sys; print(2); sys.exit('no')", tmp_path), terminal=False)
    found = differences(one, two, terminal=False)
    assert [difference.aspect for difference in found] == ["stdout", "stderr", "ending"]


def test_difference_shows_bytes_escaped() -> None:
    """What cannot be printed is shown by its number, with the place where it stands."""
    shown = str(Difference(aspect="stdout", local=b"a\nb\xff\n", routed=b"a\nb\x1b\n"))
    assert "first difference at byte 3" in shown
    assert shown.endswith("-b\\xff\\n\n+b\\x1b\\n")


def test_difference_in_a_flood_is_short() -> None:
    """Of fifty megabytes only the surroundings of the first difference are shown."""
    flood = b"0123456789\n" * 5_000_000
    broken = flood[:40_000_000] + b"!" + flood[40_000_001:]
    assert first_difference(flood, broken) == 40_000_000
    assert len(str(Difference(aspect="stdout", local=flood, routed=broken))) < 20_000


def test_missing_end_is_found() -> None:
    """A stream that was cut short differs where it ends."""
    assert first_difference(b"abc", b"ab") == 2


def test_files_are_compared_by_mode_and_content(tmp_path: Path) -> None:
    """Every file, directory and link below a folder is one line."""
    (tmp_path / "d").mkdir(mode=0o700)
    (tmp_path / "d" / "f").write_bytes(b"x")
    (tmp_path / "d" / "f").chmod(0o640)
    (tmp_path / "l").symlink_to("d")
    folder, file, link = files_below(str(tmp_path))
    assert folder == "d drwx------"
    assert file.startswith("d/f -rw-r----- 1 bytes, sha256 2d711642")
    assert link.endswith("-> d")
