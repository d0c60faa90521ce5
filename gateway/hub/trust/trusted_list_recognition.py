"""Recognises signers in a running hub by the loaded trusted lists, in addition to our own anchors.

The lists are used only where our own anchors do not admit a certificate, and the validator
remembers the verdict as any other. Recognition costs nothing for signers that our own anchors
admit.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import Connection, Row

from gateway.errors import CERTIFICATE_UNTRUSTED, GatewayError
from gateway.pki import (
    Certificate,
    CertificateUse,
    Examine,
    RevocationData,
    TrustStore,
    Verdict,
    read_certificate,
    validate_octets,
)
from gateway.recognition import (
    MOST_AGE,
    RecognitionContext,
    TrustedList,
    VouchedDocument,
    admit_by_recognition,
    get_vouched_levels,
    is_known_certificate,
    list_trust_stores,
    open_trusted_list,
)
from gateway.store import trusted_lists

__all__ = ["NOBODY", "LoadedTrustedLists", "RecognitionPolicy", "Recognizer", "TrustedListCache"]

_log = logging.getLogger(__name__)
_ANY: Final = "*"
#: The operator is warned so long before a list expires. National lists are issued at least twice a year.
_SOON: Final = timedelta(days=3)


@dataclass(frozen=True, slots=True)
class RecognitionPolicy:
    """The recognition settings: who may sign our list, which levels are accepted for which use.

    ``vouched`` is how old the statement of a vouching gateway may be.
    """

    signers: frozenset[Certificate] = frozenset()
    uses: Mapping[CertificateUse, frozenset[str]] = field(
        default_factory=lambda: {CertificateUse.SIGNING: frozenset({_ANY})}
    )
    vouched: timedelta = MOST_AGE

    def get_accepted_levels(self, use: CertificateUse) -> frozenset[str] | None:
        """Return the levels accepted for a use, one of which is needed; None when every level is."""
        levels = self.uses.get(use, frozenset())
        return None if _ANY in levels else levels


#: Names no signer of our list, so no signer of others is recognised.
NOBODY: Final = RecognitionPolicy()


@dataclass(frozen=True, slots=True)
class LoadedTrustedLists:
    """The loaded lists: our own, from which recognition starts, and those of others."""

    root: TrustedList | None = None
    others: tuple[TrustedList, ...] = ()

    def find_predecessor(self, found: TrustedList) -> TrustedList | None:
        """Return the list of others that a new list would replace."""
        place = (found.form, found.territory)
        return next((each for each in self.others if (each.form, each.territory) == place), None)

    def replace_list(self, new: TrustedList) -> LoadedTrustedLists:
        """Return these lists with a new list in the place of its predecessor."""
        before = self.find_predecessor(new)
        return LoadedTrustedLists(self.root, (*(each for each in self.others if each is not before), new))

    @property
    def list_digests(self) -> frozenset[str]:
        """Return the digests of these lists."""
        return frozenset(each.sha256 for each in (self.root, *self.others) if each is not None)


class TrustedListCache:
    """Loads the stored trusted lists from the database, each parsed once: a large one takes seconds."""

    def __init__(self) -> None:
        self._opened: dict[str, TrustedList] = {}

    def load_lists(self, conn: Connection, terms: RecognitionPolicy) -> LoadedTrustedLists:
        """Return the stored lists; the root is the last one whose signer the settings name."""
        if not terms.signers:
            return LoadedTrustedLists()
        rows = trusted_lists.list_latest(conn)
        opened = {row.id: each for row in rows if (each := self._open_stored_list(conn, row)) is not None}
        self._opened = {each.sha256: each for each in opened.values()}
        roots = [row.id for row in rows if row.named_by is None]
        named = [opened[one] for one in roots if one in opened and opened[one].signer in terms.signers]
        others = [opened[row.id] for row in rows if row.named_by is not None and row.id in opened]
        return LoadedTrustedLists(named[-1] if named else None, tuple(others))

    def _open_stored_list(self, conn: Connection, row: Row[Any]) -> TrustedList | None:
        known = self._opened.get(row.sha256)
        if known is not None:
            return known
        try:
            # Verified again: a list in the database is trusted no more than a received one.
            return open_trusted_list(
                trusted_lists.get_list_content(conn, row.id), {read_certificate(row.signer)}
            )
        except GatewayError as refused:
            _log.error("the trusted list of %s (%s) counts for nothing: %s", row.territory, row.id, refused)
            return None


class Recognizer:
    """Validates as `examine` does, and uses the lists for certificates that our own anchors do not admit.

    It is called by a validator, which remembers its verdicts. `reload_lists` must be called before
    the validator reloads its trust.
    """

    def __init__(self, terms: RecognitionPolicy = NOBODY, examine: Examine | None = None) -> None:
        self.terms = terms
        self._examine = examine or validate_octets
        self.shelf = TrustedListCache()
        self._lists = LoadedTrustedLists()

    def reload_lists(self, conn: Connection) -> None:
        """Use the lists that are stored now."""
        self._lists = self.shelf.load_lists(conn, self.terms)

    def list_due_updates(self, at: datetime) -> Iterator[str]:
        """Yield a text for each loaded list that has expired, or will expire soon."""
        for each in (self._lists.root, *self._lists.others):
            ends = each.next_update if each else None
            if each is not None and ends is not None and ends - at < _SOON:
                when = f"its next update {'was' if ends <= at else 'is'} due at {ends:%Y-%m-%dT%H:%M:%SZ}"
                yield f"the trusted list of {_format_list_name(each)}: {when}; after that it admits no signer"

    def __call__(
        self, leaf: bytes, use: CertificateUse, at: datetime, trust: TrustStore, revocations: RevocationData
    ) -> Verdict:
        """Validate a certificate (DER); a recognised one states the mode, and the list that admits it."""
        verdict = self._examine(leaf, use, at, trust, revocations)
        lists, wanted = self._lists, self.terms.get_accepted_levels(use)
        if verdict.is_accepted or verdict.passing or lists.root is None or wanted == frozenset():
            return verdict
        try:
            certificate = read_certificate(leaf, trust.policy.certificates)
        except GatewayError:
            return verdict
        recognition = RecognitionContext(trust, lists.root, lists.others, revocations, self._examine)
        found = admit_by_recognition(certificate, at, use, recognition, verdict, wanted=wanted)
        if found.mode is None:
            return found.verdict
        source = f"{found.source}, by {_format_list_name(lists.root)}"
        return replace(found.verdict, mode=found.mode, source=source, levels=found.levels)

    def list_trust_stores(self, trust: TrustStore, at: datetime) -> Iterator[TrustStore]:
        """Yield the trust store of each bridge and list in force, in addition to our own `trust`."""
        return list_trust_stores(self._build_recognition(trust), at)

    def is_known_issuer(self, certificate: Certificate, trust: TrustStore, at: datetime) -> bool:
        """Return whether we can validate a certificate: its issuer is ours, or is on a list in force."""
        return is_known_certificate(certificate, at, self._build_recognition(trust))

    def _build_recognition(self, trust: TrustStore) -> RecognitionContext:
        lists = self._lists
        return RecognitionContext(trust, lists.root, lists.others)

    def check_vouched_levels(self, vouched: VouchedDocument, at: datetime, since: datetime) -> frozenset[str]:
        """Return the levels of a vouched signer, for a document that was received at `since`.

        Raises GW205 where our list does not name the voucher, or where the levels do not suffice
        for signing.
        """
        oldest = self.terms.vouched + max(at - since, timedelta())
        levels = get_vouched_levels(vouched, at, self._lists.root, oldest)
        wanted = self.terms.get_accepted_levels(CertificateUse.SIGNING)
        if wanted is not None and not levels & wanted:
            detail = f"vouched for as {', '.join(sorted(levels))[:120]}: not enough here"
            raise GatewayError(CERTIFICATE_UNTRUSTED, detail)
        return levels

    def describe_vouching(self, vouched: VouchedDocument, by: str) -> str:
        """Return what vouching rests on: the gateway and territory, and our list that names it."""
        root = self._lists.root
        named = f", by {_format_list_name(root)}" if root else ""
        return f"{vouched.voucher.subject} ({by}) for {vouched.territory}{named}"


def _format_list_name(found: TrustedList) -> str:
    return f"{found.territory} {found.sequence}"
