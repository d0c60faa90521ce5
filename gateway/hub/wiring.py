"""Builds a hub from the settings: the one place where files, keys and data come together."""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy import Engine

from gateway.config import LimitSettings as LimitSettings
from gateway.config import NextKeySettings, PkiSettings, Settings
from gateway.errors import KEY_UNAVAILABLE, SETTINGS_WRONG, GatewayError
from gateway.hub.database import build_engine
from gateway.hub.hub import Hub, HubResources, NextSigningKey
from gateway.hub.outbox.outgoing_calls import CallComposer, OutgoingCall
from gateway.hub.readiness.stamping_monitor import StalenessPolicy, StampingMonitor
from gateway.hub.register.decision_rules import load_shipped_rules
from gateway.hub.trust.fetch_sources import list_source_certificates, read_fetch_sources
from gateway.hub.trust.trusted_list_recognition import RecognitionPolicy, Recognizer
from gateway.pki.certificate_examiner import CertificateExaminer
from gateway.pki.certificate_validation import CertificateValidator
from gateway.pki.certificates import Certificate, read_certificate, read_certificates
from gateway.pki.pkcs11 import TokenKeyLocation, TokenSigner
from gateway.pki.pkcs12 import is_pkcs12_file
from gateway.pki.policy_file import load_shipped_policy, read_policy
from gateway.pki.signing_keys import Signer, load_signer
from gateway.pki.trust_store import CertificateUse, TrustPolicy, TrustStore
from gateway.store.schema_version import check_schema_version
from gateway.wire.xml_prescan import WireLimits

__all__ = [
    "RejectingComposer",
    "build_engine",
    "build_hub",
    "build_wire_limits",
    "get_current_time",
    "load_hub_signer",
    "load_next_signing_key",
    "load_recognition_policy",
    "load_trust_store",
]


_log = logging.getLogger(__name__)


class RejectingComposer:
    """Words no calls: for processes that take messages in and leave calling to the workers."""

    def compose_call(self, call: OutgoingCall) -> bytes:
        """Refuse: this process makes no calls."""
        raise GatewayError(SETTINGS_WRONG, f"this process makes no calls to {call.destination[:40]!r}")

    def has_destination(self, destination: str) -> bool:
        """Return False: this process knows no partner."""
        del destination
        return False


def get_current_time() -> datetime:
    """Return the time, in UTC."""
    return datetime.now(UTC)


def build_hub(
    settings: Settings,
    composer: CallComposer,
    clock: Callable[[], datetime] = get_current_time,
    *,
    at_work: bool = True,
) -> Hub:
    """Return the hub of these settings, to be closed; raises GW801, GW802, GW803 naming what is wrong.

    At work it has certificates judged by a process of its own, which starts with the first one, and
    keeps what its verdicts rest on.  One that is not only looks: it judges by itself and writes nothing.
    """
    engine = build_engine(settings)
    try:
        check_schema_version(engine)
        examiner = CertificateExaminer(tell=_log_ended_examination) if at_work else None
        hub = _configure_stamping(
            _construct_hub(engine, settings, (composer, clock), examiner), settings, examiner
        )
        hub.mutual_tls = frozenset(settings.http.mutual_tls)
        return hub
    except BaseException:
        # Whoever was refused a hub has nothing to close.
        engine.dispose()
        raise


def _construct_hub(
    engine: Engine,
    settings: Settings,
    ports: tuple[CallComposer, Callable[[], datetime]],
    examiner: CertificateExaminer | None,
) -> Hub:
    signer = load_hub_signer(settings)
    successor = load_next_signing_key(settings)
    recognizer = Recognizer(load_recognition_policy(settings), examiner)
    composer, clock = ports
    world = HubResources(engine, clock, lambda: str(uuid.uuid4()), _get_public_host(settings), composer)
    return Hub(
        world,
        settings.hub.party,
        signer,
        CertificateValidator(load_trust_store(settings), examine=recognizer),
        rules=load_shipped_rules(),
        limits=build_wire_limits(settings.limits),
        crls=tuple(path.read_bytes() for path in settings.pki.crls if path.is_file()),
        successor=successor,
        examiner=examiner,
        recognizer=recognizer,
    )


def _configure_stamping(hub: Hub, settings: Settings, examiner: CertificateExaminer | None) -> Hub:
    """Return the hub with what it knows of time-stamping, where the settings name an authority."""
    time_stamps = settings.time_stamps
    if time_stamps.authorities:
        rule = StalenessPolicy(time_stamps.stale_after, time_stamps.when_stale == "refuse")
        hub.stamping = StampingMonitor(hub.engine, rule)
    if time_stamps.anchors:
        trust = TrustStore(
            _load_all_certificates(time_stamps.anchors, "time_stamps.anchors"),
            (),
            _load_trust_policy(settings),
        )
        hub.stamp_judge = CertificateValidator(trust, examine=examiner)
        hub.stamp_judge.tell = hub.judge.tell
    return hub


