"""The limits by which the request gate takes requests, and what single pages need beyond others."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from gateway.web.server.body_budget import MinimumBodyRate
from gateway.web.server.body_collector import SpoolSettings
from gateway.web.server.connection_limits import ConnectionLimits

#: The body limit of paths that receive no messages, where nothing else is set, and of forms with a password.
_SMALL: Final = 64 * 1024


@dataclass(frozen=True, slots=True)
class PageNeeds:
    """What a page needs beyond others.

    `max_octets` are those of a form with files (None: the page takes no files). A page that `hashes_password`
    takes tenths of a second of a processor and much memory.
    """

    max_octets: int | None = None
    hashes_password: bool = False


def need_nothing(_method: str, _path: str) -> PageNeeds:
    """Return that a page needs nothing."""
    return PageNeeds()


@dataclass(frozen=True)
class RequestGateLimits:
    """The limits of the gate for all requests.

    `bodies` has the octets of a body by path, `other_bodies` those on every other path, `body_budget_octets`
    the octets of all bodies together, `requests` the number of requests of one sender. `tls_proxies` are the
    addresses of proxies that end TLS and name the certificate of their client (RFC 9440). `spool` says which
    bodies go into files; those use no `body_budget_octets`. `running` limits the requests of one party or
    account that have a thread at once; it is known from the second request with the same credentials on.
    Requests for one of `status_paths` have threads of their own, those for one of `instant_paths` none: the
    application answers them without waiting for anything. `find_page_needs` returns what the page of a method
    and a path needs: no form with files has more octets than `max_upload_octets`, and those that hash a
    password have two threads of their own.
    """

    threads: int
    requests: int
    bodies: Mapping[str, int]
    body_budget_octets: int
    min_body_rate: MinimumBodyRate
    connections: ConnectionLimits
    other_bodies: int = _SMALL
    tls_proxies: frozenset[str] = frozenset()
    spool: SpoolSettings | None = None
    running: int | None = None
    status_paths: frozenset[str] = frozenset()
    instant_paths: frozenset[str] = frozenset()
    max_upload_octets: int = 0
    find_page_needs: Callable[[str, str], PageNeeds] = need_nothing

    def find_max_octets(self, path: str, page_needs: PageNeeds) -> int:
        """Return how many octets the body of a request for a path may have."""
        if page_needs.hashes_password:
            return min(_SMALL, self.other_bodies)
        if page_needs.max_octets is not None:
            return min(page_needs.max_octets, self.max_upload_octets)
        return self.bodies.get(path.rstrip("/"), self.other_bodies)

    @property
    def max_body_octets(self) -> int:
        """Return how many octets the largest body has."""
        return max((*self.bodies.values(), self.other_bodies, self.max_upload_octets))

    @property
    def max_held_octets(self) -> int:
        """Return how many octets the largest body has that is held in memory."""
        if self.spool is None:
            return self.max_body_octets
        threshold, paths = self.spool.threshold, self.spool.paths
        held = [min(limit, threshold) if path in paths else limit for path, limit in self.bodies.items()]
        return max((*held, self.other_bodies, self.max_upload_octets))
