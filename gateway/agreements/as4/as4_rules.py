"""The rules for agreements by AS4: severity, what breaks each, and the clause behind it.

They are told of agreements whose protocol is AS4 and of no others. What the profile of an agreement demands
is told by ``profile-deviation`` and ``profile-advice``, with the clause of the profile.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

__all__ = ["AS4_RULES"]

AS4_RULES: Final[Mapping[str, tuple[str, str, str]]] = {
    "profile-deviation": (
        "error",
        "the agreement names a profile, and a term is not as the profile demands",
        "",
    ),
    "profile-advice": (
        "note",
        "the agreement names a profile, and a term is not as the profile recommends",
        "",
    ),
    "profile-protocol": ("error", "a profile of AS4 is named, and the protocol is another one", "AS4 1.0"),
    "peer-unsaid": (
        "warning",
        "the P-Mode file of another product says what cannot be said in ours",
        "AS4 1.0, 4.1",
    ),
    "peer-filled": ("note", "the P-Mode file of another product does not say what ours need", "AS4 1.0, 4.1"),
    "peer-unneeded": ("note", "the P-Mode file says what is a matter of the other product", "AS4 1.0, 4.1"),
    "agreement-untyped": (
        "error",
        "AgreementRef has no type and is not a URI: receivers refuse it",
        "ebMS 3.0 core 5.2.2.7",
    ),
    "role-missing": ("error", "a party has no role, which every message names", "ebMS 3.0 core 5.2.2.3"),
    "role-equal": ("warning", "both parties have the same role in a message", "ebMS 3.0 core 5.2.2.3"),
    "party-ids-several": (
        "note",
        "a party has several identifiers: handlers of eDelivery take one",
        "eDelivery AS4 1.15, 1.4.4.1",
    ),
    "test-service-delivered": (
        "error",
        "messages of the test service are delivered, and must not be",
        "ebMS 3.0 core 5.2.2.8",
    ),
    "test-action-alone": (
        "error",
        "the test action belongs to the test service alone",
        "ebMS 3.0 core 5.2.2.9",
    ),
    "mpc-default-named": (
        "note",
        "the default channel is named, which is the same as to name none",
        "ebMS 3.0 core 3.4",
    ),
    "mep-different": (
        "warning",
        "messages there and back of one service belong to different exchanges",
        "ebMS 3.0 core 2.2",
    ),
    "mpc-on-push": (
        "note",
        "a channel is named, and messages are posted: channels are for what is pulled",
        "ebMS 3.0 core 3.4",
    ),
    "pull-default-mpc": (
        "error",
        "messages are pulled from the default channel, where those of all partners wait",
        "eDelivery AS4 1.15, 1.5.5.5",
    ),
    "pull-callback": (
        "error",
        "the receipt of a pulled message is posted, and reply_pattern says nothing else",
        "eDelivery AS4 1.15, 1.5.5.4",
    ),
    "pull-two-way": (
        "warning",
        "a pulled message is of a two-way exchange, and nothing says whether it is its request or reply",
        "ebMS 3.0 core 2.2.8",
    ),
    "binding-different": (
        "warning",
        "messages there and back of one service are by different bindings",
        "ebMS 3.0 core 2.2.8",
    ),
    "binding-half": (
        "error",
        "the binding is of two messages, and the agreement has only one of them",
        "ebMS 3.0 core 2.2.8",
    ),
    "pull-endpoint-unused": (
        "note",
        "the receiver has an endpoint, and fetches its messages",
        "ebMS 3.0 core 2.2.4",
    ),
    "pull-username": (
        "warning",
        "who pulls is known by name and password: eDelivery and ICS2 want the certificate",
        "eDelivery AS4 1.15, 1.5.5.5",
    ),
    "splitting-endpoint-missing": (
        "error",
        "the receipt of a joined message is posted back, and the sender has no endpoint",
        "eDelivery AS4 1.15, 1.5.6.6",
    ),
    "splitting-synchronous": (
        "error",
        "messages in fragments are not answered on their connection",
        "ebMS 3.0 part 2, 4.4.2",
    ),
    "splitting-interval-short": (
        "warning",
        "a message is given up before its fragments have been repeated as agreed",
        "ebMS 3.0 part 2, 4.5",
    ),
    "splitting-fragment-large": (
        "warning",
        "a fragment has more octets than a hub takes by default: 64 MiB with its header",
        "ebMS 3.0 part 2, 4.5",
    ),
    "splitting-pointless": (
        "note",
        "every message fits into one fragment: nothing is split",
        "ebMS 3.0 part 2, 4.5",
    ),
    "callback-endpoint-missing": (
        "error",
        "receipts are posted back, and the sender has no endpoint",
        "AS4 1.0, 5.1.8",
    ),
    "receipt-without-signature": (
        "error",
        "receipts shall prove the receipt of messages that nobody signs",
        "AS4 1.0, 5.1.8",
    ),
    "retries-none": ("warning", "a message is sent once: a lost receipt is a failure", "AS4 1.0, 3.2"),
    "retries-short": (
        "warning",
        "all repeats are sent within a minute: an outage is longer",
        "AS4 1.0, 3.2",
    ),
    "hash-different": (
        "warning",
        "the digests and the signature have different hash functions",
        "AS4 1.0, 5.1.5",
    ),
    "hash-broken": ("error", "a hash function is broken, and the policy refuses it", "RFC 9155"),
    "signature-broken": ("error", "the signature algorithm is broken, and the policy refuses it", "RFC 9155"),
    "encryption-unsigned": (
        "error",
        "messages are encrypted and not signed",
        "eDelivery AS4 1.15, 1.4.2.6; ebMS 3.0 core 7.6",
    ),
    "cipher-missing": (
        "warning",
        "algorithms of encryption are agreed, and no cipher for the content",
        "AS4 1.0, 5.1.7",
    ),
    "cipher-unauthenticated": (
        "warning",
        "a cipher does not authenticate: its padding can be probed",
        "XML Encryption 1.1 §5.2",
    ),
    "key-transport-weak": (
        "warning",
        "keys are sent by RSA 1.5: its padding can be probed",
        "XML Encryption 1.1 §5.5.1",
    ),
    "key-agreement-incomplete": (
        "error",
        "keys are agreed, and their derivation or wrapping is not named",
        "XML Encryption 1.1 §5.6",
    ),
    "key-ways-several": (
        "warning",
        "keys are both sent and agreed: partners write one of the two",
        "XML Encryption 1.1 §5.5, §5.6",
    ),
    "mutual-tls-open": (
        "error",
        "clients shall have certificates, and the endpoint has no TLS",
        "eDelivery AS4 1.15, 1.4.2.6",
    ),
    "endpoint-open": (
        "note",
        "an endpoint has no TLS: headers and names travel in clear",
        "eDelivery AS4 1.15, 1.4.2.6",
    ),
    "pin-shared": ("error", "both parties sign with the same certificate", "ebMS 3.0 core 7.3"),
    "own-algorithm": (
        "error",
        "the hub signs by another algorithm than the agreement names",
        "AS4 1.0, 5.1.5",
    ),
    "encryption-certificate-missing": (
        "error",
        "messages to the partner are encrypted, and no certificate of it may be used",
        "AS4 1.0, 5.1.7",
    ),
    "encryption-pin-unknown": (
        "error",
        "the certificate that the file names for encryption is not registered",
        "AS4 1.0, 5.1.7",
    ),
}
