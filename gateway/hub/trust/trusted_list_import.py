"""Imports a trusted list from any source: verify it, compare it with the loaded one, and activate it.

The octets are verified before the transaction, which only writes. The transaction raises the epoch,
so that every process uses the new list from its next message on.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from sqlalchemy import Connection, Engine

from gateway.errors import CERTIFICATE_UNTRUSTED, OUR_MISTAKE, SETTINGS_WRONG, GatewayError
from gateway.evidence import record_evidence
from gateway.hub.trust.trusted_list_recognition import LoadedTrustedLists, RecognitionPolicy, TrustedListCache
from gateway.pki import TrustStore
from gateway.recognition import (
    RecognitionContext,
    TrustedList,
    check_list_freshness,
    choose_successor,
    open_named_list,
)
from gateway.store import (
    AuditEntry,
    NewTrustedList,
    audit_log,
    read_transaction,
    trusted_lists,
    write_transaction,
)

__all__ = ["ImportedList", "import_trusted_list"]

_ATTEMPTS: Final = 3
#: Who imports where the caller does not say it.
_OPERATOR: Final = AuditEntry("operator", "operator", "trust_list.import", "-")
#: Which list names which other list does not depend on the anchors that we trust ourselves.
_NOBODY: Final = TrustStore(())


@dataclass(frozen=True, slots=True)
class ImportedList:
    """The list in force afterwards: the new one, or (not `was_activated`) the same octets as before.

    `previous_sequence` is the sequence number of the list that it replaced. `named_by` is the list
    that names its signer; it is None for our own list, whose signer the settings name.
    """

    list: TrustedList
    was_activated: bool
    previous_sequence: int | None
    named_by: str | None


def import_trusted_list(
    engine: Engine,
    octets: bytes,
    now: datetime,
    terms: RecognitionPolicy,
    *,
    entry: AuditEntry | None = None,
    shelf: TrustedListCache | None = None,
) -> ImportedList:
    """Verify a list, ours or another's, and activate it; a refused list leaves the one in force.

    Our own list must be signed by a signer that the settings name; another list by a signer that a
    list in force names for that territory. Raises GW201 to GW206 for signature and signer, GW402
    for the form, GW804 for a list that is out of time or older than the loaded one, GW801 where the
    settings name no signer of our list. `entry` says for the audit who imports,
    by which verb. A `shelf` saves a frequent caller from parsing the loaded lists again.
    """
    if not terms.signers:
        raise GatewayError(
            SETTINGS_WRONG, "no certificate is configured that may sign the own list", "recognition.signers"
        )
    shelf, entry = shelf or TrustedListCache(), entry or _OPERATOR
    for _ in range(_ATTEMPTS):
        with read_transaction(engine) as conn:
            lists = shelf.load_lists(conn, terms)
        try:
            found = _verify_list(octets, lists, now, terms)
        except GatewayError as refused:
            with write_transaction(engine, "trust_list.refused") as conn:
                audit_log.record_action(conn, replace(entry, outcome=str(refused)[:300]), now)
            raise
        if not found.was_activated:
            return found
        with write_transaction(engine, "trust_list.import") as conn:
            # Another list may have been imported meanwhile: the new one is then compared with that one.
            if shelf.load_lists(conn, terms).list_digests == lists.list_digests:
                _store_list(conn, octets, found, (entry, now))
                return found
    raise GatewayError(OUR_MISTAKE, "the stored lists change too fast")


def _verify_list(
    octets: bytes, lists: LoadedTrustedLists, now: datetime, terms: RecognitionPolicy
) -> ImportedList:
    recognition = RecognitionContext(_NOBODY, lists.root, lists.others)
    new, pointer = open_named_list(octets, recognition.list_pointing_lists(now), terms.signers)
    if pointer is not None:
        _check_still_referenced(lists.replace_list(new), new, now)
    held = lists.root if pointer is None else lists.find_predecessor(new)
    kept = choose_successor(held, new, now)
    named_by = f"{pointer.territory} {pointer.sequence}" if pointer else None
    return ImportedList(kept, kept is new, held.sequence if held else None, named_by)


def _check_still_referenced(lists: LoadedTrustedLists, new: TrustedList, now: datetime) -> None:
    """Raise for a list that our list no longer leads to: one that only its predecessor names.

    It would replace its predecessor and have no effect.
    """
    check_list_freshness(new, now)
    found = RecognitionContext(_NOBODY, lists.root, lists.others).list_current_lists(now)
    if all(each is not new for each, _ in found):
        detail = f"{new.signer.subject[:120]} is named for '{new.territory[:20]}' by that list itself alone"
        raise GatewayError(CERTIFICATE_UNTRUSTED, detail, "territory")


def _store_list(
    conn: Connection, octets: bytes, found: ImportedList, deed: tuple[AuditEntry, datetime]
) -> None:
    entry, now = deed
    new = found.list
    number = trusted_lists.insert_trusted_list(
        conn,
        NewTrustedList(
            form=new.form,
            territory=new.territory,
            sequence=new.sequence,
            sha256=new.sha256,
            signer=new.signer.der,
            issued=new.issued,
            next_update=new.next_update,
            content=octets,
            named_by=found.named_by,
            taken_by=entry.actor,
        ),
        now,
    )
    data = {
        "form": new.form,
        "territory": new.territory,
        "sequence": new.sequence,
        "before": found.previous_sequence,
        "signer": new.signer.sha256,
        "named_by": found.named_by,
    }
    record_evidence(conn, "trust_list", "trust_list", number, new.sha256, data, now)
    place = f"{new.territory} {new.form}"
    before = None if found.previous_sequence is None else {"sequence": found.previous_sequence}
    action = replace(entry, object=place, before=before, after={"sequence": new.sequence})
    audit_log.record_action(conn, action, now)
