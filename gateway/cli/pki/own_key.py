"""``gateway pki key``: which key the gateway signs with, and the next one, and whether they sign now."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import Any, Final

from gateway.cli.settings import add_home, print_rows, settings_of
from gateway.config import Next, Pki, Settings
from gateway.errors import KEY_UNAVAILABLE, GatewayError
from gateway.hub.assembly import signer_of, successor_of
from gateway.pki.keys import Signer

__all__ = ["add_key"]

_SAMPLE: Final = b"gateway pki key"
_COLUMNS: Final = ("source", "subject", "not_after", "algorithm", "signs", "problem")


def add_key(group: Any) -> None:
    """Add ``pki key``."""
    key = group.add_parser("key", help="say which key the gateway signs with, and try it")
    key.add_argument(
        "--times", type=int, default=1, metavar="N", help="sign so often, and say how many a second that was"
    )
    add_home(key)
    key.set_defaults(run=_show)


def _show(arguments: argparse.Namespace) -> int:
    settings = settings_of(arguments)
    keys: list[tuple[Pki | Next, Callable[[], Signer]]] = [(settings.pki, lambda: signer_of(settings))]
    if settings.pki.next.starts is not None:
        keys.append((settings.pki.next, lambda: _next_of(settings)))
    rows = [_row(named, load, max(arguments.times, 1)) for named, load in keys]
    columns = (*_COLUMNS, "a_second") if arguments.times > 1 else _COLUMNS
    print_rows(rows, as_json=arguments.json, columns=columns)
    return 0 if all(row["signs"] for row in rows) else 1


def _next_of(settings: Settings) -> Signer:
    successor = successor_of(settings)
    if successor is None:
        raise GatewayError(KEY_UNAVAILABLE, "there is no key that takes over", "pki.next")
    return successor.signer


def _row(named: Pki | Next, load: Callable[[], Signer], times: int) -> dict[str, Any]:
    row: dict[str, Any] = dict.fromkeys((*_COLUMNS, "sha256", "a_second"), "")
    row |= {"source": _source(named), "signs": False}
    try:
        signer = load()
        row |= _told(signer)
        row["a_second"] = _tried(signer, times)
        row["signs"] = True
    except GatewayError as problem:
        row["problem"] = f"{problem.problem.id} {problem.detail}"
    return row


def _told(signer: Signer) -> dict[str, Any]:
    certificate = signer.certificate
    return {
        "subject": certificate.subject,
        "sha256": certificate.sha256,
        "not_after": certificate.not_after.isoformat(),
        "algorithm": signer.algorithm,
    }


def _source(named: Pki | Next) -> str:
    """Return where a key is, without a word of what it says."""
    if named.token.module is not None:
        return f"token {named.token.label}, key {named.token.key}"
    key = named.signing_key
    if key is None:
        return "nowhere"
    return f"variable {key.env}" if key.env else f"file {key.file}"


def _tried(signer: Signer, times: int) -> int:
    """Sign, and return how many signatures a second that was, after a first one that opens the token."""
    signer.sign(_SAMPLE)
    start = time.perf_counter()
    for _ in range(times):
        signer.sign(_SAMPLE)
    return round(times / max(time.perf_counter() - start, 1e-9))
