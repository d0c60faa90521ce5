"""``gateway signature|sign|payload …``: verifies and makes XML signatures, encrypts and decrypts payloads.

Nothing is fetched or stored.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

import click
from lxml import etree

from gateway.cli.named_files import (
    add_file_name_to_problem,
    load_key_file,
    read_anchor_files,
    read_certificate_file,
    read_file,
    read_password_file,
    replace_file,
    split_named_file,
)
from gateway.cli.result_output import print_done, print_report
from gateway.cli.shared_options import (
    FILE,
    decryption_options,
    json_option,
    moment_option,
    read_secret,
    signing_options,
    verification_options,
)
from gateway.cli.verb_groups import Arguments, verb
from gateway.encryption import (
    decrypt_payload,
    encrypt_as_cms,
    encrypt_as_xml,
    get_encryption_policy,
    read_encrypted_data,
    read_envelope,
    select_agreed_algorithms,
)
from gateway.errors import KEY_UNAVAILABLE, MISUSE, GatewayError
from gateway.pki import (
    DecryptionKey,
    Signer,
    TokenKeyLocation,
    TokenSigner,
    TrustPolicy,
    TrustStore,
    load_decryption_key,
    load_signer,
    read_certificates,
)
from gateway.wire import DS, SUB, parse_xml, serialize_element
from gateway.xmlsec import (
    VerificationReport,
    compute_unsigned_digest,
    get_signature_policy,
    sign_document,
    validate_signer,
    verify_any_document,
)

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
    parts_by_uri = {_make_part_uri(name): content for name, content in parts.items()}
    verification = verify_any_document(data, parts_by_uri, get_signature_policy(policy))
    if trust:
        anchors = tuple(anchor for pem in trust for anchor in read_certificates(pem))
        store = TrustStore(anchors, policy=TrustPolicy(revocation="if_present"))
        verification = validate_signer(verification, store, at)
    return _describe_judgement(verification)


def _make_part_uri(name: str) -> str:
    return name if ":" in name else f"cid:{quote(name)}"


def _describe_judgement(judgement: VerificationReport) -> dict[str, Any]:
    certificate = judgement.certificate
    return {
        "verdict": judgement.verdict,
        "problem": judgement.problem.id if judgement.problem else None,
        "reason": judgement.reason,
        "ground": judgement.policy_rule,
        "covered": list(judgement.covered),
        "excluded": list(judgement.excluded),
        "signer": certificate.subject if certificate else None,
        "certificate": certificate.sha256 if certificate else None,
    }


@verb("signature make")
@click.argument("file", type=FILE, help="the document, without a signature")
@click.option("--out", type=FILE, required=True, help="the file to write")
@signing_options()
@moment_option("time of signing")
@json_option("print one JSON object")
def sign_file(arguments: Arguments) -> None:
    """Sign a document and write it; raise GW808 for one that is already signed."""
    root = _read_unsigned_document(arguments.file)
    at = arguments.at or datetime.now(UTC)
    replace_file(arguments.out, serialize_element(sign_document(root, load_key_file(arguments), now=at)))
    sentence = f"Signed {arguments.file}: the signed document is {arguments.out}."
    print_done(arguments, sentence, written=str(arguments.out))


def _read_unsigned_document(path: Path) -> etree._Element:
    """Return the root of a document; raise GW808 for one that has a signature."""
    with add_file_name_to_problem(path):
        root = parse_xml(read_file(path))
    if next(root.iter(f"{{{DS}}}Signature"), None) is not None:
        raise GatewayError(MISUSE, "the document already has a signature", str(path))
    return root


@verb("signature verify")
@click.argument("file", type=FILE, help="an XML document with one signature")
@click.option("--part", multiple=True, metavar="cid=FILE", help=_PART_WORDS)
@verification_options()
def verify_file(arguments: Arguments) -> int:
    """Print the verdict; return 0 for valid, 1 for anything else."""
    verdict = verify_signature(
        read_file(arguments.file),
        _read_signed_parts(arguments.part),
        policy=arguments.policy,
        trust=read_anchor_files(arguments.trust, "--trust"),
        at=arguments.at or datetime.now(UTC),
    )
    report = {"file": str(arguments.file), **verdict}
    print_report(report, as_json=arguments.json)
    return 0 if verdict["verdict"] == "valid" else 1


def _read_signed_parts(texts: Sequence[str]) -> dict[str, bytes]:
    """Return the files of `--part NAME=FILE` by name; raise GW808 for a name that is given twice."""
    parts: dict[str, bytes] = {}
    for text in texts:
        name, path = split_named_file(text, "--part")
        if _make_part_uri(name) in map(_make_part_uri, parts):
            raise GatewayError(MISUSE, f"part {name[:80]!r} is given twice", "--part")
        parts[name] = read_file(path)
    return parts


_KEY_HELP = "the key file: PEM or DER, also signPri.key of the Korean PKI"
_CERTIFICATE_HELP = "the certificate of the key, unless the PKCS#12 file contains it"
_OPENED_BY_HELP = "a file with the password of the key, or the PIN of the token (default: it is asked)"
_MODULE_HELP = "sign with a token: its PKCS#11 module"


@verb("sign")
@click.argument("file", type=FILE, help="the submission, without a signature")
@click.option("--out", type=FILE, help="the signed file to write (default: FILE with .signed.xml)")
@click.option("--key", type=FILE, metavar="F", help=_KEY_HELP)
@click.option("--pkcs12", type=FILE, metavar="F", help="a PKCS#12 file with key and certificate")
@click.option("--certificate", type=FILE, metavar="F", help=_CERTIFICATE_HELP)
@click.option("--password-file", type=FILE, metavar="F", help=_OPENED_BY_HELP)
@click.option("--token", type=FILE, metavar="MODULE", help=_MODULE_HELP)
@click.option("--token-label", metavar="TEXT", help="with --token: the label of the token")
@click.option("--token-key", metavar="TEXT", help="with --token: the label of the key in it")
@moment_option("time of signing")
@json_option("print one JSON object")
def sign_submission_file(arguments: Arguments) -> None:
    """Sign a submission, and print its reference, its fingerprint and the signer."""
    root = _read_unsigned_document(arguments.file)
    signer = _open_signer(arguments)
    fingerprint = compute_unsigned_digest(root)
    signed = serialize_element(sign_document(root, signer, now=arguments.at or datetime.now(UTC)))
    written = arguments.out or arguments.file.with_suffix(".signed.xml")
    replace_file(written, signed)
    reference = (root.findtext(f"{{{SUB}}}Reference") or "").strip()
    sentence = f"Signed {arguments.file}: the signed document is {written}."
    subject = signer.certificate.subject
    lines = (f"  reference    {reference}", f"  fingerprint  {fingerprint}", f"  signed by    {subject}")
    facts = {"reference": reference, "fingerprint": fingerprint, "signer": subject}
    print_done(arguments, sentence, *lines, written=str(written), **facts)


def _open_signer(arguments: Arguments) -> Signer:
    """Return the signer of a key file, a PKCS#12 file or a token; raise GW808 unless one is named."""
    key_sources = [
        source for source in (arguments.key, arguments.pkcs12, arguments.token) if source is not None
    ]
    if len(key_sources) != 1:
        raise GatewayError(MISUSE, "name one of --key, --pkcs12 and --token", "sign")
    if arguments.token is not None:
        return _open_token(arguments)
    path = key_sources[0]
    content = read_file(path)
    named_file = arguments.certificate
    certificate = None if named_file is None else read_certificate_file(named_file).der
    password = _read_password_file(arguments)
    with add_file_name_to_problem(path):
        try:
            return load_signer(content, certificate, password)
        except GatewayError as problem:
            if problem.problem is not KEY_UNAVAILABLE or password is not None or not sys.stdin.isatty():
                raise
        return load_signer(content, certificate, _ask_secret("Password of the key"))


