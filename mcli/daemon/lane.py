"""
Slots for jobs of some priorities, so that one kind never waits for room that another has taken.
"""

from dataclasses import dataclass

from mcli.queue import CALL_PRIORITY


@dataclass(slots=True, kw_only=True)
class Lane:
    """Some of the queue, and what is known about it."""

    least: int | None = None
    """Priority from which on a job belongs here; None: from any."""

    below: int | None = None
    """Priority from which on a job does not any more; None: none."""

    claiming: int = 0
    """Slots that a claim under way may fill."""

    queued: bool = True
    """Something may be queued that no claim under way will find."""

    def holds(self, priority: int) -> bool:
        """Whether a job of that priority belongs here."""
        return (self.least is None or priority >= self.least) and (
            self.below is None or priority < self.below
        )


def lanes() -> tuple[Lane, Lane]:
    """One for jobs that somebody waits for, one for all others."""
    return Lane(least=CALL_PRIORITY), Lane(below=CALL_PRIORITY)
