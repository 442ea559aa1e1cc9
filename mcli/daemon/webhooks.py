"""
Telling URLs that jobs have ended: signed, at least once, and in nobody's way.

What is to be told stands in the store, and goes out of it only when a receiver has taken it
or three days have passed; a daemon that was killed is followed by one that begins where the
store says. Each request has a thread, which ends with the process: neither the event loop
nor a daemon that stops waits for a receiver. One request at a time to each URL, so that a
receiver that hangs holds up no other.
"""

import asyncio
import json
import logging
import os
import time
from collections.abc import Callable
from contextlib import suppress
from random import Random
from threading import Thread
from typing import Any, Final, NamedTuple
from urllib.parse import urlsplit

from mcli import deliveries
from mcli.backoff import backoff_s
from mcli.daemon import signing
from mcli.deliveries import Delivery
from mcli.errors import StoreError
from mcli.job import timestamp
from mcli.store.store import Store
from mcli.version import __version__

log = logging.getLogger("mcli.webhooks")

AT_ONCE: Final = 8
"""Requests under way."""

ANSWER_S: Final = 10.0
"""Seconds for a connection, and then for an answer."""

RETRY_MAX_S: Final = 3 * 3600.0
"""Seconds that no wait between two attempts exceeds."""

GIVE_UP_S: Final = 3 * 86400.0
"""Seconds after the end of its job at which a delivery is given up."""

LOOK_S: Final = 60.0
"""Seconds after which the store is asked again, whatever was foreseen: clocks are set."""

AGAIN_S: Final = 1.0
"""Seconds until something is tried again that the store did not allow."""

OK: Final = range(200, 300)
GONE: Final = 410


class Answer(NamedTuple):
    """What an attempt came to: no error, or why, and whether another may end better."""

    error: str | None = None
    again: bool = True


class Webhooks:
    """All deliveries of a store, made while ``run`` runs."""

    def __init__(
        self, store: Store, secret: str, *, retry_s: float, rng: Random | None = None
    ) -> None:
        self._store = store
        self._secret = secret
        self._retry_s = retry_s
        self._rng = rng or Random()  # noqa: S311 - it spreads attempts, and guards nothing
        self._busy: set[str] = set()
        self._woken = asyncio.Event()

    def wake(self) -> None:
        """A job has ended: look whether somebody is to be told."""
        self._woken.set()

    async def run(self) -> None:
        """Deliver whatever is due, until cancelled."""
        async with asyncio.TaskGroup() as attempts:
            while True:
                self._woken.clear()
                wait_s = await self._begin(attempts)
                with suppress(TimeoutError):
                    async with asyncio.timeout(wait_s):
                        await self._woken.wait()

    async def _begin(self, attempts: asyncio.TaskGroup) -> float:
        """Begin what is due; in how many seconds to look again."""
        while len(self._busy) < AT_ONCE:
            try:
                delivery = await asyncio.to_thread(
                    self._store.read, deliveries.first, busy=frozenset(self._busy)
                )
            except (StoreError, RuntimeError) as error:  # no more threads may be started
                log.error("webhook.unread %s", error)
                return AGAIN_S
            if delivery is None:
                break
            wait_s = delivery.due_at - time.time()
            if wait_s > 0:
                return min(wait_s, LOOK_S)
            self._busy.add(delivery.url)
            attempts.create_task(self._attempt(delivery))
        return LOOK_S

    async def _attempt(self, delivery: Delivery) -> None:
        try:
            answer = await _in_a_thread(lambda: _post(delivery, self._secret))
            await self._settle(delivery, answer, time.time())
        finally:
            self._busy.discard(delivery.url)
            self.wake()

    async def _settle(self, delivery: Delivery, answer: Answer, now: float) -> None:
        job_id, attempt = delivery.job.id, delivery.attempts + 1
        if answer.error is None:
            log.info("webhook.delivered job_id=%s attempt=%d", job_id, attempt)
            await self._written(deliveries.delivered, delivery, now=now)
            return
        due_at = self._due_at(delivery, now) if answer.again else None
        log.warning(
            "webhook.%s job_id=%s attempt=%d error=%s",
            "missed" if due_at else "given_up", job_id, attempt, answer.error,
        )  # fmt: skip
        await self._written(deliveries.missed, delivery, error=answer.error, due_at=due_at)

    def _due_at(self, delivery: Delivery, now: float) -> float | None:
        """When to try again; None: not any more."""
        wait_s = backoff_s(
            delivery.attempts + 1, base_s=self._retry_s, cap_s=RETRY_MAX_S, rng=self._rng
        )
        due_at = now + wait_s
        return due_at if due_at < (delivery.job.finished_at or now) + GIVE_UP_S else None

    async def _written(self, change: Callable[..., None], *args: Any, **columns: Any) -> None:
        """Commit it; when that cannot be done, as soon as it can: until then it is not repeated."""
        while True:
            try:
                return await asyncio.wrap_future(self._store.write(change, *args, **columns))
            except StoreError as error:
                log.error("webhook.unwritten %s", error)
                await asyncio.sleep(AGAIN_S)


