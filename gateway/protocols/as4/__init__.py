"""ebMS 3.0 and AS4: SOAP 1.2 with attachments, signed by WS-Security.

A message is checked in the order of cost: MIME, XML, SOAP, header, P-Mode, presence of every payload, then
algorithms, whether the signer is the sender, coverage, signature and digests, last the certificate path.
It is expanded after that.
"""

from __future__ import annotations

from typing import Final

from gateway.protocols.as4.answer_signals import (
    check_answer,
    check_time_to_live,
    has_synchronous_answer,
    make_delivery_failure,
    make_hop_receipt,
    make_pong,
    make_receipt,
    make_status_response,
    seal_hop_signal,
    write_onward_parcel,
)
from gateway.protocols.as4.fragment_header import Fragment
from gateway.protocols.as4.fragment_joining import FragmentGroup, JoinedMessage, JoinTerms
from gateway.protocols.as4.fragment_reading import join_fragments, open_fragment, tally_opened_fragment
from gateway.protocols.as4.message_opening import (
    collect_payload_digests,
    find_fault,
    find_refused_message,
    open,
    open_joined,
    verify_parcel,
)
from gateway.protocols.as4.message_sealing import seal
from gateway.protocols.as4.message_splitting import (
    plan_split,
    seal_agreed_fragment,
    seal_fragment,
    seal_source,
)
from gateway.protocols.as4.pmode_matching import list_unsupported_terms
from gateway.protocols.as4.refusal_answers import make_error_signal, reject_parcel
from gateway.protocols.as4.sent_messages import read_sent_header, read_sent_unit
from gateway.protocols.fragment_values import SplitPlan, SplitTerms

__all__ = [
    "Fragment",
    "FragmentGroup",
    "JoinTerms",
    "JoinedMessage",
    "SplitPlan",
    "SplitTerms",
    "check_answer",
    "check_time_to_live",
    "collect_payload_digests",
    "find_fault",
    "find_refused_message",
    "has_synchronous_answer",
    "join_fragments",
    "list_unsupported_terms",
    "make_delivery_failure",
    "make_error_signal",
    "make_hop_receipt",
    "make_pong",
    "make_receipt",
    "make_status_response",
    "message_id_place",
    "name",
    "open",
    "open_fragment",
    "open_joined",
    "plan_split",
    "read_sent_header",
    "read_sent_unit",
    "reject_parcel",
    "seal",
    "seal_agreed_fragment",
    "seal_fragment",
    "seal_hop_signal",
    "seal_source",
    "tally_opened_fragment",
    "verify_parcel",
    "write_onward_parcel",
]

name: Final = "as4"
message_id_place: Final = "//eb3:UserMessage/eb3:MessageInfo/eb3:MessageId"
