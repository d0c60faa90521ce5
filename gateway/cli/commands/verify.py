"""`gateway verify`: verifies a stored ebMS 2.0 or AS4 message by itself; stores and reports nothing."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import closing
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from gateway.agreements import ENCRYPTION_POLICIES, PModeIndex
from gateway.cli.named_files import read_file
from gateway.cli.result_output import print_report
from gateway.cli.shared_options import FILE, decryption_options, judging_options
from gateway.cli.verb_groups import Arguments, verb
from gateway.errors import EBMS3_ERRORS, MISUSE, NOT_UNDERSTOOD, GatewayError
from gateway.message_model import MemoryBody, PullRequest, UserMessage
from gateway.pki import (
    CertificateValidator,
    DecryptionKey,
    Keyring,
    TrustPolicy,
    TrustStore,
    read_certificates,
)
from gateway.protocols import (
    PROTOCOLS,
    EncryptionResources,
    OpenedMessage,
    Parcel,
    ProtocolContext,
    as4,
    ebms2,
)
from gateway.wire import read_http_message
from gateway.xmlsec import POLICIES

__all__ = [
    "describe_reported_error",
    "make_context",
    "read_anchor_files",
    "read_home_context",
    "verify_message",
    "verify_message_file",
    "verify_message_octets",
]


def make_context(
    anchors: Sequence[bytes],
    now: datetime,
    keys: tuple[DecryptionKey, ...] = (),
    signers: Sequence[bytes] = (),
) -> ProtocolContext:
    """Return a context with `anchors` (PEM or DER) and decryption keys, without agreements or parties.

    `signers` are the certificates that a message may name without containing them. No revocation list
    is loaded, so revocation is not checked.
    """
    certificates = tuple(one for pem in anchors for one in read_certificates(pem))
    trust = TrustStore(certificates, policy=TrustPolicy(revocation="if_present"))
    return ProtocolContext(
        agreements=PModeIndex(()),
        validate_certificate=CertificateValidator(trust),
        keys=Keyring({}),
        now=now,
        make_message_id=lambda: "",
        find_certificate_party=lambda _sha256: None,
        find_party_name=lambda _party_id: None,
        encryption=EncryptionResources(keys, os.urandom),
        known_certificates=tuple(one for pem in signers for one in read_certificates(pem)),
    )


def verify_message_octets(
    raw: bytes,
    context: ProtocolContext,
    policy: str | None = None,
    encryption: str = "strict",
    protocol: str = ebms2.name,
) -> dict[str, Any]:
    """Return the verdict on an HTTP message in the form of `gateway verify --json`.

    With `policy` the message is verified by itself, its payloads decrypted by the policy
    `encryption` with the keys of `context`; otherwise by the agreements of `context`.
    """
    parcel: Parcel | None = None
    core = as4 if protocol == as4.name else ebms2
    try:
        message = read_http_message(raw, context.limits)
        parcel = Parcel(message.headers, MemoryBody(message.body))
        if core.find_fault(parcel, context.limits) is not None:
            return {**_make_blank_verdict(), "accepted": True, "kind": "Fault"}
        opened = _open_parcel(parcel, context, (policy, encryption, protocol))
    except GatewayError as refused:
        return _describe_refused_message(refused, parcel, context, protocol)
    return _describe_opened_message(opened)


def _open_parcel(
    parcel: Parcel, context: ProtocolContext, terms: tuple[str | None, str, str]
) -> OpenedMessage:
    policy, encryption, protocol = terms
    if policy is None:
        return PROTOCOLS[protocol].open(parcel, context)
    if protocol == as4.name:
        return as4.verify_parcel(parcel, policy, context, encryption)
    return ebms2.verify_parcel(parcel, policy, context, encryption)


def _make_blank_verdict() -> dict[str, Any]:
    names = ("message_id", "kind", "problem", "detail", "location", "ebms", "signer", "certificate")
    return {"accepted": False, **dict.fromkeys(names), "http": 200, "signed": []}


def _describe_opened_message(opened: OpenedMessage) -> dict[str, Any]:
    verdict = {
        **_make_blank_verdict(),
        "accepted": True,
        "message_id": opened.unit.message_id,
        "kind": type(opened.unit).__name__,
        "payloads": [one.content_id for one in getattr(opened.unit, "payloads", ())],
    }
    if isinstance(opened.unit, UserMessage | PullRequest) and opened.unit.mpc is not None:
        verdict["mpc"] = opened.unit.mpc
    if isinstance(opened.unit, UserMessage) and opened.unit.properties:
        verdict["properties"] = [asdict(one) for one in opened.unit.properties]
    if opened.unwrapped:
        verdict["unwrapped"] = [one._asdict() for one in opened.unwrapped]
    if opened.signed is not None:
        verdict["signed"] = [one.uri for one in opened.signed.references]
        verdict["signer"] = opened.signed.certificate.subject
        verdict["certificate"] = opened.signed.certificate.sha256
    return verdict


def _describe_refused_message(
    refused: GatewayError, parcel: Parcel | None, context: ProtocolContext, protocol: str
) -> dict[str, Any]:
    problem = refused.problem
    core = as4 if protocol == as4.name else ebms2
    found = core.find_refused_message(parcel, context.limits) if parcel is not None else None
    reported = describe_reported_error(refused, protocol)
    return {
        **_make_blank_verdict(),
        "message_id": found.message_id if found else None,
        "kind": found.kind if found else None,
        "problem": problem.id,
        "detail": refused.detail,
        "location": refused.location,
        "ebms": reported,
        "http": _find_answer_status(
            refused, reported is not None, answerable=None if found is None else found.is_answerable
        ),
    }


def describe_reported_error(refused: GatewayError, protocol: str) -> dict[str, str] | None:
    """Return the error that a signal reports for a problem, None where a Fault does."""
    if protocol == as4.name:
        code = refused.code
        return {"code": code, "severity": EBMS3_ERRORS[code].severity} if code else None
    return {"code": refused.problem.ebms2, "severity": "Error"} if refused.problem.ebms2 else None


def _find_answer_status(refused: GatewayError, reported: bool, *, answerable: bool | None) -> int:
    """Return the status of a hub's answer: 200 with a signal, 204 with none, else that of the Fault.

    `answerable` is None for a message whose header cannot be read.
    """
    if answerable is False:
        return 204
    told_by_signal = answerable and reported and refused.problem is not NOT_UNDERSTOOD
    return 200 if told_by_signal else refused.problem.http or 500


def verify_message_file(
    path: Path,
    *,
    policy: str = "strict",
    trust: Sequence[Path] = (),
    now: datetime,
    keys: tuple[DecryptionKey, ...] = (),
    encryption: str = "strict",
    protocol: str = ebms2.name,
    signers: Sequence[Path] = (),
) -> dict[str, Any]:
    """Return the verdict on the HTTP message in a file, verified by itself at the time `now`."""
    if policy not in POLICIES:
        raise GatewayError(MISUSE, f"policy is one of {', '.join(POLICIES)}", "--policy")
    if encryption not in ENCRYPTION_POLICIES:
        known = ", ".join(ENCRYPTION_POLICIES)
        raise GatewayError(MISUSE, f"the policy of encryption is one of {known}", "--encryption-policy")
    anchors, named = (read_anchor_files(files) for files in (trust, signers))
    context = make_context(anchors, now, keys, named)
    verdict = verify_message_octets(read_file(path), context, policy, encryption, protocol)
    return {"file": str(path), **verdict}


def read_anchor_files(paths: Sequence[Path]) -> list[bytes]:
    """Return files of certificates; raise GW808 for one without a certificate."""
    return [_read_certificate_file(one) for one in paths]


def _read_certificate_file(path: Path) -> bytes:
    """Return a file of certificates; one without a certificate is misuse, not a verdict."""
    octets = read_file(path)
    try:
        read_certificates(octets)
    except GatewayError as problem:
        raise GatewayError(MISUSE, f"{path}: {problem.detail}", str(path)) from None
    return octets


def read_home_context(home: Path) -> ProtocolContext:
    """Return the context of the hub in a home folder: agreements, parties, lists."""
    # Imported on use: a message that is verified by itself needs no database.
    from gateway.cli.settings import read_home_settings
    from gateway.hub import RejectingComposer, build_hub

    with closing(build_hub(read_home_settings(home), RejectingComposer(), at_work=False)) as hub:
        return hub.make_protocol_context(hub.refresh_snapshot())


@verb
@click.argument("file", type=FILE, help="an HTTP message: optional start line, headers, empty line, body")
@judging_options()
@decryption_options(required=False)
@click.option(
    "--protocol",
    type=click.Choice([ebms2.name, as4.name]),
    default=ebms2.name,
    help="the protocol of the message",
)
@click.option(
    "--signer", type=FILE, multiple=True, metavar="PEM", help="(as4) certificates that a message only names"
)
@click.option("--home", type=FILE, help="use the agreements and parties of this home folder")
def verify_message(arguments: Arguments) -> int:
    """Print the verdict; return 0 for accepted, 1 for refused."""
    verdict = _judge_message_file(arguments)
    print_report(verdict if arguments.json else _put_into_words(verdict), as_json=arguments.json)
    return 0 if verdict["accepted"] else 1


def _put_into_words(verdict: dict[str, Any]) -> dict[str, Any]:
    """Return the verdict for people: no value has a structure of its own."""
    reported = verdict["ebms"]
    return verdict | {
        "accepted": "yes" if verdict["accepted"] else "no",
        "ebms": f"{reported['code']} ({reported['severity']})" if reported else None,
    }


def _judge_message_file(arguments: Arguments) -> dict[str, Any]:
    if arguments.home is not None:
        context = read_home_context(arguments.home)
        octets = read_file(arguments.file)
        verdict = verify_message_octets(octets, context, protocol=arguments.protocol)
        return {"file": str(arguments.file), **verdict}
    now = arguments.at or datetime.now(UTC)
    # Imported on use: most messages have nothing encrypted.
    from gateway.cli.commands.payload import load_decryption_key_file

    keys = (load_decryption_key_file(arguments),) if arguments.decryption_key is not None else ()
    return verify_message_file(
        arguments.file,
        policy=arguments.policy,
        trust=arguments.trust,
        now=now,
        keys=keys,
        encryption=arguments.encryption_policy,
        protocol=arguments.protocol,
        signers=arguments.signer,
    )
