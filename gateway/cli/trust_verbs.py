"""The verbs of keys, certificates, signatures and encrypted payloads: a part of the table of verbs."""

from __future__ import annotations

from typing import Final, NamedTuple

__all__ = ["TRUST_VERBS", "Verb"]


class Verb(NamedTuple):
    """A verb: function as ``module:name`` below `gateway.cli.commands`, help, example, effect.

    The effect on database and home: `reads` leaves them as they are, `changes` leaves one row of
    audit, `serves` is a process of the gateway, `plays` works in a home of its own.
    """

    place: str
    help: str
    example: str
    effect: str = "reads"


TRUST_VERBS: Final[dict[str, Verb]] = {
    "pki demo": Verb(
        "pki_sandbox:make_authority",
        ("make a sandbox authority and party certificates, valid and deliberately invalid ones"),
        "gateway pki demo --out D/pki --party hub --party broker1",
        effect="changes",
    ),
    "pki request": Verb(
        "pki_sandbox:make_request",
        "make a key and the request (PKCS#10) for its certificate",
        "gateway pki request CN=broker1,O=Example --key broker1.key.pem --out broker1.csr",
    ),
    "pki issue": Verb(
        "pki_sandbox:issue_certificate",
        "issue the certificate for a request, as the sandbox authority",
        "gateway pki issue broker1.csr --ca D/pki --out broker1.cert.pem",
        effect="changes",
    ),
    "pki cross": Verb(
        "pki_sandbox:certify_authority",
        "issue a cross-certificate for another authority (a bridge)",
        "gateway pki cross other-ca.pem --ca D/pki --policy 1.2.3=1.2.4 --out bridge.pem",
        effect="changes",
    ),
    "pki revoke": Verb(
        "pki_sandbox:revoke_sandbox_certificates",
        "revoke certificates: write the next revocation list of the sandbox authority",
        "gateway pki revoke broker1.cert.pem --ca D/pki",
        effect="changes",
    ),
    "pki key": Verb(
        "pki_key:show_keys",
        "show the signing key of the gateway and make a test signature",
        "gateway pki key --home D",
    ),
    "pki ours": Verb(
        "pki_key:show_certificates",
        "show the current and the next signing certificate of the gateway, for partners",
        "gateway pki ours --out hub.pem --home D",
    ),
    "pki validate": Verb(
        "pki_validate:validate_certificates",
        "validate a certificate with the given data only",
        "gateway pki validate --leaf broker1.cert.pem --anchor ca.pem --crl crl.pem",
    ),
    "pki recognize": Verb(
        "pki_recognize:recognize_signer",
        "show whether a signer is accepted, and how",
        "gateway pki recognize document.xml --root our-list.xml --signer ours.pem --list theirs.xml",
    ),
    "pki vouch": Verb(
        "pki_recognize:vouch_document",
        "add a vouching signature to a signed document; its own signature stays",
        "gateway pki vouch document.xml --territory NO --level qualified --key k.pem --out vouched.xml",
    ),
    "pki list make": Verb(
        "pki_list:make_list",
        "make and sign a trusted list of the gateway from its description",
        "gateway pki list make list.toml --key key.pem --certificate cert.pem --out list.xml",
    ),
    "pki list show": Verb(
        "pki_list:show_list",
        "verify a trusted list and show its content",
        "gateway pki list show list.xml --signer signer.pem",
    ),
    "pki list import": Verb(
        "pki_list:import_list_file",
        "verify a trusted list and store it in place of the current one",
        "gateway pki list import list.xml --home D",
        effect="changes",
    ),
    "pki list list": Verb(
        "pki_list:list_lists",
        "list the stored trusted lists, and which of them are in force",
        "gateway pki list list --home D",
    ),
    "pki crl": Verb(
        "pki_source:load_crl_file",
        "load revocation lists and use them from now on",
        "gateway pki crl crl.pem --home D",
        effect="changes",
    ),
    "pki source list": Verb(
        "pki_source:list_sources",
        "list the sources, their URLs and the freshness of their data",
        "gateway pki source list --home D",
    ),
    "pki source refresh": Verb(
        "pki_source:refresh_sources",
        "fetch from the sources now, through the queue",
        "gateway pki source refresh root --wait 30 --home D",
        effect="changes",
    ),
    "pki source forget": Verb(
        "pki_source:forget_source",
        "deactivate the data that were fetched from a source",
        "gateway pki source forget root --home D",
        effect="changes",
    ),
    "signature verify": Verb(
        "signature:verify_file",
        "verify the XML signature of a document; nothing is fetched",
        "gateway signature verify document.xml --trust ca.pem",
    ),
    "signature make": Verb(
        "signature:sign_file",
        "sign a document with XAdES-B, as a party signs its submission",
        "gateway signature make document.xml --key key.pem --certificate cert.pem --out signed.xml",
    ),
    "payload encrypt": Verb(
        "payload:encrypt_file",
        "encrypt one payload for the holder of a certificate",
        "gateway payload encrypt payload.xml --for partner.pem --out encrypted.xml",
    ),
    "payload decrypt": Verb(
        "payload:decrypt_file",
        "decrypt one payload with a key",
        "gateway payload decrypt encrypted.xml --decryption-key key.pem --decryption-certificate cert.pem"
        " --out payload.xml",
    ),
    "verify": Verb(
        "verify:verify_message",
        "verify an ebMS 2.0 message in a file; nothing is stored",
        "gateway verify message.http --trust ca.pem",
    ),
}
