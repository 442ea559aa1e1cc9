"""Who reads a job's files right now: what nobody has asked to remove is not removed then."""

from collections import Counter
from collections.abc import AsyncIterable, AsyncIterator, Iterator
from contextlib import contextmanager
from typing import TypeVar

T = TypeVar("T")


class Readers:
    """How many read each job."""

    def __init__(self) -> None:
        self._jobs = Counter[str]()

    def __contains__(self, job_id: str) -> bool:
        return job_id in self._jobs

    @contextmanager
    def reading(self, job_id: str) -> Iterator[None]:
        """For as long as this is open, somebody reads that job."""
        self._jobs[job_id] += 1
        try:
            yield
        finally:
            self._jobs[job_id] -= 1
            if not self._jobs[job_id]:
                del self._jobs[job_id]

    async def during(self, job_id: str, parts: AsyncIterable[T]) -> AsyncIterator[T]:
        """*parts*, which are read from that job's files as they are taken."""
        with self.reading(job_id):
            async for part in parts:
                yield part
