"""A trusted list comes in, whoever brought it: verified, held against the one in hand, and put in force.

The octets are judged before the transaction, which only writes; the epoch that it raises makes
every process judge by the new list from its next message on.
"""

from __future__ import annotations

from dataclasses import dataclass
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
#: Which list names which is no question of whom we trust ourselves.
_NOBODY: Final = TrustStore(())


@dataclass(frozen=True, slots=True)
class ImportedList:
    """The list in force afterwards: the one that came, or (not `was_activated`) the same octets as before.

    `previous_sequence` is the sequence number of the list whose place it took; `named_by` the list that names
    its signer, None for our own, whose signer the settings name.
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
    actor: str = "operator",
    shelf: TrustedListCache | None = None,
) -> ImportedList:
    """Verify a list, ours or of others, and put it in force; what is in force stays when it is refused.

    Our own is signed by whom the settings name, another by whom a list in force names for that
    territory.  Raises GW201 to GW206 for signature and signer, GW402 for the form, GW804 for a list
    that is out of time or older than the one in hand, GW801 where nobody may sign a list of ours.
    A `shelf` spares whoever imports often to open again what is in hand.
    """
    if not terms.signers:
        raise GatewayError(
            SETTINGS_WRONG, "no certificate is configured that may sign the own list", "recognition.signers"
        )
    shelf = shelf or TrustedListCache()
    for _ in range(_ATTEMPTS):
        with read_transaction(engine) as conn:
            lists = shelf.load_lists(conn, terms)
        try:
            found = _verify_list(octets, lists, now, terms)
        except GatewayError as refused:
            with write_transaction(engine, "trust_list.refused") as conn:
                audit_log.record_action(
                    conn, AuditEntry(actor, actor, "trust_list.import", "-", str(refused)[:300]), now
                )
            raise
        if not found.was_activated:
            return found
        with write_transaction(engine, "trust_list.import") as conn:
            # Another may have come while this one was verified: it is then held against that one.
            if shelf.load_lists(conn, terms).list_digests == lists.list_digests:
                _store_list(conn, octets, found, (actor, now))
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
    """Refuse a list to which ours would not lead any more: one that only its predecessor names.

    It would take the place of that one and count for nothing.
    """
    check_list_freshness(new, now)
    found = RecognitionContext(_NOBODY, lists.root, lists.others).list_current_lists(now)
    if all(each is not new for each, _ in found):
        detail = f"{new.signer.subject[:120]} is named for '{new.territory[:20]}' by that list itself alone"
        raise GatewayError(CERTIFICATE_UNTRUSTED, detail, "territory")


def _store_list(conn: Connection, octets: bytes, found: ImportedList, deed: tuple[str, datetime]) -> None:
    actor, now = deed
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
            taken_by=actor,
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
    action = AuditEntry(
        actor, actor, "trust_list.import", place, before=before, after={"sequence": new.sequence}
    )
    audit_log.record_action(conn, action, now)