def load_hub_signer(settings: Settings) -> Signer:
    """Return the hub's own signer; raises GW803 when key or certificate is not there.

    A token is not asked yet: it may be away now, and back when there is something to sign.
    """
    return _load_section_signer(settings.pki, "pki")


def load_next_signing_key(settings: Settings) -> NextSigningKey | None:
    """Return the key that takes over and when, None when there is none; raises as `load_hub_signer` does."""
    pki = settings.pki.next
    return (
        NextSigningKey(_load_section_signer(pki, "pki.next"), pki.starts) if pki.starts is not None else None
    )


def _load_section_signer(pki: PkiSettings | NextKeySettings, where: str) -> Signer:
    token = pki.token
    if token.module is not None and token.pin is not None:
        place = TokenKeyLocation(str(token.module), token.label, token.key)
        certificate = read_certificate(_read_signing_certificate(pki, where))
        return TokenSigner(place, certificate, token.pin.read, time.monotonic, _log_key_state)
    key = pki.signing_key.read() if pki.signing_key else b""
    password = pki.signing_password.read().rstrip(b"\r\n") if pki.signing_password else None
    if is_pkcs12_file(key):
        return load_signer(key, None, password)
    return load_signer(key, _read_signing_certificate(pki, where), password)


def _read_signing_certificate(pki: PkiSettings | NextKeySettings, where: str) -> bytes:
    if pki.signing_certificate is None:
        raise GatewayError(KEY_UNAVAILABLE, "a key without a certificate", f"{where}.signing_certificate")
    return _read_file_octets(pki.signing_certificate, f"{where}.signing_certificate")


def _log_ended_examination(words: str) -> None:
    _log.warning("a judgement of a certificate was ended: %s", words)


def _log_key_state(problem: GatewayError | None) -> None:
    if problem is not None:
        _log.error("nothing is signed until the key is back: %s", problem)
    else:
        _log.warning("the key is back: signing goes on")


def load_trust_store(settings: Settings) -> TrustStore:
    """Return anchors, intermediates and the policy by which certificates are judged."""
    anchors = _load_all_certificates(settings.pki.anchors, "pki.anchors")
    below = (
        *_load_all_certificates(settings.pki.intermediates, "pki.intermediates"),
        *list_source_certificates(read_fetch_sources(settings)),
    )
    return TrustStore(anchors, tuple(dict.fromkeys(below)), _load_trust_policy(settings))


def _load_all_certificates(files: Sequence[Path], key: str) -> tuple[Certificate, ...]:
    return tuple(certificate for path in files for certificate in _read_certificate_file(path, key))


def _read_certificate_file(path: Path, key: str) -> tuple[Certificate, ...]:
    octets = _read_file_octets(path, key)
    try:
        return read_certificates(octets)
    except GatewayError as wrong:
        raise GatewayError(SETTINGS_WRONG, f"{path}: {wrong.detail}", key) from None


def load_recognition_policy(settings: Settings) -> RecognitionPolicy:
    """Return who says whom we recognise, and what his words are good for."""
    signers = frozenset(_load_all_certificates(settings.recognition.signers, "recognition.signers"))
    uses = {CertificateUse(name): frozenset(levels) for name, levels in settings.recognition.uses.items()}
    return RecognitionPolicy(signers, uses, settings.recognition.vouched)


def _load_trust_policy(settings: Settings) -> TrustPolicy:
    path = settings.pki.policy
    policy = read_policy(_read_file_octets(path, "pki.policy"), path.name) if path else load_shipped_policy()
    rule = settings.pki.revocation
    return replace(policy, revocation=rule) if rule else policy


def build_wire_limits(settings: LimitSettings) -> WireLimits:
    """Return the limits of the wire as the settings say them."""
    return WireLimits(
        body=settings.body,
        parts=settings.parts,
        part_headers=settings.part_headers,
        part_header_count=settings.part_header_count,
        padding=settings.padding,
        chunks=settings.chunks,
        xml=settings.xml,
        envelope=settings.envelope,
        tree=settings.tree,
        density=settings.density,
        depth=settings.depth,
        elements=settings.elements,
        attributes=settings.attributes,
        namespaces=settings.namespaces,
        canonical_work=settings.canonical_work,
        canonical_rate=settings.canonical_rate,
        name=settings.name,
        value=settings.value,
        text=settings.text,
        references=settings.references,
        prefixes=settings.prefixes,
    )


def _get_public_host(settings: Settings) -> str:
    url = settings.http.public_url or ""
    host = url.split("//")[-1].split("/")[0].split(":")[0]
    return host if "." in host else "hub.single-window.invalid"


def _read_file_octets(path: Path, key: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise GatewayError(KEY_UNAVAILABLE, f"{path} cannot be read: {error.strerror}", key) from None
