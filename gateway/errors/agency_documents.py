"""Problems of the statements of agencies: their time, and documents and messages in their own formats."""

from __future__ import annotations

from gateway.errors.problem import Problem, ProtocolCodes

NOTICE_KIND_UNKNOWN = Problem(
    id="GW716",
    title="kind of the agency's document not known",
    meaning="The document is of no kind by which this application may be answered. Nothing of it was stored.",
    cause="Its namespace or first element is not one that the mappings name, or the hub or customs send it.",
    remedy="Send a document that the mapping of the application names, in the namespace of its schema.",
    codes=ProtocolCodes(ebms2="NotSupported", ebms3="EBMS:0004", soap="Client", http=422),
)

NOTICE_UNREADABLE = Problem(
    id="GW717",
    title="agency's document contradicts its form",
    meaning="A part of the agency's document cannot be read by the mapping. Nothing of it was stored.",
    cause="A value, code, element or item is not as its form has it. The location is its XPath.",
    remedy="Correct the place that the location names, and send the document again.",
    codes=ProtocolCodes(ebms2="Inconsistent", ebms3="EBMS:0004", soap="Client", http=422),
)

CARRIED_WRONG = Problem(
    id="GW718",
    title="JSON or fixed records do not fit the document",
    meaning="A document cannot be carried in the format of the organisation, or is not in that format.",
    cause="A name, record, length, character or number does not fit the format. Nothing was cut.",
    remedy="Correct the named place, or the format of the organisation in the mappings.",
    codes=ProtocolCodes(ebms2="Inconsistent", ebms3="EBMS:0004", soap="Client", http=422),
)

ISSUE_TIME_WRONG = Problem(
    id="GW719",
    title="notice issued at an impossible time",
    meaning=(
        "The notice is issued more than a day ahead, or more than a day before its case; or it states a day "
        "without a time, and a notice of that day is in force. Nothing of it was stored."
    ),
    cause=(
        "A clock is wrong, or the time was written in another time zone than it says. Of a day without a "
        "time: it names another certificate than the notice in force, or one of them names none."
    ),
    remedy=(
        "Correct the clock or the time, and send the notice again; instead of a day without a time, send "
        "SubmitDecision with the time."
    ),
    codes=ProtocolCodes(ebms2="Inconsistent", ebms3="EBMS:0003", soap="Client", http=422),
)

CALL_UNFIT = Problem(
    id="GW720",
    title="the WSDL of the agency does not take the call",
    meaning=(
        "An application cannot be written by the WSDL on which its agency has agreed, so its agency was not "
        "called. The application is STRANDED, and kept whole. The other agencies have theirs."
    ),
    cause=(
        "The WSDL has no place for the document or its form, or does not accept a value; often the mappings "
        "were put into force with `--despite-wsdl`."
    ),
    remedy=(
        "Run `gateway check`, agree on a WSDL that takes the document, and set agency.CODE.wsdl. Then run "
        "`gateway queue requeue DELIVERY`: the call is written by the new WSDL."
    ),
    ours=True,
    codes=ProtocolCodes(ebms2="DeliveryFailure", ebms3="EBMS:0005"),
)
