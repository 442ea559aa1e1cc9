"""The ways in which a program can be started."""

import os
from pathlib import Path

import mcli

from .case import OTHER_PYTHON, PROGRAMS, PYTHON, Case, python, shell
from .conftest import Twins

SCRIPT = str(PROGRAMS / "launch.py")
WITH_PROGRAMS = {
    "PYTHONPATH": os.pathsep.join([str(PROGRAMS), str(Path(mcli.__file__).parent.parent)])
}
"""An environment in which the package ``pkgapp`` is found as if it were installed."""


def console_script(cwd: Path) -> None:
    (cwd / "pkg-app").write_text(
        f"#!{PYTHON}\nimport sys\nfrom pkgapp.cli import main\n"
        "if __name__ == '__main__':\n    sys.argv[0] = sys.argv[0].removesuffix('.exe')\n"
        "    sys.exit(main())\n"
    )
    (cwd / "pkg-app").chmod(0o755)


def linked_script(cwd: Path) -> None:
    (cwd / "linked").symlink_to(PROGRAMS)
    (cwd / "app").symlink_to(SCRIPT)


def copied_script(cwd: Path) -> None:
    for name in ("launch.py", "neighbour.py"):
        (cwd / name).write_bytes((PROGRAMS / name).read_bytes())


def executable_script(cwd: Path) -> None:
    copied_script(cwd)
    script = cwd / "launch.py"
    script.write_text(f"#!{PYTHON}\n{script.read_text()}")
    script.chmod(0o755)


def main_folder(cwd: Path) -> None:
    (cwd / "folder").mkdir()
    for name in ("launch.py", "neighbour.py"):
        (cwd / "folder" / name.replace("launch", "__main__")).write_bytes(
            (PROGRAMS / name).read_bytes()
        )


CASES = [
    Case(id="script", argv=python("launch.py")),
    Case(id="script-relative", argv=[PYTHON, "launch.py"], prepare=copied_script),
    Case(id="script-dotted", argv=[PYTHON, "./launch.py"], prepare=copied_script),
    Case(
        id="script-from-elsewhere",
        argv=shell("mkdir d; cd d; exec {0}", [PYTHON, "../launch.py"]),
        prepare=copied_script,
    ),
    Case(
        id="script-shebang",
        argv=shell("chmod +x launch.py; {0} launch.py", [PYTHON]),
        prepare=copied_script,
    ),
    Case(id="script-link", argv=[PYTHON, "app"], prepare=linked_script),
    Case(id="script-below-a-link", argv=[PYTHON, "linked/launch.py"], prepare=linked_script),
    Case(id="folder", argv=[PYTHON, "folder"], prepare=main_folder, jobs=None),
    Case(id="module", argv=[PYTHON, "-m", "pkgapp", "run"], env=WITH_PROGRAMS),
    Case(id="module-fails", argv=[PYTHON, "-m", "pkgapp", "run", "--fail"], env=WITH_PROGRAMS),
    Case(id="module-plain", argv=[PYTHON, "-m", "launch"], env=WITH_PROGRAMS),
    Case(
        id="module-in-cwd",
        argv=shell("cd {0} && exec {1}", [str(PROGRAMS)], [PYTHON, "-m", "pkgapp", "run"]),
    ),
    Case(id="console-script", argv=["./pkg-app", "run"], prepare=console_script, env=WITH_PROGRAMS),
    Case(
        id="console-script-on-path",
        argv=shell('PATH="$PWD:$PATH"; exec pkg-app run'),
        prepare=console_script,
        env=WITH_PROGRAMS,
    ),
    Case(id="command-string", argv=[PYTHON, "-c", "import bare"], env=WITH_PROGRAMS, jobs=None),
    Case(id="other-environment", argv=[OTHER_PYTHON, SCRIPT]),
    Case(id="flags", argv=[PYTHON, "-X", "utf8", "-W", "error", SCRIPT]),
    Case(id="flag-optimize", argv=[PYTHON, "-O", SCRIPT, "word"]),
    Case(id="flag-warnings", argv=[PYTHON, "-W", "error", str(PROGRAMS / "warned.py")]),
    Case(id="flag-unbuffered", argv=[PYTHON, "-u", str(PROGRAMS / "streams.py"), "buffered"]),
    Case(
        id="environment-flags",
        argv=python("launch.py"),
        env={"PYTHONUNBUFFERED": "1", "PYTHONWARNINGS": "default", "PYTHONUTF8": "1"},
    ),
    Case(
        id="io-encoding", argv=python("streams.py", "isatty"), env={"PYTHONIOENCODING": "latin-1"}
    ),
    Case(id="c-locale", argv=python("streams.py", "isatty"), env={"LC_ALL": "C", "LANG": ""}),
]


def test_launch(twins: Twins, case: Case, stage: str) -> None:
    """However it was started, the job is that program, in that interpreter."""
    twins.check(case, stage)
