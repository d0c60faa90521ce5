"""Builds a hub from its settings, part by part in the order of their dependencies."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Callable
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from typing import Final
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

from sqlalchemy import Engine

from gateway.cases import read_money
from gateway.config import LimitSettings, PaymentSettings, Settings, TimeStampSettings
from gateway.errors import SETTINGS_WRONG, GatewayError
from gateway.hub.database import HubClock, build_engine, get_node_name
from gateway.hub.fees.payment_policy import NO_PAYMENTS, PaymentPolicy, Tariff
from gateway.hub.hub import Hub, HubResources
from gateway.hub.intake.response_watch import ResponseLimits
from gateway.hub.node_upkeep import StampingMonitor
from gateway.hub.outbox.outgoing_calls import CallComposer
from gateway.hub.register.active_rules import ActiveRules
from gateway.hub.register.trusted_register import TrustedRegister
from gateway.hub.trust.configured_secrets import (
    NextSigningKey,
    PullLogins,
    load_decryption_keys,
    load_hub_signer,
    load_next_signing_key,
)
from gateway.hub.trust.trust_settings import (
    load_recognition_policy,
    load_stamp_trust_store,
    load_trust_store,
    read_configured_lists,
)
from gateway.hub.trust.trusted_lists import Recognizer
from gateway.hub.trust.verdict_recorder import VerdictRecorder
from gateway.pki import CertificateExaminer, CertificateValidator, DecryptionKey, Signer
from gateway.store import check_schema_version, require_file_of
from gateway.wire import WireLimits

_log = logging.getLogger(__name__)
#: Octets of the secret shared with the payment provider: as many as the HMAC has.
_MIN_SECRET_OCTETS: Final = 32


def get_current_time() -> datetime:
    """Return the current time in UTC."""
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class HubBase:
    """The base of a hub: database, keys, and the register with its validators.

    The composer of the hub's calls may be built on it before the hub exists.
    """

    engine: Engine
    signer: Signer
    successor: NextSigningKey | None
    examiner: CertificateExaminer | None
    register: TrustedRegister
    decryption_keys: tuple[DecryptionKey, ...] = ()


def build_hub_base(
    settings: Settings, *, at_work: bool = True, opened_engine: Engine | None = None
) -> HubBase:
    """Return the base of a hub for these settings; raises GW801, GW802 or GW803, which name the mistake.

    At work, certificates are validated by a separate process, which starts with the first certificate, and
    the evidence of verdicts is stored. In a process that works on a database already, `opened_engine` is its
    engine: raises GW806 if another SQLite file has taken the place of that one.
    """
    engine = build_engine(settings, at_work=at_work)
    if opened_engine is not None:
        require_file_of(engine, opened_engine)
    try:
        check_schema_version(engine)
        signer, successor = load_hub_signer(settings), load_next_signing_key(settings)
        examiner = CertificateExaminer(report_error=_log_ended_examination) if at_work else None
        register = _build_register(settings, engine, examiner)
        return HubBase(engine, signer, successor, examiner, register, load_decryption_keys(settings))
    except BaseException:
        # The caller gets no hub and has nothing to close.
        engine.dispose()
        raise


def _build_register(
    settings: Settings, engine: Engine, examiner: CertificateExaminer | None
) -> TrustedRegister:
    """Return the register with its certificate validators, by the trust stores of the settings.

    With an `examiner` certificates are validated in its process, and the verdicts are stored.
    """
    verdicts = VerdictRecorder(engine)
    record_verdict = verdicts.record_verdict if examiner is not None else None
    recognizer = Recognizer(load_recognition_policy(settings), examiner)
    judge = CertificateValidator(
        load_trust_store(settings), examine=recognizer, record_verdict=record_verdict
    )
    stamp_trust = load_stamp_trust_store(settings)
    return TrustedRegister(
        engine,
        judge,
        ActiveRules(),
        crls=tuple(read_configured_lists(settings).values()),
        stamp_judge=CertificateValidator(stamp_trust, examine=examiner, record_verdict=record_verdict)
        if stamp_trust is not None
        else None,
        recognizer=recognizer,
        verdicts=verdicts,
    )


def build_hub(
    settings: Settings,
    composer: CallComposer,
    clock: Callable[[], datetime] | None = None,
    *,
    at_work: bool = True,
    base: HubBase | None = None,
) -> Hub:
    """Return the hub of these settings, to be closed; raises GW801, GW802 or GW803, which name the mistake.

    A hub that is not at work only reads: it validates certificates in its own process and writes nothing.
    `base` is used where it was built before. Without a `clock` the time is that of the database server, where
    it has one.
    """
    base = base or build_hub_base(settings, at_work=at_work)
    clock = clock or HubClock(base.engine)
    return Hub(
        HubResources(base.engine, clock, _make_uuid, _get_public_host(settings), composer),
        settings.hub.party,
        base.signer,
        base.register,
        limits=build_wire_limits(settings.limits),
        successor=base.successor,
        examiner=base.examiner,
        mutual_tls=frozenset(settings.http.mutual_tls),
        stamping=_build_stamping_monitor(settings.time_stamps, base.engine),
        zone=ZoneInfo(settings.hub.time_zone),
        responses=ResponseLimits(settings.http.response_wait, settings.http.waiting_requests),
        refuses_late_repeats=settings.retention.repeats == "refuse",
        max_held_messages=settings.limits.held_messages,
        max_posted_refusals=settings.limits.posted_refusals,
        decryption_keys=base.decryption_keys,
        need_policy=settings.needs,
        uses_test_calendars=settings.calendars.test_edition,
        payments=_build_payment_policy(settings.fees),
        pull_logins=PullLogins(settings.puller),
        node=get_node_name(settings) if at_work else "",
    )


def _build_payment_policy(settings: PaymentSettings) -> PaymentPolicy:
    """Return the payment policy; raises GW801 for a short secret or a tariff that is no exact amount."""
    if settings.endpoint is None or settings.secret is None:
        return NO_PAYMENTS
    secret = settings.secret.read().strip()
    if len(secret) < _MIN_SECRET_OCTETS:
        detail = f"the secret has {len(secret)} octets, fewer than {_MIN_SECRET_OCTETS}"
        raise GatewayError(SETTINGS_WRONG, detail, "fees.secret")
    tariffs = {}
    for document, tariff in settings.tariff.items():
        try:
            tariffs[document] = Tariff(
                read_money(tariff.amount, tariff.currency), tariff.days, tariff.refundable
            )
        except GatewayError as error:
            raise GatewayError(SETTINGS_WRONG, error.detail, f"fees.tariff.{document[:40]}") from error
    return PaymentPolicy(True, tariffs, secret, settings.tolerance)


def _build_stamping_monitor(settings: TimeStampSettings, engine: Engine) -> StampingMonitor | None:
    """Return the stamping monitor, or None where the settings name no time-stamp authority."""
    if not settings.authorities:
        return None
    return StampingMonitor(engine, settings.stale_after, refuses_when_stale=settings.when_stale == "refuse")


def _log_ended_examination(reason: str) -> None:
    _log.warning("%s", reason)


def _make_uuid() -> str:
    return str(uuid.uuid4())


def build_wire_limits(settings: LimitSettings) -> WireLimits:
    """Return the wire limits of the settings."""
    return WireLimits(**{field.name: getattr(settings, field.name) for field in fields(WireLimits)})


def _get_public_host(settings: Settings) -> str:
    """Return the host of our public address, for message ids; one that nobody has for an incomplete name."""
    # As it is written: ids that are computed again after a restart must stay the same.
    host = urlsplit(settings.http.public_url or "").netloc.rpartition("@")[2].partition(":")[0]
    return host if "." in host else "hub.single-window.invalid"
