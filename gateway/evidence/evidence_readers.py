"""Selects the fields of evidence that a party of a case may see, for each kind of evidence.

Operators see all fields. A leaf that a party may not see is shown to it as a hash, so that the tree can still
be verified. A kind without a row here is shown to operators alone.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from gateway.errors import EVIDENCE_BROKEN, GatewayError
from gateway.evidence.leaf_encoding import read_leaf_data
from gateway.store import EvidenceRow

#: The size of a salt: 128 random bits, which cannot be guessed.
_SALT_OCTETS: Final = 16
#: The subjects whose evidence a party reads: its cases, with their messages and applications.
PARTY_SUBJECTS: Final = frozenset({"case", "message", "request"})

_ADMISSION: Final = "number signer declarant reference admitted stored"
_LEDGER: Final = "agency requirement item quantity unit"
_DUE: Final = "agency kind due cause"
#: The fields that a party of the case sees, by kind; of a kind without any it sees nothing.
PARTY_FIELDS: Final[Mapping[str, frozenset[str]]] = {
    kind: frozenset(fields.split())
    for kind, fields in {
        "DeliveryFailure": "message_id error problem fragment severity told",
        "NRO": "message_id signer verdict epoch admitted properties unwrapped group number stored",
        "NRR": "message_id about detail",
        "NRS": "message_id group number stored",
        "acknowledged": "receipt",
        "act": "",
        "admitted": f"{_ADMISSION} bundle outcome",
        "amended": (
            "number signer changed unchanged new added removed admitted reason cancelled refused"
            " stored outdated outdated_up_to"
        ),
        "applied": "",
        "calendar": "",
        "claim": "",
        "closed": "number outcome",
        "connection_refused": "",
        "corrected": "outcome conclusion",
        "customs": "",
        "customs_notice": "number code delivery signer verdict stored",
        "decided": "outcome conclusion",
        "failed": "task problem",
        # Without the reason of an operator, and without an agency's answer that it knows of a payment.
        "fee": "fee step agency kind amount payment effect refund given notice signer stored",
        "fetched": "",
        "filed": "message_id channel party epoch stored",
        "forgotten": "",
        "forwarded": "next answer",
        "fragments_refused": "group problem code",
        "given_back": f"{_LEDGER} reason",
        "given_up": "message_id problem detail",
        "held": f"{_ADMISSION} until",
        "hop_receipt": "message_id about",
        "items_returned": "reason child",
        "joined": "agency requirement item",
        "late": "kind due done",
        "late_approval": "agency application number",
        "late_decision": "agency application requirement number",
        "mappings": "",
        "need_table": "",
        "not_left": f"{_LEDGER} problem detail",
        "notice": "agency number overruled_by receipt placed revived superseded outdated outdated_up_to "
        "stored",
        "operator": "",
        "overdue": _DUE,
        "overtaken": "",
        "passing": "message_id signer verdict to next stored",
        # Without the operator who ran the command.
        "purged": "digests octets",
        "put_aside": "",
        "receipted": "message_id stored",
        "refusal": "message_id about detail",
        "refused": "number problems signer admitted held_until stored",
        "register": "",
        "released": "child items ends",
        "reminded": _DUE,
        "reply": "agency signer verdict",
        "restored": "",
        "sent": "agency",
        "supplemented": "number signer bundle admitted",
        "taken": "parent items stored",
        "trust_list": "",
        "undeliverable": "",
        "unfetched": "",
        "verdict": "",
        "withdrawal": "number signer reason asked untold admitted",
        "withdrawn": "outcome conclusion",
        "written_off": _LEDGER,
    }.items()
}
#: Further fields of a record that names the party that reads it: which of its people filed, and how.
PARTY_OWN_FIELDS: Final = {"filed": frozenset({"way", "salt"})}
_NO_FIELDS: Final[frozenset[str]] = frozenset()


@dataclass(frozen=True, slots=True)
class EvidenceReader:
    """The reader of evidence: a party of the case (applicant or declarant), or an operator if None."""

    party: str | None = None


OPERATOR: Final = EvidenceReader()


def salt_hidden_data(kind: str, subject_type: str, data: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the data of a new record; add a random `salt` if a party of its case may not see all fields.

    Without the salt, the party could try names and times until one of them gives the hash of the leaf.
    """
    visible_fields = PARTY_FIELDS.get(kind, _NO_FIELDS)
    if subject_type not in PARTY_SUBJECTS or (visible_fields and data.keys() <= visible_fields):
        return data
    return {**data, "salt": secrets.token_hex(_SALT_OCTETS)}


def select_visible_fields(leaf: EvidenceRow, reader: EvidenceReader) -> dict[str, Any] | None:
    """Return the fields of a leaf's data that a reader may see; None if the reader sees only its hash.

    A broken leaf is seen by nobody: only its hash is left of it.
    """
    try:
        data = read_leaf_data(leaf)
    except GatewayError as broken:
        if broken.problem is not EVIDENCE_BROKEN:
            raise
        return None
    if reader.party is None:
        return data
    visible_fields = PARTY_FIELDS.get(leaf.kind, _NO_FIELDS)
    if not visible_fields:
        return None
    if data.get("party") == reader.party:
        visible_fields |= PARTY_OWN_FIELDS.get(leaf.kind, _NO_FIELDS)
    return {name: field for name, field in data.items() if name in visible_fields}


def is_visible_whole(leaf: EvidenceRow, reader: EvidenceReader) -> bool:
    """Return whether a reader may see all fields of a leaf; nobody sees a broken one."""
    fields = select_visible_fields(leaf, reader)
    return fields is not None and fields == select_visible_fields(leaf, OPERATOR)
