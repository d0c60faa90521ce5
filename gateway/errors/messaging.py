"""Problems between two parties: agreement, identity of messages, receipts."""

from __future__ import annotations

from gateway.errors.problem import Problem, ProtocolCodes

AGREEMENT_UNKNOWN = Problem(
    id="GW301",
    title="agreement unknown or not active",
    meaning="No active agreement matches the CPAId of the message.",
    cause=(
        "The id is misspelt, or the agreement was never loaded, is suspended, is not yet valid, or has ended."
    ),
    remedy=(
        "Compare CPAId with `gateway agreement list`. Operator: load the agreement with "
        "`gateway agreement load FILE`."
    ),
    codes=ProtocolCodes(ebms2="ValueNotRecognized", ebms3="EBMS:0010", soap="Client", http=500),
)

PARTY_UNKNOWN = Problem(
    id="GW302",
    title="party unknown or suspended",
    meaning="The sender or the receiver in the header is not a registered, active party.",
    cause=(
        "A PartyId or its type is misspelt, the party was never registered, or it is suspended or retired."
    ),
    remedy=(
        "Compare PartyId and type with `gateway party list`. Ask the operator if the party is suspended."
    ),
    codes=ProtocolCodes(ebms2="ValueNotRecognized", ebms3="EBMS:0001", soap="Client", http=500),
)

PMODE_UNKNOWN = Problem(
    id="GW303",
    title="no P-Mode for this service and action",
    meaning="The agreement exists but does not cover this kind of message.",
    cause="Service, action, role or protocol does not match any P-Mode of the agreement.",
    remedy="Use exactly the Service and Action of the agreement, or ask the operator to add them to it.",
    codes=ProtocolCodes(ebms2="ValueNotRecognized", ebms3="EBMS:0010", soap="Client", http=500),
)

HEADER_INCONSISTENT = Problem(
    id="GW304",
    title="header inconsistent with the agreement",
    meaning="The header contradicts the agreement or itself.",
    cause=(
        "The requested acknowledgment, duplicate elimination, synchronous reply or role differs from "
        "the agreement."
    ),
    remedy="Set the element at the location to the value in the agreement.",
    codes=ProtocolCodes(ebms2="Inconsistent", ebms3="EBMS:0003", soap="Client", http=500),
)

DUPLICATE = Problem(
    id="GW305",
    title="duplicate (no error is reported; the first receipt is sent again)",
    meaning=(
        "The message was received before. The gateway sends the first receipt again and does not "
        "process the message twice."
    ),
    cause="The sender did not receive the first receipt, or repeated the message as a precaution.",
    remedy="No action is needed. The receipt is the one that was made for the first copy.",
    codes=ProtocolCodes(http=200),
)

TIME_TO_LIVE_EXPIRED = Problem(
    id="GW306",
    title="time to live expired",
    meaning="The message arrived after its TimeToLive.",
    cause="The message was delayed, or a clock is wrong.",
    remedy="Send the content in a new message with a later TimeToLive. Check the clock.",
    codes=ProtocolCodes(ebms2="TimeToLiveExpired", ebms3="EBMS:0202", soap="Client", http=500),
)

REFERENCE_UNKNOWN = Problem(
    id="GW307",
    title="RefToMessageId unknown",
    meaning="The message refers to a message that the gateway does not know.",
    cause="RefToMessageId is misspelt, or names a message of another party or a refused message.",
    remedy="Refer to the MessageId of an acknowledged message.",
    codes=ProtocolCodes(ebms2="ValueNotRecognized", ebms3="EBMS:0001", soap="Client", http=500),
)

RECEIPT_MISSING = Problem(
    id="GW308",
    title="receipt missing",
    meaning="No receipt for a message of the gateway arrived in the agreed time.",
    cause=(
        "The partner is down, cannot reach the gateway, or lost the message. The gateway sends the "
        "message again unchanged."
    ),
    remedy=(
        "Usually none. If the problem persists, contact the partner. `gateway queue list` shows the "
        "number of attempts."
    ),
    retry=True,
    codes=ProtocolCodes(ebms2="DeliveryFailure", ebms3="EBMS:0301"),
)

