"""x509-limbo: the cases about RFC 5280 and real chains, under both gates and under the second alone.

Deviations are argued for in the manual (`pki-suites.md`); here each has the row of that page it stands in.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.pki.suites.verb import Row

AT = "2026-01-01T00:00:00Z"
# The other family, webpki, is about host names asked for and rules of browsers.
FAMILIES = ("rfc5280", "invalid", "online")

ARGUED_TLS = {
    "rfc5280::eku::ee-wrong-eku": "one use for both sides",
    "rfc5280::eku::ee-without-eku": "usages must be said",
    "rfc5280::no-keyusage": "usages must be said",
    "rfc5280::ca-as-leaf": "an authority is no party",
    "online::fastly.com": "a serial number of zero",
}
ARGUED_ANY = {
    "rfc5280::eku::ee-wrong-eku": "the use is not looked at",
    "rfc5280::ca-as-leaf-wrong-san": "no host is asked for",
    **dict.fromkeys(
        (
            "rfc5280::aki::critical-aki",
            "rfc5280::aki::leaf-missing-aki",
            "rfc5280::aki::intermediate-missing-aki",
            "rfc5280::aki::cross-signed-root-missing-aki",
            "rfc5280::nc::permitted-dns-match-noncritical",
            "rfc5280::nc::not-allowed-in-ee-noncritical",
            "rfc5280::nc::not-allowed-in-ee-critical",
            "rfc5280::nc::nc-permits-invalid-dns-san",
            "rfc5280::nc::nc-permits-invalid-email-san",
            "rfc5280::pc::ica-noncritical-pc",
            "rfc5280::san::noncritical-with-empty-subject",
            "rfc5280::san::underscore-dns",
            "rfc5280::san::ip-in-dns",
            "rfc5280::serial::too-long",
            "rfc5280::serial::zero",
            "rfc5280::serial::negative",
            "rfc5280::ski::root-missing-ski",
            "rfc5280::ski::intermediate-missing-ski",
            "rfc5280::ca-empty-subject",
            "rfc5280::root-non-critical-basic-constraints",
            "rfc5280::leaf-ku-keycertsign",
            "rfc5280::ee-critical-aia-invalid",
        ),
        "profile, not path",
    ),
}


def rows(folder: Path, use: str) -> list[Row]:
    """Return the cases of the families that concern us, for `use` "tls" or "any"."""
    argued = ARGUED_TLS if use == "tls" else ARGUED_ANY
    cases = json.loads((folder / "limbo.json").read_text("utf-8"))["testcases"]
    return [_row(case, use, argued) for case in cases if case["id"].split("::")[0] in FAMILIES]


def others(folder: Path) -> list[dict[str, Any]]:
    """Return what is asked of the family that is not about RFC 5280; it must only end, and soon."""
    cases = json.loads((folder / "limbo.json").read_text("utf-8"))["testcases"]
    return [_asked(case, "tls") for case in cases if case["id"].split("::")[0] not in FAMILIES]


def _row(case: dict[str, Any], use: str, argued: dict[str, str]) -> Row:
    good = case["expected_result"] == "SUCCESS"
    return Row(case["id"], _asked(case, use), good, argued.get(case["id"]))


def _asked(case: dict[str, Any], use: str) -> dict[str, Any]:
    return {
        "leaf": case["peer_certificate"],
        "anchor": case["trusted_certs"],
        "intermediate": case["untrusted_intermediates"],
        "crl": case["crls"],
        "use": use,
        "at": case["validation_time"] or AT,
        "revocation": "if-present",
    }
