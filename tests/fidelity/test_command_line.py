"""Arguments, environment, working directory, umask and files."""

from pathlib import Path

from .case import PIPES, Case, python, shell
from .conftest import Twins


def argv(*args: str | bytes) -> list[str | bytes]:
    return python("argv.py", *args)


def app(*args: str) -> list[str | bytes]:
    return python("surroundings.py", *args)


def folders(cwd: Path) -> None:
    (cwd / "real").mkdir()
    (cwd / "link").symlink_to("real")
    (cwd / "real" / "source").write_text("some text\n")


ARGUMENTS = [
    Case(id="argv-none", argv=argv()),
    Case(id="argv-unicode", argv=argv("--name", "Zoë", "漢字", "🐍", "e\u0301")),
    Case(id="argv-empty", argv=argv("", "--name", "", " ", "\t\n")),
    Case(id="argv-double-dash", argv=argv("-v", "--", "--name", "--", "-v")),
    Case(id="argv-leading-dash", argv=argv("-vv", "-x", "--unknown=1", "-", "--name=-n")),
    Case(id="argv-options", argv=argv("--pair", "a", "1", "--pair=b", "2", "--no-flag", "w")),
    Case(id="argv-shell-characters", argv=argv("$HOME", "`id`", "*", "'", '"', "\\", "a;b|c")),
    Case(id="argv-100-kb", argv=argv("x" * 100_000, "y" * 100_000, "--name", "z")),
    Case(id="argv-many", argv=argv(*map(str, range(5000)))),
    Case(id="argv-not-utf8", argv=argv(b"\xff\xfe", b"caf\xe9", b"--name=\x80")),
]

ENVIRONMENT = [
    Case(
        id="environment", argv=app("environment"), env={"EMPTY": "", "MANY": "a=b=c\nd", "Ü": "ä"}
    ),
    Case(id="environment-not-utf8", argv=app("environment"), env={"RAW": "\udcff\udc80"}),
    Case(id="environment-large", argv=app("environment"), env={"LARGE": "l" * 100_000}),
    Case(id="envvar", argv=app("options"), env={"COLOUR": "red", "PATHS": "a:b c:d"}),
    Case(id="envvar-prefix", argv=app("options"), env={"APP_OPTIONS_SIZE": "9"}),
    Case(id="envvar-unset", argv=app("options")),
    Case(id="envvar-bad", argv=app("options"), env={"APP_OPTIONS_SIZE": "x"}, jobs=0),
    Case(id="environment-at-import", argv=app("imported"), env={"COLOUR": "first"}),
    Case(id="environment-at-import-again", argv=app("imported"), env={"COLOUR": "second"}),
    Case(id="seed-at-import", argv=app("chance"), env={"SEED": "11"}),
    Case(id="seed-at-import-again", argv=app("chance"), env={"SEED": "12"}),
    Case(id="hash-seed", argv=app("hashes"), env={"PYTHONHASHSEED": "0"}),
    Case(id="hash-seed-again", argv=app("hashes"), env={"PYTHONHASHSEED": "42"}),
    Case(id="time-zone", argv=app("clock"), env={"TZ": "Asia/Tokyo", "LC_ALL": "C.UTF-8"}),
    Case(id="temporary-directory", argv=app("where"), env={"TMPDIR": "/"}),
]

PLACES = [
    Case(id="cwd", argv=app("where"), prepare=folders),
    Case(id="cwd-at-import", argv=shell("cd real && exec {0}", app("imported")), prepare=folders),
    Case(id="cwd-link", argv=shell("cd link && exec {0}", app("where")), prepare=folders),
    Case(
        id="cwd-deleted",
        argv=shell("mkdir gone && cd gone && rmdir ../gone && exec {0}", python("bare.py")),
        jobs=0,
        ending="exit 0",
    ),
    Case(id="relative-paths", argv=app("paths", "link", "../x/./y"), prepare=folders),
    Case(id="relative-files", argv=app("copy", "real/out", "link/source"), prepare=folders),
    Case(id="file-dash", argv=app("copy", "-", "real/source"), prepare=folders),
    Case(id="file-missing", argv=app("copy", "out", "missing"), jobs=0),
    Case(id="umask", argv=shell("umask 027; exec {0}", app("leave"))),
    Case(id="umask-open", argv=shell("umask 000; exec {0}", app("leave"))),
    Case(
        id="umask-private",
        argv=shell("umask 077; exec {0}", app("copy", "out", "-")),
        stdin=b"x",
        stages=(PIPES,),
    ),
]

CASES = ARGUMENTS + ENVIRONMENT + PLACES


def test_command_line(twins: Twins, case: Case, stage: str) -> None:
    """The job has the caller's arguments, environment, directory and umask."""
    twins.check(case, stage)
