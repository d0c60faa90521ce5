"""Problems of the fragments of a large message.

By ebMS 3.0 part 2 §4.6 each way in which fragments contradict each other has an error code of its own. The
detail of the problem describes the contradiction, and the error has its code.
"""

from __future__ import annotations

from gateway.errors.problem import Problem, ProtocolCodes

FRAGMENT_SPACE = Problem(
    id="GW342",
    title="no space for a message in fragments",
    meaning="There is no space for all fragments of a message, so none of them is taken.",
    cause=(
        "As many messages of this sender are incomplete as its P-Mode allows (`open_groups`), or the disk "
        "lacks space for the size that the message states."
    ),
    remedy="Send the message again, as another group, when those before it are complete.",
    codes=ProtocolCodes(ebms3="EBMS:0054", soap="Server", http=500),
    retry=True,
)

FRAGMENT_UNWANTED = Problem(
    id="GW343",
    title="fragment not sent any more",
    meaning="A fragment of a message of ours was not sent, because its message needs it no longer.",
    cause="The whole message has its receipt, another fragment of it has failed, or it is sent anew.",
    remedy="Look at the delivery of the whole message: `gateway message show ID`.",
)

FRAGMENT_MALFORMED = Problem(
    id="GW350",
    title="fragment of a message malformed",
    meaning="A message is not one fragment of a larger message as ebMS 3.0 part 2 defines it.",
    cause="MessageFragment is missing or names another part, there are further parts, or Body has content.",
    remedy="Send one part of type application/octet-stream with each fragment, named by MessageFragment.",
    codes=ProtocolCodes(ebms3="EBMS:0047", soap="Client", http=500),
)

FRAGMENT_CONTRADICTED = Problem(
    id="GW351",
    title="fragment contradicts its group",
    meaning="A fragment contradicts another one of its group; the whole group is refused.",
    cause=(
        "A number came twice or is too large, or a size, a count, a header or a compression that one "
        "fragment states is stated again."
    ),
    remedy="Split the message anew, and send it as another group.",
    codes=ProtocolCodes(ebms3="EBMS:0046", soap="Client", http=500),
)

JOIN_FAILED = Problem(
    id="GW352",
    title="joined message differs from what its fragments say",
    meaning="All fragments came, but joined they are not the message that their headers describe.",
    cause="A fragment was made of another message, its header was changed, or compressed octets are damaged.",
    remedy="Compare the header of each fragment with that of the source message, and split it again.",
    codes=ProtocolCodes(ebms3="EBMS:0053", soap="Client", http=500),
)

FRAGMENT_MISSING = Problem(
    id="GW353",
    title="fragments missing",
    meaning="Not all fragments of a message are there, so it cannot be joined.",
    cause="A fragment was lost, was refused by itself, or is still on its way.",
    remedy="Send the missing fragments again, the same octets, or give their files as well.",
    codes=ProtocolCodes(ebms3="EBMS:0051", soap="Client", http=500),
)
