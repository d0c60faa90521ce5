"""Odd certificates, lists and OCSP messages, in every place a file may stand: each gets a verdict.

None of them leads from a party to an anchor of its own, but a self-signed one that is leaf and
anchor at once may be good; what counts is that nothing breaks and nothing takes long.
"""

from __future__ import annotations

import base64
import re
from pathlib import Path
from typing import Any

from gateway.errors import MISUSE, OUR_MISTAKE
from gateway.pki.certificate_examiner import TIME_LIMIT_TEXT

_VERDICTS = {"valid", "invalid", "indeterminate"}
_AT = "2020-01-01T00:00:00Z"


def asked(folder: Path) -> list[tuple[str, dict[str, Any]]]:
    """Return (name, what is asked): each file as certificate of all three places, as list and as response."""
    found = []
    for file in sorted(path for path in folder.rglob("*") if path.is_file()):
        octets = base64.b64encode(_der(file.read_bytes())).decode() or "AA=="
        name, base = file.relative_to(folder).as_posix(), {"at": _AT, "revocation": "require"}
        if "ocsp/" not in name:
            for use in ("any", "signing"):
                places = {"leaf": octets, "anchor": [octets], "intermediate": [octets], "crl": [octets]}
                found.append((f"{name} everywhere, {use}", {**base, **places, "use": use}))
        good = _good(folder)
        found.append((f"{name} as response", {**base, **good, "ocsp": [octets], "use": "any"}))
        found.append((f"{name} as list", {**base, **good, "crl": [octets], "use": "any"}))
        found.append((f"{name} in between", {**base, **good, "intermediate": [octets], "use": "any"}))
    return found


def broken(told: dict[str, Any]) -> bool:
    """Say whether the answer is none: no verdict, misuse, or a failure inside."""
    if told["reason"] == TIME_LIMIT_TEXT:
        return True
    return told["verdict"] not in _VERDICTS or told["problem"] in {MISUSE.id, OUR_MISTAKE.id}


def _good(folder: Path) -> dict[str, Any]:
    octets = base64.b64encode(_der((folder / "custom" / "valid_signature_cert.pem").read_bytes())).decode()
    return {"leaf": octets, "anchor": [octets]}


def _der(data: bytes) -> bytes:
    """Return the octets of the first PEM block, whatever it is called, or the file as it is."""
    block = re.search(rb"-----BEGIN [A-Z0-9 ]+-----(.*?)-----END", data, re.DOTALL)
    return base64.b64decode(block.group(1)) if block else data
