"""Algorithms of encryption by URI, their other names, and the policies that allow them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, NoReturn

from gateway.errors import ENCRYPTION_ALGORITHM_REFUSED, SETTINGS_WRONG, GatewayError
from gateway.wire import DS, DSIG_MORE, XENC, XENC11

AES_128_GCM: Final = XENC11 + "aes128-gcm"
AES_192_GCM: Final = XENC11 + "aes192-gcm"
AES_256_GCM: Final = XENC11 + "aes256-gcm"
AES_128_CBC: Final = XENC + "aes128-cbc"
AES_192_CBC: Final = XENC + "aes192-cbc"
AES_256_CBC: Final = XENC + "aes256-cbc"
TRIPLE_DES_CBC: Final = XENC + "tripledes-cbc"
# RFC 9231 §2.6.2 and §2.6.3.
SEED_128_CBC: Final = "http://www.w3.org/2007/05/xmldsig-more#seed128-cbc"
SEED_128_WRAP: Final = "http://www.w3.org/2007/05/xmldsig-more#kw-seed128"

# RFC 9231 §2.6; XML Encryption 1.1 §5.4 and §5.6.
X25519: Final = "http://www.w3.org/2021/04/xmldsig-more#x25519"
ECDH_ES: Final = XENC11 + "ECDH-ES"
HKDF: Final = "http://www.w3.org/2021/04/xmldsig-more#hkdf"
CONCAT_KDF: Final = XENC11 + "ConcatKDF"
#: AES key wraps with the octets of their keys.
KEY_WRAPS: Final = {XENC + "kw-aes128": 16, XENC + "kw-aes192": 24, XENC + "kw-aes256": 32}

RSA_OAEP: Final = XENC11 + "rsa-oaep"
RSA_OAEP_MGF1P: Final = XENC + "rsa-oaep-mgf1p"
RSA_1_5: Final = XENC + "rsa-1_5"
TRANSPORTS: Final = (RSA_OAEP, RSA_OAEP_MGF1P, RSA_1_5)

#: Digests of OAEP by the names that the library and ASN.1 have for them.
OAEP_DIGEST_NAMES: Final = {
    DS + "sha1": "sha1",
    XENC + "sha256": "sha256",
    DSIG_MORE + "sha384": "sha384",
    XENC + "sha512": "sha512",
}
MASK_DIGEST_NAMES: Final = {f"{XENC11}mgf1{name}": name for name in ("sha1", "sha256", "sha384", "sha512")}

_GCM: Final = frozenset({AES_128_GCM, AES_192_GCM, AES_256_GCM})
_CBC: Final = frozenset({AES_128_CBC, AES_192_CBC, AES_256_CBC, TRIPLE_DES_CBC})
_OAEP: Final = frozenset({RSA_OAEP, RSA_OAEP_MGF1P})
_SHA2: Final = frozenset({"sha256", "sha384", "sha512"})

#: Object identifiers of ciphers (RFC 3565, RFC 5084, RFC 4010, RFC 3370).
CIPHER_OIDS: Final = {
    "2.16.840.1.101.3.4.1.2": AES_128_CBC,
    "2.16.840.1.101.3.4.1.6": AES_128_GCM,
    "2.16.840.1.101.3.4.1.22": AES_192_CBC,
    "2.16.840.1.101.3.4.1.26": AES_192_GCM,
    "2.16.840.1.101.3.4.1.42": AES_256_CBC,
    "2.16.840.1.101.3.4.1.46": AES_256_GCM,
    "1.2.840.113549.3.7": TRIPLE_DES_CBC,
    "1.2.410.200004.1.4": SEED_128_CBC,
}
#: Names under which agreements know algorithms: parts of a URI, OpenSSL's names, object identifiers.
_COMMON_NAMES: Final = {
    "des-ede3-cbc": TRIPLE_DES_CBC,
    "3des": TRIPLE_DES_CBC,
    "tripledes": TRIPLE_DES_CBC,
    "seed": SEED_128_CBC,
    "seed-cbc": SEED_128_CBC,
    "id-aes128-gcm": AES_128_GCM,
    "id-aes256-gcm": AES_256_GCM,
    "aes-128-gcm": AES_128_GCM,
    "aes-256-gcm": AES_256_GCM,
    "aes-128-cbc": AES_128_CBC,
    "aes-192-cbc": AES_192_CBC,
    "aes-256-cbc": AES_256_CBC,
    "rsa": RSA_1_5,
    "rsaes-oaep": RSA_OAEP,
    "rsaes-pkcs1-v1_5": RSA_1_5,
    "1.2.840.113549.1.1.1": RSA_1_5,
    "1.2.840.113549.1.1.7": RSA_OAEP,
}
#: What agrees on a key: agreements, derivations, and key wraps.
_AGREEMENT_URIS: Final = frozenset({X25519, ECDH_ES, HKDF, CONCAT_KDF, *KEY_WRAPS})
_ALL_URIS: Final = (*sorted(_GCM | _CBC), SEED_128_CBC, SEED_128_WRAP, *TRANSPORTS, *sorted(_AGREEMENT_URIS))
_URI_BY_NAME: Final = (
    _COMMON_NAMES
    | CIPHER_OIDS
    | {uri.lower(): uri for uri in _ALL_URIS}
    | {uri.rpartition("#")[2].lower(): uri for uri in _ALL_URIS}
)


@dataclass(frozen=True, slots=True)
class EncryptionPolicy:
    """The algorithms that an encrypted payload may use, and those that the hub uses itself.

    ``digests`` are those of OAEP, for its label and for its mask. `sent_ciphers` are the ciphers of sent
    messages, the preferred one first; keys are always sent by RSA-OAEP with SHA-256. The mask of
    rsa-oaep-mgf1p is by SHA-1 alone: a policy without SHA-1 takes it from an agreement that names it.
    """

    name: str
    ciphers: frozenset[str]
    transports: frozenset[str]
    digests: frozenset[str]
    sent_ciphers: tuple[str, ...]

    @property
    def default_transports(self) -> frozenset[str]:
        """Return the key transports that are allowed where an agreement names no transport."""
        return self.transports if "sha1" in self.digests else self.transports - {RSA_OAEP_MGF1P}


_STRICT: Final = EncryptionPolicy("strict", _GCM, _OAEP, _SHA2, (AES_256_GCM, AES_128_GCM))
_LEGACY_CBC: Final = EncryptionPolicy(
    "legacy-cbc", _GCM | _CBC, _OAEP | {RSA_1_5}, _SHA2 | {"sha1"}, _STRICT.sent_ciphers
)
_KOREA_SEED: Final = EncryptionPolicy(
    "korea-seed",
    _GCM | {SEED_128_CBC},
    _OAEP | {RSA_1_5, SEED_128_WRAP},
    _SHA2 | {"sha1"},
    (SEED_128_CBC, *_STRICT.sent_ciphers),
)
ENCRYPTION_POLICIES: Final = {one.name: one for one in (_STRICT, _LEGACY_CBC, _KOREA_SEED)}


@dataclass(frozen=True, slots=True)
class AgreedAlgorithms:
    """The algorithms that an agreement and a policy both allow: ciphers in agreed order, ways to send a key.

    `agreement_uris` are key agreements, derivations and key wraps, in the order agreed.
    """

    policy: EncryptionPolicy
    ciphers: tuple[str, ...]
    transports: frozenset[str]
    agreement_uris: tuple[str, ...] = ()

    def check_cipher(self, uri: str) -> None:
        """Raise GW216 for a cipher that is not allowed."""
        if uri not in self.ciphers:
            raise_algorithm_error(f"cipher '{uri[:120]}'", self.policy)

    def check_transport(self, uri: str) -> None:
        """Raise GW216 for a key transport that is not allowed."""
        if uri not in self.transports:
            raise_algorithm_error(f"key transport '{uri[:120]}'", self.policy)

    def check_digest(self, digest_name: str) -> None:
        """Raise GW216 for a digest of OAEP that is not allowed."""
        if digest_name not in self.policy.digests:
            raise_algorithm_error(f"OAEP with {digest_name[:120]}", self.policy)

    def check_agreement_uri(self, uri: str) -> None:
        """Raise GW216 for a key agreement, a derivation or a key wrap that is not allowed."""
        if uri not in self.agreement_uris:
            raise_algorithm_error(f"'{uri[:120]}'", self.policy)

    def choose_agreement_uri(self, *supported_uris: str) -> str:
        """Return the first of these algorithms in the order agreed; raise GW216 when none is allowed."""
        chosen_uri = next((uri for uri in self.agreement_uris if uri in supported_uris), None)
        if chosen_uri is None:
            raise_algorithm_error(
                " or ".join(f"'{supported_uri}'" for supported_uri in supported_uris), self.policy
            )
        return chosen_uri

    def choose_cipher(self) -> str:
        """Return the cipher for sending: the first agreed one that the policy writes; raise GW216."""
        for uri in self.ciphers:
            if uri in self.policy.sent_ciphers:
                return uri
        raise GatewayError(
            ENCRYPTION_ALGORITHM_REFUSED,
            f"policy {self.policy.name} writes none of the agreed ciphers",
            "encryption/algorithms",
        )


def get_encryption_policy(policy_name: str) -> EncryptionPolicy:
    """Return the policy of that name; raise GW801 for an unknown name."""
    if policy_name not in ENCRYPTION_POLICIES:
        names = ", ".join(ENCRYPTION_POLICIES)
        raise GatewayError(SETTINGS_WRONG, f"encryption policy '{policy_name[:60]}' is not one of {names}")
    return ENCRYPTION_POLICIES[policy_name]


def is_supported_algorithm(algorithm_name: str) -> bool:
    """Return whether an algorithm that an agreement names is one that this package has, by any policy."""
    return algorithm_name.strip().lower() in _URI_BY_NAME


def select_agreed_algorithms(algorithm_names: Iterable[str], policy: EncryptionPolicy) -> AgreedAlgorithms:
    """Return the algorithms that a policy allows among the `algorithm_names` of an agreement.

    Without a cipher in `algorithm_names`, all ciphers of the policy are allowed; without any key transport or
    key agreement, the policy decides on both.

    `algorithm_names` are URIs, their last parts, object identifiers or common names, as agreements have
    them. An unknown name allows nothing. Where only unknown ciphers are named, none is
    allowed.
    """
    uris = [
        _URI_BY_NAME.get(algorithm_name.strip().lower(), algorithm_name.strip())
        for algorithm_name in algorithm_names
    ]
    transports = {uri for uri in uris if uri in TRANSPORTS or uri == SEED_128_WRAP}
    agreement_uris = [uri for uri in dict.fromkeys(uris) if uri in _AGREEMENT_URIS]
    # Most agreements that name a cipher do not say how its key is sent: the policy then decides.
    named_ciphers = [
        uri for uri in dict.fromkeys(uris) if uri not in transports and uri not in _AGREEMENT_URIS
    ]
    ciphers = named_ciphers or [*policy.sent_ciphers, *sorted(policy.ciphers)]
    if not transports and not agreement_uris:
        transports, agreement_uris = set(policy.default_transports), [HKDF, *sorted(_AGREEMENT_URIS - {HKDF})]
    return AgreedAlgorithms(
        policy,
        tuple(uri for uri in dict.fromkeys(ciphers) if uri in policy.ciphers),
        frozenset(transports & policy.transports),
        tuple(agreement_uris),
    )


def raise_algorithm_error(algorithm: str, policy: EncryptionPolicy) -> NoReturn:
    """Raise GW216: an algorithm is not known, not agreed, or not allowed by the policy."""
    raise GatewayError(
        ENCRYPTION_ALGORITHM_REFUSED,
        f"{algorithm} is not allowed by the agreement under policy {policy.name}",
    )
