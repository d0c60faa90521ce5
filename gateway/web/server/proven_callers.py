"""Remembers who proved to be whom, so that the next request is known before it is read."""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Final

_MOST: Final = 10_000
#: The session cookie of the console; other cookies are no credentials.
_SESSION: Final = re.compile(r"(?:^|; ?)__Host-session=([^;]*)")
#: Seconds for which a network counts as that of a party: later another customer may have its address.
_NETWORK_SECONDS: Final = 24 * 3600.0
#: The networks of one party that are remembered.
_MOST_NETWORKS: Final = 100


class ProvenCallers:
    """The newest callers by the digest of their credentials; for the event loop alone."""

    def __init__(self) -> None:
        self._callers: OrderedDict[bytes, str] = OrderedDict()

    def find_caller(self, fields: Mapping[str, str]) -> str | None:
        """Return the caller that an earlier request with these credentials has proved, else None."""
        return self._callers.get(_digest_credentials(fields))

    def remember_caller(self, fields: Mapping[str, str], caller: str | None) -> None:
        """Keep the caller that the application has found, for requests with the same credentials."""
        key = _digest_credentials(fields)
        if key and caller is not None:
            self._callers[key] = caller
            self._callers.move_to_end(key)
            if len(self._callers) > _MOST:
                self._callers.popitem(last=False)


def _digest_credentials(fields: Mapping[str, str]) -> bytes:
    """Return a digest of the credentials of a request; nothing without any."""
    session = _SESSION.search(fields.get("cookie", ""))
    credentials = fields.get("authorization") or (session[1] if session else "")
    return sha256(credentials.encode("utf-8", "surrogatepass")).digest() if credentials else b""


class ProvenNetworks:
    """The networks from which a party has proved who it is, the newest last; for the event loop alone.

    Most clients open a connection for each message, without credentials that the head could show. One party
    has few networks here, so that none takes the place of others. `clock` returns seconds.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._proofs: OrderedDict[str, _NetworkProof] = OrderedDict()
        self._networks_by_party: dict[str, dict[str, None]] = {}

    def find_party(self, network: str) -> str | None:
        """Return the party that was the last to prove who it is from a network, within the last day."""
        proof = self._proofs.get(network)
        return None if proof is None or self._clock() - proof.at >= _NETWORK_SECONDS else proof.party

    def remember_network(self, network: str, party: str) -> None:
        """Record that a party has proved who it is from a network."""
        self._forget_network(network)
        networks = self._networks_by_party.get(party, {})
        if len(networks) >= _MOST_NETWORKS:
            self._forget_network(next(iter(networks)))
        if len(self._proofs) >= _MOST:
            self._forget_network(next(iter(self._proofs)))
        self._proofs[network] = _NetworkProof(party, self._clock())
        self._networks_by_party.setdefault(party, {})[network] = None

    def _forget_network(self, network: str) -> None:
        proof = self._proofs.pop(network, None)
        if proof is not None:
            networks = self._networks_by_party[proof.party]
            del networks[network]
            if not networks:
                del self._networks_by_party[proof.party]


@dataclass(frozen=True, slots=True)
class _NetworkProof:
    party: str
    at: float
