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
from gateway.evidence.log import record
from gateway.hub.trust.recognition import Lists, Shelf, Terms
from gateway.pki.trust import TrustStore
from gateway.recognition.chains import Recognition, open_named
from gateway.recognition.lists import TrustedList
from gateway.recognition.succession import check_fresh, succeed
from gateway.store import audit, trust_lists
from gateway.store.audit import Action
from gateway.store.engine import reading, transaction
from gateway.store.trust_lists import NewTrustList

__all__ = ["Imported", "import_list"]

_ATTEMPTS: Final = 3
#: Which list names which is no question of whom we trust ourselves.
_NOBODY: Final = TrustStore(())


@dataclass(frozen=True, slots=True)
class Imported:
    """The list in force afterwards: the one that came, or (not `taken`) the same octets in hand before.

    `before` is the sequence number of the list whose place it took; `named_by` the list that names
    its signer, None for our own, whose signer the settings name.
    """

    list: TrustedList
    taken: bool
    before: int | None
    named_by: str | None


def import_list(
    engine: Engine,
    octets: bytes,
    now: datetime,
    terms: Terms,
    *,
    actor: str = "operator",
    shelf: Shelf | None = None,
) -> Imported:
    """Verify a list, ours or of others, and put it in force; what is in force stays when it is refused.

    Our own is signed by whom the settings name, another by whom a list in force names for that
    territory.  Raises GW201 to GW206 for signature and signer, GW402 for the form, GW804 for a list
    that is out of time or older than the one in hand, GW801 where nobody may sign a list of ours.
    A `shelf` spares whoever imports often to open again what is in hand.
    """
    if not terms.signers:
        raise GatewayError(SETTINGS_WRONG, "nobody is named who may sign our list", "recognition.signers")
    shelf = shelf or Shelf()
    for _ in range(_ATTEMPTS):
        with reading(engine) as conn:
            lists = shelf.read(conn, terms)
        try:
            found = _judged(octets, lists, now, terms)
        except GatewayError as refused:
            with transaction(engine, "trust_list.refused") as conn:
                audit.record(conn, Action(actor, actor, "trust_list.import", "-", str(refused)[:300]), now)
            raise
        if not found.taken:
            return found
        with transaction(engine, "trust_list.import") as conn:
            # Another may have come while this one was verified: it is then held against that one.
            if shelf.read(conn, terms).digests == lists.digests:
                _store(conn, octets, found, (actor, now))
                return found
    raise GatewayError(OUR_MISTAKE, "the lists in hand change too fast")


def _judged(octets: bytes, lists: Lists, now: datetime, terms: Terms) -> Imported:
    recognition = Recognition(_NOBODY, lists.root, lists.others)
    new, pointer = open_named(octets, recognition.pointers(now), terms.signers)
    if pointer is not None:
        _check_led_to(lists.with_list(new), new, now)
    held = lists.root if pointer is None else lists.held(new)
    kept = succeed(held, new, now)
    named_by = f"{pointer.territory} {pointer.sequence}" if pointer else None
    return Imported(kept, kept is new, held.sequence if held else None, named_by)


def _check_led_to(lists: Lists, new: TrustedList, now: datetime) -> None:
    """Refuse a list to which ours would not lead any more: one that only its predecessor names.

    It would take the place of that one and count for nothing.
    """
    check_fresh(new, now)
    found = Recognition(_NOBODY, lists.root, lists.others).in_force(now)
    if all(each is not new for each, _ in found):
        detail = f"{new.signer.subject[:120]} is named for '{new.territory[:20]}' by that list itself alone"
        raise GatewayError(CERTIFICATE_UNTRUSTED, detail, "territory")


def _store(conn: Connection, octets: bytes, found: Imported, deed: tuple[str, datetime]) -> None:
    actor, now = deed
    new = found.list
    number = trust_lists.add(
        conn,
        NewTrustList(
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
        "before": found.before,
        "signer": new.signer.sha256,
        "named_by": found.named_by,
    }
    record(conn, "trust_list", "trust_list", number, new.sha256, data, now)
    place = f"{new.territory} {new.form}"
    before = None if found.before is None else {"sequence": found.before}
    action = Action(actor, actor, "trust_list.import", place, before=before, after={"sequence": new.sequence})
    audit.record(conn, action, now)
