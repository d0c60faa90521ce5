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

from gateway.config import Limits as LimitSettings
from gateway.config import Next, Pki, Settings
from gateway.errors import KEY_UNAVAILABLE, SETTINGS_WRONG, GatewayError
from gateway.hub.calls import Composer, OutgoingCall
from gateway.hub.database import engine_of
from gateway.hub.hub import Hub, Successor, World
from gateway.hub.mappings import shipped_rules
from gateway.hub.stamping import StaleRule, Stamping
from gateway.hub.trust.recognition import Recognizer, Terms
from gateway.hub.trust.sources import certificates_of, sources_of
from gateway.pki.certificates import Certificate, read_certificate, read_certificates
from gateway.pki.keys import Signer, load_signer
from gateway.pki.pkcs11 import TokenKey, TokenSigner
from gateway.pki.pkcs12 import is_pkcs12
from gateway.pki.policy import read_policy, shipped_policy
from gateway.pki.trust import Judge, TrustPolicy, TrustStore, Use
from gateway.pki.worker import Examiner
from gateway.store.schema_version import check_version
from gateway.wire.prescan import Limits

__all__ = [
    "NoCalls",
    "build_hub",
    "engine_of",
    "limits_of",
    "now",
    "signer_of",
    "successor_of",
    "terms_of",
    "trust_of",
]


_log = logging.getLogger(__name__)


class NoCalls:
    """Words no calls: for processes that take messages in and leave calling to the workers."""

    def compose(self, call: OutgoingCall) -> bytes:
        """Refuse: this process makes no calls."""
        raise GatewayError(SETTINGS_WRONG, f"this process makes no calls to {call.destination[:40]!r}")

    def knows(self, destination: str) -> bool:
        """Return False: this process knows no partner."""
        del destination
        return False


def now() -> datetime:
    """Return the time, in UTC."""
    return datetime.now(UTC)


def build_hub(
    settings: Settings, composer: Composer, clock: Callable[[], datetime] = now, *, at_work: bool = True
) -> Hub:
    """Return the hub of these settings, to be closed; raises GW801, GW802, GW803 naming what is wrong.

    At work it has certificates judged by a process of its own, which starts with the first one, and
    keeps what its verdicts rest on.  One that is not only looks: it judges by itself and writes nothing.
    """
    engine = engine_of(settings)
    try:
        check_version(engine)
        examiner = Examiner(tell=_log_examiner) if at_work else None
        hub = _stamped(_hub_on(engine, settings, (composer, clock), examiner), settings, examiner)
        hub.mutual_tls = frozenset(settings.http.mutual_tls)
        return hub
    except BaseException:
        # Whoever was refused a hub has nothing to close.
        engine.dispose()
        raise


def _hub_on(
    engine: Engine,
    settings: Settings,
    ports: tuple[Composer, Callable[[], datetime]],
    examiner: Examiner | None,
) -> Hub:
    signer = signer_of(settings)
    successor = successor_of(settings)
    recognizer = Recognizer(terms_of(settings), examiner)
    composer, clock = ports
    world = World(engine, clock, lambda: str(uuid.uuid4()), _host(settings), composer)
    return Hub(
        world,
        settings.hub.party,
        signer,
        Judge(trust_of(settings), examine=recognizer),
        rules=shipped_rules(),
        limits=limits_of(settings.limits),
        crls=tuple(path.read_bytes() for path in settings.pki.crls if path.is_file()),
        successor=successor,
        examiner=examiner,
        recognizer=recognizer,
    )


def _stamped(hub: Hub, settings: Settings, examiner: Examiner | None) -> Hub:
    """Return the hub with what it knows of time-stamping, where the settings name an authority."""
    time_stamps = settings.time_stamps
    if time_stamps.authorities:
        rule = StaleRule(time_stamps.stale_after, time_stamps.when_stale == "refuse")
        hub.stamping = Stamping(hub.engine, rule)
    if time_stamps.anchors:
        trust = TrustStore(_all_in(time_stamps.anchors, "time_stamps.anchors"), (), _policy(settings))
        hub.stamp_judge = Judge(trust, examine=examiner)
        hub.stamp_judge.tell = hub.judge.tell
    return hub


