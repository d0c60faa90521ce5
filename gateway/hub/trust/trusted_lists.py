"""Imports trusted lists, and recognises signers by them, in addition to the hub's own anchors.

The octets of a list are verified before the transaction, which only writes. The transaction raises the epoch,
so that every process uses the new list from its next message on. The lists are used only where the hub's own
anchors do not admit a certificate, and the validator remembers the verdict as any other.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import Connection, Engine

from gateway.errors import (
    CERTIFICATE_UNTRUSTED,
    OUR_MISTAKE,
    SETTINGS_WRONG,
    GatewayError,
    raise_resource_problem,
)
from gateway.evidence import record_register_leaf
from gateway.pki import (
    Certificate,
    CertificateUse,
    Examine,
    RevocationData,
    TrustStore,
    Verdict,
    read_certificate,
    validate_octets,
)
from gateway.recognition import (
    MAX_STATEMENT_AGE,
    RecognitionContext,
    TrustedList,
    VouchedDocument,
    admit_by_recognition,
    can_validate_certificate,
    check_list_freshness,
    choose_successor,
    list_trust_stores,
    open_named_list,
    open_trusted_list,
    translate_vouched_levels,
)
from gateway.store import (
    AuditEntry,
    NewTrustedList,
    TrustListRow,
    audit_log,
    fetched_lists,
    read_transaction,
    write_transaction,
)

_log = logging.getLogger(__name__)
_ANY: Final = "*"
#: The operator is warned so long before a list expires. National lists are issued at least twice a year.
_EXPIRY_WARNING_PERIOD: Final = timedelta(days=3)


@dataclass(frozen=True, slots=True)
class RecognitionPolicy:
    """The recognition settings: signers of the hub's own list, and the accepted levels for each use.

    ``vouched`` is how old the statement of a vouching gateway may be.
    """

    signers: frozenset[Certificate] = frozenset()
    uses: Mapping[CertificateUse, frozenset[str]] = field(
        default_factory=lambda: {CertificateUse.SIGNING: frozenset({_ANY})}
    )
    vouched: timedelta = MAX_STATEMENT_AGE

    def get_accepted_levels(self, use: CertificateUse) -> frozenset[str] | None:
        """Return the levels accepted for a use, one of which is needed; None when every level is."""
        levels = self.uses.get(use, frozenset())
        return None if _ANY in levels else levels


#: Names no signer of our list, so no signer of others is recognised.
NOBODY: Final = RecognitionPolicy()


@dataclass(frozen=True, slots=True)
class LoadedTrustedLists:
    """The loaded lists: the hub's own list, from which recognition starts, and those of others."""

    root: TrustedList | None = None
    others: tuple[TrustedList, ...] = ()

    def find_predecessor(self, successor: TrustedList) -> TrustedList | None:
        """Return the list of others that a new list would replace."""
        key = (successor.list_format, successor.territory)
        return next((listed for listed in self.others if (listed.list_format, listed.territory) == key), None)

    def replace_list(self, new: TrustedList) -> LoadedTrustedLists:
        """Return these lists with a new list in the place of its predecessor."""
        before = self.find_predecessor(new)
        return LoadedTrustedLists(
            self.root, (*(listed for listed in self.others if listed is not before), new)
        )

    @property
    def list_digests(self) -> frozenset[str]:
        """Return the digests of these lists."""
        return frozenset(listed.sha256 for listed in (self.root, *self.others) if listed is not None)


class TrustedListCache:
    """Loads the stored trusted lists from the database, each parsed once: a large one takes seconds."""

    def __init__(self) -> None:
        self._opened: dict[str, TrustedList] = {}

    def load_lists(self, conn: Connection, policy: RecognitionPolicy) -> LoadedTrustedLists:
        """Return the stored lists; the root is the last one whose signer the settings name."""
        if not policy.signers:
            return LoadedTrustedLists()
        rows = fetched_lists.list_latest_trusted_lists(conn)
        opened = {row.id: each for row in rows if (each := self._open_stored_list(conn, row)) is not None}
        self._opened = {each.sha256: each for each in opened.values()}
        roots = [row.id for row in rows if row.named_by is None]
        own_lists = [
            opened[root_id]
            for root_id in roots
            if root_id in opened and opened[root_id].signer in policy.signers
        ]
        others = [opened[row.id] for row in rows if row.named_by is not None and row.id in opened]
        return LoadedTrustedLists(own_lists[-1] if own_lists else None, tuple(others))

    def _open_stored_list(self, conn: Connection, row: TrustListRow) -> TrustedList | None:
        """Return a stored trusted list, parsed and verified once; log one that fails, and return None.

        Raises GW806: a list that is not read for want of memory or database is in force all the same.
        """
        opened_list = self._opened.get(row.sha256)
        if opened_list is not None:
            return opened_list
        try:
            # Verified again: a list in the database is trusted no more than a received one.
            return open_trusted_list(
                fetched_lists.get_trusted_list_content(conn, row.id), {read_certificate(row.signer)}
            )
        except GatewayError as refused:
            raise_resource_problem(refused)
            _log.error(
                "the trusted list of %s counts for nothing: %s",
                row.territory,
                refused,
                extra={"sha256": row.sha256},
            )
            return None


