"""What the paths of other products' P-Mode files mean in ours.

A term is ours: ``SIDE.id``, ``SIDE.type``, ``SIDE.role`` and what protects messages of that side (``sign``,
``encrypt``), with SIDE ``initiator`` or ``responder``; ``legN.TERM`` of the message of a leg; and the whole.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

__all__ = ["PATHS", "UNNEEDED", "VALUES", "VALUE_PATHS"]

_X11: Final = "http://www.w3.org/2009/xmlenc11#"
_XENC: Final = "http://www.w3.org/2001/04/xmlenc#"
_MORE: Final = "http://www.w3.org/2001/04/xmldsig-more#"


def _list_holodeck_paths() -> Iterator[tuple[str, str]]:
    yield from {
        "id": "id",
        "mep": "mep",
        "mepBinding": "binding",
        "Agreement/name": "agreement",
        "Agreement/type": "agreement_type",
    }.items()
    for name in ("Initiator", "Responder"):
        side, security = name.lower(), f"{name}/SecurityConfiguration"
        yield from {
            f"{name}/PartyId": f"{side}.id",
            f"{name}/PartyId/@type": f"{side}.type",
            f"{name}/Role": f"{side}.role",
            f"{security}/Signing/Algorithm": f"{side}.signature_algorithm",
            f"{security}/Signing/HashFunction": f"{side}.hash_function",
            f"{security}/Signing/KeyReferenceMethod": f"{side}.token_reference",
            f"{security}/Encryption/Algorithm": f"{side}.cipher",
            f"{security}/Encryption/KeystoreAlias": f"{side}.encrypted",
            f"{security}/Encryption/KeyTransport/Algorithm": f"{side}.key_transport",
        }.items()
    for number in (1, 2):
        leg, own = f"Leg{number}", f"leg{number}"
        business = f"{leg}/UserMessageFlow/BusinessInfo"
        yield from {
            f"{leg}/Protocol/Address": f"{own}.endpoint",
            f"{leg}/Protocol/SOAPVersion": f"{own}.soap",
            f"{leg}/Receipt/ReplyPattern": f"{own}.reply_pattern",
            f"{leg}/ReceptionAwareness/MaxRetries": f"{own}.retries",
            f"{leg}/ReceptionAwareness/RetryInterval": f"{own}.seconds",
            f"{leg}/ReceptionAwareness/UseDuplicateElimination": f"{own}.elimination",
            f"{leg}/PullRequestFlow/Mpc": f"{own}.pull_mpc",
            f"{leg}/UserMessageFlow/PayloadProfile/CompressionType": f"{own}.compression",
            f"{business}/Action": f"{own}.action",
            f"{business}/Mpc": f"{own}.mpc",
            f"{business}/Service/name": f"{own}.service",
            f"{business}/Service/type": f"{own}.service_type",
        }.items()


def _list_phase4_paths() -> Iterator[tuple[str, str]]:
    yield from {
        "id": "id",
        "MEP": "mep",
        "MEPBinding": "binding",
        "Agreement": "agreement",
        "PayloadServices/CompressionMode": "leg1.compression",
        "RecepetionAwareness/MaxRetries": "leg1.retries",
        "RecepetionAwareness/RetryIntervalMS": "leg1.milliseconds",
        "RecepetionAwareness/Retry": "leg1.repeats",
        "RecepetionAwareness/DuplicateDetection": "leg1.elimination",
        "RecepetionAwareness/ReceptionAwareness": "leg1.awareness",
    }.items()
    for name in ("Initiator", "Responder"):
        for path, term in {"IDType": "type", "IDValue": "id", "Role": "role"}.items():
            yield f"{name}/{path}", f"{name.lower()}.{term}"
    for number in (1, 2):
        leg, own = f"Leg{number}", f"leg{number}"
        yield from {
            f"{leg}/Protocol/Address": f"{own}.endpoint",
            f"{leg}/Protocol/SoapVersion": f"{own}.soap",
            f"{leg}/BusinessInfo/Service": f"{own}.service",
            f"{leg}/BusinessInfo/ServiceType": f"{own}.service_type",
            f"{leg}/BusinessInfo/Action": f"{own}.action",
            f"{leg}/BusinessInfo/MPCID": f"{own}.mpc",
            f"{leg}/Security/X509SignatureAlgorithm": f"{own}.signature_algorithm",
            f"{leg}/Security/X509SignatureHashFunction": f"{own}.hash_function",
            f"{leg}/Security/X509EncryptionAlgorithm": f"{own}.cipher",
            f"{leg}/Security/SendReceipt": f"{own}.receipt",
            f"{leg}/Security/SendReceiptNonRepudiation": f"{own}.nonrepudiation",
            f"{leg}/Security/SendReceiptReplyPattern": f"{own}.reply_pattern",
            f"{leg}/ErrorHandling/ReportAsResponse": f"{own}.errors_in_answer",
        }.items()


#: Our terms by product and path.
PATHS: Final[Mapping[str, Mapping[str, str]]] = {
    "holodeck": dict(_list_holodeck_paths()),
    "phase4": dict(_list_phase4_paths()),
}
#: Parts of paths that are a matter of the other product: its key store, its delivery, its notices.
UNNEEDED: Final[Mapping[str, str]] = {
    "KeystoreAlias": "which key it is, its key store says",
    "DefaultDelivery": "how it delivers messages is its own matter",
    "Delivery": "how it delivers messages is its own matter",
    "EventHandling": "what it does with events is its own matter",
    "Notify": "whom it tells is its own matter",
    "creationldt": "when it made the file",
    "creationuserid": "who made the file",
    "lastmodldt": "when it changed the file",
    "lastmoduserid": "who changed the file",
    "WSSVersion": "WS-Security 1.1 is the one that is used",
    "PModeAuthorize": "messages are authorized by their signature",
    "X509EncryptionMinimumStrength": "the algorithm says how strong it is",
}
#: Other names of values, by what they become.
VALUES: Final[Mapping[str, str]] = {
    "rsa-sha-256": f"{_MORE}rsa-sha256",
    "rsa-sha-384": f"{_MORE}rsa-sha384",
    "rsa-sha-512": f"{_MORE}rsa-sha512",
    "ecdsa-sha-256": f"{_MORE}ecdsa-sha256",
    "ecdsa-sha-384": f"{_MORE}ecdsa-sha384",
    "ecdsa-sha-512": f"{_MORE}ecdsa-sha512",
    "eddsa-ed25519": "http://www.w3.org/2021/04/xmldsig-more#eddsa-ed25519",
    "sha-256": f"{_XENC}sha256",
    "sha-384": f"{_MORE}sha384",
    "sha-512": f"{_XENC}sha512",
    "aes-128-gcm": f"{_X11}aes128-gcm",
    "aes-192-gcm": f"{_X11}aes192-gcm",
    "aes-256-gcm": f"{_X11}aes256-gcm",
    "aes128-gcm": f"{_X11}aes128-gcm",
    "aes256-gcm": f"{_X11}aes256-gcm",
    "BSTReference": "X509v3",
    "KeyIdentifier": "SubjectKeyIdentifier",
    "gzip": "application/gzip",
}
#: For terms that the gateway holds in any case: the one value that it holds.
VALUE_PATHS: Final[Mapping[str, str]] = {
    "soap": "1.2",
    "awareness": "true",
    "receipt": "true",
    "nonrepudiation": "true",
    "errors_in_answer": "true",
}