async def _in_a_thread(work: Callable[[], Answer]) -> Answer:
    """*work* in a thread that nobody waits for when the process ends."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[Answer] = loop.create_future()

    def tell(answer: Answer) -> None:
        if not done.done():
            done.set_result(answer)

    def run() -> None:
        answer = work()
        with suppress(RuntimeError):  # the loop is closed: the daemon has stopped
            loop.call_soon_threadsafe(tell, answer)

    try:
        Thread(target=run, name="mcli-webhook", daemon=True).start()
    except RuntimeError as error:  # as many run as may
        return Answer(str(error))
    return await done


# In the thread ----------------------------------------------------------------------------


def message(delivery: Delivery) -> str:
    """The body that is posted."""
    job = delivery.job
    told = {
        "type": "job.finished",
        "timestamp": timestamp(job.finished_at),
        "data": job.document(),
    }
    return json.dumps(told)


def _post(delivery: Delivery, secret: str) -> Answer:
    """Make one attempt. Whatever goes wrong is an answer too, and names no secret of the URL."""
    import requests  # ``early`` has loaded it, after the start and not before

    body = message(delivery)
    sent = signing.headers(secret, f"msg_{delivery.job.id}", body, now=time.time())
    sent["User-Agent"] = f"mcli/{__version__}"
    try:
        with requests.Session() as http:
            http.trust_env = False  # no proxy, and nobody's ~/.netrc
            answer = http.post(
                delivery.url,
                data=body.encode(),
                headers=sent,
                timeout=ANSWER_S,
                allow_redirects=False,  # it was this URL that was to be told
                stream=True,  # however long the answer is, nobody reads it
                verify=os.environ.get("REQUESTS_CA_BUNDLE") or True,
            )
            answer.close()
    except (requests.exceptions.InvalidURL, requests.exceptions.InvalidSchema) as error:
        return Answer(f"no request can be sent to it: {type(error).__name__}", again=False)
    except Exception as error:  # noqa: BLE001 - a library's; the delivery must not get lost by it
        return Answer(_why(error, delivery.url))
    if answer.status_code in OK:
        return Answer()
    return Answer(f"it answered {answer.status_code}", again=answer.status_code != GONE)


def _why(error: BaseException, url: str) -> str:
    """The reason in the system's own words: those of the library show the whole URL."""
    import requests

    place = urlsplit(url).netloc.rpartition("@")[2]
    if isinstance(error, requests.Timeout):
        return f"{place} did not answer within {ANSWER_S:g} s"
    cause: BaseException | None = error
    while cause is not None:
        told = getattr(cause, "strerror", None) or getattr(cause, "verify_message", None)
        if told:
            return f"{place}: {told}"
        cause = cause.__cause__ or cause.__context__
    return f"{place}: {type(error).__name__}"
