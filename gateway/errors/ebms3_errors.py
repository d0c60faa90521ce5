"""The errors of ebMS 3.0 and AS4 by code: name, severity, category, origin.

Core §6.7, part 2 §4.6, AS4 §3.2.2.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Ebms3Error:
    """One error of the standard; `severity` is ``failure`` or ``warning``."""

    code: str
    title: str
    category: str
    severity: str = "failure"
    origin: str = "ebMS"


_CONTENT, _UNPACKAGING, _PROCESSING = "Content", "Unpackaging", "Processing"
_COMMUNICATION: Final = "Communication"
_WARNING: Final = "warning"

_ERRORS: Final = (
    Ebms3Error("EBMS:0001", "ValueNotRecognized", _CONTENT),
    Ebms3Error("EBMS:0002", "FeatureNotSupported", _CONTENT, _WARNING),
    Ebms3Error("EBMS:0003", "ValueInconsistent", _CONTENT),
    Ebms3Error("EBMS:0004", "Other", _CONTENT),
    Ebms3Error("EBMS:0005", "ConnectionFailure", _COMMUNICATION),
    Ebms3Error("EBMS:0006", "EmptyMessagePartitionChannel", _COMMUNICATION, _WARNING),
    Ebms3Error("EBMS:0007", "MimeInconsistency", _UNPACKAGING),
    Ebms3Error("EBMS:0008", "FeatureNotSupported", _UNPACKAGING),
    Ebms3Error("EBMS:0009", "InvalidHeader", _UNPACKAGING),
    Ebms3Error("EBMS:0010", "ProcessingModeMismatch", _PROCESSING),
    Ebms3Error("EBMS:0011", "ExternalPayloadError", _CONTENT),
    Ebms3Error("EBMS:0031", "RelatedMessageFailed", _PROCESSING),
    Ebms3Error("EBMS:0040", "BadFragmentGroup", _CONTENT),
    Ebms3Error("EBMS:0041", "DuplicateMessageSize", _CONTENT),
    Ebms3Error("EBMS:0042", "DuplicateFragmentCount", _CONTENT),
    Ebms3Error("EBMS:0043", "DuplicateMessageHeader", _CONTENT),
    Ebms3Error("EBMS:0044", "DuplicateAction", _CONTENT),
    Ebms3Error("EBMS:0045", "DuplicateCompressionInfo", _CONTENT),
    Ebms3Error("EBMS:0046", "DuplicateFragment", _CONTENT),
    Ebms3Error("EBMS:0047", "BadFragmentStructure", _UNPACKAGING),
    Ebms3Error("EBMS:0048", "BadFragmentNum", _CONTENT),
    Ebms3Error("EBMS:0049", "BadFragmentCount", _CONTENT),
    Ebms3Error("EBMS:0050", "FragmentSizeExceeded", _UNPACKAGING, _WARNING),
    Ebms3Error("EBMS:0051", "ReceiveIntervalExceeded", _UNPACKAGING),
    Ebms3Error("EBMS:0052", "BadProperties", _UNPACKAGING, _WARNING),
    Ebms3Error("EBMS:0053", "HeaderMismatch", _UNPACKAGING),
    Ebms3Error("EBMS:0054", "OutOfStorageSpace", _UNPACKAGING),
    Ebms3Error("EBMS:0055", "DecompressionError", _PROCESSING),
    Ebms3Error("EBMS:0101", "FailedAuthentication", _PROCESSING, origin="security"),
    Ebms3Error("EBMS:0102", "FailedDecryption", _PROCESSING, origin="security"),
    Ebms3Error("EBMS:0103", "PolicyNoncompliance", _PROCESSING, origin="security"),
    Ebms3Error("EBMS:0201", "DysfunctionalReliability", _PROCESSING, origin="reliability"),
    Ebms3Error("EBMS:0202", "DeliveryFailure", _COMMUNICATION, origin="reliability"),
    Ebms3Error("EBMS:0301", "MissingReceipt", _COMMUNICATION),
    Ebms3Error("EBMS:0302", "InvalidReceipt", _COMMUNICATION),
    Ebms3Error("EBMS:0303", "DecompressionFailure", _COMMUNICATION),
)

EBMS3_ERRORS: Final[dict[str, Ebms3Error]] = {one.code: one for one in _ERRORS}
