"""ebMS 2.0 with SOAP with Attachments: parcels to units and back.

`open` checks in the order of cost: MIME, XML, SOAP, header, P-Mode, presence of every
payload, then algorithms, whether the signer is the sender, coverage, signature and digests,
and last the certificate path. The units that it returns have passed all checks.
"""

from __future__ import annotations

from typing import Final

from gateway.protocols.ebms2.answer_signals import (
    check_answer,
    check_time_to_live,
    has_synchronous_answer,
    is_answerable,
    make_pong,
    make_receipt,
    make_status_response,
)
from gateway.protocols.ebms2.delivery_failure import make_delivery_failure
from gateway.protocols.ebms2.hop_messages import make_hop_receipt, seal_hop_signal, write_onward_parcel
from gateway.protocols.ebms2.message_fragments import (
    join_fragments,
    open_joined,
    plan_split,
    seal_agreed_fragment,
    seal_source,
    tally_opened_fragment,
)
from gateway.protocols.ebms2.message_opening import collect_payload_digests, open, verify_parcel
from gateway.protocols.ebms2.message_sealing import seal
from gateway.protocols.ebms2.message_units import get_unit_kind
from gateway.protocols.ebms2.pmode_support import list_unsupported_terms
from gateway.protocols.ebms2.refusal_answers import (
    find_message_header,
    find_refused_message,
    make_error_signal,
    make_fault_response,
    reject_parcel,
)
from gateway.protocols.ebms2.unverified_message import find_fault, read_sent_header, read_sent_unit

__all__ = [
    "check_answer",
    "check_time_to_live",
    "collect_payload_digests",
    "find_fault",
    "find_message_header",
    "find_refused_message",
    "get_unit_kind",
    "has_synchronous_answer",
    "is_answerable",
    "join_fragments",
    "list_unsupported_terms",
    "make_delivery_failure",
    "make_error_signal",
    "make_fault_response",
    "make_hop_receipt",
    "make_pong",
    "make_receipt",
    "make_status_response",
    "message_id_place",
    "name",
    "open",
    "open_joined",
    "plan_split",
    "read_sent_header",
    "read_sent_unit",
    "reject_parcel",
    "seal",
    "seal_agreed_fragment",
    "seal_hop_signal",
    "seal_source",
    "tally_opened_fragment",
    "verify_parcel",
    "write_onward_parcel",
]

name: Final = "ebms2"
message_id_place: Final = "//eb:MessageData/eb:MessageId"