def signer_of(settings: Settings) -> Signer:
    """Return the hub's own signer; raises GW803 when key or certificate is not there.

    A token is not asked yet: it may be away now, and back when there is something to sign.
    """
    return _signer(settings.pki, "pki")


def successor_of(settings: Settings) -> Successor | None:
    """Return the key that takes over and when, None when there is none; raises as `signer_of` does."""
    pki = settings.pki.next
    return Successor(_signer(pki, "pki.next"), pki.starts) if pki.starts is not None else None


def _signer(pki: Pki | Next, where: str) -> Signer:
    token = pki.token
    if token.module is not None and token.pin is not None:
        place = TokenKey(str(token.module), token.label, token.key)
        certificate = read_certificate(_certificate(pki, where))
        return TokenSigner(place, certificate, token.pin.read, time.monotonic, _log_key)
    key = pki.signing_key.read() if pki.signing_key else b""
    password = pki.signing_password.read().rstrip(b"\r\n") if pki.signing_password else None
    if is_pkcs12(key):
        return load_signer(key, None, password)
    return load_signer(key, _certificate(pki, where), password)


def _certificate(pki: Pki | Next, where: str) -> bytes:
    if pki.signing_certificate is None:
        raise GatewayError(KEY_UNAVAILABLE, "a key without a certificate", f"{where}.signing_certificate")
    return _read(pki.signing_certificate, f"{where}.signing_certificate")


def _log_examiner(words: str) -> None:
    _log.warning("a judgement of a certificate was ended: %s", words)


def _log_key(problem: GatewayError | None) -> None:
    if problem is not None:
        _log.error("nothing is signed until the key is back: %s", problem)
    else:
        _log.warning("the key is back: signing goes on")


def trust_of(settings: Settings) -> TrustStore:
    """Return anchors, intermediates and the policy by which certificates are judged."""
    anchors = _all_in(settings.pki.anchors, "pki.anchors")
    below = (
        *_all_in(settings.pki.intermediates, "pki.intermediates"),
        *certificates_of(sources_of(settings)),
    )
    return TrustStore(anchors, tuple(dict.fromkeys(below)), _policy(settings))


def _all_in(files: Sequence[Path], key: str) -> tuple[Certificate, ...]:
    return tuple(certificate for path in files for certificate in _certificates(path, key))


def _certificates(path: Path, key: str) -> tuple[Certificate, ...]:
    octets = _read(path, key)
    try:
        return read_certificates(octets)
    except GatewayError as wrong:
        raise GatewayError(SETTINGS_WRONG, f"{path}: {wrong.detail}", key) from None


def terms_of(settings: Settings) -> Terms:
    """Return who says whom we recognise, and what his words are good for."""
    signers = frozenset(_all_in(settings.recognition.signers, "recognition.signers"))
    uses = {Use(name): frozenset(levels) for name, levels in settings.recognition.uses.items()}
    return Terms(signers, uses, settings.recognition.vouched)


def _policy(settings: Settings) -> TrustPolicy:
    path = settings.pki.policy
    policy = read_policy(_read(path, "pki.policy"), path.name) if path else shipped_policy()
    rule = settings.pki.revocation
    return replace(policy, revocation=rule) if rule else policy


def limits_of(settings: LimitSettings) -> Limits:
    """Return the limits of the wire as the settings say them."""
    return Limits(
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


def _host(settings: Settings) -> str:
    url = settings.http.public_url or ""
    host = url.split("//")[-1].split("/")[0].split(":")[0]
    return host if "." in host else "hub.single-window.invalid"


def _read(path: Path, key: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise GatewayError(KEY_UNAVAILABLE, f"{path} cannot be read: {error.strerror}", key) from None
