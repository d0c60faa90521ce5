"""Problems of the octets as received: media type, MIME, XML, SOAP, header."""

from __future__ import annotations

from gateway.errors.problem import Problem, ProtocolCodes

MEDIA_TYPE_REFUSED = Problem(
    id="GW101",
    title="media type not accepted",
    meaning="The endpoint does not accept the media type of the body.",
    cause=(
        "The Content-Type header is missing or is neither multipart/related with a SOAP root nor the type "
        "of a SOAP envelope."
    ),
    remedy=(
        "Send multipart/related with type and boundary; without a payload the envelope alone, as text/xml "
        "(ebMS 2.0) or application/soap+xml (AS4)."
    ),
    codes=ProtocolCodes(ebms2="MimeProblem", ebms3="EBMS:0007", soap="Client", http=415),
)

TOO_LARGE = Problem(
    id="GW102",
    title="too large, too many parts, or decompressed size too large",
    meaning="The message or one of its parts exceeds a limit. The gateway did not read the rest.",
    cause=(
        "The body, a part, the number of parts or headers, or the nesting of the XML exceeds a limit "
        "in [limits]."
    ),
    remedy=(
        "Split the attachments over several messages, or ask the operator for a higher limit in [limits]."
    ),
    codes=ProtocolCodes(ebms2="MimeProblem", ebms3="EBMS:0007", soap="Client", http=413),
)

MIME_MALFORMED = Problem(
    id="GW103",
    title="MIME malformed",
    meaning="The multipart body cannot be divided into its parts.",
    cause=(
        "A boundary is missing or not closed, a Content-ID is missing or used twice, a header cannot "
        "be parsed, or a transfer encoding is wrong or unknown."
    ),
    remedy=(
        "Compare the body with RFC 2387 and RFC 2046. Often the boundary in Content-Type differs from "
        "the boundary in the body."
    ),
    codes=ProtocolCodes(ebms2="MimeProblem", ebms3="EBMS:0007", soap="Client", http=400),
)

XML_MALFORMED = Problem(
    id="GW104",
    title="XML not well-formed, or with DTD or entities",
    meaning="The XML cannot be parsed, or it contains a construct that the gateway does not accept.",
    cause="It is not well-formed, not UTF-8, or has a document type declaration or entity references.",
    remedy="Write UTF-8 XML without a DOCTYPE. The location gives the line.",
    codes=ProtocolCodes(ebms2="OtherXml", ebms3="EBMS:0009", soap="Client", http=400),
)

NOT_SOAP = Problem(
    id="GW105",
    title="not a SOAP envelope of this version",
    meaning="The root element is not a SOAP envelope of the version that this endpoint accepts.",
    cause=(
        "A SOAP 1.2 envelope was sent to a SOAP 1.1 endpoint or the reverse, or the document is not SOAP."
    ),
    remedy=(
        "Send a SOAP 1.1 envelope (http://schemas.xmlsoap.org/soap/envelope/) for ebMS 2.0 and the "
        "web services, a SOAP 1.2 envelope for AS4."
    ),
    codes=ProtocolCodes(soap="VersionMismatch", http=500),
)

NOT_UNDERSTOOD = Problem(
    id="GW106",
    title="mandatory header not understood",
    meaning="The gateway does not support a header that is marked mustUnderstand.",
    cause="The sender uses an extension that is not agreed.",
    remedy=(
        "Remove the header or its mustUnderstand attribute, or ask the operator which extensions are "
        "supported."
    ),
    codes=ProtocolCodes(ebms2="NotSupported", ebms3="EBMS:0002", soap="MustUnderstand", http=500),
)

HEADER_INVALID = Problem(
    id="GW107",
    title="header violates its schema",
    meaning="A header element violates its schema or the rules of its standard.",
    cause=(
        "A required element or attribute is missing, is in the wrong place, occurs too often, or has "
        "an invalid value."
    ),
    remedy="Correct the element at the location. The detail states what is expected there.",
    codes=ProtocolCodes(ebms2="OtherXml", ebms3="EBMS:0009", soap="Client", http=500),
)

PART_MISSING = Problem(
    id="GW108",
    title="referenced part is missing",
    meaning="The message refers to a part that it does not contain.",
    cause="The Manifest or a signature names a cid: URI that is not the Content-ID of any MIME part.",
    remedy=(
        "Send every part that the Manifest names. Write each Content-ID exactly as in the reference to it."
    ),
    codes=ProtocolCodes(ebms2="MimeProblem", ebms3="EBMS:0011", soap="Client", http=500),
)

DECOMPRESSION_FAILED = Problem(
    id="GW109",
    title="decompression failed",
    meaning="A compressed part cannot be decompressed.",
    cause="The part is declared as gzip but is not gzip, is truncated, or has a wrong checksum.",
    remedy="Compress the part again and sign it after compression.",
    codes=ProtocolCodes(ebms3="EBMS:0303", soap="Client", http=500),
)

REQUEST_MALFORMED = Problem(
    id="GW110",
    title="HTTP request not accepted",
    meaning="The request violates HTTP/1.1, or uses an HTTP feature that the gateway does not support.",
    cause=(
        "A header field occurs twice, Host is missing, the body is truncated or not chunked, the method is "
        "unknown; or a parameter is unknown or has a character that cannot be stored."
    ),
    remedy="Send a plain HTTP/1.1 POST with a Content-Length. The location names the header field.",
    codes=ProtocolCodes(soap="Client", http=400),
)

TOO_SLOW = Problem(
    id="GW111",
    title="request too slow",
    meaning="The body did not arrive in time. The gateway stopped waiting for it.",
    cause="The connection is slow or was interrupted, or the sender stopped sending.",
    remedy=(
        "Send the request again. Operator: `http.read_time_out` and `http.slowest_body` set how fast "
        "a body must arrive."
    ),
    retry=True,
    codes=ProtocolCodes(soap="Client", http=408),
)

NOT_FOUND = Problem(
    id="GW112",
    title="nothing at this address",
    meaning="The API has nothing at this address that the caller may see.",
    cause=(
        "The path or the number is misspelt, or the case, message or webhook belongs to another party. "
        "The answer is the same in both cases."
    ),
    remedy="Compare the number with the answer in which it was given, and use the client of the owner.",
    codes=ProtocolCodes(http=404),
)

VALUE_TOO_LONG = Problem(
    id="GW113",
    title="value too long to be stored",
    meaning="A value has more octets than the gateway can store and find again. Nothing was stored.",
    cause=(
        "An id, a number or a name is far longer than those in use. A limit counts octets in UTF-8: a "
        "Korean syllable has three."
    ),
    remedy="Send a shorter value: sending the same again has the same answer.",
    codes=ProtocolCodes(ebms2="OtherXml", ebms3="EBMS:0003", soap="Client", http=413),
)
