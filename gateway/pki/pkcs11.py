"""A signing key that never leaves its PKCS#11 token, which may be temporarily unavailable.

Removal of a token, restart of a network appliance and change of a PIN each end the session
permanently. `TokenSigner` raises GW803 as long as the token is unavailable, and opens a new
session by itself when it returns; no restart is necessary.

The module of a token (a shared library of its vendor) supports one application per process.
It finds a returned token only after a new initialization, which ends all sessions of the
process. All signers of a process therefore share the state of a module.
"""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, TypeVar, cast

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from gateway.errors import KEY_UNAVAILABLE, GatewayError, raise_resource_problem
from gateway.pki.certificates import Certificate, PublicKey
from gateway.pki.decryption_keys import AgreementPublicKey, KeyPadding, encrypt_key
from gateway.pki.signing_keys import get_curve_digest, get_signature_algorithm

_Result = TypeVar("_Result")

#: Signed at each opening, to verify that the key belongs to the certificate.
_PROBE: Final = b"the key of this token belongs to the certificate"
#: Seconds after a failure without a new request to the token: an unavailable appliance answers slowly.
_RETRY_PAUSE_SECONDS: Final = 1.0


@dataclass(frozen=True, slots=True)
class TokenKeyLocation:
    """The location of a key: the module's file, the label of the token, the label of the key in it."""

    module_path: str
    token: str
    label: str


class _TokenModule:
    """A vendor's library in this process: one lock, and one session for each token."""

    def __init__(self, path: str) -> None:
        self.lock = threading.Lock()
        self._path = path
        self._process = os.getpid()
        self._library: Any = None
        self._sessions: dict[str, Any] = {}
        #: Distinguishes keys of ended sessions from those of the present ones.
        self.generation = 0

    def open_session(self, token_label: str, read_pin: Callable[[], bytes]) -> Any:
        """Return the session with a token, logged in; open one if there is none."""
        # A child process has its parent's memory, but not its connection to the token.
        if self._process != os.getpid():
            self.restart_module()
        if token_label not in self._sessions:
            if self._library is None:
                self._library = _load_library(self._path)
            opened_token = self._library.get_token(token_label=token_label)
            self._sessions[token_label] = opened_token.open(user_pin=read_pin().decode())
        return self._sessions[token_label]

    def restart_module(self) -> None:
        """End every session and make the module search for its tokens again."""
        self.generation += 1
        self._sessions.clear()
        self._process = os.getpid()
        if self._library is not None:
            self._library.reinitialize()


_MODULES: Final[dict[str, _TokenModule]] = {}
_MODULES_LOCK: Final = threading.Lock()


def _get_module(path: str) -> _TokenModule:
    with _MODULES_LOCK:
        return _MODULES.setdefault(path, _TokenModule(path))


def _load_library(path: str) -> Any:
    import pkcs11

    return pkcs11.lib(path)


class _WrongKeyError(Exception):
    """The key in the token is not that of the certificate; the token may have been exchanged."""


