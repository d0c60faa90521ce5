"""``gateway pki recognize|vouch``: the way in which a signer is admitted, and vouching for one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Final, Literal

import click

from gateway.cli.named_files import (
    load_key_file,
    read_certificate_files,
    read_file,
    read_signers,
    replace_file,
)
from gateway.cli.result_output import print_done, print_report
from gateway.cli.shared_options import FILE, json_option, moment_option, signing_options
from gateway.cli.verb_groups import Arguments, verb
from gateway.errors import DOCUMENT_INVALID, GatewayError
from gateway.pki import (
    Certificate,
    CertificateUse,
    RevocationData,
    TrustStore,
    load_shipped_policy,
    read_certificate,
)
from gateway.recognition import (
    Admission,
    RecognitionContext,
    admit_signer,
    admit_voucher,
    check_list_freshness,
    is_vouched_document,
    open_named_lists,
    open_trusted_list,
    open_vouched_document,
    vouch_for_document,
)
from gateway.wire import parse_xml
from gateway.xmlsec import verify_document

_REVOCATION: Final[dict[str, Literal["require", "if_present", "none"]]] = {
    "require": "require",
    "if-present": "if_present",
    "none": "none",
}
_CHOICE = click.Choice(sorted(_REVOCATION))


def _repeatable_option(name: str, help_text: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    return click.option(name, type=FILE, multiple=True, metavar="F", help=f"{help_text}; repeatable")


@verb("pki recognize")
@click.argument(
    "file", type=FILE, help="a certificate, a signed document, or a document with a vouching signature"
)
@_repeatable_option("--anchor", "a trust anchor")
@_repeatable_option("--intermediate", "an intermediate certificate")
@_repeatable_option("--crl", "a revocation list")
@_repeatable_option("--list", "a foreign trusted list, named by the own list or by a list that it names")
@_repeatable_option("--signer", "a certificate that may sign the own trusted list")
@click.option("--root", type=FILE, metavar="F", help="the own trusted list, from which recognition starts")
@click.option("--revocation", type=_CHOICE, default="require", help="whether revocation data are required")
@moment_option("time of validation")
@json_option("print one JSON object")
def recognize_signer(arguments: Arguments) -> int:
    """Print whether and in which way a signer is admitted; return 1 when it is not."""
    at = arguments.at or datetime.now(UTC)
    recognition, refused = _read_recognition_lists(arguments, at)
    data = read_file(arguments.file)
    certificate, admission = _admit_signed_file(data, at, recognition)
    verdict = admission.verdict
    report = {
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
    print_report(report, as_json=arguments.json)
    return 0 if admission.mode is not None else 1


def _read_recognition_lists(
    arguments: Arguments, at: datetime
) -> tuple[RecognitionContext, dict[str, GatewayError]]:
    """Return the anchors and trusted lists of the arguments, and the error of each refused list by file."""
    policy = replace(load_shipped_policy(), revocation=_REVOCATION[arguments.revocation])
    store = TrustStore(
        read_certificate_files(arguments.anchor), read_certificate_files(arguments.intermediate), policy
    )
    revocations = RevocationData([read_file(each) for each in arguments.crl])
    if arguments.root is None:
        return RecognitionContext(store, revocations=revocations), {}
    root = open_trusted_list(read_file(arguments.root), read_signers(arguments.signer))
    check_list_freshness(root, at)
    others, refused = open_named_lists(root, {str(each): read_file(each) for each in arguments.list}, at)
    return RecognitionContext(store, root, others, revocations), refused


def _admit_signed_file(
    data: bytes, at: datetime, recognition: RecognitionContext
) -> tuple[Certificate, Admission]:
    """Return the signer of a certificate, a signed or a vouched document, and the admission of this signer.

    Raises GW402 for a file that is neither a certificate nor XML.
    """
    if data[:1] == b"\x30" or data.lstrip().startswith(b"-----BEGIN"):
        certificate = read_certificate(data)
        return certificate, admit_signer(certificate, at, CertificateUse.SIGNING, recognition)
    if not data.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<"):
        raise GatewayError(DOCUMENT_INVALID, "neither a certificate nor a document", "the file")
    root = parse_xml(data)
    if is_vouched_document(root):
        vouched = open_vouched_document(data)
        return vouched.signer, admit_voucher(vouched, at, recognition)
    certificate = verify_document(root).certificate
    return certificate, admit_signer(certificate, at, CertificateUse.SIGNING, recognition)


@verb("pki vouch")
@click.argument("file", type=FILE, help="the document, signed by its party")
@click.option("--territory", required=True, help="the country for which the gateway vouches")
@click.option(
    "--level", multiple=True, required=True, metavar="WORD", help="a level of the signer; repeatable"
)
@click.option("--out", type=FILE, required=True, help="the file to write")
@signing_options()
@moment_option("time of signing")
@json_option("print one JSON object")
def vouch_document(arguments: Arguments) -> None:
    """Add our signature to a signed document, and write it; its own signature stays."""
    at = arguments.at or datetime.now(UTC)
    vouched_document = vouch_for_document(
        read_file(arguments.file), arguments.level, arguments.territory, load_key_file(arguments), now=at
    )
    replace_file(arguments.out, vouched_document)
    levels = ", ".join(arguments.level)
    sentence = f"Vouched for the signer of {arguments.file} as {levels}: the document is {arguments.out}."
    print_done(arguments, sentence, written=str(arguments.out))
