"""``gateway verify`` and ``gateway message split|join``: ebMS 2.0 and AS4 messages in files, never stored."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from contextlib import closing
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

import click

from gateway.agreements import ENCRYPTION_POLICIES, PModeIndex
from gateway.cli.named_files import add_file_name_to_problem, load_key_file, read_anchor_files, read_file
from gateway.cli.result_output import print_done, print_report
from gateway.cli.shared_options import (
    FILE,
    decryption_options,
    json_option,
    signing_options,
    verification_options,
)
from gateway.cli.verb_groups import Arguments, verb
from gateway.client import SPLIT_LIMITS, FileBody, open_message_file, write_message_file, write_octets
from gateway.errors import EBMS3_ERRORS, MISUSE, NOT_UNDERSTOOD, GatewayError
from gateway.message_model import MemoryBody, PullRequest, UserMessage
from gateway.pki import (
    CertificateValidator,
    DecryptionKey,
    Keyring,
    Signer,
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
    certificates = tuple(certificate for pem in anchors for certificate in read_certificates(pem))
    trust = TrustStore(certificates, policy=TrustPolicy(revocation="if_present"))
    return ProtocolContext(
        agreements=PModeIndex(()),
        validate_certificate=CertificateValidator(trust),
        signers=Keyring({}),
        now=now,
        make_message_id=lambda: "",
        find_certificate_party=lambda _sha256: None,
        find_party_name=lambda _party_id: None,
        encryption=EncryptionResources(keys, os.urandom),
        candidate_certificates=tuple(
            certificate for pem in signers for certificate in read_certificates(pem)
        ),
    )


def verify_message_octets(
    message_octets: bytes,
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
    protocol_module = as4 if protocol == as4.name else ebms2
    try:
        message = read_http_message(message_octets, context.limits)
        parcel = Parcel(message.headers, MemoryBody(message.body))
        if protocol_module.find_fault(parcel, context.limits) is not None:
            return {**_make_blank_verdict(), "accepted": True, "kind": "Fault"}
        opened = _open_parcel(parcel, context, policy, encryption, protocol)
    except GatewayError as refused:
        return _describe_refused_message(refused, parcel, context, protocol)
    return _describe_opened_message(opened)


def _open_parcel(
    parcel: Parcel, context: ProtocolContext, policy: str | None, encryption: str, protocol: str
) -> OpenedMessage:
    """Open and verify a message of `protocol`; without `policy`, by the agreement that it names."""
    if policy is None:
        return PROTOCOLS[protocol].open_units(parcel, context)
    if protocol == as4.name:
        return as4.verify_parcel(parcel, policy, context, encryption)
    return ebms2.verify_parcel(parcel, policy, context, encryption)


def _make_blank_verdict() -> dict[str, Any]:
    """Return a verdict that accepts nothing, with HTTP status 200, whose other values are empty."""
    names = (
        "message_id",
        "identity",
        "kind",
        "problem",
        "detail",
        "location",
        "ebms",
        "signer",
        "certificate",
    )
    return {"accepted": False, **dict.fromkeys(names), "http": 200, "signed": []}


def _describe_opened_message(opened: OpenedMessage) -> dict[str, Any]:
    """Return the verdict on an accepted message: its identifiers, its signed parts and its signer."""
    verdict = {
        **_make_blank_verdict(),
        "accepted": True,
        "message_id": opened.unit.message_id,
        "identity": opened.identity,
        "kind": type(opened.unit).__name__,
        "payloads": [payload.content_id for payload in getattr(opened.unit, "payloads", ())],
    }
    if isinstance(opened.unit, UserMessage | PullRequest) and opened.unit.mpc is not None:
        verdict["mpc"] = opened.unit.mpc
    if isinstance(opened.unit, UserMessage) and opened.unit.properties:
        verdict["properties"] = [asdict(message_property) for message_property in opened.unit.properties]
    if opened.unwrapped_parts:
        verdict["unwrapped"] = [unwrapped_part._asdict() for unwrapped_part in opened.unwrapped_parts]
    if opened.verified_signature is not None:
        verdict["signed"] = [reference.uri for reference in opened.verified_signature.references]
        verdict["signer"] = opened.verified_signature.certificate.subject
        verdict["certificate"] = opened.verified_signature.certificate.sha256
    return verdict


def _describe_refused_message(
    refused: GatewayError, parcel: Parcel | None, context: ProtocolContext, protocol: str
) -> dict[str, Any]:
    """Return the verdict on a refused message: the problem, and how the hub would report it.

    `parcel` is None if the HTTP message could not be read.
    """
    problem = refused.problem
    protocol_module = as4 if protocol == as4.name else ebms2
    message = protocol_module.find_refused_message(parcel, context.limits) if parcel is not None else None
    reported = describe_reported_error(refused, protocol)
    return {
        **_make_blank_verdict(),
        "message_id": message.message_id if message else None,
        "kind": message.message_kind if message else None,
        "problem": problem.id,
        "detail": refused.detail,
        "location": refused.location,
        "ebms": reported,
        "http": _find_answer_status(
            refused, reported is not None, is_answerable=None if message is None else message.is_answerable
        ),
    }


def describe_reported_error(refused: GatewayError, protocol: str) -> dict[str, str] | None:
    """Return the error that a signal reports for a problem, None where a Fault does."""
    if protocol == as4.name:
        code = refused.code
        return {"code": code, "severity": EBMS3_ERRORS[code].severity} if code else None
    return {"code": refused.problem.codes.ebms2, "severity": "Error"} if refused.problem.codes.ebms2 else None


def _find_answer_status(refused: GatewayError, is_reported: bool, *, is_answerable: bool | None) -> int:
    """Return the status of a hub's answer: 200 with a signal, 204 with none, else that of the Fault.

    `is_answerable` is None for a message whose header cannot be read.
    """
    if is_answerable is False:
        return 204
    told_by_signal = is_answerable and is_reported and refused.problem is not NOT_UNDERSTOOD
    return 200 if told_by_signal else refused.problem.codes.http or 500


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
        raise GatewayError(MISUSE, f"policy must be one of {', '.join(POLICIES)}", "--policy")
    if encryption not in ENCRYPTION_POLICIES:
        policy_names = ", ".join(ENCRYPTION_POLICIES)
        raise GatewayError(
            MISUSE, f"the policy of encryption must be one of {policy_names}", "--encryption-policy"
        )
    anchors, signer_certificates = (read_anchor_files(files) for files in (trust, signers))
    context = make_context(anchors, now, keys, signer_certificates)
    verdict = verify_message_octets(read_file(path), context, policy, encryption, protocol)
    return {"file": str(path), **verdict}


def read_home_context(home: Path) -> ProtocolContext:
    """Return the context of the hub in a home folder: agreements, parties, lists."""
    # Imported on use: a message that is verified by itself needs no database.
    from gateway.cli.home_folder import read_home_settings
    from gateway.hub import RejectingComposer, build_hub

    with closing(build_hub(read_home_settings(home), RejectingComposer(), at_work=False)) as hub:
        return hub.make_protocol_context(hub.refresh_snapshot())


@verb("verify")
@click.argument("file", type=FILE, help="an HTTP message: optional start line, headers, empty line, body")
@verification_options()
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
    verdict = _verify_named_file(arguments)
    print_report(verdict if arguments.json else _format_verdict(verdict), as_json=arguments.json)
    return 0 if verdict["accepted"] else 1


def _format_verdict(verdict: dict[str, Any]) -> dict[str, Any]:
    """Return the verdict for people: no value has a structure of its own."""
    reported = verdict["ebms"]
    return verdict | {
        "accepted": "yes" if verdict["accepted"] else "no",
        "ebms": f"{reported['code']} ({reported['severity']})" if reported else None,
    }


def _verify_named_file(arguments: Arguments) -> dict[str, Any]:
    """Verify a message file, with the register of a home or with the anchors and keys of the arguments."""
    if arguments.home is not None:
        context = read_home_context(arguments.home)
        octets = read_file(arguments.file)
        verdict = verify_message_octets(octets, context, protocol=arguments.protocol)
        return {"file": str(arguments.file), **verdict}
    now = arguments.at or datetime.now(UTC)
    # Imported on use: most messages have nothing encrypted.
    from gateway.cli.commands.signature import load_decryption_key_file

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


_FRAGMENT_NAME: Final = "fragment-{}.http"
_PROPERTY_WORDS = "a message property that fragments repeat, for routing; repeatable"


@verb("message split")
@click.argument("file", type=FILE, help="the AS4 message with its parts, as an HTTP message")
@click.option(
    "--size", type=click.IntRange(1, 2**31), required=True, metavar="N", help="octets of the largest fragment"
)
@click.option("--compress", is_flag=True, help="compress the message by gzip before it is split")
@click.option("--routing-property", multiple=True, metavar="NAME", help=_PROPERTY_WORDS)
@click.option("--out", type=FILE, required=True, help="the folder to write the fragments into")
@signing_options()
@json_option("print one JSON object")
def split_message(arguments: Arguments) -> None:
    """Write the fragments of a message as HTTP messages."""
    signer = load_key_file(arguments)
    _check_folder(arguments.out)
    terms = as4.SplitTerms(arguments.size, arguments.routing_property, arguments.compress)
    with add_file_name_to_problem(arguments.file):
        plan = as4.plan_split(open_message_file(arguments.file, SPLIT_LIMITS), terms, SPLIT_LIMITS)
    written = _write_fragments(plan, arguments.out, signer)
    compression = "compressed" if plan.terms.compressed else "not compressed"
    sentence = f"Split {arguments.file}, {compression}, into {len(written)} fragments in {arguments.out}."
    group = {"group": plan.unit.message_id, "octets": plan.message_size}
    print_done(arguments, sentence, **group, compressed=plan.terms.compressed, fragments=written)


def _check_folder(folder: Path) -> None:
    """Raise GW808 for a file, and for a folder that holds fragments."""
    if folder.exists() and not folder.is_dir():
        raise GatewayError(MISUSE, f"{folder} is no folder", str(folder))
    if any(folder.glob(_FRAGMENT_NAME.format("*"))):
        raise GatewayError(MISUSE, f"{folder} holds fragments already", str(folder))


def _write_fragments(plan: as4.SplitPlan, folder: Path, signer: Signer) -> list[dict[str, Any]]:
    """Write all fragments; compressed octets are kept beside them meanwhile, to be made once."""
    compressed_file = folder / ".whole.gz"
    numbers = range(1, plan.fragment_count + 1)
    if not plan.terms.compressed:
        return [_write_fragment(plan, number, folder, signer) for number in numbers]
    write_octets(compressed_file, (plan.octets,))
    try:
        plan = replace(plan, octets=FileBody(compressed_file))
        return [_write_fragment(plan, number, folder, signer) for number in numbers]
    finally:
        compressed_file.unlink(missing_ok=True)


def _write_fragment(plan: as4.SplitPlan, number: int, folder: Path, signer: Signer) -> dict[str, Any]:
    """Write one fragment; return its number, its message id, and its file."""
    host = plan.unit.message_id.rpartition("@")[2]
    message_id = f"{uuid4()}@{host}"
    path = folder / _FRAGMENT_NAME.format(f"{number:04}")
    write_message_file(path, as4.seal_fragment(plan, number, message_id, signer))
    return {"number": number, "message_id": message_id, "file": str(path)}


@verb("message join")
@click.argument("files", type=FILE, nargs=-1, required=True, help="the fragments, in any order")
@click.option("--out", type=FILE, required=True, help="the file to write the joined message to")
@click.option(
    "--size", type=click.IntRange(1, 2**31), metavar="N", help="octets of the largest fragment agreed"
)
@click.option("--routing-property", multiple=True, metavar="NAME", help=_PROPERTY_WORDS)
@verification_options()
def join_message(arguments: Arguments) -> int:
    """Write the joined message; return 0, or 1 with the problem where the fragments are refused."""
    anchors = read_anchor_files(arguments.trust)
    context = replace(make_context(anchors, arguments.at or datetime.now(UTC)), limits=SPLIT_LIMITS)
    terms = as4.JoinTerms(arguments.size, arguments.routing_property or None)
    group = as4.FragmentGroup(SPLIT_LIMITS, terms)
    try:
        repeats = _add_fragments(group, arguments.files, arguments.policy, context)
        joined = group.join()
        write_message_file(arguments.out, joined.parcel)
    except GatewayError as refused:
        if refused.problem.ours:
            raise
        return _report_refusal(refused, arguments)
    report = _describe_joined_message(group, joined, arguments.out)
    report |= {"accepted": True if arguments.json else "yes", "repeats": repeats}
    print_report(report, as_json=arguments.json)
    return 0


def _describe_joined_message(
    group: as4.FragmentGroup, joined: as4.JoinedMessage, file: Path
) -> dict[str, Any]:
    """Return the verdict on a message that was joined from the fragments of `group`."""
    signer = group.fragments[0].verified_signature.certificate
    return {
        "accepted": True,
        "file": str(file),
        "message_id": joined.unit.message_id,
        "group": group.group,
        "fragments": len(group.fragments),
        "repeats": 0,
        "octets": joined.parcel.body.octet_count,
        "sha256": joined.parcel.body.sha256_hex,
        "signer": signer.subject,
        "certificate": signer.sha256,
    }


def _add_fragments(
    group: as4.FragmentGroup, files: Iterable[Path], policy: str, context: ProtocolContext
) -> int:
    """Verify the fragments in files and add them; return how many came more than once."""
    repeat_count = 0
    for path in files:
        with add_file_name_to_problem(path):
            fragment = as4.open_fragment(open_message_file(path, context.limits), policy, context)
            repeat_count += not group.add_fragment(fragment)
    return repeat_count


def _report_refusal(refused: GatewayError, arguments: Arguments) -> int:
    """Print why the fragments are refused, with the error of ebMS 3.0; return 1."""
    ebms_error = describe_reported_error(refused, as4.name)
    report = {
        "accepted": False,
        "problem": refused.problem.id,
        "detail": refused.detail,
        "location": refused.location,
        "ebms": ebms_error,
    }
    if not arguments.json:
        report |= {
            "accepted": "no",
            "ebms": f"{ebms_error['code']} ({ebms_error['severity']})" if ebms_error else None,
        }
    print_report(report, as_json=arguments.json)
    return 1
