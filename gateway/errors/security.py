"""Problems of signatures, certificates, encryption and permissions."""

from __future__ import annotations

from gateway.errors.problem import Problem, ProtocolCodes

SIGNATURE_MISSING = Problem(
    id="GW201",
    title="signature missing",
    meaning="The message has no signature, but the agreement requires one.",
    cause="The sender's software is not configured to sign, or signs for another role.",
    remedy="Enable signing for this agreement. Send the message again with a new MessageId.",
    codes=ProtocolCodes(ebms2="SecurityFailure", ebms3="EBMS:0103", soap="wsse:InvalidSecurity", http=500),
)

SIGNATURE_INVALID = Problem(
    id="GW202",
    title="signature or digest wrong",
    meaning="The signature does not match the received content.",
    cause=(
        "The content was changed after signing, a digest differs, or the canonical form was computed "
        "differently."
    ),
    remedy=(
        "Sign as the last step before sending. Do not reformat the message after that. The location "
        "names the reference that differs."
    ),
    codes=ProtocolCodes(ebms2="SecurityFailure", ebms3="EBMS:0101", soap="wsse:FailedCheck", http=500),
)

NOT_COVERED = Problem(
    id="GW203",
    title="required part not signed",
    meaning="A part that must be signed is not covered by the signature.",
    cause=(
        "The envelope, a payload, the Timestamp or an addressing header has no reference in ds:SignedInfo."
    ),
    remedy=(
        "Add a reference for the part at the location. The manual lists the parts that each profile covers."
    ),
    codes=ProtocolCodes(ebms2="SecurityFailure", ebms3="EBMS:0103", soap="wsse:InvalidSecurity", http=500),
)

ALGORITHM_REFUSED = Problem(
    id="GW204",
    title="algorithm or key size refused by policy",
    meaning="The policy does not accept an algorithm, a key or a transform of the signature.",
    cause=(
        "A weak digest (MD5, SHA-1), a short key, an unknown transform, or a key source that is not allowed."
    ),
    remedy="Sign with RSA-SHA256 or ECDSA-SHA256 and a key of at least 2048 bits (RSA) or P-256 (EC).",
    codes=ProtocolCodes(
        ebms2="SecurityFailure", ebms3="EBMS:0103", soap="wsse:UnsupportedAlgorithm", http=500
    ),
)

CERTIFICATE_UNTRUSTED = Problem(
    id="GW205",
    title="certificate not trusted",
    meaning="The certificate of the signer does not lead to a trusted authority.",
    cause=(
        "The issuer is not a configured trust anchor, an intermediate certificate is missing, or the "
        "certificate does not permit this use."
    ),
    remedy=(
        "Use a certificate of a trusted authority, or ask the operator to add the authority to `pki.anchors`."
    ),
    codes=ProtocolCodes(
        ebms2="SecurityFailure", ebms3="EBMS:0101", soap="wsse:FailedAuthentication", http=500
    ),
)

CERTIFICATE_EXPIRED = Problem(
    id="GW206",
    title="certificate expired or not yet valid",
    meaning="The certificate was not valid at the time of the message.",
    cause="It has expired or is not yet valid, it is registered for another period, or a clock is wrong.",
    remedy=(
        "Check the clock. Renew the certificate and sign with the new one. Operator: register it with "
        "`gateway party certificate add PARTY FILE`."
    ),
    codes=ProtocolCodes(
        ebms2="SecurityFailure", ebms3="EBMS:0101", soap="wsse:InvalidSecurityToken", http=500
    ),
)

CERTIFICATE_REVOKED = Problem(
    id="GW207",
    title="certificate revoked",
    meaning="The authority has revoked the certificate.",
    cause="The key was lost, replaced or withdrawn, and the revocation data of the authority states this.",
    remedy=(
        "Stop using the key and obtain a new certificate. Operator: register it with "
        "`gateway party certificate add PARTY FILE`."
    ),
    codes=ProtocolCodes(
        ebms2="SecurityFailure", ebms3="EBMS:0101", soap="wsse:InvalidSecurityToken", http=500
    ),
)

REVOCATION_UNKNOWN = Problem(
    id="GW208",
    title="revocation status unknown or outdated (indeterminate)",
    meaning=(
        "The gateway cannot determine whether the certificate is revoked, so it does not accept it now."
    ),
    cause="The revocation list or OCSP response for the certificate is missing or too old.",
    remedy=(
        "Send the same message later. Operator: fetch with `gateway pki source refresh`, or load a "
        "list with `gateway pki crl FILE`."
    ),
    retry=True,
    codes=ProtocolCodes(
        ebms2="SecurityFailure", ebms3="EBMS:0004", soap="wsse:SecurityTokenUnavailable", http=503
    ),
)

