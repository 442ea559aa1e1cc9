"""Settings: where values come from, which wins, and what a bad one is told."""

import dataclasses
import os
import subprocess
import sys
from pathlib import Path

import pytest

from mcli.errors import BadSetting
from mcli.settings import Settings, config_file

NOWHERE = os.devnull
"""A settings file with nothing in it."""


def load(environ: dict[str, str] | None = None, **overrides: object) -> Settings:
    return Settings.load(overrides, environ or {}, NOWHERE)


def test_defaults() -> None:
    """Without any source, the settings are the documented defaults."""
    settings = load()
    assert settings.enabled
    assert (settings.host, settings.port) == ("localhost", 8001)
    assert settings.timeout_s is None
    assert settings.workers == max(5, os.cpu_count() or 1)
    assert (settings.worker_check_interval_s, settings.grace_s) == (1.0, 10.0)
    assert (settings.worker_idle_s, settings.workers_warm_max) == (600.0, 8)


def test_localhost_listens_at_ipv4_only() -> None:
    """localhost binds 127.0.0.1; every other host is bound as it is."""
    assert load().bind_host == "127.0.0.1"
    assert load(host="::1").bind_host == "::1"


def test_precedence(tmp_path: Path) -> None:
    """Options win over the environment, that over the file, that over the default."""
    file = tmp_path / "config.toml"
    file.write_text("workers = 2\nport = 2\ngrace_s = 2.5\nenabled = false\n")
    environ = {"MCLI_BACKGROUND_PORT": "3", "MCLI_WORKERS": "3"}
    settings = Settings.load({"workers": "4", "port": None}, environ, str(file))
    assert (settings.workers, settings.port, settings.grace_s) == (4, 3, 2.5)
    assert (settings.enabled, settings.host) == (False, "localhost")


def test_empty_variable_is_unset() -> None:
    """An empty environment variable counts as not set."""
    assert load({"MCLI_BACKGROUND_PORT": ""}).port == 8001


@pytest.mark.parametrize(
    ("text", "value"), [("TRUE", True), ("1", True), ("on", True), ("No", False), ("0", False)]
)
def test_enabled_is_read_in_many_spellings(text: str, value: bool) -> None:
    """true, 1, yes and on mean yes; false, 0, no and off mean no; the case is ignored."""
    assert load({"MCLI_BACKGROUND_ENABLED": text}).enabled is value


def test_none_lifts_the_limit_of_the_file(tmp_path: Path) -> None:
    """MCLI_BACKGROUND_TIMEOUT=none is no limit, even if config.toml has one."""
    file = tmp_path / "config.toml"
    file.write_text("timeout_s = 5\n")
    assert Settings.load({}, {}, str(file)).timeout_s == 5.0
    assert Settings.load({}, {"MCLI_BACKGROUND_TIMEOUT": "none"}, str(file)).timeout_s is None


@pytest.mark.parametrize(
    ("variable", "text"),
    [
        ("MCLI_BACKGROUND_ENABLED", "maybe"),
        ("MCLI_BACKGROUND_HOST", "http://localhost"),
        ("MCLI_BACKGROUND_HOST", " "),
        ("MCLI_BACKGROUND_PORT", "99999"),
        ("MCLI_BACKGROUND_PORT", "-1"),
        ("MCLI_BACKGROUND_PORT", "80.5"),
        ("MCLI_BACKGROUND_TIMEOUT", "0"),
        ("MCLI_BACKGROUND_TIMEOUT", "nan"),
        ("MCLI_WORKERS", "0"),
        ("MCLI_WORKERS", "many"),
        ("MCLI_WORKER_CHECK_INTERVAL", "0"),
        ("MCLI_GRACE", "-1"),
        ("MCLI_GRACE", "inf"),
        ("MCLI_WORKER_IDLE", "soon"),
        ("MCLI_WORKERS_WARM", "-1"),
    ],
)
def test_bad_value_names_variable_value_and_what_would_be_right(variable: str, text: str) -> None:
    """A wrong value is refused in one line with the variable, the value and what would do."""
    with pytest.raises(BadSetting) as caught:
        load({variable: text})
    message = str(caught.value)
    assert message.startswith(f"{variable} is {text!r}; it must be ")
    assert "\n" not in message
    assert caught.value.exit_code == 2


def test_bad_option_is_named_as_the_option() -> None:
    """A wrong option is named as the user wrote it."""
    with pytest.raises(BadSetting, match=r"^--port is 'x'; it must be a port"):
        load(port="x")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"prot = 1\n", "there is no setting 'prot'; known are enabled, host, port"),
        (b"[daemon]\nport = 1\n", "there is no setting 'daemon'"),
        (b"port = [1]\n", r"config.toml: port is '\[1\]'; it must be a port"),
        (b"port = = 1\n", "is not valid TOML: "),
        (b"\xff\xfe\n", "is not valid TOML: "),
    ],
)
def test_bad_file_names_file_and_key(tmp_path: Path, content: bytes, message: str) -> None:
    """An unknown key, a wrong value or a corrupt file is refused, naming the file."""
    file = tmp_path / "config.toml"
    file.write_bytes(content)
    with pytest.raises(BadSetting, match=message) as caught:
        Settings.load({}, {}, str(file))
    assert str(file) in str(caught.value)


def test_unreadable_file_is_refused(tmp_path: Path) -> None:
    """A settings file that cannot be read is an error, not an empty one."""
    with pytest.raises(BadSetting, match="cannot read the settings file"):
        Settings.load({}, {}, str(tmp_path))


def test_missing_file_is_no_error(tmp_path: Path) -> None:
    """Without a settings file the defaults hold."""
    assert Settings.load({}, {}, str(tmp_path / "none.toml")) == load()


def test_where_the_file_is(tmp_path: Path) -> None:
    """MCLI_HOME's file wins if it exists, then the XDG directory, then ~/.config."""
    environ = {"MCLI_HOME": str(tmp_path), "XDG_CONFIG_HOME": "/xdg"}
    assert config_file(environ) == "/xdg/mcli/config.toml"
    (tmp_path / "config.toml").touch()
    assert config_file(environ) == str(tmp_path / "config.toml")
    assert config_file({"XDG_CONFIG_HOME": "relative"}) == os.path.expanduser(
        "~/.config/mcli/config.toml"
    )


def test_each_setting_is_declared_whole() -> None:
    """Each field has a variable of its own that begins with MCLI_, and says what it means."""
    fields = dataclasses.fields(Settings)
    variables = [each.metadata["variable"] for each in fields]
    assert len(set(variables)) == len(fields)
    assert all(variable.startswith("MCLI_") for variable in variables)
    assert all(each.metadata["meaning"].endswith(".") for each in fields)


def test_loading_is_cheap() -> None:
    """Without a settings file, neither a TOML reader nor click is imported."""
    code = (
        "import sys; from mcli.settings import Settings; Settings.load({}, {}, '/nonexistent');"
        "print([name for name in ('tomllib', 'click', 'json') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
