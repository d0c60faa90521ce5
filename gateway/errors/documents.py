"""Problems of a declaration, and of the requests made from it for agencies."""

from __future__ import annotations

from gateway.errors.problem import Problem, ProtocolCodes

DOCUMENT_UNKNOWN = Problem(
    id="GW401",
    title="document type unknown",
    meaning="The gateway does not process documents of this type.",
    cause="The root element or namespace is not that of a submission, or the version is unknown.",
    remedy="Send a Submission of version 1. `gateway map list` shows the documents that it may contain.",
    codes=ProtocolCodes(soap="Client", http=200),
)

DOCUMENT_INVALID = Problem(
    id="GW402",
    title="document violates its schema",
    meaning="The document does not conform to its schema.",
    cause="An element is missing, occurs too often, is in the wrong order, or has an invalid value.",
    remedy=(
        "Correct the element that the pointer names. `gateway declaration check FILE` finds the same "
        "problem before sending."
    ),
    codes=ProtocolCodes(soap="Client", http=200),
)

CODE_UNKNOWN = Problem(
    id="GW403",
    title="code not in its list",
    meaning="A code is not in its code list, or is no longer in it.",
    cause="The code is misspelt, is from another list, or was withdrawn.",
    remedy="Use a code from the list that the detail names.",
    codes=ProtocolCodes(soap="Client", http=200),
)

RULE_BROKEN = Problem(
    id="GW404",
    title="business rule broken",
    meaning="Each value is well-formed, but the values contradict each other or a rule.",
    cause=(
        "A total, a date order, a reference between items, the direction (import or export) or another "
        "condition of the document is wrong."
    ),
    remedy="Correct the values at the given pointers and submit again.",
    codes=ProtocolCodes(soap="Client", http=200),
)

DECLARANT_NOT_ALLOWED = Problem(
    id="GW405",
    title="declarant may not file this",
    meaning="The signer or sender is not authorised to file for this declarant.",
    cause=(
        "No mandate of the declarant is registered for the signer or sender, or the mandate has ended "
        "or was revoked."
    ),
    remedy=(
        "Let the declarant sign, or have the mandate registered. Operator: "
        "`gateway party mandate add HOLDER PRINCIPAL`."
    ),
    codes=ProtocolCodes(soap="Client", http=200),
)

REFERENCE_REUSED = Problem(
    id="GW406",
    title="functional reference already used",
    meaning="The declarant already has a case with this functional reference.",
    cause="A reference was used twice, or an original was sent instead of a supplement.",
    remedy=(
        "Use a new reference, or send Function 35 to supplement the existing case. A reference of a "
        "refused case may be used again."
    ),
    codes=ProtocolCodes(soap="Client", http=200),
)

NO_OPEN_CASE = Problem(
    id="GW407",
    title="no open case to amend or withdraw",
    meaning="No case with this reference can be supplemented, amended or withdrawn.",
    cause="The reference is misspelt, belongs to another declarant, or its case has ended.",
    remedy="Compare the reference with the Result or Notice. Submit an original if there is no case.",
    codes=ProtocolCodes(soap="Client", http=200),
)

ATTACHMENT_MISMATCH = Problem(
    id="GW408",
    title="attachment differs from its digest or size",
    meaning="An attachment differs from its description in the signed submission.",
    cause="Its SHA-256 or size differs: the file was changed after signing, or two files were exchanged.",
    remedy="Compute digest and size from the file that is attached, then sign.",
    codes=ProtocolCodes(soap="Client", http=200),
)

CANCELLATION_REFUSED = Problem(
    id="GW409",
    title="cancellation refused by the agency",
    meaning="The agency does not cancel the application, so that the declaration is not withdrawn.",
    cause="The agency has begun to decide, or its rules do not permit a cancellation any more.",
    remedy=(
        "Read the agency's notice. Wait for its decision, or settle the matter with the agency and send the "
        "withdrawal again."
    ),
    codes=ProtocolCodes(soap="Client", http=200),
)

APPLICATION_CANCELLED = Problem(
    id="GW410",
    title="application cancelled",
    meaning="The application is cancelled while its case goes on. No agency has approved its items.",
    cause="The agency cancelled it, or agreed to a withdrawal that another agency refused.",
    remedy="Withdraw the declaration again, or file the application with a new declaration.",
    codes=ProtocolCodes(soap="Client", http=200),
)

