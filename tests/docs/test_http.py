"""docs/reference/http.md names what is served."""

import re

import pytest
from reference import FOLDER

from mcli.daemon import api, cleanup, docs, feed, jobs, programs
from mcli.daemon.jobs import Submission
from mcli.daemon.metrics import Metrics
from mcli.daemon.ports import Figures
from mcli.states import State

PAGE = (FOLDER / "http.md").read_text(encoding="utf-8")
ROUTES = [
    (method, route)
    for router in (api, jobs, feed, programs, docs, cleanup)
    for route in router.routes.routes
    for method in route.methods
    if method != "HEAD" and "/docs/" not in route.path
]


@pytest.mark.parametrize(("method", "route"), ROUTES, ids=lambda each: getattr(each, "path", each))
def test_route_is_on_the_page(method: str, route: object) -> None:
    """Each route stands in the table, and each of its parameters somewhere below."""
    assert f"`{method} {route.path}`" in PAGE  # type: ignore[attr-defined]
    for parameter in route.dependant.query_params:  # type: ignore[attr-defined]
        assert re.search(rf"\b{parameter.alias}\b", PAGE), parameter.alias


def test_the_page_has_no_other_route() -> None:
    """What stands in the table is served."""
    told = set(re.findall(r"^\| \[?`([A-Z]+ /[^`]*)`", PAGE, re.MULTILINE))
    assert told == {f"{method} {route.path}" for method, route in ROUTES}


def test_submission_and_figures_are_on_the_page() -> None:
    """Each field of a submission, and each metric, is explained."""
    assert all(f'"{name}"' in PAGE for name in Submission.model_fields)

    class Quiet:
        ended: list[object] = []  # noqa: RUF012

        def figures(self) -> Figures:
            return Figures(dict.fromkeys(State, 0), 0, 0, 0, 0)

    text = Metrics(Quiet()).text()[0].decode()  # type: ignore[arg-type]
    served = {
        name.removesuffix("_created") for name in re.findall(r"^# TYPE (\S+) ", text, re.MULTILINE)
    }
    assert {name for name in served if f"`{name}`" not in PAGE} <= {"mcli_jobs_finished"}
