"""Serves the pages for load balancers and monitoring: live, ready, and two of metrics."""

from __future__ import annotations

import hmac
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final

from flask import Flask, Response, request
from sqlalchemy import Engine

from gateway.errors import NO_ROOM, GatewayError
from gateway.monitor import health, metrics
from gateway.store import UsagePeriod
from gateway.web.hub_readiness import HubReadiness, TimedVerdict
from gateway.web.server import Environ, find_client_address, is_in_networks

#: Seconds that a request waits for all metrics.
_MEASURING_SECONDS: Final = 5.0


@dataclass(frozen=True, slots=True)
class HubProbes:
    """Queries about the hub itself: its certificates, its key's problem, and why it is not ready."""

    certificates: Callable[[], Sequence[UsagePeriod]] = tuple
    key: Callable[[], GatewayError | None] = lambda: None
    unready: Callable[[], GatewayError | None] = lambda: None


@dataclass(frozen=True, slots=True)
class StatusReaders:
    """The clients that may read the full status: addresses in `networks`, and clients with the `token`.

    For a request from one of `proxies` (of this installation), the last address in X-Forwarded-For counts.
    """

    networks: tuple[str, ...]
    proxies: frozenset[str] = frozenset()
    token: str | None = None

    def may_read(self, environ: Environ) -> bool:
        """Return whether the client of a request may read the full status."""
        if self.token is not None:
            scheme, _, token = str(environ.get("HTTP_AUTHORIZATION", "")).partition(" ")
            own_token = self.token.encode("latin-1")
            if scheme.lower() == "bearer" and hmac.compare_digest(token.strip().encode("latin-1"), own_token):
                return True
        peer, forwarded = str(environ.get("REMOTE_ADDR", "")), environ.get("HTTP_X_FORWARDED_FOR")
        return is_in_networks(find_client_address(peer, forwarded, self.proxies), self.networks)


class _StatusVerdicts:
    """The verdicts of the status endpoints, each with a thread and a deadline of its own."""

    def __init__(self, engine: Engine, probes: HubProbes) -> None:
        self._engine = engine
        self._probes = probes
        self.readiness = HubReadiness(engine, probes.unready)
        self.key_unavailable = TimedVerdict("our key", lambda: probes.key() is not None)
        self.database_readable = TimedVerdict("the database", lambda: health.can_read_database(engine))
        self.metrics_text = TimedVerdict("metrics", self._render_metrics, _MEASURING_SECONDS)

    def is_key_unavailable(self) -> bool:
        """Return whether the key of the hub does not sign, or not in time."""
        return self.key_unavailable.find_verdict() is not False

    def _render_metrics(self) -> str | GatewayError:
        """Return the text of the metrics; if it cannot be made, return the problem instead of raising it."""
        try:
            return metrics.render_metrics(
                self._engine,
                own_periods=self._probes.certificates(),
                is_key_unavailable=self.is_key_unavailable(),
            )
        except Exception as mistake:
            # Metrics are read every few seconds: the answer names the problem, and workers log it once.
            return mistake if isinstance(mistake, GatewayError) else GatewayError(NO_ROOM)


def build_status_application(
    engine: Engine, probes: HubProbes | None = None, readers: StatusReaders | None = None
) -> Flask:
    """Return the application of the status endpoints; `probes` are the queries about the hub itself.

    Without `readers` everybody may read everything.
    """
    verdicts = _StatusVerdicts(engine, probes or HubProbes())
    application = Flask("gateway", static_folder=None)
    # Otherwise two slashes are answered with an address that has the Host of the request.
    application.url_map.merge_slashes = False

    def may_read() -> bool:
        return readers is None or readers.may_read(request.environ)

    @application.before_request
    def refuse_metrics() -> Response | None:
        if not request.path.startswith("/metrics") or may_read():
            return None
        refusal_text = "the address is not in http.status_addresses, and http.status_token was not sent\n"
        return Response(refusal_text, status=HTTPStatus.FORBIDDEN, mimetype="text/plain")

    @application.get("/status/live")
    def answer_live() -> Response:
        return Response("live\n", mimetype="text/plain")

    @application.get("/status/ready")
    def answer_ready() -> Response:
        verdict = verdicts.readiness.find_verdict()
        is_ready = verdict.problem is None
        status = HTTPStatus.OK if is_ready else HTTPStatus.SERVICE_UNAVAILABLE
        readiness_text = verdict.text if is_ready or may_read() else "not ready"
        return Response(f"{readiness_text}\n", status=status, mimetype="text/plain")

    @application.get("/metrics")
    def answer_metrics() -> Response:
        text = verdicts.metrics_text.find_verdict()
        if isinstance(text, str):
            return Response(text, content_type=metrics.CONTENT_TYPE)
        problem = NO_ROOM if text is None else text.problem
        message = f"{problem.id} the database cannot be read: /metrics/process goes on\n"
        return Response(message, status=503, mimetype="text/plain")

    @application.get("/metrics/process")
    def answer_process_metrics() -> Response:
        key_search = verdicts.key_unavailable.begin_search()
        is_database_readable = verdicts.database_readable.find_verdict() is True
        is_key_unavailable = verdicts.key_unavailable.find_verdict(key_search) is not False
        text = metrics.render_process_metrics(
            engine, is_database_readable=is_database_readable, is_key_unavailable=is_key_unavailable
        )
        return Response(text, content_type=metrics.CONTENT_TYPE)

    return application
