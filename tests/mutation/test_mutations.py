"""The mutations of ``python -m tests.mutation`` are of the code as it is."""

from pathlib import Path

import pytest

from mutation.mutations import MUTATIONS, PROJECT, copy, mutate


@pytest.mark.parametrize("name", MUTATIONS)
def test_it_can_be_made(name: str, tmp_path: Path) -> None:
    tree = copy(str(tmp_path))
    mutate(tree, MUTATIONS[name])
    for file, _, _ in MUTATIONS[name].edits:
        compile((tree / file).read_bytes(), file, "exec")


@pytest.mark.parametrize("name", MUTATIONS)
def test_its_tests_exist(name: str) -> None:
    for test in MUTATIONS[name].tests:
        file, _, function = test.partition("::")
        text = (PROJECT / file).read_text(encoding="utf-8")
        assert f"def {function.partition('[')[0]}" in text
