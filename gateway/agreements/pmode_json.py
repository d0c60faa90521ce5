"""P-Modes as plain JSON values: the form in which they are stored and shown.

What is written has every value, also those that are defaults. A value that is missing, as in what
an older version stored, has its default.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields
from datetime import datetime
from typing import Any, Final

from gateway.agreements.pmode import PMode, parse_instant
from gateway.agreements.pmode_values import (
    AlternativeChannel,
    BusinessTerms,
    ConversationLimits,
    Encryption,
    PackagedPart,
    Packaging,
    PullTerms,
    Reliability,
    Security,
    SignalChannel,
    SplittingTerms,
    TransportTerms,
    TypedEndpoint,
)
from gateway.errors import MISUSE, GatewayError
from gateway.message_model import PartyId

__all__ = ["pmode_from_json", "pmode_to_json"]


def pmode_to_json(pmode: PMode) -> dict[str, object]:
    """Return `pmode` as plain JSON values, each of them written out."""
    return _write_fields(pmode)


def _write_fields(value: Any) -> dict[str, object]:
    return {name: _write_value(getattr(value, name)) for name in _NAMES[type(value)]}


def _write_value(value: Any) -> Any:
    if isinstance(value, PartyId):
        return [value.value, value.type]
    if isinstance(value, tuple):
        return [_write_value(one) for one in value]
    if isinstance(value, datetime):
        return value.isoformat()
    return _write_fields(value) if type(value) in _NAMES else value


def pmode_from_json(data: Mapping[str, object]) -> PMode:
    """Return the P-Mode that `pmode_to_json` converted to `data`; raise GW808 for anything else."""
    values: dict[str, Any] = dict(data)
    try:
        for name in ("from_party", "to_party"):
            values[name] = tuple(PartyId(value, kind) for value, kind in values[name])
        for name in ("valid_from", "valid_until"):
            values[name] = parse_instant(values[name], name)
        for name, read in _GROUPS.items():
            if values.get(name) is not None:
                values[name] = read(values[name])
        return PMode(**values)
    except (KeyError, TypeError, ValueError, AttributeError) as mistake:
        detail = "the stored P-Mode has another form"
        raise GatewayError(MISUSE, detail, str(data.get("id", ""))) from mistake


def _read_terms(kind: Any, **lists: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Return the reader of a group of terms, in which each list has a reader of its own."""

    def read_group(data: Any) -> Any:
        values = dict(data)
        for name, read in lists.items():
            if name in values:
                values[name] = read(values[name])
        return kind(**values)

    return read_group


def _read_each(read: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda data: tuple(read(one) for one in data)


_TEXTS: Final = tuple
_READ_RELIABILITY: Final = _read_terms(Reliability)
_GROUPS: Final[dict[str, Callable[[Any], Any]]] = {
    "security": _read_terms(
        Security,
        certificates=_TEXTS,
        reply_certificates=_TEXTS,
        signature_algorithms=_TEXTS,
        trust_anchors=_TEXTS,
    ),
    "reliability": _READ_RELIABILITY,
    "encryption": _read_terms(Encryption, algorithms=_TEXTS, trust_anchors=_TEXTS),
    "packaging": _read_terms(
        Packaging, parts=_read_each(_read_terms(PackagedPart, inside=_TEXTS, namespaces=_TEXTS))
    ),
    "transport": _read_terms(
        TransportTerms,
        client_anchors=_TEXTS,
        server_anchors=_TEXTS,
        ciphers=_TEXTS,
        authentication=_TEXTS,
    ),
    "business": _read_terms(BusinessTerms),
    "pull": _read_terms(PullTerms),
    "splitting": _read_terms(SplittingTerms, routing_properties=_TEXTS),
    "conversations": _read_terms(ConversationLimits),
    "endpoints": _read_each(_read_terms(TypedEndpoint)),
    "signals": _read_each(_read_terms(SignalChannel, certificates=_TEXTS)),
    "alternatives": _read_each(_read_terms(AlternativeChannel, reliability=_READ_RELIABILITY)),
    "answered_by": _TEXTS,
}
_NAMES: Final[dict[Any, tuple[str, ...]]] = {
    kind: tuple(one.name for one in fields(kind))
    for kind in (
        *(PMode, Security, Reliability, Encryption, Packaging, PackagedPart, TransportTerms),
        *(BusinessTerms, ConversationLimits, TypedEndpoint, SignalChannel, AlternativeChannel, PullTerms),
        SplittingTerms,
    )
}
