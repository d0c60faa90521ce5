"""Cases of attacks: their class, builders of the usual cases, and tables of cases that differ in one thing.

A scenario is a generator. It yields an exchange and receives the answer, so that a step can use the previous
answer. It builds everything from its kit and keeps no state, so the same scenario runs against a process,
against a URL, and in a measurement.

The usual case is one request. An attacker on the way has no key. The sender and the agency have keys and sign
content that must not be signed, so that the request is wrong in exactly one respect.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator
from copy import deepcopy
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from lxml import etree

from gateway.errors import PROBLEMS
from gateway.wire import WSU
from gateway_conformance.hostile.attacker_kit import AttackerKit
from gateway_conformance.hostile.content_mutations import (
    OctetMutation,
    TreeMutation,
    add_root_attributes,
    get_element,
    mutate_tree,
    recompute_envelope_digest,
    recompute_signature,
    recompute_written_digests,
)
from gateway_conformance.hostile.exchange import (
    ACCEPTED,
    LAWFUL,
    Answer,
    Exchange,
    Expectation,
    HttpRequest,
    expect_refusal_codes,
)

#: Runs an attack with a kit.
Scenario = Callable[[AttackerKit], Generator[Exchange, Answer, None]]


@dataclass(frozen=True, slots=True)
class AttackCase:
    """One attack.

    `id` is the attack's id in the table, a full stop and the variant (``SIG-07.body-in-header``);
    `source` says the origin of the attack, `feature` the feature that a gateway must have for the
    case to apply (empty: every gateway). `naive`: the last step has a signature that the naive
    verifier of this suite accepts; a test of the suite checks this.
    """

    id: str
    title: str
    face: str
    source: str
    scenario: Scenario
    feature: str = ""
    naive: bool = False

    @property
    def attack_id(self) -> str:
        """Return the id of the attack in the table."""
        return self.id.partition(".")[0]


#: Makes a request from a kit.
RequestMaker = Callable[[AttackerKit], HttpRequest]

#: Faults by which a SOAP stack may refuse errors in WS-Security or in the envelope.
SOAP_REFUSALS: Final = (
    "FailedCheck",
    "InvalidSecurity",
    "InvalidSecurityToken",
    "FailedAuthentication",
    "Client",
    "Sender",
)

#: Paths in a signed envelope: the reference to it, its transforms, the reference to the first payload.
ENVELOPE_REFERENCE: Final = "//ds:SignedInfo/ds:Reference[@URI='']"
TRANSFORMS: Final = f"{ENVELOPE_REFERENCE}/ds:Transforms"
CID: Final = "//ds:SignedInfo/ds:Reference[starts-with(@URI, 'cid:p1')]"

#: Paths in a signed call; the first reference is that to the Body.
HEADER: Final = "/soap:Envelope/soap:Header"
BODY: Final = "/soap:Envelope/soap:Body"
SECURITY: Final = f"{HEADER}/wsse:Security"
TOKEN: Final = f"{SECURITY}/wsse:BinarySecurityToken"
TIMESTAMP: Final = f"{SECURITY}/wsu:Timestamp"
CREATED: Final = f"{TIMESTAMP}/wsu:Created"
EXPIRES: Final = f"{TIMESTAMP}/wsu:Expires"
FIRST_REFERENCE: Final = "(//ds:SignedInfo/ds:Reference)[1]"


#: An element keeps its prefixes when it is moved, as in text that is cut and pasted.
DECLARE_PREFIXES: Final = add_root_attributes(
    lambda: f'xmlns:wsu="{WSU}" xmlns:x="urn:example:unknown"'.encode()
)


def expect_refusal(*problems: str, http: tuple[int, ...] = (), silent: bool = False) -> Expectation:
    """Return the expectation of a refusal by `problems`, with their codes in ErrorLists and faults.

    A gateway that detects the forgery by the signature answers SecurityFailure. A gateway
    that detects the wrong structure first may answer that.
    """
    if "GW701" in problems:
        # A number that was never given may also be refused as mistyped, by its check sign.
        problems = tuple(dict.fromkeys((*problems, "GW513")))
    rows = [PROBLEMS[problem] for problem in problems]
    ebms_codes = (code for row in rows for code in (row.codes.ebms2, row.codes.ebms3) if code)
    codes = dict.fromkeys(["SecurityFailure", "EBMS:0101", *ebms_codes])
    fault_codes = ((row.codes.soap or "Client").rpartition(":")[2] for row in rows)
    return expect_refusal_codes(
        *problems,
        ebms=tuple(codes),
        faults=tuple(dict.fromkeys([*fault_codes, *SOAP_REFUSALS])),
        http=http,
        silent=silent,
    )


def expect_early_refusal(*problems: str) -> Expectation:
    """Return the expectation of a refusal by `problems`, by a message or by HTTP alone."""
    return expect_refusal(*problems, http=(400, 413, 415, 422, 431))


def make_control_scenario(
    make_control: RequestMaker, make_attack: RequestMaker, expected: Expectation
) -> Scenario:
    """Return the scenario of an honest request and then an attack."""

    def run_scenario(kit: AttackerKit) -> Generator[Exchange, Answer, None]:
        yield Exchange(make_control(kit), ACCEPTED)
        yield Exchange(make_attack(kit), expected)

    return run_scenario


def make_single_scenario(make: RequestMaker, expected: Expectation) -> Scenario:
    """Return the scenario of one request."""

    def run_scenario(kit: AttackerKit) -> Generator[Exchange, Answer, None]:
        yield Exchange(make(kit), expected)

    return run_scenario


def make_attack_case(
    case_id: str,
    title: str,
    make: RequestMaker,
    expected: str | Expectation,
    source: str,
    *,
    face: str = "ebms2",
    feature: str = "",
    naive: bool = False,
) -> AttackCase:
    """Return a case of one request; `expected` may be the id of the problem that refuses it."""
    expectation = expect_refusal(*expected.split()) if isinstance(expected, str) else expected
    return AttackCase(case_id, title, face, source, make_single_scenario(make, expectation), feature, naive)


def make_both_face_cases(
    case_id: str, title: str, change: OctetMutation, problems: str, source: str, *, signed: bool = True
) -> tuple[AttackCase, AttackCase]:
    """Return the case for messages and, as ``name-call``, for calls: `change` is made after signing."""
    expectation = expect_early_refusal(*problems.split())
    return (
        make_attack_case(
            case_id, title, lambda kit: kit.build_message(signed=signed, tampered=change), expectation, source
        ),
        make_attack_case(
            f"{case_id}-call",
            title,
            lambda kit: kit.build_call(signed=signed, tampered=change),
            expectation,
            source,
            face="soap",
        ),
    )


def build_tampered_call(kit: AttackerKit, *changes: TreeMutation, **hooks: Any) -> HttpRequest:
    """Return an honest call whose envelope is changed after it was signed."""
    return kit.build_call(
        envelope=DECLARE_PREFIXES, tampered=mutate_tree(*changes) if changes else None, **hooks
    )


def copy_element(path: str, *, keeps_id: bool = False) -> TreeMutation:
    """Return the change that copies the element at `path` behind it; by default without its wsu:Id."""

    def alter_tree(root: etree._Element) -> None:
        original = get_element(root, path)
        again = deepcopy(original)
        if not keeps_id:
            again.attrib.pop(f"{{{WSU}}}Id", "")
        original.addnext(again)

    return alter_tree


T = TypeVar("T")

#: Makes the request from a subject.
RequestFactory = Callable[[T], RequestMaker]

#: The required result of a row: the problems that refuse it, "" for acceptance, or an expectation.
Outcome = str | Expectation
#: Rows of variant, title and subject.
PlainTable = Iterable[tuple[str, str, T]]
#: Rows of variant, title and subject; then, where the table does not say it for all, the required result and
#: whether the naive verifier accepts the message.
AttackTable = Iterable[tuple[str, str, T] | tuple[str, str, T, Outcome] | tuple[str, str, T, Outcome, bool]]
#: Rows of variant, title, subject, required result and the source of the attack; then the naive verifier.
SourcedTable = Iterable[tuple[str, str, T, Outcome, str] | tuple[str, str, T, Outcome, str, bool]]
#: Rows of variant, title and change; then the source of the attack, if it is not that of the table.
BothFaceTable = Iterable[tuple[str, str, OctetMutation] | tuple[str, str, OctetMutation, str]]

#: How the digests of a message are made right again: as the standard means its transforms, or as written.
_DIGESTS: Final[dict[str, tuple[TreeMutation, ...]]] = {
    "meant": (recompute_envelope_digest,),
    "written": (recompute_written_digests,),
    "none": (),
}


def read_expectation(required_result: Outcome, *, early: bool = False) -> Expectation:
    """Return the required result of a row: refusal by its problems, or acceptance if it names none."""
    if not isinstance(required_result, str):
        return required_result
    if not required_result:
        return LAWFUL
    return (
        expect_early_refusal(*required_result.split()) if early else expect_refusal(*required_result.split())
    )


def make_table_cases(
    prefix: str,
    rows: AttackTable[T],
    make_request: RequestFactory[T],
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
        required_result = row[3] if len(row) >= 4 else expected
        yield make_attack_case(
            prefix + row[0],
            row[1],
            make_request(row[2]),
            read_expectation(required_result, early=early),
            source,
            face=face,
            feature=feature,
            naive=row[4] if len(row) == 5 else naive,
        )


def make_sourced_cases(
    prefix: str,
    rows: SourcedTable[T],
    make_request: RequestFactory[T],
    *,
    face: str = "ebms2",
    feature: str = "",
    naive: bool = False,
) -> Iterator[AttackCase]:
    """Yield the case of each row of a table in which each row gives the source of its attack."""
    for row in rows:
        accepts_row = row[5] if len(row) == 6 else naive
        table_row = (row[0], row[1], row[2], row[3], accepts_row)
        yield from make_table_cases(prefix, (table_row,), make_request, row[4], face=face, feature=feature)


def make_both_face_table_cases(
    prefix: str, rows: BothFaceTable, problems: str, source: str
) -> Iterator[AttackCase]:
    """Yield two cases of each row, for messages and for calls."""
    for row in rows:
        yield from make_both_face_cases(
            prefix + row[0], row[1], row[2], problems, row[3] if len(row) == 4 else source
        )


@dataclass(frozen=True, slots=True)
class ValueTable:
    """Attacks that differ in one value of `rows` (variant, value); `place_value` puts it into a request.

    An id is prefix, variant and suffix.  The title has ``{}`` where the value is shown, ``{variant}``
    or ``{length}``; of a value as long as `min_shortened_length` it shows the first `shown_length`
    characters.
    """

    prefix: str
    title: str
    rows: Iterable[tuple[str, str]]
    place_value: RequestFactory[str]
    expected: Expectation
    source: str
    face: str = "ebms2"
    suffix: str = ""
    shown_length: int = 12
    min_shortened_length: int = 40

    def make_cases(self) -> Iterator[AttackCase]:
        """Yield the case of each value."""
        for variant, value in self.rows:
            yield make_attack_case(
                self.prefix + variant + self.suffix,
                self.title.format(self._shorten_value(value), variant=variant, length=len(value)),
                self.place_value(value),
                self.expected,
                self.source,
                face=self.face,
            )

    def _shorten_value(self, value: str) -> str:
        return (
            value
            if len(value) < self.min_shortened_length
            else f"{value[: self.shown_length]}… of {len(value)} characters"
        )


def make_value_cases(*tables: ValueTable) -> tuple[AttackCase, ...]:
    """Return the cases of all tables."""
    return tuple(case for table in tables for case in table.make_cases())


def use_request_maker(make: RequestMaker) -> RequestMaker:
    """Return `make` itself, for tables whose subjects are request makers already."""
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


def change_with_kit(make_mutation: Callable[[AttackerKit], TreeMutation]) -> RequestMaker:
    """Return the step that sends a message that an attacker with other keys changed on the way."""
    return lambda kit: kit.build_message(tampered=mutate_tree(make_mutation(kit)))


def change_before_signing(change: TreeMutation) -> RequestMaker:
    """Return the step that sends a message whose envelope the sender changed and then signed."""
    return change_envelope(mutate_tree(change))


def sign_again(change: TreeMutation, digests: str = "meant", member: str = "a") -> RequestMaker:
    """Return the step that sends a message that the sender changed and signed again.

    Its `digests` are computed again by the ``meant`` transforms, by the ``written`` ones, or not at
    all (``none``).
    """

    def make_request(kit: AttackerKit) -> HttpRequest:
        recompute_value = recompute_signature(kit.get_signer(member))
        return kit.build_message(
            member=member, tampered=mutate_tree(change, *_DIGESTS[digests], recompute_value)
        )

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
