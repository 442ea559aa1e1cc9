"""
What is counted, for Prometheus: jobs, workers, the store, requests.

What the daemon knows anyway is read when somebody asks; what passes by (the end of a job, a
request) is counted as it passes. Labels are from closed lists, never from what a caller sends.
"""

from collections.abc import Iterator
from http import HTTPMethod, HTTPStatus
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mcli.daemon.ports import Dispatcher
from mcli.job import JobInfo
from mcli.states import FINAL, LIVE

SECONDS: Final = (0.005, 0.02, 0.1, 0.5, 1, 5, 15, 60, 300, 900, 3600, 14400, 86400)
"""Bounds of the histograms: jobs take milliseconds, and days."""

_METHODS: Final = frozenset(method.value for method in HTTPMethod)


class Metrics:
    """The counters of one daemon."""

    def __init__(self, dispatcher: Dispatcher) -> None:
        self._dispatcher = dispatcher
        self._registry = CollectorRegistry()
        self._finished = Counter(
            "mcli_jobs_finished", "Jobs that have ended.", ["state"], registry=self._registry
        )
        self._wait = self._histogram("mcli_job_wait_seconds", "From the queue to a worker.")
        self._run = self._histogram("mcli_job_run_seconds", "From a worker to the end.")
        self._requests = Counter(
            "mcli_http_requests",
            "Requests by the route that answered.",
            ["route", "method", "status"],
            registry=self._registry,
        )
        for state in FINAL:
            self._finished.labels(state.value)
        self._registry.register(_Read(dispatcher))
        dispatcher.ended.append(self._ended)

    def _histogram(self, name: str, meaning: str) -> Histogram:
        return Histogram(name, meaning, buckets=SECONDS, registry=self._registry)

    def _ended(self, job: JobInfo) -> None:
        if job.source == "daemon":  # asking whether it is well must not make it look busy
            return
        self._finished.labels(job.state.value).inc()
        if job.started_at is not None and job.queued_at is not None:
            self._wait.observe(max(0.0, job.started_at - job.queued_at))
        if job.run_s is not None:
            self._run.observe(job.run_s)

    def request(self, scope: Scope, status: int) -> None:
        """Count a request that was answered."""
        method = scope["method"] if scope["method"] in _METHODS else "other"
        route = getattr(scope.get("route"), "path", "none")
        self._requests.labels(route, method, int(status)).inc()

    def text(self) -> tuple[bytes, str]:
        """All of it, and its media type."""
        return generate_latest(self._registry), CONTENT_TYPE_LATEST


class _Read:
    """Figures that are read, not counted here."""

    def __init__(self, dispatcher: Dispatcher) -> None:
        self._dispatcher = dispatcher

    def describe(self) -> list[Metric]:
        """Nothing: names are unique as they stand, and the daemon need not be asked for them."""
        return []

    def collect(self) -> Iterator[Metric]:
        figures = self._dispatcher.figures()
        jobs = GaugeMetricFamily("mcli_jobs", "Jobs that have not ended.", labels=["state"])
        for state in LIVE:
            jobs.add_metric([state.value], figures.jobs[state])
        yield jobs
        yield GaugeMetricFamily("mcli_workers", "Worker processes.", value=figures.workers)
        yield CounterMetricFamily(
            "mcli_store_commits", "Transactions of the store.", value=figures.commits
        )
        yield GaugeMetricFamily(
            "mcli_store_wal_bytes", "Length of the write-ahead log.", value=figures.wal_bytes
        )
        yield CounterMetricFamily(
            "mcli_log_bytes", "Bytes written to record logs.", value=figures.log_bytes
        )


class Counted:
    """Counts each request when its answer begins. Around everything, refusals included."""

    def __init__(self, app: ASGIApp, *, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        begun = False

        async def counting(message: Message) -> None:
            nonlocal begun
            if message["type"] == "http.response.start":
                begun = True
                self._metrics.request(scope, message["status"])
            await send(message)

        try:
            await self._app(scope, receive, counting)
        except Exception:
            if not begun:
                self._metrics.request(scope, HTTPStatus.INTERNAL_SERVER_ERROR)
            raise
