"""Problems of the octets as received: media type, MIME, XML, SOAP, header."""

from __future__ import annotations

from gateway.errors.problem import Problem

__all__ = [
    "DECOMPRESSION_FAILED",
    "HEADER_INVALID",
    "MEDIA_TYPE_REFUSED",
    "MIME_MALFORMED",
    "NOT_SOAP",
    "NOT_UNDERSTOOD",
    "PART_MISSING",
    "REQUEST_MALFORMED",
    "TOO_LARGE",
    "TOO_SLOW",
    "XML_MALFORMED",
]

MEDIA_TYPE_REFUSED = Problem(
    id="GW101",
    title="media type not accepted",
    meaning="The body is of a media type that this endpoint does not take.",
    cause="The Content-Type header is missing or is neither multipart/related with a SOAP root nor text/xml.",
    remedy=(
        'Send multipart/related with type="text/xml" and a boundary, or bare text/xml when there is no '
        "payload."
    ),
    ebms2="MimeProblem",
    ebms3="EBMS:0007",
    soap="Client",
    http=415,
)

TOO_LARGE = Problem(
    id="GW102",
    title="too large, too many parts, or inflates too far",
    meaning=(
        "The message, or one part of it, is larger or more numerous than the limits allow; it was not read "
        "further."
    ),
    cause=(
        "The body, a part, the number of parts or headers, or the nesting of the XML exceeds a limit in "
        "[limits]."
    ),
    remedy="Split the attachments over several messages, or agree on a higher limit with the operator.",
    ebms2="MimeProblem",
    ebms3="EBMS:0007",
    soap="Client",
    http=413,
)

MIME_MALFORMED = Problem(
    id="GW103",
    title="MIME malformed",
    meaning="The multipart body cannot be taken apart.",
    cause=(
        "A boundary is missing or never closed, a Content-ID is missing or used twice, a header cannot be "
        "read, or a transfer encoding is wrong or unknown."
    ),
    remedy=(
        "Compare the body with RFC 2387 and RFC 2046; often the boundary in Content-Type is not that of the "
        "body."
    ),
    ebms2="MimeProblem",
    ebms3="EBMS:0007",
    soap="Client",
    http=400,
)

XML_MALFORMED = Problem(
    id="GW104",
    title="XML not well-formed, or with DTD or entities",
    meaning="The XML cannot be read, or holds what is never read here.",
    cause="It is not well-formed, not UTF-8, or has a document type declaration or entity references.",
    remedy="Write plain UTF-8 XML without a DOCTYPE; the location names the line.",
    ebms2="OtherXml",
    ebms3="EBMS:0009",
    soap="Client",
    http=400,
)

NOT_SOAP = Problem(
    id="GW105",
    title="not a SOAP envelope of this version",
    meaning="The root is not a SOAP envelope of the version that this endpoint speaks.",
    cause=(
        "A SOAP 1.2 envelope came where 1.1 is spoken or the other way round, or the document is no SOAP at "
        "all."
    ),
    remedy=(
        "Send a SOAP 1.1 envelope (http://schemas.xmlsoap.org/soap/envelope/) for ebMS 2.0 and the web "
        "services."
    ),
    soap="VersionMismatch",
    http=500,
)

NOT_UNDERSTOOD = Problem(
    id="GW106",
    title="mandatory header not understood",
    meaning="A header marked mustUnderstand is not one the gateway knows.",
    cause="The sender uses an extension that was not agreed on.",
    remedy=(
        "Leave the header out or take its mustUnderstand away, or ask the operator which extensions are "
        "supported."
    ),
    ebms2="NotSupported",
    ebms3="EBMS:0002",
    soap="MustUnderstand",
    http=500,
)

HEADER_INVALID = Problem(
    id="GW107",
    title="header against its schema",
    meaning="A header element breaks its schema or its standard's rules.",
    cause=(
        "A required element or attribute is missing, stands in the wrong place, occurs too often or has a "
        "value of the wrong form."
    ),
    remedy="Correct the element at the location; the detail says what was expected there.",
    ebms2="OtherXml",
    ebms3="EBMS:0009",
    soap="Client",
    http=500,
)

PART_MISSING = Problem(
    id="GW108",
    title="referenced part is missing",
    meaning="The message refers to a part that is not in it.",
    cause="The Manifest or a signature names a cid: that no MIME part has as its Content-ID.",
    remedy="Send every part that the Manifest names, and write each Content-ID exactly as it is referred to.",
    ebms2="MimeProblem",
    ebms3="EBMS:0011",
    soap="Client",
    http=500,
)

DECOMPRESSION_FAILED = Problem(
    id="GW109",
    title="decompression failed",
    meaning="A compressed part cannot be unpacked.",
    cause="The part is not gzip although it says so, is cut off, or its checksum is wrong.",
    remedy="Compress the part again and sign it after compression.",
    ebms3="EBMS:0303",
    soap="Client",
    http=500,
)

REQUEST_MALFORMED = Problem(
    id="GW110",
    title="HTTP request not taken",
    meaning="The request is wrong as HTTP, or asks of HTTP what is not offered here.",
    cause=(
        "A field is said twice, the host is missing, the body breaks off, has trailers or a coding other "
        "than chunked, or the method or an expectation is unknown."
    ),
    remedy="Send a plain HTTP/1.1 POST with a Content-Length; the location names the field.",
    soap="Client",
    http=400,
)

TOO_SLOW = Problem(
    id="GW111",
    title="request too slow",
    meaning="The body did not arrive in time, so it was not waited for any longer.",
    cause="The connection is slow or was interrupted, or the sender stopped in the middle.",
    remedy=(
        "Send again. Operator: `http.read_time_out` and `http.slowest_body` say how fast a body must come."
    ),
    retry=True,
    soap="Client",
    http=408,
)
