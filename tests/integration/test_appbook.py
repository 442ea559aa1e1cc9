"""The apps that were added, in a real store."""

from pathlib import Path

from mcli import appbook
from mcli.appbook import Entry
from mcli.store.store import Store


def entry(target: str, python: str = "/python") -> Entry:
    return Entry(name="shop", target=target, python=python, mcli_root="", cwd="/", origin="added")


def test_apps_are_kept_in_their_order(tmp_path: Path) -> None:
    """What was added is there when the store is opened again, the latest instead of an earlier
    one at the same place; what was forgotten is not."""
    store = Store.open(str(tmp_path / "mcli.db"))
    for now, each in enumerate((entry("b.py\udcff"), entry("a.py"), entry("c.py"))):
        store.write(appbook.keep, each, now=float(now)).result()
    store.write(appbook.keep, entry("a.py", "/other"), now=9.0).result()
    store.write(appbook.forget, "c.py").result()
    store.write(appbook.forget, "nowhere.py").result()
    store.close()
    store = Store.open(str(tmp_path / "mcli.db"))
    try:
        assert store.read(appbook.kept) == [entry("b.py\udcff"), entry("a.py", "/other")]
    finally:
        store.close()
