"""Makes partner folders for all suites: writes files, fills agreements, issues keys of strangers."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from functools import cache
from pathlib import Path

from gateway.errors import MISUSE, GatewayError
from gateway.message_model import PartyId
from gateway_conformance.pki import (
    CertificateOrder,
    IssuedCertificate,
    issue_certificate,
    make_authority,
)


def write_partner_files(files: Mapping[str, bytes], out: Path) -> None:
    """Write files of a partner folder below `out`, keys readable by their owner alone; raise GW808."""
    try:
        for name, content in files.items():
            path = out / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch(0o600 if name.endswith((".key.pem", ".password")) else 0o644)
            path.write_bytes(content)
    except OSError as error:
        raise GatewayError(MISUSE, f"{out} cannot be written: {error.strerror}", "--out") from None


def fill_template(text: str, values: Mapping[str, str | Sequence[PartyId]]) -> bytes:
    """Return the text of an agreement with a value in the place of each ``{name}``; party ids become JSON."""
    for name, value in values.items():
        text = text.replace(f"{{{name}}}", value if isinstance(value, str) else _format_ids(value))
    return text.encode()


def _format_ids(ids: Sequence[PartyId]) -> str:
    rows = [{"value": party.value} | ({"type": party.type} if party.type else {}) for party in ids]
    return json.dumps(rows, ensure_ascii=False)


@cache
def make_stranger(year: int, profile: str = "signing", key_kind: str = "p-256") -> IssuedCertificate:
    """Return a key and its certificate of an authority that no gateway trusts, valid from that year on."""
    at = datetime.fromisoformat(f"{year}-01-01T00:00:00Z")
    authority = make_authority("CN=Somebody else", at - timedelta(days=1))
    order = CertificateOrder(profile=profile, key_kind=key_kind, days=730)
    return issue_certificate(authority, "CN=Conformance suite,O=Conformance suite", at, order)
