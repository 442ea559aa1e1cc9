"""A shelf that is served, for the tests of a module that leave it as it was."""

from collections.abc import Iterator

import pytest

from mcli.home import Home

from .shelf import Served, served


@pytest.fixture(scope="module")
def serving(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """It is shared by the tests of a module: each clears it first."""
    with served(Home(str(tmp_path_factory.mktemp("home")))) as serving:
        yield serving
