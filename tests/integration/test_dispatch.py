"""The dispatcher by itself, over a real store."""

import asyncio
from contextlib import closing
from pathlib import Path

from mcli.daemon.dispatch import Dispatcher
from mcli.home import Home
from mcli.settings import Settings
from mcli.store.store import Store


def test_nothing_begins_any_more_at_the_end(tmp_path: Path) -> None:
    """
    What an event brings that comes when the daemon has stopped is left to the next one: begun
    now, it would find the loop without its threads, and pass for a bug.
    """
    home = Home(str(tmp_path / "home"))
    home.create()
    begun = []

    async def work() -> None:
        begun.append(await asyncio.to_thread(lambda: "begun"))

    async def main(store: Store) -> int:
        dispatcher = Dispatcher(home, Settings(), store)
        dispatcher.close()
        dispatcher.spawn(work())
        return len(asyncio.all_tasks())

    with closing(Store.open(home.database)) as store:
        assert asyncio.run(main(store)) == 1
    assert begun == []