QUANTITY_NOT_LEFT = Problem(
    id="GW411",
    title="requirement has not enough left",
    meaning="The declaration uses more of a certificate or approval than is left of it.",
    cause=(
        "Earlier declarations have used the quantity, also those of other brokers, or the agency has "
        "reduced it. The detail names what is used and what is left."
    ),
    remedy=(
        "Use at most what is left, or name another certificate. A declaration that is refused or withdrawn "
        "gives back what it used. Operator: `gateway requirement show NUMBER`."
    ),
    codes=ProtocolCodes(soap="Client", http=200),
)

REQUIREMENT_NOT_USABLE = Problem(
    id="GW412",
    title="requirement cannot be used so",
    meaning="The certificate or approval is known, but this declaration cannot use it in this way.",
    cause=(
        "Its quantity is in a unit that cannot be converted. Or it is revoked, suspended, no longer valid, "
        "issued to others, approved for the other direction, or not the only one with its number."
    ),
    remedy=(
        "Correct the number or the unit at the pointer; if two agencies have issued the number, name "
        "one in Submitter/Name. The detail says which of these it is."
    ),
    codes=ProtocolCodes(soap="Client", http=200),
)

REQUIREMENT_UNKNOWN = Problem(
    id="GW413",
    title="requirement not in the ledger",
    meaning="The declaration uses a certificate that the gateway does not know. Nothing is written off.",
    cause="The number is misspelt, or the certificate was issued outside and is not registered here.",
    remedy=(
        "Compare the number with the certificate. Operator: "
        "`gateway requirement add NUMBER --agency ORG --quantity 1500 --unit KGM` registers one from outside."
    ),
    codes=ProtocolCodes(soap="Client", http=200),
)

ITEM_NOT_APPROVED = Problem(
    id="GW414",
    title="item not approved in the parent case",
    meaning="The child declaration takes what its parent case does not have as an approved item.",
    cause="An agency rejected the item, its number is another one, or its goods were changed.",
    remedy="Take approved items only, under their numbers and with the goods as they were approved.",
    codes=ProtocolCodes(soap="Client", http=200),
)

ITEM_ALREADY_RELEASED = Problem(
    id="GW415",
    title="item or quantity released already",
    meaning="The child declaration takes more of an item than stays in its parent case.",
    cause="Another child has taken the quantity. Or the measures are not those of the parent.",
    remedy=(
        "Take at most what stays: the detail names it. A child that is withdrawn gives back what it took. "
        "Operator: `gateway case show NUMBER` of the parent."
    ),
    codes=ProtocolCodes(soap="Client", http=200),
)

PARENT_NOT_USABLE = Problem(
    id="GW416",
    title="parent case cannot be used",
    meaning="The declaration refers to a parent case from which it cannot take items.",
    cause=(
        "The parent is not known, not approved, or of another declarant or direction (import or export). Or "
        "customs has cleared the item there. Or the items name several parents, or other numbers there."
    ),
    remedy="Name the case of your own declaration at each item, and wait for its result.",
    codes=ProtocolCodes(soap="Client", http=200),
)

CHANGE_NOT_NAMED = Problem(
    id="GW417",
    title="change that no pointer names",
    meaning="Warning: an amended declaration differs from the former one where none of its pointers says so.",
    cause="A value was changed by mistake, or a chain of pointers is missing or names another place.",
    remedy=(
        "Compare the place with the former declaration. Correct the value or add an Amendment with its "
        "chain of Pointer, and amend again. Nothing is refused."
    ),
    codes=ProtocolCodes(soap="Client", http=200),
)

NAMED_NOT_CHANGED = Problem(
    id="GW418",
    title="pointer that names no change",
    meaning="Warning: a pointer of an amended declaration names a place that is as it was.",
    cause="The change was not made, or the chain has a wrong class, number or tag.",
    remedy=(
        "Compare the place with the former declaration. Make the change or correct the chain, and amend "
        "again. Nothing is refused."
    ),
    codes=ProtocolCodes(soap="Client", http=200),
)

ITEM_NUMBER_TAKEN = Problem(
    id="GW419",
    title="item number not free",
    meaning="An amended declaration gives a new item a number that the case has used, or that is too low.",
    cause="The number of a removed item is used again, or a new item was numbered among the others.",
    remedy="Give each new item a number above all that the case has ever used, and amend again.",
    codes=ProtocolCodes(soap="Client", http=200),
)

