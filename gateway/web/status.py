"""``/status/live``, ``/status/ready`` and ``/metrics``: for load balancers and monitoring."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from flask import Flask, Response
from sqlalchemy import Engine

from gateway.monitor import health, metrics
from gateway.store.coverage import Span

__all__ = ["status_application"]


def status_application(engine: Engine, ours: Callable[[], Sequence[Span]] = tuple) -> Flask:
    """Return the application that says how the gateway is; `ours` gives our own certificates."""
    application = Flask("gateway", static_folder=None)

    @application.get("/status/live")
    def live() -> Response:
        return Response("live\n", mimetype="text/plain")

    @application.get("/status/ready")
    def ready() -> Response:
        problem = health.unready(engine)
        if problem is None:
            return Response("ready\n", mimetype="text/plain")
        return Response(f"{problem.problem.id} {problem.problem.title}\n", status=503, mimetype="text/plain")

    @application.get("/metrics")
    def measured() -> Response:
        text = metrics.render(engine, ours=ours())
        return Response(text, content_type="text/plain; version=0.0.4; charset=utf-8")

    return application
