"""Problems of deliveries, and of the answers of agencies."""

from __future__ import annotations

from gateway.errors.problem import Problem, ProtocolCodes

UNREACHABLE = Problem(
    id="GW601",
    title="destination unreachable, TLS, or time-out",
    meaning="The destination was not reached, or gave no answer in time. The gateway tries again.",
    cause=(
        "The destination is down or too slow, its host name or certificate is wrong, or the network "
        "is interrupted."
    ),
    remedy=(
        "Usually none. If the problem persists, check endpoint and TLS settings. "
        "`gateway queue show DELIVERY` lists the attempts."
    ),
    retry=True,
    codes=ProtocolCodes(ebms2="DeliveryFailure", ebms3="EBMS:0005"),
)

REFUSED_FOR_GOOD = Problem(
    id="GW602",
    title="destination refused permanently",
    meaning="The destination refused the delivery. Another attempt would be refused, too.",
    cause="It answered with a fault about the content, or does not accept the gateway as its caller.",
    remedy=(
        "Read the reason with `gateway queue show DELIVERY` and resolve it. Then run `gateway queue requeue "
        "DELIVERY`, or `gateway delivery compose DELIVERY` where another WSDL is set since."
    ),
    codes=ProtocolCodes(ebms2="DeliveryFailure", ebms3="EBMS:0004"),
)

ANSWER_NOT_UNDERSTOOD = Problem(
    id="GW603",
    title="answer not understood",
    meaning="The answer of the destination is not the agreed answer.",
    cause=(
        "It is a page of a proxy, has a wrong signature, answers another message, or came before the "
        "destination had the whole request."
    ),
    remedy=(
        "Read the reason with `gateway queue show DELIVERY`. The gateway repeats the delivery with the same "
        "message id."
    ),
    retry=True,
    codes=ProtocolCodes(ebms2="DeliveryFailure", ebms3="EBMS:0004"),
)

ATTEMPTS_USED_UP = Problem(
    id="GW604",
    title="attempts used up",
    meaning="The delivery has failed: all attempts or all of its time are used up.",
    cause="The destination was unreachable or refused the delivery for too long.",
    remedy=(
        "Resolve the cause and run `gateway queue requeue DELIVERY`, or run "
        "`gateway queue cancel DELIVERY` if the delivery is no longer needed."
    ),
    codes=ProtocolCodes(ebms2="DeliveryFailure", ebms3="EBMS:0202"),
)

PUT_ASIDE = Problem(
    id="GW605",
    title="put aside: workers crashed during it",
    meaning=(
        "Several workers crashed, one after another, during this delivery. The gateway does not try it again."
    ),
    cause="Its content crashes the program or a library, exhausts the memory, or never finishes.",
    remedy=(
        "Read the log and the message (`gateway message dump ID`). If the cause is fixed, run "
        "`gateway queue requeue DELIVERY`, else `gateway queue cancel DELIVERY`."
    ),
    ours=True,
    codes=ProtocolCodes(ebms2="DeliveryFailure", ebms3="EBMS:0004"),
)

FETCHED_REFUSED = Problem(
    id="GW606",
    title="fetched data not accepted",
    meaning="A fetched list or response was not accepted. The previous one stays in force.",
    cause=(
        "It is not signed by the configured issuer, is older than the one in force, has expired, is "
        "of another kind than requested, or is malformed."
    ),
    remedy=(
        "Usually none: it is fetched again. If the problem persists, `gateway pki source list` shows "
        "the reason. Check url and certificates under [fetch]."
    ),
    retry=True,
)

NO_ADDRESS = Problem(
    id="GW607",
    title="no address for this partner",
    meaning="The settings give no address for the destination, so nothing can be sent to it.",
    cause="The section of the agency, or [customs], has no endpoint, or the section is missing.",
    remedy=(
        "Set endpoint (or console) in its section of gateway.toml, and run `gateway check`. The delivery is "
        "repeated by itself within five minutes, or at once after `gateway queue try`."
    ),
    ours=True,
    retry=True,
    codes=ProtocolCodes(ebms2="DeliveryFailure", ebms3="EBMS:0005"),
)

PARTNER_FAULT = Problem(
    id="GW608",
    title="destination answered with a fault",
    meaning=(
        "The destination was reached, and answered with a fault or an error status that may pass. The "
        "gateway tries again."
    ),
    cause=(
        "The destination has a problem of its own, or does not accept the gateway's call yet. With HTTP "
        "status 413 it, or a proxy before it, takes no request of this size."
    ),
    remedy=(
        "Read the words of the destination with `gateway queue show DELIVERY` and resolve it with the "
        "destination. The gateway repeats the delivery with the same message id."
    ),
    retry=True,
    codes=ProtocolCodes(ebms2="DeliveryFailure", ebms3="EBMS:0004"),
)

REPLY_UNMATCHED = Problem(
    id="GW701",
    title="reply matches no request",
    meaning="The reply of an agency matches no request of the gateway.",
    cause="Its application number or RelatesTo is unknown, or belongs to another agency.",
    remedy="Repeat the ApplicationNumber or the wsa:MessageID of the request exactly.",
    codes=ProtocolCodes(ebms2="ValueNotRecognized", ebms3="EBMS:0001", soap="Client", http=500),
)

