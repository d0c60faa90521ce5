"""Where we stay with our verdict although others say otherwise; the manual argues each (`pki-suites.md`)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from tests.pki.chains.opinions import Opinion

_Holds = Callable[["Case"], bool]


@dataclass(frozen=True)
class Case:
    """A disagreement: what was done to the chain, what we say, and what those say who differ."""

    notes: tuple[str, ...]
    ours: str
    theirs: Mapping[str, Opinion]

    def only(self, *names: str) -> bool:
        """Say whether nobody but these differs."""
        return set(self.theirs) <= set(names)

    def noted(self, *beginnings: str) -> bool:
        """Say whether something of this kind was done."""
        return any(note.startswith(beginnings) for note in self.notes)

    def noting(self, ending: str) -> bool:
        """Say whether something was done that ends in these words."""
        return any(note.endswith(ending) for note in self.notes)

    def says(self, words: str) -> bool:
        """Say whether one of those who differ gives this reason."""
        return any(words in each.reason for each in self.theirs.values())


LAXER: tuple[tuple[str, _Holds], ...] = (
    (
        "one path of several is tried",
        lambda case: (
            case.noted("beside", "only a twin") and ("java" not in case.theirs or case.noted("self-issued"))
        ),
    ),
    ("a list of changes of tomorrow", lambda case: case.only("openssl") and case.noted("changes")),
    ("the last second", lambda case: case.only("openssl", "gnutls") and case.noted("time last", "list last")),
    (
        "a policy right below the anchor",
        lambda case: case.says("no explicit policy") and (case.noted("changes") or "java" not in case.theirs),
    ),
    ("issuer and serial number", lambda case: case.only("openssl", "gnutls") and case.noted("other serial")),
    ("a root asks about itself", lambda case: case.only("openssl") and case.says("different CRL scope")),
    (
        "a party of its issuer's name",
        lambda case: case.only("openssl", "gnutls") and case.noted("self-issued leaf"),
    ),
    ("what GnuTLS leaves out", lambda case: case.only("gnutls")),
    (
        "taken off a complete list",
        lambda case: case.only("java") and case.noted("list revokes 8", "changes: 8"),
    ),
    ("lists of changes", lambda case: case.only("java") and case.noted("changes")),
    ("responses without end", lambda case: case.only("java") and case.noted("response endless")),
    ("what Java leaves out of lists", lambda case: case.only("java") and case.noted("indirect", "points")),
    (
        "constraints as Java joins them",
        lambda case: case.only("java", "gnutls") and case.noted("constraints"),
    ),
    ("the certificate names others", lambda case: case.only("openssl") and case.noted("indirect")),
    (
        "names in responses",
        lambda case: case.only("java", "openssl") and case.noted("issuer spelt", "response other"),
    ),
    ("reasons from all points", lambda case: case.noted("points by reasons")),
)
STRICTER: tuple[tuple[str, _Holds], ...] = (
    ("revoked at a date to come", lambda case: case.only("java") and "was revoked at" in case.ours),
    ("another key is named", lambda case: case.only("java", "gnutls") and case.noted("aki other")),
    (
        "an entry that is not understood",
        lambda case: case.only("java", "openssl") and "critical extension" in case.ours,
    ),
    (
        "what an anchor says of itself",
        lambda case: (
            case.only("java", "gnutls")
            and (
                "trust anchor" in case.ours
                or case.noting("of anchor")
                or (case.noted("length") and "path length" in case.ours)
            )
        ),
    ),
    ("a list without end", lambda case: case.only("openssl") and case.noted("list endless")),
    (
        "a second on either side",
        lambda case: case.only("java") and case.noted("list before", "list after", "response"),
    ),
    ("a key that speaks of itself", lambda case: case.only("java") and case.noted("self-issued")),
    ("changes that take nothing off", lambda case: case.only("openssl") and case.noted("changes")),
    ("changes condemn at any time", lambda case: case.noted("changes") and "was revoked at" in case.ours),
    ("a base that begins with a point", lambda case: "begins with a point" in case.ours),
    ("the certificate names others", lambda case: case.only("openssl") and case.noted("indirect")),
    (
        "constraints as Java joins them",
        lambda case: case.only("java", "gnutls") and case.noted("constraints"),
    ),
    ("what GnuTLS leaves out", lambda case: case.only("gnutls")),
    (
        "addresses without a host",
        lambda case: (
            case.only("openssl", "java") and case.noted("constraints uri") and "http://192" in case.ours
        ),
    ),
    ("may not sign lists", lambda case: case.only("java") and case.noted("list by may not sign lists")),
)


def argument(case: Case, *, laxer: bool) -> str | None:
    """Return the title of the class that a disagreement falls in, None when nobody argues it."""
    known = LAXER if laxer else STRICTER
    return next((title for title, holds in known if holds(case)), None)
