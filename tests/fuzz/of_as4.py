"""Targets: AS4 messages, by the protocol core alone and by a hub with its database."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from functools import cache
from random import Random

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import x25519
from lxml import etree

from gateway.agreements import Encryption, PModeIndex
from gateway.errors import GatewayError
from gateway.hub import receive_parcel
from gateway.message_model import UserMessage
from gateway.pki import DecryptionKey, Signer, load_decryption_key
from gateway.protocols import PROTOCOLS, EncryptionResources, OpenedMessage, ProtocolContext, as4
from gateway.wire import parse_xml
from gateway.xmlsec import POLICIES
from gateway_conformance.hostile.content_mutations import recompute_signature, recompute_written_digests
from tests.fuzz import samples
from tests.fuzz.hubs import whole
from tests.fuzz.identities import AUTHORITY, NOW, issuing_key_id, key, named, signer, usage
from tests.fuzz.octets import either
from tests.fuzz.of_messages import parcel_of
from tests.fuzz.of_web import application, send_post
from tests.fuzz.posts import Sign, mutate_post
from tests.fuzz.target import BrokenPromiseError, Target, promise
from tests.fuzz.trees import change_tree, written
from tests.kit.house import AS4, Clock, Neighbour
from tests.protocols import as4_samples, sample_parties

__all__ = ["TARGETS"]

_LEAKS = (b"Traceback", b'File "/', b".py:")
_CLEAR = sample_parties.pmode("as4", **as4_samples.TERMS)
_SECRET = replace(
    _CLEAR,
    id="as4-secret",
    action="Secret",
    encryption=Encryption("XMLENC", ("aes128-gcm", "x25519", "hkdf", "kw-aes128")),
    packaging=as4_samples.COMPRESSED,
)


def _draw(count: int) -> bytes:
    """Return octets that are the same each time."""
    return hashlib.shake_256(b"drawn").digest(count)


@cache
def _receiver() -> DecryptionKey:
    """Return a key of X25519 that is the same each time, with its certificate."""
    private = x25519.X25519PrivateKey.from_private_bytes(hashlib.sha256(b"receiver").digest())
    public = private.public_key()
    builder = (
        x509.CertificateBuilder(named(AUTHORITY), named("receiver"), public, 77)
        .not_valid_before(NOW.replace(year=2020))
        .not_valid_after(NOW.replace(year=2099))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(usage("key_agreement"), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
        .add_extension(issuing_key_id(), critical=False)
    )
    certificate = builder.sign(key(AUTHORITY), hashes.SHA256(), ecdsa_deterministic=True)
    pem = private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return load_decryption_key(pem, certificate.public_bytes(serialization.Encoding.DER))


@cache
def _context() -> ProtocolContext:
    found = EncryptionResources((_receiver(),), _draw, lambda _party, _pin: _receiver().certificate)
    return samples.context(agreements=PModeIndex((_CLEAR, _SECRET)), encryption=found)


@cache
def _messages() -> tuple[bytes, ...]:
    """Return signed messages: in clear, without parts, encrypted; and signals."""
    context, full = _context(), as4_samples.message()
    empty, secret = replace(full, payloads=()), replace(full, action="Secret")
    units = ((full, _CLEAR), (empty, _CLEAR), (secret, _SECRET))
    found = [as4.seal((unit,), pmode, context) for unit, pmode in units]
    receipt = as4.make_receipt(as4.open_units(found[0], context), context)
    found.append(as4.seal((receipt,), _CLEAR, context))
    return tuple(samples.post_of(one) for one in found)


def message_signer(own: Signer) -> Sign:
    """Return what changes an envelope and makes its digests and its signature right again."""

    def sign(root: etree._Element, _parts: Mapping[str, bytes], rng: Random) -> etree._Element:
        change_tree(root, rng)
        again = parse_xml(written(root))
        recompute_written_digests(again)
        recompute_signature(own)(again)
        return again

    return sign


def _open(data: bytes) -> object:
    """Open a message as the hub does, and answer it: by a receipt, or by the refusal."""
    parcel, context = parcel_of(data), _context()
    try:
        opened = as4.open_units(parcel, context)
    except GatewayError as refused:
        answer = as4.reject_parcel(refused, parcel, context)
        body = b"" if answer.parcel is None else sample_parties.octets(answer.parcel)
        promise(not any(leak in body for leak in _LEAKS), "a refusal shows the inside")
        promise(answer.parcel is None or parse_xml(body) is not None, "a refusal is no XML")
        raise
    if isinstance(opened.unit, UserMessage):
        as4.seal((as4.make_receipt(opened, context),), opened.pmode, context)
    return repr(opened.unit)


@cache
def _honest() -> tuple[object, ...]:
    return tuple(as4.open_units(parcel_of(post), _context()).unit for post in _messages()[:3])


def _forge(data: bytes) -> object:
    """Nothing is believed under broker1's signature that broker1 did not sign, by any policy."""
    parcel = parcel_of(data)
    found = [_believed(lambda: as4.open_units(parcel, _context()))]
    found += [_believed(lambda name=name: as4.verify_parcel(parcel, name, _context())) for name in POLICIES]
    return found


def _believed(read: Callable[[], OpenedMessage]) -> str:
    try:
        opened = read()
    except GatewayError as refused:
        return refused.problem.id
    if (
        opened.verified_signature is None
        or opened.verified_signature.certificate.sha256 != signer("broker1").certificate.sha256
    ):
        return "not signed by broker1"
    said = [_without_terms(one) for one in (opened.unit, *_honest())]
    # A receipt that broker1 might give is of the hub here, and no business message.
    believed = not isinstance(opened.unit, UserMessage) or said[0] in said[1:]
    promise(believed, "something is believed that nobody signed")
    return "believed"


def _without_terms(unit: object) -> object:
    """Return what a message says, without what its agreement adds to it."""
    if not isinstance(unit, UserMessage):
        return unit
    return replace(unit, ack_requested=None, duplicate_elimination=False)


def _door(data: bytes) -> object:
    try:
        status, headers, body = send_post(application(), "/msh/as4", data)
    except BrokenPromiseError:
        receive_parcel(whole().hub, PROTOCOLS["as4"], parcel_of(data))  # tells what was caught
        raise
    if status != 204 and "xml" in headers.get("Content-Type", ""):
        codes = sorted({one.get("errorCode", "") for one in parse_xml(body).iter()} - {""})
        return status, codes
    return "silence"


def _filed() -> Iterable[bytes]:
    """Return what broker1 may send to the hub by its agreement of AS4."""
    broker = Neighbour("broker1", Clock(NOW), AS4)
    made = replace(broker.context(), signers={"broker1": signer("broker1")})
    for action in ("Store", "Submit"):
        unit = broker.message(action, b"<a/>")
        modes = [one for one in made.agreements.pmodes if one.action == action]
        yield samples.post_of(as4.seal((unit,), modes[0], made))


TARGETS = (
    Target(
        "as4",
        "messages of AS4 from HTTP to receipt or refusal; changed and signed again",
        _messages,
        _open,
        mutate_post(message_signer(signer("broker1"))),
    ),
    Target(
        "as4-forged",
        "nothing is believed that broker1 did not sign; changed by who has another member's key",
        _messages,
        _forge,
        either((1, mutate_post()), (1, mutate_post(message_signer(signer("broker2"))))),
    ),
    Target(
        "as4-door",
        "/msh/as4: a hub with its database; messages changed and signed again",
        _filed,
        _door,
        mutate_post(message_signer(signer("broker1"))),
    ),
)
