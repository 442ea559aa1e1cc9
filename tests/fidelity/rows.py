"""
The rows of the promise "routed = local", and the cases that keep each of them.

``docs/explanation/fidelity.md`` shows this table; ``test_rows`` keeps the table, the page
and the cases in step.
"""

from typing import Final

ROWS: Final[dict[str, tuple[str, ...]]] = {
    "working directory and relative paths": (
        "cwd", "cwd-at-import", "cwd-link", "cwd-deleted", "relative-paths", "relative-files",
        "file-dash", "file-missing", "temporary-directory", "temporary-file",
    ),
    "arguments: unicode, empty, `--`, leading dash, 100 kB, not UTF-8": (
        "argv-none", "argv-unicode", "argv-empty", "argv-double-dash", "argv-leading-dash",
        "argv-options", "argv-shell-characters", "argv-100-kb", "argv-many", "argv-not-utf8",
    ),
    "environment, also as seen at import": (
        "environment", "environment-not-utf8", "environment-large", "environment-at-import",
        "environment-at-import-again", "seed-at-import", "seed-at-import-again", "hash-seed",
        "hash-seed-again", "time-zone", "io-encoding", "c-locale",
    ),
    "`envvar=` options and prefixes": (
        "envvar", "envvar-prefix", "envvar-unset", "envvar-bad", "auto-envvar-prefix",
    ),
    "umask and modes of files": ("umask", "umask-open", "umask-private"),
    "standard input: pipe, file, 100 MB, binary, only what is read": (
        "stdin-text", "stdin-binary", "stdin-empty", "stdin-100-mb", "stdin-unread",
        "stdin-conversation", "stdin-file", "stdin-seek", "stdin-null", "loop-keeps-its-stdin",
        "loop-keeps-its-pipe", "rest-of-stdin",
    ),
    "closed standard input, output or error": (
        "stdin-closed", "stdin-closed-text", "closed-stdout", "closed-stderr",
    ),
    "`click.prompt` and `click.confirm`": (
        "prompt", "prompt-again", "prompt-stdin", "prompt-stdin-ends", "prompt-ctrl-c",
        "prompt-ctrl-d", "prompt-edited", "confirm", "input", "input-stdin", "one-key",
        "editor", "pager",
    ),
    "hidden input and `getpass`": ("hidden", "getpass", "password-option"),
    "options with `prompt=` are asked once": (
        "option-prompt", "option-prompt-given", "option-prompt-ctrl-c",
        "option-prompt-of-a-group", "option-prompt-of-a-group-stdin", "confirmation-option",
        "option-then-body", "option-then-body-stdin",
    ),
    "group callbacks print once, `ctx.obj` is there": (
        "group-alone", "group-callback", "pass-obj", "make-pass-decorator", "help-of-a-group",
        "with-resource", "invoke", "forward", "result-callback", "default-map",
        "default-map-overruled",
    ),
    "the decorator above, below, bare, on a finished command, in a lazy group": (
        "decorator-above", "decorator-on-a-command", "bare-decorator", "lazy-group",
        "lazy-group-other", "lazy-group-help",
    ),
    "callbacks, eager options and custom types": (
        "option-callback", "eager-option", "version", "custom-type", "custom-type-refuses",
    ),
    "chained commands": (
        "chain", "chain-mixed", "chain-options", "chain-breaks", "chain-local-only",
    ),
    "isatty of each stream, terminal modes": (
        "isatty", "isatty-stdin-only", "isatty-without-stdin", "isatty-without-stderr",
        "controlling", "controlling-without-stdin",
        "terminal-modes", "terminal-modes-changed", "terminal-modes-after",
    ),
    "colours and `NO_COLOR`": ("colours", "no-color", "force-color", "dumb-terminal"),
    "terminal width, and a resize while it runs": (
        "width", "width-from-environment", "narrow", "resize",
    ),
    "`click.progressbar` redraws": ("progressbar", "redraw"),
    "output: no newline, bytes, invalid UTF-8, 50 MB": (
        "text", "no-newline", "bytes", "invalid-utf8", "no-output", "flood-50-mb",
        "flood-terminal", "stdout-to-a-file", "appended-to-a-file", "stdout-to-null",
        "log-and-warnings",
    ),
    "output by a subprocess of the job": (
        "output-of-a-subprocess", "output-of-a-subprocess-terminal",
    ),
    "stdout and stderr interleaved, and what is buffered": (
        "two-streams", "interleaved", "both-to-a-file", "buffering", "buffering-interleaved",
    ),
    "exit codes 0-255, `sys.exit(\"text\")`, `ctx.exit`, `os._exit`": (
        *(f"exit-{code}" for code in (
            0, 1, 2, 3, 75, 77, 124, 125, 126, 127, 128, 130, 137, 143, 255, 256, -1,
        )),
        "exit-none", "exit-text", "exit-object", "ctx-exit-0", "ctx-exit-7", "os-exit",
        "returns", "returns-text",
    ),
    "`ctx.fail`, `UsageError`, `Abort`, `ClickException`": (
        "ctx-fail", "usage-error", "bad-parameter", "file-error", "abort",
        "keyboard-interrupt", "end-of-file", "click-exception", "click-exception-code",
        "wrong-use", "no-such-command", "no-such-option", "not-standalone",
        "not-standalone-error", "not-standalone-abort",
    ),
    "an uncaught exception with its traceback": (
        "exception", "exception-chained", "exception-group", "exception-recursion",
        "exception-own-hook", "exception-in-thread", "exception-at-exit",
        "exception-in-finalizer", "import-error", "no-such-script",
    ),
    "death by signal": (
        "dies-of-sigterm", "dies-of-sigkill", "dies-of-sigsegv", "dies-of-sigabrt",
        "dies-of-sighup", "dies-of-sigusr1", "dies-of-sigint", "death-seen-by-a-shell",
    ),
    "Ctrl-C once and twice": (
        "ctrl-c", "ctrl-c-cleanup", "ctrl-c-twice", "ctrl-c-refused", "ctrl-c-in-a-script",
        "sigint", "sigint-twice", "ctrl-backslash-handled",
    ),
    "SIGTERM": ("sigterm", "sigterm-handled", "sigusr1-handled"),
    "Ctrl-Z and `fg`": ("ctrl-z-and-fg", "ctrl-z-twice", "ctrl-z-and-ctrl-c"),
    "`| head -1`": ("head",),
    "`atexit` and `call_on_close`": ("atexit", "call-on-close"),
    "threads, `multiprocessing`, `subprocess`, `asyncio.run` in the body": (
        "threads", "late-thread", "multiprocessing-fork", "multiprocessing-spawn",
        "multiprocessing-forkserver", "process-pool", "fork", "subprocess", "asyncio",
    ),
    "the process itself: main thread, handlers, group, module, descriptors": (
        "main-thread", "process-leader", "main-module", "descriptors",
    ),
    "`python app.py`, also relative, by shebang, a folder, with flags": (
        "script", "script-relative", "script-dotted", "script-from-elsewhere",
        "script-shebang", "folder", "command-string", "flags", "flag-optimize",
        "flag-warnings", "flag-unbuffered", "environment-flags",
    ),
    "`python -m pkg`": ("module", "module-fails", "module-plain", "module-in-cwd"),
    "a console script": ("console-script", "console-script-on-path"),
    "a script in another virtual environment": ("other-environment",),
    "a script under a symlink": ("script-link", "script-below-a-link"),
    "a Typer app": (
        "typer", "typer-context", "typer-prompt", "typer-exit", "typer-abort",
        "typer-bad-parameter", "typer-usage", "typer-help", "typer-traceback",
        "typer-traceback-plain", "typer-progressbar", "typer-path",
    ),
}  # fmt: skip


def table() -> str:
    """The table of the page: each row, and the names of its cases."""
    lines = ["| what is equal | cases |", "|---|---|"]
    lines += [f"| {row} | {', '.join(f'`{case}`' for case in ids)} |" for row, ids in ROWS.items()]
    return "\n".join(lines)
