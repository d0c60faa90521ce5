"""Problems of deliveries, and of the answers of agencies."""

from __future__ import annotations

from gateway.errors.problem import Problem

__all__ = [
    "ANSWER_NOT_UNDERSTOOD",
    "ATTEMPTS_USED_UP",
    "CASE_CLOSED",
    "DEADLINE_PASSED",
    "DECISION_CONFLICT",
    "FETCHED_REFUSED",
    "PUT_ASIDE",
    "REFUSED_FOR_GOOD",
    "REPLY_UNMATCHED",
    "TRANSITION_REFUSED",
    "UNREACHABLE",
]

UNREACHABLE = Problem(
    id="GW601",
    title="destination unreachable, TLS, or time-out",
    meaning="The destination did not take the delivery in time; it is tried again.",
    cause="It is down, its name or certificate is wrong, the network is cut, or it is too slow.",
    remedy="Usually none. If it goes on, check endpoint and TLS; `gateway queue show` lists every attempt.",
    retry=True,
    ebms2="DeliveryFailure",
    ebms3="EBMS:0005",
)

REFUSED_FOR_GOOD = Problem(
    id="GW602",
    title="destination answered with a fault it will repeat",
    meaning="The destination refused the delivery in a way that repeating will not change.",
    cause="It answered with a fault about the content, or refuses us.",
    remedy=(
        "Read the stored answer with `gateway queue show`, settle it with the destination, then `gateway "
        "queue requeue`."
    ),
    ebms2="DeliveryFailure",
    ebms3="EBMS:0004",
)

ANSWER_NOT_UNDERSTOOD = Problem(
    id="GW603",
    title="answer not understood",
    meaning="The destination answered something that is not the answer agreed.",
    cause="A proxy's error page, a cut-off answer, a wrong signature or a reply to another message.",
    remedy="Look at the stored answer; the delivery is tried again under the same id.",
    retry=True,
    ebms2="DeliveryFailure",
    ebms3="EBMS:0004",
)

ATTEMPTS_USED_UP = Problem(
    id="GW604",
    title="attempts used up",
    meaning="The delivery was given up: all tries or all of its time are used up.",
    cause="The destination was unreachable or unwilling for too long.",
    remedy=(
        "Settle the cause, then `gateway queue requeue`; or `gateway queue cancel` if it is of no more use."
    ),
    ebms2="DeliveryFailure",
    ebms3="EBMS:0202",
)

PUT_ASIDE = Problem(
    id="GW605",
    title="put aside: workers died over it",
    meaning="So many workers died, one after another, while they made this delivery that it is made no more.",
    cause="What it carries crashes the program or a library, takes all memory, or never ends.",
    remedy=(
        "Look at the log and at the message with `gateway message dump`; when the cause is mended, `gateway "
        "queue requeue`, else `gateway queue cancel`."
    ),
    ours=True,
    ebms2="DeliveryFailure",
    ebms3="EBMS:0004",
)

FETCHED_REFUSED = Problem(
    id="GW606",
    title="what was fetched is not put in force",
    meaning="A list or response that was fetched is not believed; what was in force before stays so.",
    cause=(
        "It is not signed by the issuer in the settings, older than what is in force, out of time, of "
        "another kind than asked for, or malformed."
    ),
    remedy=(
        "Usually none: it is fetched again. If it goes on, compare url and certificates under [fetch] with "
        "what the authority publishes; `gateway pki source list` says what is wrong."
    ),
    retry=True,
)

REPLY_UNMATCHED = Problem(
    id="GW701",
    title="reply matches no request",
    meaning="The reply of an agency belongs to nothing we asked.",
    cause="Its application number or RelatesTo is unknown, or belongs to another agency.",
    remedy="Repeat the ApplicationNumber or the wsa:MessageID of our request exactly.",
    ebms2="ValueNotRecognized",
    ebms3="EBMS:0001",
    soap="Client",
    http=500,
)

DECISION_CONFLICT = Problem(
    id="GW702",
    title="decision conflicts with an earlier one",
    meaning="The decision contradicts an earlier one of the same notice, or contradicts itself.",
    cause="A notice number was used again with other words, or status code and decision do not agree.",
    remedy="Send the corrected decision under a new notice number.",
    ebms2="Inconsistent",
    ebms3="EBMS:0003",
    soap="Client",
    http=409,
)

CASE_CLOSED = Problem(
    id="GW703",
    title="reply after the case was closed",
    meaning="The reply came after its case had ended.",
    cause="The case was withdrawn or refused meanwhile, or the application was cancelled.",
    remedy="Nothing is stored. Settle it with the operator if the decision must stand.",
    ebms2="Inconsistent",
    ebms3="EBMS:0003",
    soap="Client",
    http=409,
)

DEADLINE_PASSED = Problem(
    id="GW704",
    title="deadline passed",
    meaning="An agency or a declarant let a deadline pass; the case goes on.",
    cause="No decision or no supplement came in time.",
    remedy="Operator: remind whoever is late; the case shows whom it waits for.",
)

TRANSITION_REFUSED = Problem(
    id="GW705",
    title="transition not allowed",
    meaning="What was asked is not possible in the present state.",
    cause="It was done already, came too late, or another acted first.",
    remedy="Look at the present state; the detail lists what it takes.",
    soap="Server",
    http=409,
)
