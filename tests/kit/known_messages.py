"""What the tests open as a message like one before is opened as an unknown one: both must agree."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from gateway.errors import GatewayError
from gateway.message_model import Receipt, UserMessage, read_octets
from gateway.protocols import OpenedMessage, ProtocolCore
from gateway.protocols.known_envelopes.message_opener import KnownEnvelopes


def describe(opened: OpenedMessage) -> dict[str, object]:
    """Return what a message says, what of it was signed by whom, and how its payloads came."""
    unit, signed = opened.unit, opened.verified_signature
    assert isinstance(unit, UserMessage | Receipt)
    assert signed is not None
    payloads = unit.payloads if isinstance(unit, UserMessage) else ()
    return {
        "unit": replace(unit, payloads=()) if isinstance(unit, UserMessage) else unit,
        "payloads": [replace(one, octets=read_octets(one.octets)) for one in payloads],
        "beside": opened.units[1:],
        "signed": (signed.certificate, signed.references, signed.covered, signed.signature_algorithm),
        "excluded": (signed.excluded, signed.signing_time),
        "rest": (
            opened.pmode,
            opened.identity,
            opened.unwrapped_parts,
            opened.forwarding_rule,
            opened.fragment_header,
        ),
        "parcel": opened.parcel,
    }


def install_comparison() -> None:
    """Open as a whole, from now on in this process, whatever is opened without a reading, and compare."""
    open_like = KnownEnvelopes.open_by_envelope

    def open_both_ways(self: KnownEnvelopes, core: ProtocolCore, *arguments: Any) -> OpenedMessage | None:
        opened = open_like(self, core, *arguments)
        if opened is not None:
            assert describe(opened) == _describe_whole(core, *arguments)
        return opened

    KnownEnvelopes.open_by_envelope = open_both_ways  # type: ignore[method-assign, assignment]


def _describe_whole(core: ProtocolCore, *arguments: Any) -> dict[str, object]:
    """Return what a whole reading finds; a refusal is a mistake of the other way, and is told as one."""
    try:
        return describe(core.open_related(*arguments))
    except GatewayError as refused:
        raise AssertionError(f"opened by its envelope, and refused as a whole: {refused}") from refused