SIGNER_MISMATCH = Problem(
    id="GW209",
    title="signer is not the sending party",
    meaning=(
        "The signature is valid, but it was not made by the party that the message names as its sender."
    ),
    cause="The signing certificate is registered for another party or for no party.",
    remedy=(
        "Sign with the sender's own key. Operator: register the certificate with "
        "`gateway party certificate add PARTY FILE`."
    ),
    codes=ProtocolCodes(
        ebms2="SecurityFailure", ebms3="EBMS:0101", soap="wsse:FailedAuthentication", http=500
    ),
)

DECRYPTION_FAILED = Problem(
    id="GW210",
    title="decryption failed",
    meaning="An encrypted part cannot be decrypted.",
    cause=(
        "It was encrypted for another key or with an algorithm that is not allowed, or it was damaged "
        "in transit."
    ),
    remedy=(
        "Encrypt for the current encryption certificate of the gateway and with an algorithm of the "
        "agreement."
    ),
    codes=ProtocolCodes(ebms2="SecurityFailure", ebms3="EBMS:0102", soap="wsse:FailedCheck", http=500),
)

TIMESTAMP_REFUSED = Problem(
    id="GW211",
    title="security timestamp outside the window",
    meaning="The security timestamp is too old, is in the future, or has expired.",
    cause="A clock is wrong, or the message was delayed and sent again without a new timestamp.",
    remedy="Synchronise the clock by NTP. Make a new timestamp and a new signature for every attempt.",
    codes=ProtocolCodes(ebms2="SecurityFailure", ebms3="EBMS:0101", soap="wsse:MessageExpired", http=500),
)

NOT_ALLOWED = Problem(
    id="GW212",
    title="operator or party not allowed",
    meaning="The party or operator is known but is not authorised for this request.",
    cause="The party or operator does not have the role, or the request concerns data of another party.",
    remedy="Ask the operator for the role, or use the account of the party that owns the data.",
    codes=ProtocolCodes(ebms2="SecurityFailure", ebms3="EBMS:0103", soap="Client", http=403),
)

CLIENT_CERTIFICATE = Problem(
    id="GW213",
    title="TLS client certificate missing or not the sender's",
    meaning="The TLS connection is not authenticated as the party that signed the message.",
    cause=(
        "A required client certificate is missing, it is registered for another party or for none, or "
        "a party forwarded a message that another party signed."
    ),
    remedy=(
        "Connect with the client certificate that is registered for the sender "
        "(`gateway party certificate list`). Send none where none is required."
    ),
    codes=ProtocolCodes(
        ebms2="SecurityFailure", ebms3="EBMS:0101", soap="wsse:FailedAuthentication", http=500
    ),
)

CREDENTIALS_REFUSED = Problem(
    id="GW214",
    title="credentials missing or not accepted",
    meaning="The request to the API does not prove which party sends it.",
    cause=(
        "The access token is missing, unknown or expired, its party is suspended, or the client assertion "
        "is not signed by a registered key of the party, is too old, or was used before."
    ),
    remedy=(
        "Get a new access token at `/api/v1/token` with a new client assertion, or connect with a TLS client "
        "certificate that is registered for the party."
    ),
    codes=ProtocolCodes(http=401),
)

ENCRYPTION_MISMATCH = Problem(
    id="GW215",
    title="payload not encrypted as agreed",
    meaning=(
        "A payload is in clear where encryption is agreed, is encrypted where it is not, or its encrypted "
        "form is wrong."
    ),
    cause=(
        "The sender's software follows another version of the agreement, or writes an encrypted form that "
        "the profile does not have."
    ),
    remedy=(
        "Encrypt each payload exactly as the agreement says. The location names the payload, or the element "
        "of its encrypted form."
    ),
    codes=ProtocolCodes(ebms2="SecurityFailure", ebms3="EBMS:0103", soap="wsse:InvalidSecurity", http=500),
)

ENCRYPTION_ALGORITHM_REFUSED = Problem(
    id="GW216",
    title="encryption algorithm refused",
    meaning="A payload is encrypted by an algorithm that is not known, not agreed, or not allowed by policy.",
    cause="CBC, Triple DES or RSA 1.5 under the policy `strict`, SHA-1 in OAEP, or a cipher nobody agreed.",
    remedy=(
        "Encrypt with AES-GCM, and the key with RSA-OAEP and SHA-256. Operator: a P-Mode may name an older "
        "policy for reading."
    ),
    codes=ProtocolCodes(
        ebms2="SecurityFailure", ebms3="EBMS:0103", soap="wsse:UnsupportedAlgorithm", http=500
    ),
)
