"""Problems of a declaration, and of the requests made from it for agencies."""

from __future__ import annotations

from gateway.errors.problem import Problem

__all__ = [
    "ATTACHMENT_MISMATCH",
    "CODE_UNKNOWN",
    "DECLARANT_NOT_ALLOWED",
    "DOCUMENT_INVALID",
    "DOCUMENT_UNKNOWN",
    "FIELD_MISSING",
    "MAPPING_MISSING",
    "MAPPING_WRONG",
    "NO_OPEN_CASE",
    "REFERENCE_REUSED",
    "REQUEST_INVALID",
    "RULE_BROKEN",
    "SOURCES_DISAGREE",
    "VALUE_DOES_NOT_FIT",
]

DOCUMENT_UNKNOWN = Problem(
    id="GW401",
    title="document type unknown",
    meaning="The payload is a document of a kind that is not processed here.",
    cause="Its root element or namespace is not that of a submission, or its version is unknown.",
    remedy="Send a Submission of version 1; `gateway map list` shows the documents it may contain.",
    soap="Client",
    http=200,
)

DOCUMENT_INVALID = Problem(
    id="GW402",
    title="document against its schema",
    meaning="The document breaks its schema.",
    cause="An element is missing, too many, in the wrong order, or has a value of the wrong form.",
    remedy="Correct what the pointer names; `gateway declaration check` finds the same before sending.",
    soap="Client",
    http=200,
)

CODE_UNKNOWN = Problem(
    id="GW403",
    title="code not in its list",
    meaning="A code is not in the list it belongs to, or no longer.",
    cause="The code is misspelt, of another list, or was withdrawn.",
    remedy="Take a code from the list named in the detail.",
    soap="Client",
    http=200,
)

RULE_BROKEN = Problem(
    id="GW404",
    title="business rule broken",
    meaning="The values are each well-formed but do not agree with each other or with a rule.",
    cause=(
        "A total, a date order, a reference between items or another condition of the document does not hold."
    ),
    remedy="Correct the values at the pointers given and submit again.",
    soap="Client",
    http=200,
)

DECLARANT_NOT_ALLOWED = Problem(
    id="GW405",
    title="declarant may not file this",
    meaning="The signer or sender may not file for this declarant.",
    cause="No mandate of the declarant is registered for it, or the mandate has ended or was revoked.",
    remedy="Have the declarant's mandate registered, or let the declarant sign.",
    soap="Client",
    http=200,
)

REFERENCE_REUSED = Problem(
    id="GW406",
    title="functional reference used already",
    meaning="The declarant has a case under this reference already.",
    cause="A reference was used twice, or an original was sent where a supplement was meant.",
    remedy=(
        "Use a new reference, or send Function 35 to supplement the existing case. Refused cases free theirs."
    ),
    soap="Client",
    http=200,
)

NO_OPEN_CASE = Problem(
    id="GW407",
    title="no open case to amend or withdraw",
    meaning="There is no case under this reference that could be supplemented, amended or withdrawn.",
    cause="The reference is misspelt, belongs to another declarant, or its case has ended.",
    remedy="Check the reference with the Result or Notice received; submit an original if there is no case.",
    soap="Client",
    http=200,
)

ATTACHMENT_MISMATCH = Problem(
    id="GW408",
    title="attachment differs from its digest or size",
    meaning="An attachment is not the one that the signed submission describes.",
    cause="Its SHA-256 or size differs: the file was changed after signing, or two files were mixed up.",
    remedy="Compute digest and size from the very file that is attached, then sign.",
    soap="Client",
    http=200,
)

MAPPING_MISSING = Problem(
    id="GW501",
    title="no mapping for this agency document",
    meaning="No mapping describes the document that was applied for.",
    cause="The document id is misspelt, or this gateway serves no such document.",
    remedy="Compare @document with `gateway map list`; operator: install the mapping.",
    soap="Client",
    http=200,
)

MAPPING_WRONG = Problem(
    id="GW502",
    title="mapping file wrong (found at load)",
    meaning="A mapping file is wrong and was not loaded.",
    cause="The file breaks the mapping language, or names a field, code list or path that does not exist.",
    remedy="Run `gateway map check`; it names file, line and field.",
)

FIELD_MISSING = Problem(
    id="GW503",
    title="a required field has no value",
    meaning="The agency requires a field that neither the declaration nor the application holds.",
    cause="The field was left empty, or stands where it is not looked for.",
    remedy="Give the field at the pointer named; nothing was sent to any agency.",
    soap="Client",
    http=200,
)

REQUEST_INVALID = Problem(
    id="GW504",
    title="rendered request against the agency's schema",
    meaning="The request made for the agency breaks the agency's own schema, so it was not sent.",
    cause=(
        "The mapping and the agency's schema do not agree, or a value passed the first checks that should "
        "not."
    ),
    remedy=(
        "Operator: correct the mapping with `gateway map check`. Sender: no action unless the detail names "
        "a value."
    ),
    ours=True,
    soap="Server",
    http=200,
)

SOURCES_DISAGREE = Problem(
    id="GW505",
    title="two sources disagree on a common field",
    meaning="A field that all agencies share has two different values.",
    cause="The declaration and its supplement, or two applications, contradict each other.",
    remedy="Give the field once, or the same value everywhere.",
    soap="Client",
    http=200,
)

VALUE_DOES_NOT_FIT = Problem(
    id="GW506",
    title="value does not fit the agency's field",
    meaning="A value is too long, too precise or of the wrong form for the agency's field, and is never cut.",
    cause="The agency's field is narrower than that of the declaration.",
    remedy="Shorten or round the value at the pointer as the detail says.",
    soap="Client",
    http=200,
)
