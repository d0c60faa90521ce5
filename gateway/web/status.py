"""``/status/live``, ``/status/ready`` and ``/metrics``: for load balancers and monitoring."""

from __future__ import annotations

from flask import Flask, Response
from sqlalchemy import Engine

from gateway.monitor import health, metrics

__all__ = ["status_application"]


def status_application(engine: Engine) -> Flask:
    """Return the application that says how the gateway is."""
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
        return Response(metrics.render(engine), content_type="text/plain; version=0.0.4; charset=utf-8")

    return application
