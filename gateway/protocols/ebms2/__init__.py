"""ebMS 2.0 with SOAP with Attachments: parcels to units and back.

`open_units` checks in the order of cost: MIME, XML, SOAP, header, P-Mode, presence of every
payload, then algorithms, whether the signer is the sender, coverage, signature and digests,
and last the certificate path. The units that it returns have passed all checks.
"""

from __future__ import annotations

from typing import Final

from gateway.protocols.ebms2.answer_signals import check_answer as check_answer
from gateway.protocols.ebms2.answer_signals import check_time_to_live as check_time_to_live
from gateway.protocols.ebms2.answer_signals import find_message_header as find_message_header
from gateway.protocols.ebms2.answer_signals import find_refused_message as find_refused_message
from gateway.protocols.ebms2.answer_signals import has_synchronous_answer as has_synchronous_answer
from gateway.protocols.ebms2.answer_signals import is_answerable as is_answerable
from gateway.protocols.ebms2.answer_signals import make_delivery_failure as make_delivery_failure
from gateway.protocols.ebms2.answer_signals import make_error_signal as make_error_signal
from gateway.protocols.ebms2.answer_signals import make_fault_response as make_fault_response
from gateway.protocols.ebms2.answer_signals import make_pong as make_pong
from gateway.protocols.ebms2.answer_signals import make_receipt as make_receipt
from gateway.protocols.ebms2.answer_signals import make_status_response as make_status_response
from gateway.protocols.ebms2.answer_signals import reject_parcel as reject_parcel
from gateway.protocols.ebms2.hop_messages import make_hop_receipt as make_hop_receipt
from gateway.protocols.ebms2.hop_messages import rewrite_for_next_hop as rewrite_for_next_hop
from gateway.protocols.ebms2.hop_messages import seal_hop_signal as seal_hop_signal
from gateway.protocols.ebms2.message_opening import open_reading as open_reading
from gateway.protocols.ebms2.message_opening import open_related as open_related
from gateway.protocols.ebms2.message_opening import open_units as open_units
from gateway.protocols.ebms2.message_opening import read_envelope as read_envelope
from gateway.protocols.ebms2.message_opening import verify_parcel as verify_parcel
from gateway.protocols.ebms2.message_reading import find_fault as find_fault
from gateway.protocols.ebms2.message_reading import read_sent_header as read_sent_header
from gateway.protocols.ebms2.message_reading import read_sent_unit as read_sent_unit
from gateway.protocols.ebms2.message_sealing import seal as seal
from gateway.protocols.ebms2.message_units import get_unit_kind as get_unit_kind
from gateway.protocols.ebms2.unsupported_features import list_unsupported_terms as list_unsupported_terms
from gateway.protocols.ebms2.unsupported_features import reject_fragments

name: Final = "ebms2"
message_id_place: Final = "//eb:MessageData/eb:MessageId"

join_fragments = open_joined = plan_split = reject_fragments
seal_agreed_fragment = seal_source = tally_opened_fragment = reject_fragments
