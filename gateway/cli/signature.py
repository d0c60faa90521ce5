"""`gateway signature verify | make`: judges the XML signature of any document, or makes ours.

Nothing is fetched or stored.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

from gateway.cli.options import add_judging, add_moment, as_lines, octets_of
from gateway.cli.pki.lists import add_signing, replace_file, signer_named
from gateway.errors import SETTINGS_WRONG, GatewayError
from gateway.pki.certificates import read_certificates
from gateway.pki.trust import TrustPolicy, TrustStore
from gateway.wire.namespaces import DS
from gateway.wire.xml import parse_xml, serialize
from gateway.xmlsec.algorithms import policy_named
from gateway.xmlsec.judge import Judgement, judge_document, judge_trust
from gateway.xmlsec.xades import sign_document

__all__ = ["add_parser", "run", "verify_signature"]


def verify_signature(
    data: bytes,
    parts: Mapping[str, bytes],
    *,
    policy: str = "strict",
    trust: Sequence[bytes] = (),
    at: datetime,
) -> dict[str, Any]:
    """Return the verdict on a document as `gateway signature verify --json` prints it.

    `parts` holds signed parts by Content-ID, or by the URI as the signature has it.  With
    anchors (`trust`, PEM or DER) the certificate is judged too, as of `at`, without
    revocation lists.
    """
    named = {_uri(name): content for name, content in parts.items()}
    judgement = judge_document(data, named, policy_named(policy))
    if trust:
        anchors = tuple(one for pem in trust for one in read_certificates(pem))
        store = TrustStore(anchors, policy=TrustPolicy(revocation="if_present"))
        judgement = judge_trust(judgement, store, at)
    return _shown(judgement)


def _uri(name: str) -> str:
    return name if ":" in name else f"cid:{quote(name)}"


def _shown(judgement: Judgement) -> dict[str, Any]:
    certificate = judgement.certificate
    return {
        "verdict": judgement.verdict,
        "problem": judgement.problem.id if judgement.problem else None,
        "reason": judgement.reason,
        "ground": judgement.ground,
        "covered": list(judgement.covered),
        "excluded": list(judgement.excluded),
        "signer": certificate.subject if certificate else None,
        "certificate": certificate.sha256 if certificate else None,
    }


def add_parser(verbs: Any) -> None:
    """Add ``signature``."""
    group = verbs.add_parser("signature", help="XML signatures of any kind").add_subparsers(
        metavar="WHAT", required=True
    )
    parser = group.add_parser("verify", help="judge the XML signature of a document; nothing is fetched")
    parser.add_argument("file", type=Path, help="an XML document that holds one signature")
    parser.add_argument(
        "--part",
        action="append",
        default=[],
        metavar="cid=FILE",
        help="a part that the signature names by its Content-ID or URI; repeatable",
    )
    add_judging(parser)
    parser.set_defaults(run=run)
    make = group.add_parser("make", help="sign a document as a party signs its submission (XAdES-B)")
    make.add_argument("file", type=Path, help="the document, which bears no signature")
    make.add_argument("--out", type=Path, required=True, help="the file to write")
    add_signing(make)
    add_moment(make, "sign")
    make.set_defaults(run=_make)


def _make(arguments: argparse.Namespace) -> int:
    root = parse_xml(octets_of(arguments.file))
    if next(root.iter(f"{{{DS}}}Signature"), None) is not None:
        raise GatewayError(SETTINGS_WRONG, "the document bears a signature already", str(arguments.file))
    at = arguments.at or datetime.now(UTC)
    replace_file(arguments.out, serialize(sign_document(root, signer_named(arguments), now=at)))
    print(arguments.out)
    return 0


def run(arguments: argparse.Namespace) -> int:
    """Print the verdict; 0 valid, 1 anything else."""
    verdict = verify_signature(
        octets_of(arguments.file),
        _parts(arguments.part),
        policy=arguments.policy,
        trust=[_anchors(one) for one in arguments.trust],
        at=arguments.at or datetime.now(UTC),
    )
    told = {"file": str(arguments.file), **verdict}
    print(json.dumps(told, ensure_ascii=False) if arguments.json else as_lines(told))
    return 0 if verdict["verdict"] == "valid" else 1


def _anchors(path: Path) -> bytes:
    """Return a file of trust anchors; one that holds none was named by mistake, which is no verdict."""
    data = octets_of(path)
    try:
        read_certificates(data)
    except GatewayError as wrong:
        raise GatewayError(SETTINGS_WRONG, f"{path}: {wrong.detail}", "--trust") from wrong
    return data


def _parts(texts: Sequence[str]) -> dict[str, bytes]:
    parts: dict[str, bytes] = {}
    for name, content in map(_part, texts):
        if _uri(name) in map(_uri, parts):
            raise GatewayError(SETTINGS_WRONG, f"part {name[:80]!r} is given twice", "--part")
        parts[name] = content
    return parts


def _part(text: str) -> tuple[str, bytes]:
    name, equals, path = text.partition("=")
    if not (name and equals and path):
        raise GatewayError(SETTINGS_WRONG, f"--part is cid=FILE, not {text[:80]!r}", "--part")
    return name, octets_of(Path(path))
