"""Wycheproof through the one function that verifies signature values, with algorithm URI and key.

"Acceptable" cases are signatures that some take although they are malformed; a strict
reader takes none, so each is expected to be refused.
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.hazmat.primitives.serialization import load_der_public_key

from gateway.errors import GatewayError
from gateway.xmlsec import LEGACY_NORWAY, STRICT
from gateway.xmlsec import algorithms as a

JUDGED = {
    "rsa_signature_2048_sha256_test.json": a.RSA_SHA256,
    "rsa_signature_3072_sha256_test.json": a.RSA_SHA256,
    "ecdsa_secp256r1_sha256_p1363_test.json": a.ECDSA_SHA256,
    "ecdsa_secp384r1_sha384_p1363_test.json": a.ECDSA_SHA384,
    "ed25519_test.json": a.ED25519,
}
# Signature algorithms that no policy names.
REFUSED = {
    "rsa_pss_2048_sha256_mgf1_32_test.json": "http://www.w3.org/2007/05/xmldsig-more#sha256-rsa-MGF1",
    "hmac_sha256_test.json": "http://www.w3.org/2001/04/xmldsig-more#hmac-sha256",
}
# No signatures: encryption and key agreement, which nothing here uses yet.
ELSEWHERE = (
    "aes_gcm_test.json",
    "aes_wrap_test.json",
    "rsa_oaep_2048_sha256_mgf1sha256_test.json",
    "x25519_test.json",
)


@dataclass
class Count:
    """What came of one file: right answers by Wycheproof's own result, refusals by policy, wrong answers."""

    cases: int = 0
    right: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)


def count(vectors: Path, name: str) -> Count:
    """Put every case of a file to the verifier of values; refused are keys and algorithms of no policy."""
    suite = json.loads((vectors / "vectors" / "wycheproof" / name).read_text())
    told = Count(cases=suite["numberOfTests"])
    for group in suite["testGroups"]:
        for case in group["tests"]:
            _put(name, group, case, told)
    return told


def _put(name: str, group: dict[str, str], case: dict[str, str], told: Count) -> None:
    try:
        if name in REFUSED:
            for policy in (STRICT, LEGACY_NORWAY):
                a.check_signature_algorithm(REFUSED[name], policy)
        key = load_der_public_key(bytes.fromhex(group.get("publicKeyDer") or group["publicKeyAsn"]))
        value, data = bytes.fromhex(case["sig"]), bytes.fromhex(case["msg"])
        accepted = a.verify_signature_value(JUDGED[name], key, value, data)
    except GatewayError as refusal:
        told.refused[refusal.detail] += 1
        return
    if accepted == (case["result"] == "valid"):
        told.right[case["result"]] += 1
    else:
        told.wrong.append(f"{name} {case['tcId']}: {case['comment']}")
