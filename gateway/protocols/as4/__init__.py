"""ebMS 3.0 and AS4: SOAP 1.2 with attachments, signed by WS-Security.

A message is checked in the order of cost: MIME, XML, SOAP, header, P-Mode, presence of every payload, then
algorithms, whether the signer is the sender, coverage, signature and digests, last the certificate path.
It is expanded after that.
"""

from __future__ import annotations

from typing import Final

from gateway.protocols.as4.answer_signals import check_answer as check_answer
from gateway.protocols.as4.answer_signals import check_time_to_live as check_time_to_live
from gateway.protocols.as4.answer_signals import has_synchronous_answer as has_synchronous_answer
from gateway.protocols.as4.answer_signals import make_delivery_failure as make_delivery_failure
from gateway.protocols.as4.answer_signals import make_error_signal as make_error_signal
from gateway.protocols.as4.answer_signals import make_hop_receipt as make_hop_receipt
from gateway.protocols.as4.answer_signals import make_receipt as make_receipt
from gateway.protocols.as4.answer_signals import reject_parcel as reject_parcel
from gateway.protocols.as4.answer_signals import reject_unsupported_signal
from gateway.protocols.as4.fragment_header import Fragment as Fragment
from gateway.protocols.as4.fragment_joining import FragmentGroup as FragmentGroup
from gateway.protocols.as4.fragment_joining import JoinedMessage as JoinedMessage
from gateway.protocols.as4.fragment_joining import JoinTerms as JoinTerms
from gateway.protocols.as4.fragment_joining import join_fragments as join_fragments
from gateway.protocols.as4.fragment_joining import open_fragment as open_fragment
from gateway.protocols.as4.fragment_joining import tally_opened_fragment as tally_opened_fragment
from gateway.protocols.as4.message_checks import open_reading as open_reading
from gateway.protocols.as4.message_checks import read_envelope as read_envelope
from gateway.protocols.as4.message_opening import find_fault as find_fault
from gateway.protocols.as4.message_opening import find_refused_message as find_refused_message
from gateway.protocols.as4.message_opening import open_joined as open_joined
from gateway.protocols.as4.message_opening import open_related as open_related
from gateway.protocols.as4.message_opening import open_units as open_units
from gateway.protocols.as4.message_opening import verify_parcel as verify_parcel
from gateway.protocols.as4.message_reading import read_sent_header as read_sent_header
from gateway.protocols.as4.message_reading import read_sent_unit as read_sent_unit
from gateway.protocols.as4.message_sealing import seal as seal
from gateway.protocols.as4.message_splitting import plan_split as plan_split
from gateway.protocols.as4.message_splitting import seal_agreed_fragment as seal_agreed_fragment
from gateway.protocols.as4.message_splitting import seal_fragment as seal_fragment
from gateway.protocols.as4.message_splitting import seal_source as seal_source
from gateway.protocols.as4.pmode_matching import list_unsupported_terms as list_unsupported_terms
from gateway.protocols.fragment_values import SplitPlan as SplitPlan
from gateway.protocols.fragment_values import SplitTerms as SplitTerms

name: Final = "as4"
message_id_place: Final = "//eb3:UserMessage/eb3:MessageInfo/eb3:MessageId"

#: AS4 knows none of these signals, and its messages are not forwarded.
rewrite_for_next_hop = seal_hop_signal = make_pong = make_status_response = reject_unsupported_signal
