"""Problems between two parties: agreement, identity of messages, receipts."""

from __future__ import annotations

from gateway.errors.problem import Problem

__all__ = [
    "AGREEMENT_UNKNOWN",
    "DUPLICATE",
    "HEADER_INCONSISTENT",
    "MESSAGE_ID_REUSED",
    "NOTHING_TO_PULL",
    "NOT_SUPPORTED",
    "PARTY_UNKNOWN",
    "PMODE_UNKNOWN",
    "RECEIPT_MISMATCH",
    "RECEIPT_MISSING",
    "REFERENCE_UNKNOWN",
    "TIME_TO_LIVE_EXPIRED",
]

AGREEMENT_UNKNOWN = Problem(
    id="GW301",
    title="agreement unknown or not in force",
    meaning="No agreement in force fits the CPAId of the message.",
    cause="The id is misspelt, the agreement was never loaded, is suspended, has not begun or has ended.",
    remedy="Compare CPAId with `gateway agreement list`; load or renew the agreement.",
    ebms2="ValueNotRecognized",
    ebms3="EBMS:0010",
    soap="Client",
    http=500,
)

PARTY_UNKNOWN = Problem(
    id="GW302",
    title="party unknown or suspended",
    meaning="The sender or the receiver named is not a registered, active party.",
    cause="A PartyId or its type is misspelt, the party was never registered, or it is suspended or retired.",
    remedy=(
        "Compare PartyId and type with `gateway party list`; ask the operator when the party is suspended."
    ),
    ebms2="ValueNotRecognized",
    ebms3="EBMS:0001",
    soap="Client",
    http=500,
)

PMODE_UNKNOWN = Problem(
    id="GW303",
    title="no P-Mode for this service and action",
    meaning="The agreement exists but does not cover this kind of message.",
    cause="Service, action, role or protocol differ from every P-Mode of the agreement.",
    remedy="Use the Service and Action of the agreement, letter by letter, or have them added to it.",
    ebms2="ValueNotRecognized",
    ebms3="EBMS:0010",
    soap="Client",
    http=500,
)

HEADER_INCONSISTENT = Problem(
    id="GW304",
    title="header inconsistent with the agreement",
    meaning="The header contradicts the agreement or itself.",
    cause=(
        "An acknowledgement, duplicate elimination, synchronous reply or role is asked for otherwise than "
        "agreed."
    ),
    remedy="Set the element at the location as the agreement has it.",
    ebms2="Inconsistent",
    ebms3="EBMS:0003",
    soap="Client",
    http=500,
)

DUPLICATE = Problem(
    id="GW305",
    title="duplicate (not an error outside: first receipt again)",
    meaning="The message was received before; the first receipt is sent again and nothing is done twice.",
    cause="The sender did not get the first receipt, or repeated the message to be sure.",
    remedy="Nothing is to be done. Take the receipt: it is the one of the first time.",
    http=200,
)

TIME_TO_LIVE_EXPIRED = Problem(
    id="GW306",
    title="time to live expired",
    meaning="The message came after the time at which its sender said it would be of no use.",
    cause="TimeToLive had passed on arrival: the message waited too long or a clock is wrong.",
    remedy="Send the content in a new message with a later TimeToLive; check the clock.",
    ebms2="TimeToLiveExpired",
    ebms3="EBMS:0202",
    soap="Client",
    http=500,
)

REFERENCE_UNKNOWN = Problem(
    id="GW307",
    title="RefToMessageId unknown",
    meaning="The message answers one that is not known here.",
    cause="RefToMessageId is misspelt, or names a message of another party or one that was refused.",
    remedy="Refer to the MessageId of a message that was acknowledged.",
    ebms2="ValueNotRecognized",
    ebms3="EBMS:0001",
    soap="Client",
    http=500,
)

RECEIPT_MISSING = Problem(
    id="GW308",
    title="receipt missing",
    meaning="No receipt came for a message of ours in the time agreed.",
    cause="The partner is down, cannot reach us, or lost the message; it is sent again unchanged.",
    remedy="Usually none. If it goes on, call the partner; `gateway queue list` shows the attempts.",
    retry=True,
    ebms2="DeliveryFailure",
    ebms3="EBMS:0301",
)

RECEIPT_MISMATCH = Problem(
    id="GW309",
    title="receipt does not match",
    meaning="A receipt came that does not prove what we sent.",
    cause=(
        "Its digests are not those of our message, it is not signed though it must be, or it refers to "
        "another message."
    ),
    remedy="Ask the partner which message it received; keep both messages, they are evidence.",
    ebms2="SecurityFailure",
    ebms3="EBMS:0302",
)

NOTHING_TO_PULL = Problem(
    id="GW310",
    title="nothing to pull",
    meaning="There is no message waiting to be fetched.",
    cause="Everything for this party and channel has been fetched already.",
    remedy="Nothing is to be done. Ask again later.",
    ebms3="EBMS:0006",
    http=200,
)

NOT_SUPPORTED = Problem(
    id="GW311",
    title="feature not supported",
    meaning="The message asks for something the standard offers and the gateway does not.",
    cause="A feature such as ordered delivery or multi-hop acknowledgement is requested.",
    remedy="Leave the feature out; the manual's page on standards says what is supported.",
    ebms2="NotSupported",
    ebms3="EBMS:0002",
    soap="Client",
    http=500,
)

MESSAGE_ID_REUSED = Problem(
    id="GW312",
    title="MessageId known with other content",
    meaning="The MessageId was used before for a message with other content.",
    cause="The sender changed a message and sent it under its old id, or its ids are not unique.",
    remedy="Give every new or changed message a MessageId of its own; repeat only identical messages.",
    ebms2="Inconsistent",
    ebms3="EBMS:0003",
    soap="Client",
    http=500,
)
