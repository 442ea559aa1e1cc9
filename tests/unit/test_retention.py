"""What may be kept: amounts as they are written, and which jobs go. Tables of both."""

import pytest

from mcli.allowance import age_s, ages, counts, sizes
from mcli.errors import BadSetting
from mcli.retention import RECENT_S, Allowances, Ended, Survey
from mcli.settings import Settings
from mcli.states import FINAL, State

NOW = 1e9
DAY = 86400.0


@pytest.mark.parametrize("text", ["", "7", "0", "7 ", "d", "-1d", "7 days", "1GiB"])
def test_an_age_has_a_unit(text: str) -> None:
    """Without one 7 would be seconds, where days were meant, and all would go."""
    with pytest.raises(ValueError, match="a time, such as 90s, 12h or 7d"):
        age_s(text)


def test_a_state_may_have_its_own() -> None:
    """Others share what stands first, or the default."""
    allowed = ages("2d,failed=30d, lost = none")
    assert allowed.of(State.SUCCEEDED) == allowed.of(State.CANCELLED) == 2 * DAY
    assert (allowed.of(State.FAILED), allowed.of(State.LOST)) == (30 * DAY, None)
    assert allowed.shared_by(State.CANCELLED) == {State.SUCCEEDED, State.CANCELLED}
    assert allowed.shared_by(State.LOST) == {State.LOST}
    assert ages("failed=1h").of(State.LOST) == 7 * DAY


def test_defaults() -> None:
    """A week, any number, and a gibibyte in all."""
    settings = Settings.load({}, {}, "/dev/null")
    assert {settings.keep_age.of(state) for state in FINAL} == {7 * DAY}
    assert {settings.keep_jobs.of(state) for state in FINAL} == {None}
    assert settings.keep_bytes.of(State.LOST) == 2**30
    assert settings.keep_bytes.shared_by(State.LOST) == FINAL


@pytest.mark.parametrize(
    ("variable", "text", "right"),
    [
        ("MCLI_KEEP_AGE", "7", "a time, such as 90s, 12h or 7d, or none"),
        ("MCLI_KEEP_AGE", "7d,8d", "cancelled, failed, lost, succeeded"),
        ("MCLI_KEEP_AGE", "running=7d", "cancelled, failed, lost, succeeded"),
        ("MCLI_KEEP_AGE", "failed=7d,failed=8d", "for each of"),
        ("MCLI_KEEP_AGE", "7d,", "STATE="),
        ("MCLI_KEEP_JOBS", "few", "a whole number from 0, or none"),
        ("MCLI_KEEP_BYTES", "1d", "a number of bytes, such as 500MB or 2GiB, or none"),
        ("MCLI_KEEP_BYTES", "1GiB,lost=x", "a number of bytes, such as 500MB or 2GiB, or none"),
        ("MCLI_KEEP_INTERVAL", "0", "a number of seconds above 0"),
    ],
)
def test_bad_values_say_what_would_be_right(variable: str, text: str, right: str) -> None:
    """One line with the variable, the value, and what would do."""
    with pytest.raises(BadSetting) as caught:
        Settings.load({}, {variable: text}, "/dev/null")
    assert str(caught.value).startswith(f"{variable} is {text!r}; it must be ")
    assert right in str(caught.value)
    assert "\n" not in str(caught.value)


# Which go -----------------------------------------------------------------------------------


def survey(
    *jobs: Ended, age: str = "none", number: str = "none", size: str = "none", most: int = 1000
) -> Survey:
    """What was seen of *jobs*; of each state so many may be remembered."""
    found = Survey(Allowances(ages(age), counts(number), sizes(size)), NOW, remembered=most)
    for job in jobs:
        found.add(job)
    return found


def ok(name: str, days: float, size: int = 0, *, held: bool = False) -> Ended:
    return Ended(NOW - days * DAY, name, State.SUCCEEDED, size, held)


def bad(name: str, days: float, size: int = 0) -> Ended:
    return Ended(NOW - days * DAY, name, State.FAILED, size)


