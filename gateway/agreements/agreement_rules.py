"""The rules by which an agreement is judged before it is loaded, and the input types of the rules.

The reader of an agreement gives the P-Modes and the places of their parts; the register gives the parties.
Neither is read here.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from importlib.resources import files
from typing import Final, NamedTuple

from gateway.agreements.pmode import PMode
from gateway.message_model import PartyId

#: An error means that messages will be refused or cannot be sent; a warning, that something is
#: probably not meant; a note needs no consent.
SEVERITIES: Final = ("error", "warning", "note")


class AgreementRule(NamedTuple):
    """A rule: its severity (error, warning or note), the fault that breaks it, and the clause behind it."""

    severity: str
    meaning: str
    clause: str = ""


def read_rules(file_name: str) -> dict[str, AgreementRule]:
    """Return the rules by id from a TOML file of the package gateway.agreements, in the order of the file."""
    toml_text = files("gateway.agreements").joinpath(file_name).read_text("utf-8")
    return {name: AgreementRule(**row) for name, row in tomllib.loads(toml_text).items()}


#: Rules on agreements by AS4, and on agreements that name a profile of AS4. A deviation from the profile is
#: reported by ``profile-deviation`` or ``profile-advice``, with the clause of the profile.
AS4_RULES: Final[Mapping[str, AgreementRule]] = read_rules("as4/as4_rules.toml")
#: Every rule on the agreement of a file.
AGREEMENT_RULES: Final[Mapping[str, AgreementRule]] = {**read_rules("agreement_rules.toml"), **AS4_RULES}


@dataclass(frozen=True, slots=True)
class AgreementFinding:
    """A rule that an agreement breaks: its id and severity, the place in the file, a sentence about it.

    `xpath` is the place in a CPA, None in other files; `clause` is the clause of a standard or a profile
    that says so, an empty text where none does.
    """

    rule: str
    severity: str
    location: str
    text: str
    xpath: str | None = None
    clause: str = ""


def make_finding(rule_id: str, location: str, finding_text: str, clause: str = "") -> AgreementFinding:
    """Return the finding that an agreement breaks a rule at a place; a `clause` replaces that of the rule."""
    broken_rule = AGREEMENT_RULES[rule_id]
    return AgreementFinding(
        rule_id, broken_rule.severity, location, finding_text, clause=clause or broken_rule.clause
    )


def sort_findings(findings: Iterable[AgreementFinding]) -> tuple[AgreementFinding, ...]:
    """Return findings with the errors first, then the warnings."""
    return tuple(sorted(findings, key=lambda finding: SEVERITIES.index(finding.severity)))


@dataclass(frozen=True, slots=True)
class AgreementDocument:
    """The P-Modes of one file, and the places of its parts.

    A part is named by its kind and its name: ``("pmode", id)``, ``("party", value)`` for an
    identifier, ``("endpoint", value)`` with the first identifier of the party, ``("certificates",
    value)`` alike, and ``("agreement", "")``, ``("protocol", "")``, ``("valid_from", "")``,
    ``("valid_until", "")``, ``("pmodes", "")``. `findings` are those of the reader.
    """

    pmodes: tuple[PMode, ...]
    file_name: str
    places: Mapping[tuple[str, str], str] = field(default_factory=dict)
    findings: tuple[AgreementFinding, ...] = ()

    def find_place(self, *parts: tuple[str, str]) -> str:
        """Return the place of the first of these parts that the file has, else the file."""
        return next((self.places[part] for part in parts if part in self.places), self.file_name)


@dataclass(frozen=True, slots=True)
class KnownCertificate:
    """A registered certificate (SHA-256) and the period in which its party may use it."""

    sha256: str
    use: str
    begins: datetime
    ends: datetime


@dataclass(frozen=True, slots=True)
class KnownParty:
    """A registered party with its identifiers and certificates."""

    name: str
    status: str
    ids: tuple[PartyId, ...]
    certificates: tuple[KnownCertificate, ...] = ()


@dataclass(frozen=True, slots=True)
class HubView:
    """The register of a hub as the checks of an agreement see it, at the time `at`.

    `hub` is the name of the hub's own party, `own_certificates` the certificates (SHA-256) with
    which it signs, `own_algorithms` the algorithms (URIs) of their keys, `logins` the hosts (or host:port)
    at which it has a login. `other_pmodes` are the P-Modes of the other active agreements. `result_action` is
    the action with which the hub answers a submission. `list_unsupported_terms` returns, in words, the terms
    of a P-Mode that the hub does not support.
    """

    hub: str
    at: datetime
    parties: tuple[KnownParty, ...]
    other_pmodes: tuple[PMode, ...] = ()
    own_certificates: frozenset[str] = frozenset()
    own_algorithms: frozenset[str] = frozenset()
    protocols: frozenset[str] = frozenset({"ebms2"})
    result_action: str = "Result"
    logins: frozenset[str] = frozenset()
    list_unsupported_terms: Callable[[PMode], Sequence[str]] = lambda _: ()

    def find_party(self, party_id: PartyId) -> KnownParty | None:
        """Return the registered party with this identifier, in any status."""
        return next((party for party in self.parties if party_id in party.ids), None)
