"""The attacks of the other faces over AS4, made by the same generators (`As4Kit`).

Each case of a family is tried over AS4, unless a table here leaves the case out: such a case changes an
element that AS4 does not have, or is no attack over AS4. A new case of a family therefore is a case of AS4
as well.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import replace
from fnmatch import fnmatchcase
from importlib import import_module
from typing import Final, NamedTuple

from gateway_conformance.hostile.attack_cases import AttackCase, Scenario, expect_refusal
from gateway_conformance.hostile.attacker_kit import AttackerKit, make_as4_kit
from gateway_conformance.hostile.exchange import LAWFUL, Answer, Exchange, Expectation


class _Family(NamedTuple):
    """A family with its face, and its differences over AS4, by globs of ids.

    `excluded_globs` names the cases that AS4 does not have. `problems_by_glob` has the problems of the cases
    that AS4 refuses for a reason of its own; with "" for a problem, AS4 must accept the case.
    """

    name: str
    face: str
    excluded_globs: tuple[str, ...] = ()
    problems_by_glob: Mapping[str, str] = {}


#: XPath, AckRequested, SyncReply, TimeToLive and CPAId have no counterpart in AS4.
_XPATH: Final = ("SIG-22.*",)
#: The part changed is compressed here, or is text there.
_OF_XML_PARTS: Final = (
    "SIG-15.utf-16",
    "SIG-15.one-octet",
    "SIG-15.claims-base64",
    "SIG-15.claims-quoted-printable",
    "SIG-15.unknown-encoding",
    "SIG-16.*",
    "SIG-14.manifest-names-more",
    # as4_header_attacks has those that name more, or less, than there is.
    "SIG-14.signed-not-named",
)
#: A reference "" to the envelope has no counterpart in AS4: as4_header_attacks has the references of AS4.
_OF_ENVELOPE_REFERENCE: Final = (
    "SIG-10.*",
    "SIG-17.forged-*",
    "SIG-17.envelope-twice",
    "SIG-13.envelope-*",
    "SIG-13.signature-in-manifest",
    "SIG-12.both-sign",
)
_OF_CALL_HEADERS: Final = (
    "SIG-09.call-wsu-id",
    "SIG-09.call-id",
    "SIG-09.call-upper",
    "SIG-09.call-lower",
    "SIG-09.call-xml",
    "SIG-09.call-foreign",
    "SIG-13.call-timestamp",
    "SIG-13.call-action",
    "SIG-13.call-message-id",
    "SIG-13.call-reply-to",
    "SIG-08.call-timestamp",
    # A header block that is not ebMS may be added on the way: nothing is read of it.
    "SIG-13.call-*-added",
)
_OF_X509_DATA: Final = (
    "SIG-28.own-key-value*",
    "SIG-28.retrieval-only",
    "SIG-28.subject-name",
    "SIG-28.issuer-serial",
    "SIG-28.subject-key",
    "SIG-28.crl",
    "SIG-28.two-*",
    "SIG-28.same-twice",
    "SIG-28.empty*",
    "SIG-28.no-certificate",
    "SIG-28.huge",
    "SIG-28.five-certificates",
    "SIG-28.certificate-of-b",
    "SIG-28.issuer-beside",
    # An honest sender of AS4 cannot even write these.
    "SIG-31.party-of-other",
    "SIG-31.two-parties*",
    "SIG-31.from-gateway",
    "SIG-31.agency",
    "SIG-32.action",
    "SIG-32.direction",
)
_OF_CALL_TRANSFORMS: Final = (
    "SIG-18.call-message-id",
    "SIG-18.call-action",
    "SIG-18.call-timestamp",
    "SIG-18.call-body",
    "SIG-20.call",
    "SIG-33.call-*",
)
_OF_TRANSFORMS: Final = (
    "SIG-18.comment-in-agreement",
    "SIG-18.comment-in-action",
    "SIG-18.comment-in-digest-value",
    "SIG-18.comment-in-certificate",
    "SIG-18.comment-in-xpath",
    "SIG-18.cdata",
    "SIG-18.instruction",
    "SIG-19.envelope",
    "SIG-19.exclusive",
    "SIG-20.*",
    "SIG-21.[!o]*",
    "SIG-21.order",
    "SIG-33.schema-hint",
    "SIG-33.default",
    "SIG-33.type",
    "SIG-34.inherited",
    "SIG-34.default-namespace",
)
_FAMILIES: Final = (
    _Family(
        "unsigned_content",
        "ebms2",
        (
            *_XPATH,
            "SIG-23.actor*",
            "SIG-23.signed-[!c]*",
            "SIG-23.sync-reply-*",
            "SIG-23.nested",
            "SIG-23.in-manifest",
            "SIG-23.in-message-data",
            "SIG-23.description",
            "SIG-09.ebxml*",
            "SIG-09.sync-reply",
            "SIG-23.manifest",
            "SIG-23.error-list*",
            "SIG-23.ack*",
            "SIG-23.message-order",
            "SIG-23.via",
            "SIG-23.status-request",
            "SIG-23.unknown-demanding",
        ),
        {
            "SIG-23.security": "GW202",
            "SIG-23.signature-property": "GW202",
            "SIG-23.*in-body": "GW311",
            "SIG-23.body-*": "GW311",
            # A block that no standard defines: AS4 allows the block, and the gateway reads nothing from it.
            "SIG-23.addressing": "",
            "SIG-23.unknown*": "",
            "SIG-23.two-unknown": "",
            "SIG-23.first": "",
        },
    ),
    _Family(
        "attachment_attacks",
        "ebms2",
        _OF_XML_PARTS,
        {
            "SIG-14.*part-added": "GW103",
            "SIG-14.part-before-root": "GW103",
            "SIG-15.claims-gzip": "GW103",
            "SIG-14.first-by-position.cid": "GW103",
            "SIG-14.content-location.cid": "GW103",
            "SIG-14.longer-content-id.cid": "GW103",
        },
    ),
    _Family(
        "reference_attacks",
        "ebms2",
        _OF_ENVELOPE_REFERENCE,
        {
            "SIG-12.copy-beside": "GW202",
            "SIG-12.empty-first": "GW202",
            "SIG-13.signature-in-body": "GW311",
            "SIG-12.signed-signature": "GW311",
            "SIG-13.other-namespace": "GW311",
            "SIG-13.signature-in-wrapper": "GW201",
        },
    ),
    _Family(
        "reference_attacks",
        "soap",
        _OF_CALL_HEADERS,
        {
            "SIG-13.call-signature-elsewhere": "GW201",
            "SIG-13.call-username-only": "GW311",
            "SIG-12.call-username-beside": "GW311",
        },
    ),
    _Family("transform_attacks", "ebms2", _OF_TRANSFORMS),
    _Family("transform_attacks", "soap", _OF_CALL_TRANSFORMS),
    _Family("algorithm_attacks", "ebms2", ("SIG-26.digest-*", "SIG-35.certificate")),
    _Family("algorithm_attacks", "soap"),
    _Family("key_attacks", "ebms2", _OF_X509_DATA),
    _Family("certificate_attacks", "soap"),
    _Family(
        "security_header_attacks",
        "soap",
        (
            "REP-*",
            "SIG-29.token-in-timestamp",
            # Lawful in AS4, where a token of encryption may stand beside, and a type may be left out.
            "SIG-28.call-no-type",
            "SIG-29.two-tokens",
            "SIG-29.other-token-first",
        ),
        {"SIG-28.call-issuer-serial": "GW205", "SIG-29.token-in-header": "GW202"},
    ),
    _Family(
        "message_replay_attacks",
        "ebms2",
        (
            "REP-01.without-sync-reply",
            "REP-03.new-id-hidden",
            "REP-03.new-time",
            "REP-04.*",
        ),
    ),
    _Family(
        "xml_attacks",
        "ebms2",
        problems_by_glob={"DOS-05.declarations": "", "DOS-05.actors": "", "DOS-05.blocks": ""},
    ),
    _Family(
        "mime_attacks",
        "ebms2",
        ("DOS-09.root-[!i]*", "DOS-09.type-*"),
        {"DOS-09.bare": "GW101"},
    ),
    _Family(
        "number_attacks",
        "ebms2",
        (
            "DOS-12.fraction-*",
            "DOS-12.year-*",
            "DOS-12.midnight-*",
            "DOS-12.offset-*",
            "DOS-12.month-*",
            "DOS-12.day-*",
            "DOS-12.hour-*",
            "DOS-12.exponent",
            "DOS-12.digits",
            "DOS-12.other-digits",
            "DOS-12.week",
            "DOS-12.spaces",
            "DOS-12.colons",
            "DOS-12.agreement",
            "DOS-12.version*",
            "DOS-12.must-understand",
            "DOS-12.signed",
            "DOS-12.submission-*",
        ),
    ),
    _Family("injection_attacks", "ebms2"),
)


def _derive_cases(family: _Family) -> Iterator[AttackCase]:
    """Yield the case over AS4 of each case of a family, except those that AS4 does not have."""
    module = import_module(f"gateway_conformance.hostile.{family.name}")
    for case in module.CASES:
        if case.face == family.face and not _matches_any_glob(case.id, family.excluded_globs):
            attack, _, variant = case.id.partition(".")
            scenario = _make_as4_scenario(case.scenario, _find_expectation_change(case.id, family))
            yield replace(case, id=f"{attack}.as4-{variant}", face="as4", scenario=scenario, naive=False)


def _matches_any_glob(case_id: str, globs: tuple[str, ...]) -> bool:
    return any(fnmatchcase(case_id, pattern) for pattern in globs)


def _find_expectation_change(case_id: str, family: _Family) -> Callable[[Expectation], Expectation]:
    """Return the function that makes the expectation over AS4 from the expectation over the other face."""
    problems = next(
        (codes for glob, codes in family.problems_by_glob.items() if fnmatchcase(case_id, glob)), None
    )
    if problems is None:
        return lambda expected: expected
    if not problems:
        return lambda _: LAWFUL
    refusal = expect_refusal(*problems.split())
    return lambda expected: replace(refusal, http=expected.http, silent=expected.silent)


def _make_as4_scenario(
    scenario: Scenario, change_expectation: Callable[[Expectation], Expectation]
) -> Scenario:
    """Return `scenario` over AS4; `change_expectation` makes the new expectation of each attack in it.

    The expectation of a control stays as it is.
    """

    def run_scenario(kit: AttackerKit) -> Generator[Exchange, Answer, None]:
        steps = scenario(make_as4_kit(kit))
        exchange = next(steps)
        while True:
            expected = exchange.expected
            is_control = expected.is_acceptance and not expected.must_accept
            answer = yield Exchange(exchange.step, expected if is_control else change_expectation(expected))
            try:
                exchange = steps.send(answer)
            except StopIteration:
                return

    return run_scenario


CASES: Final[tuple[AttackCase, ...]] = tuple(case for family in _FAMILIES for case in _derive_cases(family))
"""Every attack of the other faces that AS4 has a counterpart for."""