class Recognizer:
    """Validates as `examine` does, and uses the lists for certificates that the hub's anchors do not admit.

    It is called by a validator, which remembers its verdicts. `reload_lists` must be called before the
    validator reloads its trust.
    """

    def __init__(self, policy: RecognitionPolicy = NOBODY, examine: Examine | None = None) -> None:
        self.policy = policy
        self._examine = examine or validate_octets
        self.list_cache = TrustedListCache()
        self._lists = LoadedTrustedLists()

    def reload_lists(self, conn: Connection) -> None:
        """Use the lists that are stored now."""
        self._lists = self.list_cache.load_lists(conn, self.policy)

    def list_due_updates(self, at: datetime) -> Iterator[str]:
        """Yield a text for each loaded list that has expired, or will expire soon."""
        for trusted_list in (self._lists.root, *self._lists.others):
            ends = trusted_list.next_update if trusted_list else None
            if trusted_list is not None and ends is not None and ends - at < _EXPIRY_WARNING_PERIOD:
                when = f"its next update {'was' if ends <= at else 'is'} due at {ends:%Y-%m-%dT%H:%M:%SZ}"
                yield (
                    f"the trusted list of {_format_list_name(trusted_list)}: {when}; "
                    "after that it admits no signer"
                )

    def __call__(
        self, leaf: bytes, use: CertificateUse, at: datetime, trust: TrustStore, revocations: RevocationData
    ) -> Verdict:
        """Validate a certificate (DER); a recognised one states the mode, and the list that admits it."""
        verdict = self._examine(leaf, use, at, trust, revocations)
        lists, accepted_levels = self._lists, self.policy.get_accepted_levels(use)
        if (
            verdict.is_accepted
            or verdict.is_transient
            or lists.root is None
            or accepted_levels == frozenset()
        ):
            return verdict
        try:
            certificate = read_certificate(leaf, trust.policy.certificates)
        except GatewayError as unreadable:
            raise_resource_problem(unreadable)
            return verdict
        recognition = RecognitionContext(trust, lists.root, lists.others, revocations, self._examine)
        admission = admit_by_recognition(
            certificate, at, use, recognition, verdict, required_levels=accepted_levels
        )
        if admission.mode is None:
            return admission.verdict
        source = f"{admission.source}, by {_format_list_name(lists.root)}"
        return replace(admission.verdict, mode=admission.mode, source=source, levels=admission.levels)

    def list_trust_stores(self, trust: TrustStore, at: datetime) -> Iterator[TrustStore]:
        """Yield the trust store of each bridge and list in force, in addition to the hub's own `trust`."""
        return list_trust_stores(self._build_recognition(trust), at)

    def can_validate_certificate(self, certificate: Certificate, trust: TrustStore, at: datetime) -> bool:
        """Return whether the issuer of a certificate is known: to the hub itself, or from a list in force."""
        return can_validate_certificate(certificate, at, self._build_recognition(trust))

    def _build_recognition(self, trust: TrustStore) -> RecognitionContext:
        lists = self._lists
        return RecognitionContext(trust, lists.root, lists.others)

    def check_vouched_levels(self, vouched: VouchedDocument, at: datetime, since: datetime) -> frozenset[str]:
        """Return the levels of a vouched signer, for a document that was received at `since`.

        Raises GW205 where the hub's own list does not name the voucher, or where the levels do not suffice
        for signing.
        """
        max_statement_age = self.policy.vouched + max(at - since, timedelta())
        levels = translate_vouched_levels(vouched, at, self._lists.root, max_statement_age)
        accepted_levels = self.policy.get_accepted_levels(CertificateUse.SIGNING)
        if accepted_levels is not None and not levels & accepted_levels:
            detail = f"vouched for as {', '.join(sorted(levels))[:120]}: not enough here"
            raise GatewayError(CERTIFICATE_UNTRUSTED, detail)
        return levels

    def describe_vouching(self, vouched: VouchedDocument, by: str) -> str:
        """Return the basis of vouching: the gateway and territory, and the hub's own list that names it."""
        root = self._lists.root
        list_suffix = f", by {_format_list_name(root)}" if root else ""
        return f"{vouched.voucher.subject} ({by}) for {vouched.territory}{list_suffix}"


def _format_list_name(trusted_list: TrustedList) -> str:
    return f"{trusted_list.territory} {trusted_list.sequence}"


_ATTEMPTS: Final = 3
#: Who imports where the caller does not say it.
_OPERATOR: Final = AuditEntry("operator", "operator", "trust_list.import", "-")
#: Which list names which other list does not depend on the anchors that we trust ourselves.
_NOBODY: Final = TrustStore(())


