"""`gateway signature verify | make`: verifies the XML signature of any document, or makes ours.

Nothing is fetched or stored.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

import click

from gateway.cli.named_files import load_key_file, name_file, read_file, replace_file, split_named_file
from gateway.cli.result_output import print_json, print_report, print_sentence
from gateway.cli.shared_options import FILE, json_option, judging_options, moment_option, signing_options
from gateway.cli.verb_groups import Arguments, verb
from gateway.errors import MISUSE, GatewayError
from gateway.pki import TrustPolicy, TrustStore, read_certificates
from gateway.wire import DS, parse_xml, serialize_element
from gateway.xmlsec import (
    VerificationReport,
    get_signature_policy,
    sign_document,
    validate_signer,
    verify_any_document,
)

__all__ = ["sign_file", "verify_file", "verify_signature"]

_PART_WORDS = "a part that the signature refers to by Content-ID or URI; repeatable"


def verify_signature(
    data: bytes,
    parts: Mapping[str, bytes],
    *,
    policy: str = "strict",
    trust: Sequence[bytes] = (),
    at: datetime,
) -> dict[str, Any]:
    """Return the verdict on a document in the form of `gateway signature verify --json`.

    `parts` are the signed parts by Content-ID, or by the URI in the signature. With anchors
    (`trust`, PEM or DER) the certificate is validated too, as of `at`, without revocation
    lists.
    """
    named = {_make_part_uri(name): content for name, content in parts.items()}
    judgement = verify_any_document(data, named, get_signature_policy(policy))
    if trust:
        anchors = tuple(one for pem in trust for one in read_certificates(pem))
        store = TrustStore(anchors, policy=TrustPolicy(revocation="if_present"))
        judgement = validate_signer(judgement, store, at)
    return _describe_judgement(judgement)


def _make_part_uri(name: str) -> str:
    return name if ":" in name else f"cid:{quote(name)}"


def _describe_judgement(judgement: VerificationReport) -> dict[str, Any]:
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


@verb
@click.argument("file", type=FILE, help="the document, without a signature")
@click.option("--out", type=FILE, required=True, help="the file to write")
@signing_options()
@moment_option("time of signing")
@json_option("print one JSON object")
def sign_file(arguments: Arguments) -> int:
    """Sign a document and write it; raise GW808 for one that is already signed."""
    with name_file(arguments.file):
        root = parse_xml(read_file(arguments.file))
    if next(root.iter(f"{{{DS}}}Signature"), None) is not None:
        raise GatewayError(MISUSE, "the document already has a signature", str(arguments.file))
    at = arguments.at or datetime.now(UTC)
    replace_file(arguments.out, serialize_element(sign_document(root, load_key_file(arguments), now=at)))
    sentence = f"Signed {arguments.file}: the signed document is {arguments.out}."
    if arguments.json:
        print_json({"verb": "signature make", "done": sentence, "written": str(arguments.out)})
    else:
        print_sentence(sentence)
    return 0


@verb
@click.argument("file", type=FILE, help="an XML document with one signature")
@click.option("--part", multiple=True, metavar="cid=FILE", help=_PART_WORDS)
@judging_options()
def verify_file(arguments: Arguments) -> int:
    """Print the verdict; return 0 for valid, 1 for anything else."""
    verdict = verify_signature(
        read_file(arguments.file),
        _read_signed_parts(arguments.part),
        policy=arguments.policy,
        trust=[_read_anchor_file(one) for one in arguments.trust],
        at=arguments.at or datetime.now(UTC),
    )
    report = {"file": str(arguments.file), **verdict}
    print_report(report, as_json=arguments.json)
    return 0 if verdict["verdict"] == "valid" else 1


def _read_anchor_file(path: Path) -> bytes:
    """Return a file of trust anchors; raise GW808 for a file without any, which is misuse, not a verdict."""
    data = read_file(path)
    try:
        read_certificates(data)
    except GatewayError as wrong:
        raise GatewayError(MISUSE, f"{path}: {wrong.detail}", "--trust") from wrong
    return data


def _read_signed_parts(texts: Sequence[str]) -> dict[str, bytes]:
    parts: dict[str, bytes] = {}
    for text in texts:
        name, path = split_named_file(text, "--part")
        if _make_part_uri(name) in map(_make_part_uri, parts):
            raise GatewayError(MISUSE, f"part {name[:80]!r} is given twice", "--part")
        parts[name] = read_file(path)
    return parts
