"""Tables of attacks: one row is one attack; what the rows have in common is written once.

A row has the variant (the case's id without its prefix), the title, and the subject, which
differs from row to row. A placement makes a request from a subject.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Final, TypeVar

from gateway.conformance.hostile.attack_case import AttackCase
from gateway.conformance.hostile.attacker_kit import AttackerKit
from gateway.conformance.hostile.case_builders import (
    RequestMaker,
    build_tampered_call,
    expect_early_refusal,
    expect_refusal,
    make_attack_case,
    make_both_face_cases,
)
from gateway.conformance.hostile.exchange import LAWFUL, Expectation, HttpRequest
from gateway.conformance.hostile.octet_mutations import OctetMutation
from gateway.conformance.hostile.tree_mutations import (
    TreeMutation,
    mutate_tree,
    recompute_envelope_digest,
    recompute_signature,
    recompute_written_digests,
)

T = TypeVar("T")

#: Makes the request from a subject.
Placement = Callable[[T], RequestMaker]

#: The required result of a row: the problems that refuse it, "" for acceptance, or an expectation.
Outcome = str | Expectation
#: Variant, title, subject; then, where the table does not say it for all, what must come of it, and
#: whether the naive verifier takes it.
Row = tuple[str, str, T]
RefusedRow = tuple[str, str, T, Outcome]
FlaggedRow = tuple[str, str, T, Outcome, bool]
AttackTable = tuple[Row[T] | RefusedRow[T] | FlaggedRow[T], ...]
#: Variant, title, subject, what must come of it, and where the attack is known from; then the naive verifier.
SourcedRow = tuple[str, str, T, Outcome, str]
FlaggedSourcedRow = tuple[str, str, T, Outcome, str, bool]
#: Variant, title, change, and where the attack is known from, if that is another place than of the table.
BothFaceRow = Row[OctetMutation] | tuple[str, str, OctetMutation, str]
SourcedTable = tuple[SourcedRow[T] | FlaggedSourcedRow[T], ...]

#: How the digests of a message are made right again: as the standard means its transforms, or as written.
_DIGESTS: Final[dict[str, tuple[TreeMutation, ...]]] = {
    "meant": (recompute_envelope_digest,),
    "written": (recompute_written_digests,),
    "none": (),
}


def read_expectation(problems: Outcome, *, early: bool = False) -> Expectation:
    """Return the required result of a row: refusal by its problems, or acceptance if it names none."""
    if not isinstance(problems, str):
        return problems
    if not problems:
        return LAWFUL
    return expect_early_refusal(*problems.split()) if early else expect_refusal(*problems.split())


def make_table_cases(
    prefix: str,
    rows: Iterable[Row[T] | RefusedRow[T] | FlaggedRow[T]],
    place: Placement[T],
    source: str,
    expected: Outcome = "",
    *,
    face: str = "ebms2",
    early: bool = False,
    feature: str = "",
    naive: bool = False,
) -> Iterator[AttackCase]:
    """Yield the case of each row; `expected` and `naive` hold for rows that say nothing else.

    `early`: HTTP may refuse the request before the message is read.
    """
    for row in rows:
        must = row[3] if len(row) >= 4 else expected
        yield make_attack_case(
            prefix + row[0],
            row[1],
            place(row[2]),
            read_expectation(must, early=early),
            source,
            face=face,
            feature=feature,
            naive=row[4] if len(row) == 5 else naive,
        )


def make_sourced_cases(
    prefix: str,
    rows: Iterable[SourcedRow[T] | FlaggedSourcedRow[T]],
    place: Placement[T],
    *,
    face: str = "ebms2",
    feature: str = "",
    naive: bool = False,
) -> Iterator[AttackCase]:
    """Yield the case of each row of a table whose rows are known from different places."""
    for row in rows:
        takes = row[5] if len(row) == 6 else naive
        one = (row[0], row[1], row[2], row[3], takes)
        yield from make_table_cases(prefix, (one,), place, row[4], face=face, feature=feature)


def make_both_face_table(
    prefix: str, rows: Iterable[BothFaceRow], problems: str, source: str
) -> Iterator[AttackCase]:
    """Yield two cases of each row, for messages and for calls."""
    for row in rows:
        yield from make_both_face_cases(
            prefix + row[0], row[1], row[2], problems, row[3] if len(row) == 4 else source
        )


@dataclass(frozen=True, slots=True)
class ValueTable:
    """Attacks that differ in one value: `place` puts it into a request, `rows` are the values by variant.

    An id is prefix, variant and suffix.  The title has ``{}`` where the value is shown, ``{variant}``
    or ``{length}``; of a value as long as `limit` it shows the first `shown` characters.
    """

    prefix: str
    title: str
    rows: Iterable[tuple[str, str]]
    place: Placement[str]
    expected: Expectation
    source: str
    face: str = "ebms2"
    suffix: str = ""
    shown: int = 12
    limit: int = 40

    def make_cases(self) -> Iterator[AttackCase]:
        """Yield the case of each value."""
        for variant, value in self.rows:
            yield make_attack_case(
                self.prefix + variant + self.suffix,
                self.title.format(self._shorten_value(value), variant=variant, length=len(value)),
                self.place(value),
                self.expected,
                self.source,
                face=self.face,
            )

    def _shorten_value(self, value: str) -> str:
        return value if len(value) < self.limit else f"{value[: self.shown]}… of {len(value)} characters"


def make_value_cases(*tables: ValueTable) -> tuple[AttackCase, ...]:
    """Return the cases of all tables."""
    return tuple(case for table in tables for case in table.make_cases())


def send_request(make: RequestMaker) -> RequestMaker:
    """Return the subject itself, for rows that are requests."""
    return make


def change_body(change: OctetMutation) -> RequestMaker:
    """Return the step that sends a message with a changed HTTP body."""
    return lambda kit: kit.build_message(body=change)


def change_content_type(change: Callable[[str], str]) -> RequestMaker:
    """Return the step that sends a message with a changed Content-Type."""
    return lambda kit: kit.build_message(content_type=change)


def change_envelope(change: OctetMutation) -> RequestMaker:
    """Return the step that sends a message whose envelope is changed before it is signed."""
    return lambda kit: kit.build_message(envelope=change)


def change_on_the_way(change: TreeMutation) -> RequestMaker:
    """Return the step that sends a message whose envelope is changed after it was signed."""
    return lambda kit: kit.build_message(tampered=mutate_tree(change))


def change_with_kit(make: Callable[[AttackerKit], TreeMutation]) -> RequestMaker:
    """Return the step that sends a message that an attacker with other keys changed on the way."""
    return lambda kit: kit.build_message(tampered=mutate_tree(make(kit)))


def change_before_signing(change: TreeMutation) -> RequestMaker:
    """Return the step that sends a message whose envelope the sender changed and then signed."""
    return change_envelope(mutate_tree(change))


def sign_again(change: TreeMutation, digests: str = "meant", member: str = "a") -> RequestMaker:
    """Return the step that sends a message that the sender changed and signed again.

    Its `digests` are computed again by the ``meant`` transforms, by the ``written`` ones, or not at
    all (``none``).
    """

    def make_request(kit: AttackerKit) -> HttpRequest:
        again = recompute_signature(kit.get_signer(member))
        return kit.build_message(member=member, tampered=mutate_tree(change, *_DIGESTS[digests], again))

    return make_request


def sign_as_written(change: TreeMutation) -> RequestMaker:
    """Return the step that sends a message signed again by its transforms as written."""
    return sign_again(change, "written")


def change_call_on_the_way(change: TreeMutation) -> RequestMaker:
    """Return the step that sends a call that is changed after it was signed."""
    return lambda kit: build_tampered_call(kit, change)


def change_call_before_signing(change: TreeMutation) -> RequestMaker:
    """Return the step that sends a call that is changed and then signed by the agency."""
    return lambda kit: kit.build_call(envelope=mutate_tree(change))


def sign_call_again(change: TreeMutation) -> RequestMaker:
    """Return the step that sends a call that the agency changed and signed again with new digests."""
    return lambda kit: build_tampered_call(
        kit, change, recompute_written_digests, recompute_signature(kit.get_signer("agency"))
    )