@pytest.mark.parametrize(
    ("limits", "gone"),
    [
        ({}, ""),
        ({"age": "7d"}, "ad"),
        ({"age": "8d"}, "a"),  # at the very moment
        ({"age": "0s"}, "adbe"),
        ({"age": "7d,failed=none"}, "a"),
        ({"age": "none,failed=1d"}, "de"),
        ({"number": "2"}, "ad"),
        ({"number": "0"}, "adbe"),
        ({"number": "9"}, ""),
        ({"number": "none,failed=1"}, "d"),
        ({"number": "1,failed=none"}, "a"),
        ({"number": "1,failed=1"}, "ad"),
        ({"size": "100B"}, ""),
        ({"size": "99B"}, "a"),
        ({"size": "70B"}, "ad"),
        ({"size": "60B"}, "adb"),
        ({"size": "0B"}, "adb"),  # not the newest
        ({"size": "40B,failed=1B"}, "ad"),
        ({"age": "8d", "number": "3"}, "a"),  # one that goes for its age makes room
        ({"age": "8d", "size": "90B"}, "a"),
        ({"number": "3", "size": "90B"}, "a"),
        ({"age": "8d", "number": "2", "size": "35B"}, "adb"),
    ],
)
def test_which_go(limits: dict[str, str], gone: str) -> None:
    """
    The first that ended go first, for each of the limits; a state of its own goes alone.
    """
    jobs = [ok("a", 8, 10), ok("b", 2, 40), bad("d", 7.5, 20), bad("e", 1, 30)]
    assert "".join(each.id for each in survey(*jobs, **limits).going()) == gone  # type: ignore[arg-type]
    assert "".join(each.id for each in survey(*jobs[::-1], **limits).going()) == gone  # type: ignore[arg-type]


def test_what_has_just_ended_stays() -> None:
    """Within a minute of its end nothing goes, but it counts."""
    recent = Ended(NOW - RECENT_S + 1, "r", State.SUCCEEDED, 100)
    found = survey(ok("a", 1, 1), recent, age="0s", number="0", size="0B")
    assert [each.id for each in found.going()] == ["a"]
    found = survey(ok("a", 1, 1), recent, size="100B")
    assert [each.id for each in found.going()] == ["a"]


def test_what_is_held_stays() -> None:
    """It counts as well, so that others go in its place."""
    found = survey(ok("h", 9, 50, held=True), ok("a", 3, 50), ok("b", 2, 50), age="8d", size="100B")
    assert [each.id for each in found.going()] == ["a"]


def test_newest_stays_however_large() -> None:
    """Its output may be what somebody has waited for all the week."""
    assert survey(ok("a", 1, 2**40), size="1GiB").going() == []
    found = survey(ok("a", 1, 2**40), bad("b", 2, 2**40), size="1GiB,failed=1GiB")
    assert found.going() == []


def test_only_the_first_are_remembered() -> None:
    """However many have ended; then there may be more to do."""
    jobs = [ok(f"{at:03}", 300 - at) for at in range(100)]
    found = survey(*jobs, age="0s", most=10)
    going = found.going()
    assert [each.id for each in going] == [f"{at:03}" for at in range(10)]
    assert found.more(going)
    found = survey(*jobs[::-1], number="95", most=10)
    going = found.going()
    assert [each.id for each in going] == [f"{at:03}" for at in range(5)]
    assert not found.more(going)
    assert found.jobs == 100


def test_when_to_look_again() -> None:
    """When the first of those that stay becomes too old, or is not recent any more."""
    found = survey(ok("a", 8), ok("b", 2), bad("c", 6), age="7d,failed=30d")
    assert found.next_at(found.going()) == NOW + 5 * DAY
    found = survey(ok("a", 2), Ended(NOW - 10, "r", State.LOST), age="7d")
    assert found.next_at(found.going()) == NOW + RECENT_S - 10
    assert survey(ok("a", 2)).next_at([]) is None
    assert survey().next_at([]) is None