RECEIPT_MISMATCH = Problem(
    id="GW309",
    title="receipt does not match",
    meaning="A receipt arrived that does not match the message that was sent.",
    cause=(
        "Its digests differ from those of the message, it is unsigned although a signature is "
        "required, or it refers to another message."
    ),
    remedy="Ask the partner which message it received. Keep both messages as evidence.",
    codes=ProtocolCodes(ebms2="SecurityFailure", ebms3="EBMS:0302"),
)

NOTHING_TO_PULL = Problem(
    id="GW310",
    title="nothing to pull",
    meaning="No message is waiting to be pulled.",
    cause="All messages for this party and channel have been pulled already.",
    remedy="No action is needed. Pull again later.",
    codes=ProtocolCodes(ebms3="EBMS:0006", http=200),
)

NOT_SUPPORTED = Problem(
    id="GW311",
    title="feature not supported",
    meaning="The message requests a feature of the standard that the gateway does not support.",
    cause="The message has an extension element, or asks for something that no agreement can say.",
    remedy="Do not use the feature. The page standards.md of the manual lists the supported features.",
    codes=ProtocolCodes(ebms2="NotSupported", ebms3="EBMS:0008", soap="Client", http=500),
    # Not EBMS:0002, which is a warning: a refusal is reported as a failure.
)

MESSAGE_ID_REUSED = Problem(
    id="GW312",
    title="MessageId known with other content",
    meaning="The MessageId was used before for a message with different content.",
    cause="The sender changed a message and reused its MessageId, or its MessageIds are not unique.",
    remedy="Use a new MessageId for every new or changed message. Repeat only what says the same.",
    codes=ProtocolCodes(ebms2="Inconsistent", ebms3="EBMS:0003", soap="Client", http=500),
)

AGREEMENT_UNWORKABLE = Problem(
    id="GW313",
    title="agreement cannot work",
    meaning="The agreement was not loaded: some of its messages would be refused or could not be sent.",
    cause="A party is not registered, has no endpoint or certificate, or a P-Mode is missing.",
    remedy="Correct each error: `gateway agreement check FILE` lists them all with their places.",
    ours=True,
)

AGREEMENT_WARNED = Problem(
    id="GW314",
    title="agreement has warnings",
    meaning="The agreement was not loaded: it has warnings that nobody has accepted.",
    cause="Something in the agreement is permitted and probably not meant.",
    remedy="Correct the file, or accept the warnings: `gateway agreement load FILE --accept-warnings`.",
    ours=True,
)

ORDER_GIVEN_UP = Problem(
    id="GW315",
    title="message given up, because a message before it is missing",
    meaning="The message has a place in the order of its conversation and cannot be delivered at that place.",
    cause=(
        "A message with an earlier number did not arrive before the time of this one ended, or too many "
        "messages wait for one."
    ),
    remedy="Send the missing message, or begin anew: Reset and the number 0 when all are accounted for.",
    codes=ProtocolCodes(ebms2="DeliveryFailure", ebms3="EBMS:0202", soap="Client", http=500),
)

CONVERSATION_LIMIT = Problem(
    id="GW316",
    title="too many conversations",
    meaning="The message begins a conversation beyond the number that the agreement allows.",
    cause="The agreement limits how many conversations begin under it, or how many are open at a time.",
    remedy="Wait until a case of another conversation is closed, or agree a higher limit.",
    codes=ProtocolCodes(ebms2="Inconsistent", ebms3="EBMS:0003", soap="Client", http=500),
)

FORWARDING_REFUSED = Problem(
    id="GW317",
    title="forwarding not permitted",
    meaning="The message is for another message handler, and its sender may not send it this way.",
    cause="The forwarding rule for this To party does not name the From party among its senders.",
    remedy=(
        "Send the message to the handler of the To party, or ask the operator of this handler to add you to "
        "the senders of the route (`gateway route list`)."
    ),
    codes=ProtocolCodes(ebms2="SecurityFailure", ebms3="EBMS:0101", soap="Client", http=500),
)