ITEM_RENUMBERED = Problem(
    id="GW420",
    title="item renumbered",
    meaning="Goods of the former declaration stand under another item number in the amended one.",
    cause="The items were numbered anew after one was removed, or two items changed places.",
    remedy="Leave each item its number, also where numbers below it are free, and amend again.",
    codes=ProtocolCodes(soap="Client", http=200),
)

MAPPING_MISSING = Problem(
    id="GW501",
    title="no mapping for this agency document",
    meaning="No mapping exists for the document of the application.",
    cause="The document id is misspelt, or this gateway does not support the document.",
    remedy=(
        "Compare @document with `gateway map list`. Operator: activate the mapping with `gateway map use`."
    ),
    codes=ProtocolCodes(soap="Client", http=200),
)

MAPPING_WRONG = Problem(
    id="GW502",
    title="mapping file wrong (found at load)",
    meaning="A mapping file is wrong and was not loaded.",
    cause=(
        "The file violates the mapping language, or names a field, code list or path that does not exist."
    ),
    remedy="Run `gateway map check`. It names file, line and field.",
)

FIELD_MISSING = Problem(
    id="GW503",
    title="a required field has no value",
    meaning="Neither the declaration nor the application contains a field that the agency requires.",
    cause="The field is empty, or is in a place that the mapping does not read.",
    remedy="Add the field at the named pointer and submit again. No request was sent to any agency.",
    codes=ProtocolCodes(soap="Client", http=200),
)

REQUEST_INVALID = Problem(
    id="GW504",
    title="rendered request violates the agency's schema",
    meaning="The request for the agency does not conform to the agency's schema, so it was not sent.",
    cause="The mapping does not match the agency's schema, or an earlier check accepted an invalid value.",
    remedy=(
        "Operator: correct the mapping and run `gateway map check`. Sender: no action unless the "
        "detail names a value."
    ),
    ours=True,
    codes=ProtocolCodes(soap="Server", http=200),
)

SOURCES_DISAGREE = Problem(
    id="GW505",
    title="two sources disagree on a common field",
    meaning="A field that all agencies share has two different values.",
    cause="The declaration and its supplement, or two applications, contradict each other.",
    remedy="Give the field once, or give the same value in every place.",
    codes=ProtocolCodes(soap="Client", http=200),
)

VALUE_DOES_NOT_FIT = Problem(
    id="GW506",
    title="value does not fit the agency's field",
    meaning=(
        "A value is too long, too precise or of the wrong form for the agency's field. The gateway "
        "never truncates a value."
    ),
    cause="The agency's field is narrower than the field of the declaration.",
    remedy="Shorten or round the value at the pointer. The detail states what fits.",
    codes=ProtocolCodes(soap="Client", http=200),
)

MAPPING_WOULD_GO = Problem(
    id="GW507",
    title="a document would go out of force unnamed",
    meaning="A folder of mappings lacks documents that are in force, so it was not activated.",
    cause=(
        "The folder contains only the new documents, or a document was deleted from it. A folder "
        "replaces everything that is in force."
    ),
    remedy=(
        "Write what is in force to a folder with `gateway map export FOLDER`, and change that folder. To "
        "take a document out of force, name it: `gateway map use FOLDER --remove ID`."
    ),
)

DOCUMENT_NEEDED = Problem(
    id="GW508",
    title="a document that the goods need is missing",
    meaning=(
        "A law asks a document for a goods item; the submission has neither its application nor a disclaimer."
    ),
    cause="The application was left out, or it names another item or another document.",
    remedy=(
        "Add an application of one of the named documents, or a disclaimer of the law. "
        "`gateway rules check FILE` lists all."
    ),
    codes=ProtocolCodes(soap="Client", http=200),
)

DISCLAIMER_NOT_ACCEPTED = Problem(
    id="GW509",
    title="disclaimer not accepted",
    meaning="The law, or the row of the table, does not accept a disclaimer with this reason.",
    cause="The policy of the organisation forbids disclaimers under this law, or accepts other reasons only.",
    remedy="Add an application of a document of the law, or give a reason that the law accepts.",
    codes=ProtocolCodes(soap="Client", http=200),
)