def _open_token(arguments: Arguments) -> Signer:
    """Return the signer of a PKCS#11 token, with its PIN from a file or a prompt.

    Raises GW808 if the label, the key or the certificate is not given.
    """
    missing = [
        name for name in ("token_label", "token_key", "certificate") if getattr(arguments, name) is None
    ]
    if missing:
        needed = ", ".join(f"--{name.replace('_', '-')}" for name in missing)
        raise GatewayError(MISUSE, f"--token also needs {needed}", "--token")
    token_location = TokenKeyLocation(str(arguments.token), arguments.token_label, arguments.token_key)
    pin = _read_password_file(arguments) or _ask_secret("PIN of the token")
    return TokenSigner(
        token_location, read_certificate_file(arguments.certificate), lambda: pin, time.monotonic
    )


def _read_password_file(arguments: Arguments) -> bytes | None:
    path: Path | None = arguments.password_file
    return None if path is None else read_password_file(path)


def _ask_secret(prompt: str) -> bytes:
    if not sys.stdin.isatty():
        raise GatewayError(MISUSE, "there is no terminal: name a --password-file", "--password-file")
    return read_secret(lambda: click.prompt(prompt, hide_input=True, err=True)).encode()


_ENCRYPTION_FORMAT_WORDS = "xml: xenc:EncryptedData; cms: EnvelopedData or AuthEnvelopedData"
_ALGORITHM_WORDS = "an algorithm by its URI or short name (`aes256-gcm`); repeatable"