class TokenKey:
    """A private key in a PKCS#11 token; one object serves all threads, one use at a time.

    `read_pin` returns the PIN and is called at each opening of a session, so that a wrong PIN can
    be corrected while the process runs. `clock` returns monotonic seconds. `report_problem` receives
    the problem when the key begins to fail, and None when it works again. Nothing is opened
    before the first use: a hub can start while its token is unavailable.
    """

    _verb = "work"

    def __init__(
        self,
        location: TokenKeyLocation,
        certificate: Certificate,
        read_pin: Callable[[], bytes],
        clock: Callable[[], float],
        report_problem: Callable[[GatewayError | None], None] | None = None,
    ) -> None:
        self.certificate: Final = certificate
        self._location = location
        self._read_pin = read_pin
        self._clock = clock
        self._report_problem = report_problem or (lambda _: None)
        self._module = _get_module(location.module_path)
        self._key: Any = None
        self._generation = -1
        self._last_problem: GatewayError | None = None
        self._failed_at = 0.0
        #: SHA-256 of the PIN of the last opening, and of the one that the token has refused.
        self._tried_pin: bytes | None = None
        self._refused_pin: bytes | None = None

    def use_key(self, operation: Callable[[Any], _Result]) -> _Result:
        """Return what `operation` makes of the key; raise GW803 without the token."""
        with self._module.lock:
            self._check_pause()
            try:
                result = self._run_or_reopen(operation)
            except GatewayError as problem:
                earlier_failure, self._last_problem, self._failed_at = (
                    self._last_problem,
                    problem,
                    self._clock(),
                )
                if earlier_failure is None:
                    self._report_problem(problem)
                raise
            if self._last_problem is not None:
                self._last_problem = None
                self._report_problem(None)
            return result

    def _check_pause(self) -> None:
        if self._last_problem is not None and self._clock() - self._failed_at < _RETRY_PAUSE_SECONDS:
            raise GatewayError(
                self._last_problem.problem, self._last_problem.detail, self._last_problem.location
            )

    def _run_or_reopen(self, operation: Callable[[Any], _Result]) -> _Result:
        """Return the result of `operation` with the key; open the key again once if the session fails."""
        if self._key is not None and self._generation == self._module.generation:
            try:
                return operation(self._key)
            except Exception:
                # The session has ended, whichever error the vendor uses; the next opening reports the
                # reason.
                self._key = None
        key = self._open_key()
        try:
            return operation(key)
        except Exception as problem:
            raise self._make_unavailable_error(problem) from None

    def _open_key(self) -> Any:
        """Return the key in a working session; raise GW803 if there is none."""
        try:
            return self._find_own_key()
        except GatewayError:
            raise
        except Exception as problem:
            unavailable_error = self._make_unavailable_error(problem)
        if self._refused_pin is None:
            # The module does not notice ended sessions and returned tokens before a restart.
            try:
                self._module.restart_module()
                return self._find_own_key()
            except GatewayError:
                raise
            except Exception as problem:
                unavailable_error = self._make_unavailable_error(problem)
        raise unavailable_error

    def _find_own_key(self) -> Any:
        """Return the labelled key in a session; raise _WrongKeyError if it is not the certificate's."""
        from pkcs11 import ObjectClass

        session = self._module.open_session(self._location.token, self._get_usable_pin)
        key = session.get_key(object_class=ObjectClass.PRIVATE_KEY, label=self._location.label)
        if not self.is_own_key(key):
            raise _WrongKeyError
        self._key, self._generation, self._refused_pin = key, self._module.generation, None
        return key

    def is_own_key(self, key: Any) -> bool:
        """Return whether a key of the token belongs to the certificate, by using it once."""
        raise NotImplementedError

    def _get_usable_pin(self) -> bytes:
        """Return the PIN; raise if the token refused it before, since a few wrong PINs lock the token."""
        pin = self._read_pin().rstrip(b"\r\n")
        self._tried_pin = hashlib.sha256(pin).digest()
        if self._refused_pin == self._tried_pin:
            raise GatewayError(KEY_UNAVAILABLE, "the token refused this PIN before", "pki.token.pin")
        return pin

    def _make_unavailable_error(self, problem: Exception) -> GatewayError:
        """Return GW803 for a failure of the token; remember the PIN that the token has refused."""
        error_type = type(problem).__name__
        if error_type == "PinIncorrect":
            self._refused_pin = self._tried_pin
        # The message of a vendor's library may contain anything; only the type of the error is reported.
        detail = f"token {self._location.token[:80]!r} does not {self._verb} ({error_type})"
        if isinstance(problem, _WrongKeyError):
            detail = f"key {self._location.label[:80]!r} does not belong to {self.certificate.subject[:120]}"
        if isinstance(problem, ImportError):
            detail = "PKCS#11 needs the package python-pkcs11: install singlewindow-gateway[hsm]"
        return GatewayError(KEY_UNAVAILABLE, detail, "pki.token")


class TokenSigner(TokenKey):
    """Signs with a key of a PKCS#11 token."""

    _verb = "sign"

    @property
    def algorithm(self) -> str:
        """Return the XML Signature algorithm of the key, as a URI."""
        return get_signature_algorithm(self.certificate.public_key)

    def sign(self, data: bytes) -> bytes:
        """Return the signature over `data` in the form of XML Signature; raise GW803 without the token."""
        return self.use_key(lambda key: self._compute_signature(key, data))

    def is_own_key(self, key: Any) -> bool:
        """Return whether a signature by the key over the probe verifies with the certificate."""
        return _is_probe_signature_of(self.certificate.public_key, self._compute_signature(key, _PROBE))

    def _compute_signature(self, key: Any, data: bytes) -> bytes:
        """Return the signature over `data` in the form of XML Signature, made by `key` in the token."""
        from pkcs11 import Mechanism

        public = self.certificate.public_key
        if isinstance(public, rsa.RSAPublicKey):
            return bytes(key.sign(data, mechanism=Mechanism.SHA256_RSA_PKCS))
        if isinstance(public, ec.EllipticCurvePublicKey):
            # Some tokens do not compute digests for ECDSA. They return r and s as octets, as XML Signature
            # requires.
            digest = hashes.Hash(get_curve_digest(public))
            digest.update(data)
            return bytes(key.sign(digest.finalize(), mechanism=Mechanism.ECDSA))
        return bytes(key.sign(data, mechanism=Mechanism.EDDSA))