@dataclass(frozen=True, slots=True)
class ImportedList:
    """The list in force afterwards: the new one, or (not `was_activated`) the same octets as before.

    `previous_sequence` is the sequence number of the list that it replaced. `named_by` is the list that names
    its signer; it is None for the hub's own list, whose signer the settings name.
    """

    list: TrustedList
    was_activated: bool
    previous_sequence: int | None
    named_by: str | None


def import_trusted_list(
    engine: Engine,
    octets: bytes,
    now: datetime,
    policy: RecognitionPolicy,
    *,
    entry: AuditEntry | None = None,
    list_cache: TrustedListCache | None = None,
) -> ImportedList:
    """Verify a list, the hub's own or another's, and activate it; a refused list leaves the one in force.

    The hub's own list must be signed by a signer that the settings name; another list by a signer that a list
    in force names for that territory. Raises GW201 to GW206 for signature and signer, GW402 for the form,
    GW804 for a list that is out of time or older than the loaded one, GW801 where the settings name no signer
    of the hub's own list. `entry` says for the audit who imports, by which verb. A `list_cache` saves a
    frequent caller from parsing the loaded lists again.
    """
    if not policy.signers:
        raise GatewayError(
            SETTINGS_WRONG, "no certificate is configured that may sign the own list", "recognition.signers"
        )
    list_cache, entry = list_cache or TrustedListCache(), entry or _OPERATOR
    for _ in range(_ATTEMPTS):
        with read_transaction(engine) as conn:
            lists = list_cache.load_lists(conn, policy)
        try:
            imported = _verify_list(octets, lists, now, policy)
        except GatewayError as refused:
            with write_transaction(engine, "trust_list.refused") as conn:
                # A list that was imported meanwhile may name the signer, or be the same as the refused one.
                is_current = list_cache.load_lists(conn, policy).list_digests == lists.list_digests
                if is_current:
                    audit_log.record_action(conn, replace(entry, outcome=str(refused)[:300]), now)
            if is_current:
                raise
            continue
        if not imported.was_activated:
            return imported
        with write_transaction(engine, "trust_list.import") as conn:
            # Another list may have been imported meanwhile: the new one is then compared with that one.
            if list_cache.load_lists(conn, policy).list_digests == lists.list_digests:
                _store_list(conn, octets, imported, entry, now)
                return imported
    raise GatewayError(OUR_MISTAKE, "the stored lists change too fast")


def _verify_list(
    octets: bytes, lists: LoadedTrustedLists, now: datetime, policy: RecognitionPolicy
) -> ImportedList:
    """Verify a new trusted list against the loaded ones, and return which list is in force afterwards.

    Its signer must be named by the settings or by a list that points to it. Nothing is stored.
    """
    recognition = RecognitionContext(_NOBODY, lists.root, lists.others)
    new, pointer = open_named_list(octets, recognition.list_pointing_lists(now), policy.signers)
    if pointer is not None:
        _check_still_referenced(lists.replace_list(new), new, now)
    former_list = lists.root if pointer is None else lists.find_predecessor(new)
    successor = choose_successor(former_list, new, now)
    named_by = f"{pointer.territory} {pointer.sequence}" if pointer else None
    return ImportedList(successor, successor is new, former_list.sequence if former_list else None, named_by)


def _check_still_referenced(lists: LoadedTrustedLists, new: TrustedList, now: datetime) -> None:
    """Raise for a list that only its predecessor names, and not the hub's own list or one it leads to.

    It would replace its predecessor and have no effect.
    """
    check_list_freshness(new, now)
    current_lists = RecognitionContext(_NOBODY, lists.root, lists.others).list_current_lists(now)
    if all(current_list is not new for current_list, _ in current_lists):
        detail = f"{new.signer.subject[:120]} is named for '{new.territory[:20]}' by that list itself alone"
        raise GatewayError(CERTIFICATE_UNTRUSTED, detail, "territory")


def _store_list(
    conn: Connection, octets: bytes, imported: ImportedList, entry: AuditEntry, now: datetime
) -> None:
    """Store an imported trusted list, with evidence and the operator's `entry` in the audit log."""
    new = imported.list
    number = fetched_lists.insert_trusted_list(
        conn,
        NewTrustedList(
            form=new.list_format,
            territory=new.territory,
            sequence=new.sequence,
            sha256=new.sha256,
            signer=new.signer.der,
            issued=new.issued,
            next_update=new.next_update,
            content=octets,
            named_by=imported.named_by,
            taken_by=entry.actor,
        ),
        now,
    )
    data = {
        "form": new.list_format,
        "territory": new.territory,
        "sequence": new.sequence,
        "before": imported.previous_sequence,
        "signer": new.signer.sha256,
        "named_by": imported.named_by,
    }
    record_register_leaf(conn, "trust_list", "trust_list", number, new.sha256, data, now)
    list_name = f"{new.territory} {new.list_format}"
    before = None if imported.previous_sequence is None else {"sequence": imported.previous_sequence}
    action = replace(entry, object=list_name, before=before, after={"sequence": new.sequence})
    audit_log.record_action(conn, action, now)
