"""
What an insertion that failed means to whoever has sent the job: surely not taken, or in doubt.

To be sure is what lets a caller run the body itself, or send it again under another id.
"""

import asyncio
from concurrent.futures import Future

from mcli.errors import NoRoom, OutcomeUnknown, Refused, StoreDoubtful, StoreError, StoreFull
from mcli.queue import Accepted


async def acceptance(written: "Future[Accepted]", job_id: str) -> Accepted:
    """Wait until the job is on the disk.

    Raises:
        NoRoom: The disk is full; it was not accepted.
        Refused: The store could not be written; it was not accepted.
        OutcomeUnknown: The disk failed while it was written.
    """
    try:
        return await asyncio.wrap_future(written)
    except StoreDoubtful as error:
        raise OutcomeUnknown(
            f"cannot tell whether job {job_id} was accepted ({error}); see: mcli inspect {job_id}"
        ) from error
    except StoreFull as error:
        raise NoRoom(str(error)) from error
    except StoreError as error:
        raise Refused(str(error)) from error
