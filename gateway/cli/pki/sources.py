"""``gateway pki sources|refresh|forget``: what is fetched to judge certificates by, and how fresh it is."""

from __future__ import annotations

import argparse
import time
from dataclasses import asdict
from typing import Any, Final

from gateway.cli.settings import add_home, looking, print_rows, settings_of, writing
from gateway.errors import SETTINGS_WRONG, GatewayError
from gateway.hub import operate
from gateway.hub.assembly import now
from gateway.hub.trust.sources import Source, sources_of
from gateway.monitor.freshness import standing
from gateway.store import deliveries

__all__ = ["add_sources"]

_ACTOR: Final = "operator"
_COLUMNS: Final = (
    *("name", "kind", "state", "words", "number", "this_update", "next_update"),
    *("fetched_at", "failures", "problem"),
)
_POLL: Final = 0.2
_OVER: Final = frozenset({"DELIVERED", "FAILED", "CANCELLED"})


def add_sources(group: Any) -> None:
    """Add ``pki sources``, ``pki refresh`` and ``pki forget``."""
    listed = group.add_parser("sources", help="say what is fetched, from where, and how fresh it is")
    add_home(listed)
    listed.set_defaults(run=_list)
    refresh = group.add_parser("refresh", help="fetch now what is fetched on schedule, by the queue")
    refresh.add_argument("name", nargs="*", help="a source of the settings; all of them without")
    refresh.add_argument(
        "--wait",
        type=float,
        default=0.0,
        metavar="SECONDS",
        help="wait so long for the first attempts to end",
    )
    add_home(refresh)
    refresh.set_defaults(run=_refresh)
    forget = group.add_parser("forget", help="take what was fetched from a source out of force")
    forget.add_argument("name", help="the source")
    add_home(forget, as_json=False)
    forget.set_defaults(run=_forget)


def _list(arguments: argparse.Namespace) -> int:
    sources = sources_of(settings_of(arguments))
    warn = {name: (one.settings.kind, one.settings.warn) for name, one in sources.items()}
    with looking(arguments) as conn:
        found = standing(conn, now(), warn)
    rows = [asdict(one) | {"url": sources[one.name].url if one.name in sources else ""} for one in found]
    print_rows(rows, as_json=arguments.json, columns=_COLUMNS)
    if not arguments.json:
        for one in found:
            if remark := one.remark():
                print(remark)
    return 1 if any(one.state == "stale" for one in found) else 0


def _refresh(arguments: argparse.Namespace) -> int:
    queued: dict[int, str] = {}
    chosen = _chosen(arguments)
    with writing(arguments) as conn:
        for source in chosen:
            queued[operate.fetch_now(conn, source, now(), _ACTOR)] = source.name
    rows = _ended(arguments, queued)
    print_rows(rows, as_json=arguments.json, columns=("delivery", "name", "state", "problem"))
    return 1 if any(row["state"] == "FAILED" or row["problem"] for row in rows) else 0


def _chosen(arguments: argparse.Namespace) -> list[Source]:
    sources = sources_of(settings_of(arguments))
    unknown = [name for name in arguments.name if name not in sources]
    if unknown:
        raise GatewayError(SETTINGS_WRONG, f"there is no source {unknown[0][:40]!r} in the settings", "fetch")
    return [sources[name] for name in dict.fromkeys(arguments.name or sources)]


def _ended(arguments: argparse.Namespace, queued: dict[int, str]) -> list[dict[str, Any]]:
    """Return how the deliveries stand when each was tried, or the time to wait is over."""
    end = time.monotonic() + arguments.wait
    while True:
        with looking(arguments) as conn:
            found = [deliveries.get(conn, delivery) for delivery in queued]
        rows = [row for row in found if row is not None]
        if all(row.state in _OVER or row.problem for row in rows) or time.monotonic() >= end:
            return [
                {"delivery": row.id, "name": queued[row.id], "state": row.state, "problem": row.problem or ""}
                for row in rows
            ]
        time.sleep(_POLL)


def _forget(arguments: argparse.Namespace) -> int:
    with writing(arguments) as conn:
        gone = operate.forget(conn, arguments.name, now(), _ACTOR)
    print(f"{gone} out of force")
    return 0
