"""Problems of signatures, certificates, encryption and permissions."""

from __future__ import annotations

from gateway.errors.problem import Problem

__all__ = [
    "ALGORITHM_REFUSED",
    "CERTIFICATE_EXPIRED",
    "CERTIFICATE_REVOKED",
    "CERTIFICATE_UNTRUSTED",
    "CLIENT_CERTIFICATE",
    "DECRYPTION_FAILED",
    "NOT_ALLOWED",
    "NOT_COVERED",
    "REVOCATION_UNKNOWN",
    "SIGNATURE_INVALID",
    "SIGNATURE_MISSING",
    "SIGNER_MISMATCH",
    "TIMESTAMP_REFUSED",
]

SIGNATURE_MISSING = Problem(
    id="GW201",
    title="signature missing",
    meaning="The message carries no signature though the agreement asks for one.",
    cause="The sender's software is not set to sign, or signs for another role.",
    remedy="Switch signing on for this agreement and send the message again under a new MessageId.",
    ebms2="SecurityFailure",
    ebms3="EBMS:0103",
    soap="wsse:InvalidSecurity",
    http=500,
)

SIGNATURE_INVALID = Problem(
    id="GW202",
    title="signature or digest wrong",
    meaning="The signature does not belong to what was received.",
    cause=(
        "Something was changed after signing, a digest differs, or the canonical form was made in another "
        "way."
    ),
    remedy=(
        "Sign as the last step before sending and let nothing reformat the message; the location names the "
        "reference that differs."
    ),
    ebms2="SecurityFailure",
    ebms3="EBMS:0101",
    soap="wsse:FailedCheck",
    http=500,
)

NOT_COVERED = Problem(
    id="GW203",
    title="a part that must be signed is not",
    meaning="Something that must be signed is outside the signature.",
    cause="The envelope, a payload, the Timestamp or an addressing header has no reference in ds:SignedInfo.",
    remedy="Add a reference for the part at the location; the manual lists what each profile covers.",
    ebms2="SecurityFailure",
    ebms3="EBMS:0103",
    soap="wsse:InvalidSecurity",
    http=500,
)

ALGORITHM_REFUSED = Problem(
    id="GW204",
    title="algorithm or key size refused by policy",
    meaning="The signature uses something the policy refuses.",
    cause=(
        "An old digest (MD5, SHA-1), a short key, an unknown transform or a key source that is not allowed."
    ),
    remedy="Sign with RSA-SHA256 or ECDSA-SHA256 and a key of at least 2048 bits (RSA) or P-256 (EC).",
    ebms2="SecurityFailure",
    ebms3="EBMS:0103",
    soap="wsse:UnsupportedAlgorithm",
    http=500,
)

CERTIFICATE_UNTRUSTED = Problem(
    id="GW205",
    title="certificate not trusted",
    meaning="The certificate of the signer leads to no authority that is believed here.",
    cause=(
        "The issuer is not among the configured anchors, an intermediate certificate is missing, or the "
        "certificate may not be used for this."
    ),
    remedy=(
        "Use a certificate of an accepted authority, or ask the operator to add the authority to [pki] "
        "anchors."
    ),
    ebms2="SecurityFailure",
    ebms3="EBMS:0101",
    soap="wsse:FailedAuthentication",
    http=500,
)

CERTIFICATE_EXPIRED = Problem(
    id="GW206",
    title="certificate expired or not yet valid",
    meaning="The certificate was not valid at the moment of the message.",
    cause=(
        "It has expired or is not valid yet, the register takes it for another time only, or one of the "
        "clocks is wrong."
    ),
    remedy=(
        "Renew the certificate, register the new one with the operator and sign with it; check the clock "
        "first."
    ),
    ebms2="SecurityFailure",
    ebms3="EBMS:0101",
    soap="wsse:InvalidSecurityToken",
    http=500,
)

CERTIFICATE_REVOKED = Problem(
    id="GW207",
    title="certificate revoked",
    meaning="The authority has revoked the certificate.",
    cause="The key was lost, replaced or withdrawn, and the revocation list says so.",
    remedy="Stop using the key, obtain a new certificate and have it registered.",
    ebms2="SecurityFailure",
    ebms3="EBMS:0101",
    soap="wsse:InvalidSecurityToken",
    http=500,
)

REVOCATION_UNKNOWN = Problem(
    id="GW208",
    title="revocation not known freshly enough (indeterminate)",
    meaning=(
        "Whether the certificate has been revoked cannot be said now, so it is not believed for the moment."
    ),
    cause="The revocation list of its issuer is missing or too old.",
    remedy=(
        "Send the same message later. Operator: put a fresh list in place with `gateway pki source refresh`."
    ),
    retry=True,
    ebms2="SecurityFailure",
    ebms3="EBMS:0004",
    soap="wsse:SecurityTokenUnavailable",
    http=503,
)

SIGNER_MISMATCH = Problem(
    id="GW209",
    title="signer is not the sending party",
    meaning="The signature is good, but not that of the party that the message names as its sender.",
    cause="The signing certificate is registered for another party or for none.",
    remedy="Sign with the sender's own key, or have the certificate registered for that party.",
    ebms2="SecurityFailure",
    ebms3="EBMS:0101",
    soap="wsse:FailedAuthentication",
    http=500,
)

DECRYPTION_FAILED = Problem(
    id="GW210",
    title="decryption failed",
    meaning="An encrypted part cannot be decrypted.",
    cause=(
        "It was encrypted for another key, with an algorithm that is not allowed, or was damaged on its way."
    ),
    remedy="Encrypt for the gateway's present encryption certificate and with an algorithm of the agreement.",
    ebms2="SecurityFailure",
    ebms3="EBMS:0102",
    soap="wsse:FailedCheck",
    http=500,
)

TIMESTAMP_REFUSED = Problem(
    id="GW211",
    title="security timestamp outside the window",
    meaning="The security timestamp is too old, lies in the future or has expired.",
    cause="A clock is wrong, or the message was held back and sent again without a new timestamp.",
    remedy="Set the clock by NTP and make timestamp and signature anew for every attempt.",
    ebms2="SecurityFailure",
    ebms3="EBMS:0101",
    soap="wsse:MessageExpired",
    http=500,
)

NOT_ALLOWED = Problem(
    id="GW212",
    title="operator or party not allowed",
    meaning="Who asked is known but may not do this.",
    cause="The party or operator lacks the role, or asks about what belongs to another.",
    remedy="Ask the operator for the role, or use the account that the matter belongs to.",
    ebms2="SecurityFailure",
    ebms3="EBMS:0103",
    soap="Client",
    http=403,
)

CLIENT_CERTIFICATE = Problem(
    id="GW213",
    title="TLS client certificate missing or not the sender's",
    meaning="The message is signed by one party, and the connection it came by is not shown to be its own.",
    cause=(
        "No certificate was shown over TLS where one is agreed, the one shown is registered for another "
        "party or for none, or a message that somebody else signed was passed on."
    ),
    remedy=(
        "Connect with the client certificate that is registered for the sender (`gateway party certificate "
        "list`); where none is asked for, show none."
    ),
    ebms2="SecurityFailure",
    ebms3="EBMS:0101",
    soap="wsse:FailedAuthentication",
    http=500,
)
