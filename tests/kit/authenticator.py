"""An authenticator in software: it makes passkeys and uses them, with real keys and signatures."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

import cbor2
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256

from gateway.accounts import decode_base64url, encode_base64url

PRESENT, VERIFIED, BACKED_UP, MADE = 0x01, 0x04, 0x18, 0x40


@dataclass
class Authenticator:
    """One passkey; what it says can be bent: the origin, the host, the flags, the counter."""

    origin: str = "http://localhost:8081"
    host: str = "localhost"
    flags: int = PRESENT | VERIFIED
    count: int = 0
    steps: int = 1
    more: dict[str, Any] = field(default_factory=dict)
    key: ec.EllipticCurvePrivateKey = field(default_factory=lambda: ec.generate_private_key(ec.SECP256R1()))
    handle: str | None = None

    @property
    def credential(self) -> str:
        return encode_base64url(sha256(str(self.key.public_key().public_numbers()).encode()).digest())

    def create(self, options: str) -> str:
        """Answer `navigator.credentials.create()`."""
        told = json.loads(options)
        self.handle = told["user"]["id"]
        numbers = self.key.public_key().public_numbers()
        public = {1: 2, 3: -7, -1: 1, -2: numbers.x.to_bytes(32), -3: numbers.y.to_bytes(32)}
        credential = decode_base64url(self.credential)
        made = bytes(16) + len(credential).to_bytes(2) + credential + cbor2.dumps(public)
        data = self._data(MADE) + made
        attestation = cbor2.dumps({"fmt": "none", "attStmt": {}, "authData": data})
        client = self._client_data("webauthn.create", told["challenge"])
        return self._answer(
            {"clientDataJSON": encode_base64url(client), "attestationObject": encode_base64url(attestation)}
        )

    def get(self, options: str) -> str:
        """Answer `navigator.credentials.get()`."""
        self.count += self.steps
        client = self._client_data("webauthn.get", json.loads(options)["challenge"])
        data = self._data()
        signature = self.key.sign(data + sha256(client).digest(), ec.ECDSA(SHA256()))
        response = {
            "clientDataJSON": encode_base64url(client),
            "authenticatorData": encode_base64url(data),
            "signature": encode_base64url(signature),
        }
        if self.handle:
            response["userHandle"] = self.handle
        return self._answer(response)

    def _data(self, more: int = 0) -> bytes:
        flags = (self.flags | more).to_bytes(1)
        return sha256(self.host.encode()).digest() + flags + self.count.to_bytes(4)

    def _client_data(self, kind: str, challenge: str) -> bytes:
        said = {"type": kind, "challenge": challenge, "origin": self.origin, "crossOrigin": False}
        return json.dumps(said | self.more).encode()

    def _answer(self, response: dict[str, str]) -> str:
        return json.dumps(
            {"id": self.credential, "rawId": self.credential, "type": "public-key", "response": response}
        )
