"""Serves the pages for load balancers and monitoring: live, ready, and two of metrics."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from flask import Flask, Response
from sqlalchemy import Engine

from gateway.errors import NO_ROOM, GatewayError
from gateway.monitor import health, metrics
from gateway.store import UsagePeriod

__all__ = ["HubProbes", "build_status_application"]

#: Seconds that a question for readiness waits for the answer to the one before it.
_ASKING_SECONDS: Final = 2.0


@dataclass(frozen=True, slots=True)
class HubProbes:
    """Queries about the hub itself: its certificates, its key's problem, and why it is not ready."""

    certificates: Callable[[], Sequence[UsagePeriod]] = tuple
    key: Callable[[], GatewayError | None] = lambda: None
    unready: Callable[[], GatewayError | None] = lambda: None


def build_status_application(engine: Engine, ours: HubProbes | None = None) -> Flask:
    """Return the application of the status endpoints; `ours` are the queries about the hub itself."""
    hub = ours or HubProbes()
    asking = threading.Lock()
    application = Flask("gateway", static_folder=None)

    @application.get("/status/live")
    def answer_live() -> Response:
        return Response("live\n", mimetype="text/plain")

    @application.get("/status/ready")
    def answer_ready() -> Response:
        # A server that does not answer would hold the thread of each question until its time is over.
        if not asking.acquire(timeout=_ASKING_SECONDS):
            words = f"{NO_ROOM.id} the database does not answer"
            return Response(f"{words}\n", status=503, mimetype="text/plain")
        try:
            problem = health.find_readiness_problem(engine) or hub.unready()
            words = "ready" if problem is None else health.describe_unreadiness(engine, problem)
        finally:
            asking.release()
        return Response(f"{words}\n", status=200 if problem is None else 503, mimetype="text/plain")

    @application.get("/metrics")
    def answer_metrics() -> Response:
        try:
            text = metrics.render_metrics(engine, ours=hub.certificates(), key_away=hub.key() is not None)
        except Exception:
            # It is asked every few seconds: the answer says it, and workers log it once.
            problem = health.find_readiness_problem(engine) or GatewayError(NO_ROOM)
            words = f"{problem.problem.id} the database cannot be read: /metrics/process goes on\n"
            return Response(words, status=503, mimetype="text/plain")
        return Response(text, content_type=metrics.CONTENT_TYPE)

    @application.get("/metrics/process")
    def answer_process_metrics() -> Response:
        text = metrics.render_process_metrics(
            engine, key_away=hub.key() is not None, database_up=health.can_read_database(engine)
        )
        return Response(text, content_type=metrics.CONTENT_TYPE)

    return application
