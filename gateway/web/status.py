"""``/status/live``, ``/status/ready`` and ``/metrics``: for load balancers and monitoring."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from flask import Flask, Response
from sqlalchemy import Engine

from gateway.errors import GatewayError
from gateway.monitor import health, metrics
from gateway.store.coverage import Span

__all__ = ["Ourselves", "status_application"]


@dataclass(frozen=True, slots=True)
class Ourselves:
    """What is asked about the hub itself: its certificates; why its key does not sign; why it is unready."""

    certificates: Callable[[], Sequence[Span]] = tuple
    key: Callable[[], GatewayError | None] = lambda: None
    unready: Callable[[], GatewayError | None] = lambda: None


def status_application(engine: Engine, ours: Ourselves | None = None) -> Flask:
    """Return the application that says how the gateway is; `ours` is asked about the hub itself."""
    hub = ours or Ourselves()
    application = Flask("gateway", static_folder=None)

    @application.get("/status/live")
    def live() -> Response:
        return Response("live\n", mimetype="text/plain")

    @application.get("/status/ready")
    def ready() -> Response:
        problem = health.unready(engine) or hub.unready()
        if problem is None:
            return Response("ready\n", mimetype="text/plain")
        return Response(f"{problem.problem.id} {problem.problem.title}\n", status=503, mimetype="text/plain")

    @application.get("/metrics")
    def measured() -> Response:
        text = metrics.render(engine, ours=hub.certificates(), key_away=hub.key() is not None)
        return Response(text, content_type="text/plain; version=0.0.4; charset=utf-8")

    return application