FORWARDING_LOOP = Problem(
    id="GW318",
    title="message would go round in a loop",
    meaning="The message is for another handler, and forwarding it would bring it back.",
    cause=(
        "The next handler is that of the sender, the gateway itself is the sender, or another handler sent "
        "back what the gateway had forwarded."
    ),
    remedy="Operator: correct the routes of all handlers on the way (`gateway route list`).",
    codes=ProtocolCodes(ebms2="DeliveryFailure", ebms3="EBMS:0005", soap="Client", http=500),
)


COMPRESSION_REFUSED = Problem(
    id="GW319",
    title="compressed payload refused",
    meaning="A payload is not compressed as agreed, cannot be expanded, or expands to too much.",
    cause="It is not gzip, is damaged or cut off, or expands a hundredfold or beyond the limit of a body.",
    remedy="Compress each payload once with gzip, before it is signed. Split data beyond the limit.",
    codes=ProtocolCodes(ebms2="MimeProblem", ebms3="EBMS:0303", soap="Client", http=500),
)

OCTETS_PURGED = Problem(
    id="GW320",
    title="octets removed by retention",
    meaning="The octets of a message or document of long ago were removed; its row and evidence stay.",
    cause="The time of `retention.octets` is over, and an operator has run `gateway retention purge`.",
    remedy="Take them from a backup. The evidence states their digest, and when they were removed.",
    ours=True,
    codes=ProtocolCodes(http=410),
)

REPEAT_TOO_LATE = Problem(
    id="GW321",
    title="repeat of a message whose octets were removed",
    meaning="The message was received and processed before. The hub has removed it and its receipt since.",
    cause="The sender repeats a message after the time for which the agreement keeps it.",
    remedy="Do not repeat the message: it was processed. Ask the operator for the evidence of its receipt.",
    codes=ProtocolCodes(ebms2="TimeToLiveExpired", ebms3="EBMS:0004", soap="Client", http=500),
)

NODE_DRAINED = Problem(
    id="GW322",
    title="this node is drained",
    meaning="The node finishes what it has begun, and wants no new messages.",
    cause="An operator drains the node, for example before it is upgraded.",
    remedy="Send to another node. Operator: `gateway drain --end` lets the node work again.",
    ours=True,
    retry=True,
    codes=ProtocolCodes(ebms3="EBMS:0004", soap="Server", http=503),
)

OBJECT_MISSING = Problem(
    id="GW325",
    title="object of a large payload missing",
    meaning="The database names large octets in the object store, and the object store does not have them.",
    cause=(
        "The folder is not mounted, folder or bucket was restored without its objects, or one was removed "
        "by hand."
    ),
    remedy=(
        "Mount the folder of `payloads.folder`, or put the objects back from a backup. `gateway check` "
        "names each one that is missing."
    ),
    ours=True,
    retry=True,
    codes=ProtocolCodes(soap="Server", http=503),
)

OBJECT_CHANGED = Problem(
    id="GW326",
    title="object of a large payload changed",
    meaning="The octets of a large payload in the object store do not have the digest of their row.",
    cause="A file was changed outside the gateway, or the disk of the object store fails.",
    remedy="Replace the object by the one of a backup. It is named by its SHA-256.",
    ours=True,
    codes=ProtocolCodes(soap="Server", http=503),
)

PULL_REFUSED = Problem(
    id="GW340",
    title="pull not authorised",
    meaning="The PullRequest does not show a party that may pull from this channel.",
    cause=(
        "Nobody signed it, the certificate or the name belongs to another party, the password is wrong, "
        "or no agreement has messages pulled from this channel."
    ),
    remedy="Sign with the registered certificate, and pull from the channel that the agreement names.",
    codes=ProtocolCodes(ebms3="EBMS:0101", http=200),
)

PULL_REPEATED = Problem(
    id="GW341",
    title="PullRequest too old or seen before",
    meaning="The PullRequest is a copy of an earlier one, or its time is not that of the gateway.",
    cause="Somebody repeats a recorded request, a handler repeats its own, or a clock is wrong.",
    remedy="Make each PullRequest anew, with its own MessageId, Nonce and time, and keep the clock right.",
    codes=ProtocolCodes(ebms3="EBMS:0101", http=200),
)