DECISION_CONFLICT = Problem(
    id="GW702",
    title="decision conflicts with an earlier one",
    meaning="The decision contradicts an earlier decision of the same notice, or contradicts itself.",
    cause="A notice number was reused with different content, or status code and decision do not agree.",
    remedy=(
        "Send the corrected decision under a new notice number, "
        "or with a later time of issue if the document has no notice number."
    ),
    codes=ProtocolCodes(ebms2="Inconsistent", ebms3="EBMS:0003", soap="Client", http=409),
)

CASE_CLOSED = Problem(
    id="GW703",
    title="reply after the case was closed",
    meaning="The reply arrived after its case had ended.",
    cause=(
        "The case was withdrawn or refused, or the application was cancelled, before the reply arrived. Or "
        "the agency's officers decided the application at the console while its own system was away."
    ),
    remedy="The reply is not stored. Contact the operator if the decision must be recorded.",
    codes=ProtocolCodes(ebms2="Inconsistent", ebms3="EBMS:0003", soap="Client", http=409),
)

TRANSITION_REFUSED = Problem(
    id="GW705",
    title="transition not allowed",
    meaning="The requested action is not possible in the current state.",
    cause="The action was done already, came too late, or another action came first.",
    remedy="Look at the current state. The detail lists the events that this state accepts.",
    codes=ProtocolCodes(soap="Server", http=409),
)

SHOWN_CHANGED = Problem(
    id="GW706",
    title="changed since it was shown",
    meaning="The application or the proposal is not the one that was shown. Nothing was done.",
    cause="A supplement, a notice, a decision or another officer changed it in the meantime.",
    remedy="Open the application again, look at what is new, and repeat the act.",
    codes=ProtocolCodes(http=409),
)

ACT_NOT_PERMITTED = Problem(
    id="GW707",
    title="act not permitted",
    meaning="This person may not do this, or not in this way. Nothing was done.",
    cause=(
        "The role does not have the right, the same person proposed the decision, the act is not confirmed "
        "as the organisation demands, or the organisation does not decide at the console."
    ),
    remedy=(
        "Read the detail. Let another officer approve, confirm with the passkey or the certificate, or ask "
        "the head of the organisation for the role."
    ),
    codes=ProtocolCodes(http=403),
)

WORKED_ON_BY_ANOTHER = Problem(
    id="GW708",
    title="another officer works on it",
    meaning="The application is in the hands of another officer, or another act is under way.",
    cause="It was claimed, handed over or proposed in the meantime.",
    remedy="Open the application again. The head of the organisation can hand it over.",
    codes=ProtocolCodes(http=409),
)

CALENDAR_WRONG = Problem(
    id="GW709",
    title="calendar or terms wrong (found at load)",
    meaning="A file of a calendar or of terms is wrong and was not loaded.",
    cause="A line has another form, names an unknown organisation or document, or repeats a day.",
    remedy="Correct the named line. `gateway calendar check FILE` lists every mistake of a file.",
)

CALENDAR_UNKNOWN = Problem(
    id="GW710",
    title="day outside the calendar",
    meaning="The calendar of the organisation does not say whether a day is a working day.",
    cause="The calendar covers other years, or the organisation has no calendar.",
    remedy="Load an edition that covers the day: `gateway calendar load FILE`. Nothing was guessed.",
)

FEE_WRONG = Problem(
    id="GW711",
    title="fee not usable",
    meaning="What is said of a fee is no exact amount of money, or does not name one fee.",
    cause=(
        "The currency is unknown, the amount has more decimals than the currency has, or is not above "
        "zero; the payment notice number is too long, or the notice fits no fee of the application."
    ),
    remedy="Correct the notice and send it with a new number. KRW has no decimals, EUR has two.",
    codes=ProtocolCodes(soap="Client", http=422),
)

PAYMENT_REFUSED = Problem(
    id="GW712",
    title="payment not counted",
    meaning="What the payment provider says fits no fee as it was ordered. Nothing is counted as paid.",
    cause=(
        "The order is unknown, the amount or the currency is another one, the number of the payment was "
        "used with other content, or the provider's call is not authentic or too old."
    ),
    remedy=(
        "Compare with `gateway fees list`. The provider repeats the event after it has corrected it, or "
        "gives the money back; `gateway fees reconcile FILE` lists what differs."
    ),
    codes=ProtocolCodes(http=409),
)

STATEMENT_WRONG = Problem(
    id="GW713",
    title="statement of the payment provider not readable",
    meaning="The file is no statement that the gateway can compare, or a line of it is wrong.",
    cause="A column is missing, or a value is no day, amount, currency or kind.",
    remedy="Ask the provider for the statement again. The manual page about fees has the columns.",
    codes=ProtocolCodes(http=400),
)

CLEARED_ALREADY = Problem(
    id="GW714",
    title="cleared by customs already",
    meaning="Customs has cleared the declaration. It can be neither amended nor withdrawn here any more.",
    cause="The amendment or the withdrawal came after the clearance result of customs (5EC or 5GA).",
    remedy=(
        "Apply to customs itself for the correction of the cleared declaration, with reasons (5FE). When "
        "customs cancels the clearance, the declaration can be amended and withdrawn here again."
    ),
    codes=ProtocolCodes(soap="Client", http=200),
)

CUSTOMS_ERROR = Problem(
    id="GW715",
    title="error reported by customs",
    meaning="Customs has answered that there is an error in what it was told (R25).",
    cause="Customs' own rules do not accept the declaration or a requirement. The text is that of customs.",
    remedy=(
        "Correct the field at the pointer and send an amendment. Operator: `gateway case show NUMBER` shows "
        "every notice of customs."
    ),
    codes=ProtocolCodes(soap="Client", http=200),
)
