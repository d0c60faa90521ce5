"""Where one person alone must not give access, and links to set a password that two persons make together.

Where an act needs two persons, nobody may become both: who gives a person a role, or a link that sets the
password, could sign in as that person. So access to such an organisation is given by two persons, too, and
the link has two parts, each known to one of them.
"""

from __future__ import annotations

from base64 import b32encode
from collections.abc import Collection
from dataclasses import dataclass
from hashlib import sha256
from typing import Final

from gateway.accounts.role_rights import Organisation, OrganisationKind, RoleChange, list_rights

#: The act by which operators give roles, as settings name it.
_ROLES_ACT: Final = "account role"
_GROUP: Final = 4
#: Digits that no code has, and the letters that a person means who types them.
_MISTYPED: Final = str.maketrans("01", "OI")
#: Random octets of the second part of a link: 16 characters to type.
LINK_CODE_OCTETS: Final = 10


@dataclass(frozen=True, slots=True)
class SecondPersonRules:
    """What needs two persons: acts of operators, by the words of their verbs, and decisions of agencies."""

    acts: frozenset[str]
    four_eyes_agencies: frozenset[str]

    def needs_two_persons(self, organisation: Organisation) -> bool:
        """Return whether there are acts in an organisation that need two persons.

        In that of the operator there are some too where an agency decides with four eyes: second persons of
        the operator approve who has access to such an agency.
        """
        if organisation.kind is OrganisationKind.OPERATOR:
            return bool(self.acts or self.four_eyes_agencies)
        return organisation.kind is OrganisationKind.AGENCY and organisation.code in self.four_eyes_agencies

    def is_role_change_shared(self, manager: Organisation, change: RoleChange) -> bool:
        """Return whether a change of roles by a manager waits for a second person of the operator.

        What only takes rights away waits only where the settings name the act itself.
        """
        kind = change.organisation.kind
        gives_rights = bool(list_rights(kind, change.roles_after) - list_rights(kind, change.roles_before))
        is_shared = gives_rights and self.needs_two_persons(change.organisation)
        return is_shared or self._shares_every_change(manager)

    def is_link_shared(self, manager: Organisation, organisations: Collection[Organisation]) -> bool:
        """Return whether a link for an account with roles in these places waits for a second person."""
        return any(map(self.needs_two_persons, organisations)) or self._shares_every_change(manager)

    def _shares_every_change(self, manager: Organisation) -> bool:
        return manager.kind is OrganisationKind.OPERATOR and _ROLES_ACT in self.acts

    def is_first_shared_access(self, before: Collection[Organisation], organisation: Organisation) -> bool:
        """Return whether a role in an organisation is the first of an account that needs two persons.

        `before` are the organisations in which the account has roles. What the account had to sign in until
        then may have come from one person alone.
        """
        return self.needs_two_persons(organisation) and not any(map(self.needs_two_persons, before))


def format_link_code(random: bytes) -> str:
    """Return `LINK_CODE_OCTETS` random octets as the code of a link: groups of four letters and digits."""
    text = b32encode(random).decode("ascii")
    return "-".join(text[start : start + _GROUP] for start in range(0, len(text), _GROUP))


def digest_shared_link(token_digest: str, code: str) -> str:
    """Return the digest of a link of two parts, from the digest of the token in it, and its code as typed."""
    typed = "".join(filter(str.isalnum, code.upper())).translate(_MISTYPED)
    return sha256(f"{token_digest} {typed}".encode(errors="replace")).hexdigest()
