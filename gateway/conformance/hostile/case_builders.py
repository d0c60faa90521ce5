"""How cases are made: what is sent in which scenario, and what must come of it.

The usual case is one request.  Who changes a message on the way has no key; the sender and
the agency have, and sign what nobody may sign, so that the one thing that is wrong is the
only thing that can be refused.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from copy import deepcopy
from typing import Any, Final, cast

from lxml import etree

from gateway.conformance.hostile.attack_case import AttackCase, Scenario
from gateway.conformance.hostile.attacker_kit import AttackerKit
from gateway.conformance.hostile.exchange import (
    ACCEPTED,
    Answer,
    Exchange,
    Expectation,
    HttpRequest,
    expect_refusal_codes,
)
from gateway.conformance.hostile.octet_mutations import OctetMutation, swap_octets
from gateway.conformance.hostile.tree_mutations import (
    TreeMutation,
    get_element,
    mutate_tree,
    recompute_envelope_digest,
    recompute_signature,
    recompute_written_digests,
)
from gateway.errors import PROBLEMS
from gateway.wire import WSU

#: Makes a request of what a kit has.
RequestMaker = Callable[[AttackerKit], HttpRequest]

#: Faults by which a SOAP stack may refuse what is wrong in WS-Security or in the envelope.
SOAP_REFUSALS: Final = (
    "FailedCheck",
    "InvalidSecurity",
    "InvalidSecurityToken",
    "FailedAuthentication",
    "Client",
)

#: Paths in a signed envelope: the reference to it, its transforms, the reference to the first payload.
ENVELOPE_REFERENCE: Final = "//ds:SignedInfo/ds:Reference[@URI='']"
TRANSFORMS: Final = f"{ENVELOPE_REFERENCE}/ds:Transforms"
CID: Final = "//ds:SignedInfo/ds:Reference[starts-with(@URI, 'cid:p1')]"

#: How the digests of a message are made right again: as the standard means its transforms, or as written.
_DIGESTS: Final[dict[str, tuple[TreeMutation, ...]]] = {
    "meant": (recompute_envelope_digest,),
    "written": (recompute_written_digests,),
    "none": (),
}

#: Paths in a signed call; the first reference is that to the Body.
HEADER: Final = "/soap:Envelope/soap:Header"
BODY: Final = "/soap:Envelope/soap:Body"
SECURITY: Final = f"{HEADER}/wsse:Security"
TOKEN: Final = f"{SECURITY}/wsse:BinarySecurityToken"
TIMESTAMP: Final = f"{SECURITY}/wsu:Timestamp"
CREATED: Final = f"{TIMESTAMP}/wsu:Created"
EXPIRES: Final = f"{TIMESTAMP}/wsu:Expires"
FIRST_REFERENCE: Final = "(//ds:SignedInfo/ds:Reference)[1]"


#: Prefixes stay what they are wherever an element goes, as they do when a text is cut and pasted.
DECLARED: Final = swap_octets(
    "<soap:Envelope ", f'<soap:Envelope xmlns:wsu="{WSU}" xmlns:x="urn:example:unknown" '
)


def expect_refusal(*problems: str, http: tuple[int, ...] = (), silent: bool = False) -> Expectation:
    """Return the expectation of a refusal by `problems`, with their codes in ErrorLists and faults.

    A gateway that sees the forgery only when it checks the signature says SecurityFailure;
    one that sees that the structure is wrong may say that first.
    """
    rows = [PROBLEMS[one] for one in problems]
    codes = dict.fromkeys(["SecurityFailure", *(row.ebms2 for row in rows if row.ebms2)])
    own = ((row.soap or "Client").rpartition(":")[2] for row in rows)
    return expect_refusal_codes(
        *problems,
        ebms=tuple(codes),
        faults=tuple(dict.fromkeys([*own, *SOAP_REFUSALS])),
        http=http,
        silent=silent,
    )


def expect_early_refusal(*problems: str) -> Expectation:
    """Return the expectation of a refusal by `problems`, by a message or by HTTP alone."""
    return expect_refusal(*problems, http=(400, 413, 415, 422, 431))


def make_control_scenario(control: RequestMaker, attack: RequestMaker, expected: Expectation) -> Scenario:
    """Return the scenario of an honest request and then an attack."""

    def run_scenario(kit: AttackerKit) -> Generator[Exchange, Answer, None]:
        yield Exchange(control(kit), ACCEPTED)
        yield Exchange(attack(kit), expected)

    return run_scenario


def make_single_scenario(make: RequestMaker, expected: Expectation) -> Scenario:
    """Return the scenario of one request."""

    def run_scenario(kit: AttackerKit) -> Generator[Exchange, Answer, None]:
        yield Exchange(make(kit), expected)

    return run_scenario


def make_attack_case(
    name: str,
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
    must = expect_refusal(*expected.split()) if isinstance(expected, str) else expected
    return AttackCase(name, title, face, source, make_single_scenario(make, must), feature, naive)


def make_both_face_cases(
    name: str, title: str, change: OctetMutation, problems: str, source: str, *, signed: bool = True
) -> tuple[AttackCase, AttackCase]:
    """Return the case for messages and, as ``name-call``, for calls: `change` is made after signing."""
    must = expect_early_refusal(*problems.split())
    return (
        make_attack_case(
            name, title, lambda kit: kit.build_message(signed=signed, tampered=change), must, source
        ),
        make_attack_case(
            f"{name}-call",
            title,
            lambda kit: kit.build_call(signed=signed, tampered=change),
            must,
            source,
            face="soap",
        ),
    )


def make_transit_attack(
    name: str,
    title: str,
    change: TreeMutation | Callable[[Any], TreeMutation],
    expected: str | Expectation,
    source: str,
    *,
    of_bench: bool = False,
    member: str = "a",
    naive: bool = False,
) -> AttackCase:
    """Return: an honest message whose envelope is changed after it was signed.

    `of_bench`: the change is made of the kit.
    """

    def make_request(kit: AttackerKit) -> Any:
        done = cast("TreeMutation", change(cast("Any", kit))) if of_bench else change
        return kit.build_message(member=member, tampered=mutate_tree(done))

    return make_attack_case(name, title, make_request, expected, source, naive=naive)


def make_sender_attack(
    name: str,
    title: str,
    change: TreeMutation,
    expected: str | Expectation,
    source: str,
    *,
    digests: str = "meant",
    member: str = "a",
    naive: bool = False,
) -> AttackCase:
    """Return: a message that the sender has changed and signed again, its `digests` right again as well."""

    def make_request(kit: AttackerKit) -> Any:
        again = recompute_signature(kit.get_signer(member))
        return kit.build_message(member=member, tampered=mutate_tree(change, *_DIGESTS[digests], again))

    return make_attack_case(name, title, make_request, expected, source, naive=naive)


def build_tampered_call(kit: AttackerKit, *changes: TreeMutation, **hooks: Any) -> HttpRequest:
    """Return an honest call whose envelope is changed after it was signed."""
    return kit.build_call(envelope=DECLARED, tampered=mutate_tree(*changes) if changes else None, **hooks)


def copy_element(path: str, *, with_id: bool = False) -> TreeMutation:
    """Return the change that puts a copy behind the element at `path`, without its wsu:Id unless told."""

    def alter_tree(root: etree._Element) -> None:
        original = get_element(root, path)
        again = deepcopy(original)
        if not with_id:
            again.attrib.pop(f"{{{WSU}}}Id", "")
        original.addnext(again)

    return alter_tree


def make_call_attack(
    name: str, title: str, make: RequestMaker, expected: str, source: str, *, naive: bool = True
) -> AttackCase:
    """Return: a call made in any way."""
    return make_attack_case(name, title, make, expected, source, face="soap", naive=naive)


def make_call_transit_attack(
    name: str,
    title: str,
    change: TreeMutation,
    expected: str | Expectation,
    source: str,
    *,
    naive: bool = False,
) -> AttackCase:
    """Return: a call changed after it was signed."""
    return make_attack_case(
        name,
        title,
        lambda kit: build_tampered_call(kit, change),
        expected,
        source,
        face="soap",
        naive=naive,
    )


def make_agency_attack(
    name: str,
    title: str,
    change: TreeMutation,
    expected: str | Expectation,
    source: str,
    *,
    signer: str = "agency",
    naive: bool = False,
) -> AttackCase:
    """Return: a call that the agency has changed and signed again, with the digests that it then has."""

    def make_request(kit: AttackerKit) -> HttpRequest:
        return build_tampered_call(
            kit,
            change,
            recompute_written_digests,
            recompute_signature(kit.get_signer(signer)),
            signer=signer,
        )

    return make_attack_case(name, title, make_request, expected, source, face="soap", naive=naive)
