"""Every way to fail, once.

A problem is a row of one table: its id never changes, its words help the one who
meets it, and its faces say how each protocol shows it.  Nothing else in the gateway
invents an error code: rooms raise :class:`GatewayError` with a problem of this table,
and only the edges (``protocols.*``, ``web``, ``cli``) turn it into an answer.
"""

from __future__ import annotations

from typing import Final

from gateway.errors import documents, exchange, ourselves, received, replies, security
from gateway.errors.documents import (
    ATTACHMENT_MISMATCH,
    CODE_UNKNOWN,
    DECLARANT_NOT_ALLOWED,
    DOCUMENT_INVALID,
    DOCUMENT_UNKNOWN,
    FIELD_MISSING,
    MAPPING_MISSING,
    MAPPING_WRONG,
    NO_OPEN_CASE,
    REFERENCE_REUSED,
    REQUEST_INVALID,
    RULE_BROKEN,
    SOURCES_DISAGREE,
    VALUE_DOES_NOT_FIT,
)
from gateway.errors.exchange import (
    AGREEMENT_UNKNOWN,
    DUPLICATE,
    HEADER_INCONSISTENT,
    MESSAGE_ID_REUSED,
    NOT_SUPPORTED,
    NOTHING_TO_PULL,
    PARTY_UNKNOWN,
    PMODE_UNKNOWN,
    RECEIPT_MISMATCH,
    RECEIPT_MISSING,
    REFERENCE_UNKNOWN,
    TIME_TO_LIVE_EXPIRED,
)
from gateway.errors.ourselves import (
    EVIDENCE_BROKEN,
    KEY_UNAVAILABLE,
    NO_ROOM,
    OUR_MISTAKE,
    SCHEMA_VERSION_WRONG,
    SETTINGS_WRONG,
    TOO_MANY_REQUESTS,
    TRUST_STALE,
)
from gateway.errors.problem import GatewayError, Problem
from gateway.errors.received import (
    DECOMPRESSION_FAILED,
    HEADER_INVALID,
    MEDIA_TYPE_REFUSED,
    MIME_MALFORMED,
    NOT_SOAP,
    NOT_UNDERSTOOD,
    PART_MISSING,
    REQUEST_MALFORMED,
    TOO_LARGE,
    TOO_SLOW,
    XML_MALFORMED,
)
from gateway.errors.replies import (
    ANSWER_NOT_UNDERSTOOD,
    ATTEMPTS_USED_UP,
    CASE_CLOSED,
    DEADLINE_PASSED,
    DECISION_CONFLICT,
    PUT_ASIDE,
    REFUSED_FOR_GOOD,
    REPLY_UNMATCHED,
    TRANSITION_REFUSED,
    UNREACHABLE,
)
from gateway.errors.security import (
    ALGORITHM_REFUSED,
    CERTIFICATE_EXPIRED,
    CERTIFICATE_REVOKED,
    CERTIFICATE_UNTRUSTED,
    DECRYPTION_FAILED,
    NOT_ALLOWED,
    NOT_COVERED,
    REVOCATION_UNKNOWN,
    SIGNATURE_INVALID,
    SIGNATURE_MISSING,
    SIGNER_MISMATCH,
    TIMESTAMP_REFUSED,
)

__all__ = [
    "AGREEMENT_UNKNOWN",
    "ALGORITHM_REFUSED",
    "ANSWER_NOT_UNDERSTOOD",
    "ATTACHMENT_MISMATCH",
    "ATTEMPTS_USED_UP",
    "CASE_CLOSED",
    "CERTIFICATE_EXPIRED",
    "CERTIFICATE_REVOKED",
    "CERTIFICATE_UNTRUSTED",
    "CODE_UNKNOWN",
    "DEADLINE_PASSED",
    "DECISION_CONFLICT",
    "DECLARANT_NOT_ALLOWED",
    "DECOMPRESSION_FAILED",
    "DECRYPTION_FAILED",
    "DOCUMENT_INVALID",
    "DOCUMENT_UNKNOWN",
    "DUPLICATE",
    "EVIDENCE_BROKEN",
    "FIELD_MISSING",
    "HEADER_INCONSISTENT",
    "HEADER_INVALID",
    "KEY_UNAVAILABLE",
    "MAPPING_MISSING",
    "MAPPING_WRONG",
    "MEDIA_TYPE_REFUSED",
    "MESSAGE_ID_REUSED",
    "MIME_MALFORMED",
    "NOTHING_TO_PULL",
    "NOT_ALLOWED",
    "NOT_COVERED",
    "NOT_SOAP",
    "NOT_SUPPORTED",
    "NOT_UNDERSTOOD",
    "NO_OPEN_CASE",
    "NO_ROOM",
    "OUR_MISTAKE",
    "PARTY_UNKNOWN",
    "PART_MISSING",
    "PMODE_UNKNOWN",
    "PROBLEMS",
    "PUT_ASIDE",
    "RECEIPT_MISMATCH",
    "RECEIPT_MISSING",
    "REFERENCE_REUSED",
    "REFERENCE_UNKNOWN",
    "REFUSED_FOR_GOOD",
    "REPLY_UNMATCHED",
    "REQUEST_INVALID",
    "REQUEST_MALFORMED",
    "REVOCATION_UNKNOWN",
    "RULE_BROKEN",
    "SCHEMA_VERSION_WRONG",
    "SETTINGS_WRONG",
    "SIGNATURE_INVALID",
    "SIGNATURE_MISSING",
    "SIGNER_MISMATCH",
    "SOURCES_DISAGREE",
    "TIMESTAMP_REFUSED",
    "TIME_TO_LIVE_EXPIRED",
    "TOO_LARGE",
    "TOO_MANY_REQUESTS",
    "TOO_SLOW",
    "TRANSITION_REFUSED",
    "TRUST_STALE",
    "UNREACHABLE",
    "VALUE_DOES_NOT_FIT",
    "XML_MALFORMED",
    "GatewayError",
    "Problem",
]

_FAMILIES: Final = (received, security, exchange, documents, replies, ourselves)

PROBLEMS: Final[dict[str, Problem]] = {
    value.id: value for family in _FAMILIES for value in vars(family).values() if isinstance(value, Problem)
}
