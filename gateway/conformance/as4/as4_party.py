"""The suite as a partner of a gateway of AS4: its keys, and its agreements by kind."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from gateway.agreements import PMode, PModeIndex, read_pmodes
from gateway.conformance.partners import Membership, read_file, read_identity
from gateway.errors import MISUSE, GatewayError
from gateway.message_model import PartyId
from gateway.protocols import ProtocolContext

__all__ = ["KINDS", "SECRET_FILE", "As4Party", "read_as4_party"]

#: The kinds of agreements, and what each of them says.
KINDS: Final[Mapping[str, str]] = {
    "main": "as the profile demands: signed, encrypted, compressed",
    "clear": "as main, without encryption",
    "pull": "what the gateway sends is pulled by the suite",
    "callback": "receipts and errors are posted to the suite",
    "login": "what the gateway sends is pulled by the suite with a name and a password",
    "sync": "the response is in the HTTP answer to the request",
}
_NAME: Final = "suite"
#: The file of a partner folder with the password by which the suite pulls.
SECRET_FILE: Final = "suite.password"  # noqa: S105  # a file name


@dataclass(frozen=True)
class As4Party:
    """The suite's identity and its agreements by kind; `password` is that by which it pulls, if any."""

    folder: Path
    agreements: Mapping[str, tuple[PMode, ...]]
    membership: Membership
    password: bytes = field(default=b"", repr=False)

    @property
    def endpoint(self) -> str | None:
        """Return where the gateway sends to the suite."""
        return self.membership.listening_endpoint

    def get_sending_pmode(self, kind: str, action: str) -> PMode:
        """Return the P-Mode by which the suite sends an action; raise LookupError where there is none."""
        for one in self.agreements.get(kind, ()):
            if one.from_party[0] in self.membership.ours and one.action == action:
                return one
        raise LookupError(f"the partner folder has no agreement {kind} with action {action[:80]}")

    def get_pulled_pmode(self, kind: str) -> PMode:
        """Return the P-Mode of what the suite pulls; raise LookupError where there is none."""
        for one in self.agreements.get(kind, ()):
            if one.pull is not None and one.to_party[0] in self.membership.ours:
                return one
        raise LookupError(f"the partner folder has no agreement {kind} by which messages are pulled")

    def build_context(self) -> ProtocolContext:
        """Return the context of the protocol core, to seal, to verify and to answer."""
        made = self.membership.build_context()
        return replace(made, make_message_id=lambda: f"{uuid.uuid4()}@suite.invalid")


def read_as4_party(folder: Path) -> As4Party:
    """Read a partner folder; raises GW808 for one without what is needed.

    Of the two parties of its agreements the suite is the one whose endpoint it listens at: the first.
    """
    identity = read_identity(folder, _NAME)
    if not identity.hub:
        detail = "the folder has no certificate of the gateway, by which its signatures are verified"
        raise GatewayError(MISUSE, detail, str(folder / "hub.cert.pem"))
    files = {kind: folder / "agreements" / f"{kind}.yaml" for kind in KINDS}
    found = {kind: read_pmodes(read_file(path), path.name) for kind, path in files.items() if path.is_file()}
    if "main" not in found:
        raise GatewayError(MISUSE, "the folder has no agreements/main.yaml", str(folder))
    first = found["main"][0]
    sides: tuple[frozenset[PartyId], ...] = (frozenset(first.from_party), frozenset(first.to_party))
    index = PModeIndex(tuple(one for pmodes in found.values() for one in pmodes))
    secret = folder / SECRET_FILE
    password = read_file(secret).rstrip(b"\r\n") if secret.is_file() else b""
    return As4Party(folder, found, Membership(identity, index, *sides), password)