@verb("payload encrypt")
@click.argument("file", type=FILE, help="the payload")
@click.option("--for", "receiver", type=FILE, required=True, metavar="F", help="the receiver's certificate")
@click.option("--as", "form", type=click.Choice(("xml", "cms")), default="xml", help=_ENCRYPTION_FORMAT_WORDS)
@click.option("--algorithm", multiple=True, metavar="NAME", help=_ALGORITHM_WORDS)
@click.option("--encryption-policy", default="strict", metavar="NAME", help="the policy of algorithms")
@click.option("--media-type", default="application/xml", help="the media type of the payload")
@click.option("--out", type=FILE, required=True, help="the file to write")
@json_option("print one JSON object")
def encrypt_file(arguments: Arguments) -> None:
    """Encrypt a payload for the holder of a certificate; raise GW216 when nothing agreed is written."""
    agreed = select_agreed_algorithms(arguments.algorithm, get_encryption_policy(arguments.encryption_policy))
    content, receiver = read_file(arguments.file), read_certificate_file(arguments.receiver)
    if arguments.form == "cms":
        octets, media_type = encrypt_as_cms(content, receiver, agreed, os.urandom)
    else:
        octets = encrypt_as_xml(content, arguments.media_type, receiver, agreed, os.urandom)
        media_type = "application/xml"
    replace_file(arguments.out, octets)
    report = {"media_type": media_type, "receiver": receiver.sha256, "cipher": agreed.choose_cipher()}
    sentence = f"Encrypted {arguments.file} for {receiver.subject}: the encrypted payload is {arguments.out}."
    print_done(arguments, sentence, written=str(arguments.out), **report)


@verb("payload decrypt")
@click.argument("file", type=FILE, help="the encrypted payload")
@click.option("--out", type=FILE, required=True, help="the file to write")
@decryption_options(required=True)
@json_option("print one JSON object")
def decrypt_file(arguments: Arguments) -> None:
    """Decrypt a payload; raise GW215 for its form, GW216 for an algorithm, GW210 if the decryption fails."""
    agreed = select_agreed_algorithms((), get_encryption_policy(arguments.encryption_policy))
    data = read_file(arguments.file)
    with add_file_name_to_problem(arguments.file):
        is_xml = data.lstrip().startswith(b"<")
        payload = read_encrypted_data(data, agreed) if is_xml else read_envelope(data, agreed)
        opened = decrypt_payload(payload, [load_decryption_key_file(arguments)], lambda _: True, os.urandom)
    replace_file(arguments.out, opened.content)
    report = {
        "media_type": opened.media_type,
        "receiver": opened.certificate,
        "cipher": opened.cipher,
        "transport": opened.transport,
    }
    sentence = f"Decrypted {arguments.file}: the payload is {arguments.out}."
    print_done(arguments, sentence, written=str(arguments.out), **report)


def load_decryption_key_file(arguments: Arguments) -> DecryptionKey:
    """Return the key that ``--decryption-key``, its certificate and its password file name."""
    path: Path = arguments.decryption_key
    certificate = arguments.decryption_certificate
    certificate = read_certificate_file(certificate).der if certificate else None
    password_file = arguments.decryption_password_file
    password = read_password_file(password_file) if password_file else None
    with add_file_name_to_problem(path):
        return load_decryption_key(read_file(path), certificate, password)
