"""``gateway pki recognize|vouch``: by which way a signer is admitted, and vouching for one."""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Literal

from gateway.cli.options import add_moment, as_lines, octets_of
from gateway.cli.pki.lists import add_signing, replace_file, signer_named, signers_in
from gateway.errors import DOCUMENT_INVALID, GatewayError
from gateway.pki.certificates import Certificate, read_certificate, read_certificates
from gateway.pki.policy import shipped_policy
from gateway.pki.revocation import Revocations
from gateway.pki.trust import TrustStore, Use
from gateway.recognition.admission import Admission, admit, admit_vouched
from gateway.recognition.chains import Recognition, gather, open_list
from gateway.recognition.succession import check_fresh
from gateway.recognition.vouching import is_vouched, open_vouched, vouch
from gateway.wire.xml import parse_xml
from gateway.xmlsec.xades import verify_document

__all__ = ["add_recognize"]

_REVOCATION: Final[dict[str, Literal["require", "if_present", "none"]]] = {
    "require": "require",
    "if-present": "if_present",
    "none": "none",
}


def add_recognize(group: Any) -> None:
    """Add ``recognize`` and ``vouch`` to the verbs of ``pki``."""
    parser = group.add_parser("recognize", help="say whether and by which way a signer is admitted")
    parser.add_argument("file", type=Path, help="a certificate, a signed document, or one vouched for")
    for name, text in (
        ("anchor", "an authority of our own"),
        ("intermediate", "a certificate between the signer and an anchor"),
        ("crl", "a revocation list"),
        ("list", "a trusted list of others, named by ours or by one that it names"),
        ("signer", "who may sign our list"),
    ):
        parser.add_argument(
            f"--{name}", type=Path, action="append", default=[], metavar="F", help=f"{text}; repeatable"
        )
    parser.add_argument("--root", type=Path, metavar="F", help="our list, from which recognition starts")
    parser.add_argument(
        "--revocation", choices=sorted(_REVOCATION), default="require", help="what must be known of it"
    )
    add_moment(parser, "judge")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.set_defaults(run=_recognize)
    voucher = group.add_parser("vouch", help="sign a document once more; its own signature stays")
    voucher.add_argument("file", type=Path, help="the document, signed by its party")
    voucher.add_argument("--territory", required=True, help="the country we vouch for")
    voucher.add_argument(
        "--level", action="append", required=True, metavar="WORD", help="what the signer is; repeatable"
    )
    voucher.add_argument("--out", type=Path, required=True, help="the file to write")
    add_signing(voucher)
    add_moment(voucher, "sign")
    voucher.set_defaults(run=_vouch)


def _recognize(arguments: argparse.Namespace) -> int:
    at = arguments.at or datetime.now(UTC)
    recognition, refused = _recognition(arguments, at)
    data = octets_of(arguments.file)
    certificate, admission = _judged(data, at, recognition)
    verdict = admission.verdict
    told = {
        "file": str(arguments.file),
        "admitted": admission.mode is not None,
        "mode": admission.mode,
        "levels": sorted(admission.levels),
        "source": admission.source,
        "problem": verdict.problem.id if verdict.problem else None,
        "reason": verdict.reason,
        "signer": certificate.subject,
        "certificate": certificate.sha256,
        "path": [each.subject for each in verdict.path],
        "lists_refused": [
            {"file": name, "problem": each.problem.id, "reason": each.detail}
            for name, each in refused.items()
        ],
    }
    print(json.dumps(told, ensure_ascii=False) if arguments.json else as_lines(told))
    return 0 if admission.mode is not None else 1


def _recognition(arguments: argparse.Namespace, at: datetime) -> tuple[Recognition, dict[str, GatewayError]]:
    policy = replace(shipped_policy(), revocation=_REVOCATION[arguments.revocation])
    store = TrustStore(_certificates(arguments.anchor), _certificates(arguments.intermediate), policy)
    revocations = Revocations([octets_of(each) for each in arguments.crl])
    if arguments.root is None:
        return Recognition(store, revocations=revocations), {}
    root = open_list(octets_of(arguments.root), signers_in(arguments.signer))
    check_fresh(root, at)
    others, refused = gather(root, {str(each): octets_of(each) for each in arguments.list}, at)
    return Recognition(store, root, others, revocations), refused


def _certificates(files: list[Path]) -> tuple[Certificate, ...]:
    return tuple(one for each in files for one in read_certificates(octets_of(each)))


def _judged(data: bytes, at: datetime, recognition: Recognition) -> tuple[Certificate, Admission]:
    if data[:1] == b"\x30" or data.lstrip().startswith(b"-----BEGIN"):
        certificate = read_certificate(data)
        return certificate, admit(certificate, at, Use.SIGNING, recognition)
    if not data.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<"):
        raise GatewayError(DOCUMENT_INVALID, "neither a certificate nor a document", "the file")
    root = parse_xml(data)
    if is_vouched(root):
        vouched = open_vouched(data)
        return vouched.signer, admit_vouched(vouched, at, recognition)
    certificate = verify_document(root).certificate
    return certificate, admit(certificate, at, Use.SIGNING, recognition)


def _vouch(arguments: argparse.Namespace) -> int:
    at = arguments.at or datetime.now(UTC)
    made = vouch(
        octets_of(arguments.file), arguments.level, arguments.territory, signer_named(arguments), now=at
    )
    replace_file(arguments.out, made)
    print(arguments.out)
    return 0
