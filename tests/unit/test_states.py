"""The table of moves, as a table: complete, and with no way out of an end."""

import pytest

from mcli.states import FINAL, LIVE, MOVES, Event, State


def test_every_state_is_live_or_final() -> None:
    """A job's state is either one that something moves on or an end, never both."""
    assert set(State) == LIVE | FINAL
    assert not LIVE & FINAL


def test_every_event_has_its_move() -> None:
    """Each event is a row of the table, and each row says what it means."""
    assert set(MOVES) == set(Event)
    assert all(move.sources and move.meaning for move in MOVES.values())


def test_nothing_leaves_a_final_state() -> None:
    """No move starts from an end, so that an end is never written over."""
    assert all(LIVE.issuperset(move.sources) for move in MOVES.values())


@pytest.mark.parametrize("state", sorted(LIVE))
def test_a_live_state_has_a_way_on(state: State) -> None:
    """Each live state is the source of a move, and an end can be reached from it."""
    reached = {state}
    for _ in State:
        reached |= {move.target for move in MOVES.values() if reached.intersection(move.sources)}
    assert reached & FINAL


def test_a_job_that_was_asked_to_end_does_not_come_back() -> None:
    """From stopping, every move leads to an end: no new attempt after a request to stop."""
    targets = {move.target for move in MOVES.values() if State.STOPPING in move.sources}
    assert targets == FINAL