def _is_probe_signature_of(key: PublicKey, signature: bytes) -> bool:
    """Return whether a signature over the probe verifies with this key."""
    try:
        if isinstance(key, rsa.RSAPublicKey):
            key.verify(signature, _PROBE, padding.PKCS1v15(), hashes.SHA256())
        elif isinstance(key, ec.EllipticCurvePublicKey):
            half = len(signature) // 2
            r, s = int.from_bytes(signature[:half]), int.from_bytes(signature[half:])
            key.verify(encode_dss_signature(r, s), _PROBE, ec.ECDSA(get_curve_digest(key)))
        else:
            cast("Any", key).verify(signature, _PROBE)
    except InvalidSignature:
        return False
    return True


#: Encrypted and decrypted at each opening, to verify that the key belongs to the certificate.
_DECRYPTION_PROBE: Final = b"the key of this token decrypts"
_STRONG_PADDING: Final = KeyPadding("sha256", "sha256")
_DIGESTS: Final = {"sha1": "SHA_1", "sha256": "SHA256", "sha384": "SHA384", "sha512": "SHA512"}
#: Errors of PKCS#11 that say something of the octets and nothing of the token.
_DATA_ERRORS: Final = frozenset(
    {"EncryptedDataInvalid", "EncryptedDataLenRange", "DataInvalid", "DataLenRange"}
)


class _UnsupportedScheme:
    """The token is available but does not support a scheme."""


class TokenDecryptionKey(TokenKey):
    """Decrypts keys with a key of a PKCS#11 token."""

    _verb = "decrypt"

    def decrypt_key(self, encrypted_key: bytes, key_padding: KeyPadding) -> bytes | None:
        """Return the key in `encrypted_key`, None where there is none; raise GW803 without the token.

        GW803 is also raised for a token that does not do OAEP with the digests of `key_padding`. Such a token
        is not treated as failed: it goes on with the schemes that it supports.
        """
        if key_padding.digest is None:
            return None
        decrypted = self.use_key(lambda key: self._decrypt_or_classify(key, encrypted_key, key_padding))
        if isinstance(decrypted, _UnsupportedScheme):
            detail = (
                f"token {self._location.token[:80]!r} does no RSA-OAEP with {key_padding.digest.upper()} "
                f"and MGF1 with {key_padding.mask_digest.upper()}"
            )
            raise GatewayError(KEY_UNAVAILABLE, detail, "pki.token")
        return decrypted

    def agree_secret(self, _public: AgreementPublicKey) -> bytes | None:
        """Return None: a token only decrypts keys with RSA here."""
        return None

    def is_own_key(self, key: Any) -> bool:
        """Return whether the key decrypts a value that is encrypted for the certificate.

        A token that can do OAEP with SHA-1 only passes, too: it serves the policies that read SHA-1.
        """
        return any(
            self._decrypts_probe(key, key_padding)
            for key_padding in (_STRONG_PADDING, KeyPadding("sha1", "sha1"))
        )

    def _decrypt_or_classify(
        self, key: Any, encrypted_key: bytes, key_padding: KeyPadding
    ) -> bytes | _UnsupportedScheme | None:
        """Return the decrypted key; an error that the token repeats for valid octets is a fault of the token.

        A token that decrypts by another scheme works, but does not support this scheme.
        """
        try:
            return _decrypt_oaep(key, encrypted_key, key_padding)
        except Exception as problem:
            raise_resource_problem(problem)
            if type(problem).__name__ in _DATA_ERRORS or self._decrypts_probe(key, key_padding):
                return None
            if self.is_own_key(key):
                return _UnsupportedScheme()
            raise

    def _decrypts_probe(self, key: Any, key_padding: KeyPadding) -> bool:
        """Return whether the key decrypts by a scheme at all: then the octets were wrong, not the token."""
        try:
            return (
                _decrypt_oaep(key, encrypt_key(self.certificate, _DECRYPTION_PROBE, key_padding), key_padding)
                == _DECRYPTION_PROBE
            )
        except Exception:
            return False


def _decrypt_oaep(key: Any, encrypted_key: bytes, key_padding: KeyPadding) -> bytes:
    from pkcs11 import MGF, Mechanism

    digest, mask = _DIGESTS[str(key_padding.digest)], key_padding.mask_digest.upper()
    parameters = (getattr(Mechanism, digest), getattr(MGF, mask), key_padding.label or None)
    return bytes(key.decrypt(encrypted_key, mechanism=Mechanism.RSA_PKCS_OAEP, mechanism_param=parameters))