DOCUMENT_PERHAPS_NEEDED = Problem(
    id="GW510",
    title="the goods may need a document",
    meaning="A law may ask a document for a goods item; the data do not tell. Only a warning.",
    cause=(
        "The tariff code has fewer than ten digits or is that of another country, or another authority asks."
    ),
    remedy="Give the whole tariff code. Add the application if the goods need it.",
)

APPLICATION_SUPERFLUOUS = Problem(
    id="GW511",
    title="no rule of need asks for this application",
    meaning="An application was filed for goods that need it under no law. It is sent on. Only a warning.",
    cause="The tariff code or the document is another than the goods have, or the table lacks a row.",
    remedy="Compare the code and the document with what `gateway rules check FILE` says the goods need.",
)

NEED_TABLE_WRONG = Problem(
    id="GW512",
    title="table of needs wrong (found at load)",
    meaning="A table of needs, or a file of laws beside it, is wrong and was not loaded.",
    cause="A line or column has another form than the table's, or names an unknown law, document or country.",
    remedy="Correct the named line and column. `gateway rules load FILE` lists every mistake of a file.",
)

NUMBER_MISTYPED = Problem(
    id="GW513",
    title="number mistyped",
    meaning="A case or application number is not one that the gateway can have made.",
    cause="A character is wrong, missing or in another place: the check sign at its end does not fit.",
    remedy=(
        "Copy the number from the Notice, the Result or the request. The signs I, L, O, U and Z do not occur "
        "in it. Operator: `gateway case list` shows the numbers."
    ),
    codes=ProtocolCodes(ebms2="ValueNotRecognized", ebms3="EBMS:0001", soap="Client", http=500),
)

PUBLISHER_UNKNOWN = Problem(
    id="GW514",
    title="mappings not signed by a known publisher",
    meaning="Mappings were not put into force, because nobody who may publish them has signed them.",
    cause=(
        "They are unsigned and `mappings.require_signature` is set, or the certificate of the signature is "
        "not among `mappings.publishers`, or is out of its dates."
    ),
    remedy=(
        "Ask the publisher for a signed file, or make one: `gateway map pack FOLDER --key K --certificate C "
        "--out FILE`. Add only a certificate of your own publisher to `mappings.publishers`."
    ),
)

BUNDLE_FILE_WRONG = Problem(
    id="GW515",
    title="bundle file wrong or changed",
    meaning="A bundle file is not what it says, and was not put into force.",
    cause=(
        "The file was changed after it was signed or damaged on its way, its content has another address "
        "than it states, or it is used outside its dates."
    ),
    remedy="Get the file again. `gateway map verify FILE` names the place.",
)

DISCLAIMER_CONTRADICTED = Problem(
    id="GW516",
    title="disclaimed and applied for",
    meaning=(
        "A disclaimer says that a law asks nothing of a goods item; an application under that law is filed "
        "for it. It is sent on, and its agency is told both. Only a warning."
    ),
    cause="The disclaimer names another item or law than was meant, or it was left from an earlier form.",
    remedy="Leave out the disclaimer if the goods need the document, or the application if they do not.",
)

MAPPINGS_NOT_STORED = Problem(
    id="GW518",
    title="mappings of the case not stored",
    meaning="The mappings by which a case was decided are not in the database, so it cannot be read by them.",
    cause=(
        "The case was opened by an earlier version of the program, which did not store the mappings that it "
        "came with."
    ),
    remedy=(
        "Nothing for the case: it goes on by the mappings in force. Cases opened since then have theirs: "
        "`gateway map list` shows what is stored."
    ),
)

CONTRACT_UNFIT = Problem(
    id="GW519",
    title="the WSDL of an agency does not take what the mappings write",
    meaning=(
        "The WSDL that an agency serves binds a document to a schema, and the mappings make requests that "
        "this schema does not accept. The agency would refuse them, and their applications would be STRANDED."
    ),
    cause=(
        "The mappings of the document changed, and the agency still has the WSDL and schemas of before; or "
        "the schema is not beside the WSDL, or is written in another way, and cannot be compared."
    ),
    remedy=(
        "Make WSDL and schemas with `gateway map build --out FOLDER`, agree on the day with the agency, and "
        "set `agency.CODE.wsdl_sha256`. To activate before: `gateway map use FOLDER --despite-wsdl CODE`."
    ),
)
