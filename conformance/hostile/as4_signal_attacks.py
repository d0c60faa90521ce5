"""Forged signals of AS4: unrequested receipts and errors, and requests to pull (REP-07, 08, 10).

A receipt or an error must not cause a loop. Each of them is a proof only if it is signed and is about a
message that was sent.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Generator
from typing import Any, Final

from gateway.message_model import DigestReference, ErrorEntry, ErrorSignal, PullRequest, Receipt
from gateway.xmlsec import SHA256
from gateway_conformance.hostile.attack_cases import AttackCase, Scenario
from gateway_conformance.hostile.attacker_kit import As4Kit, AttackerKit, make_as4_kit
from gateway_conformance.hostile.content_mutations import (
    TreeMutation,
    append_element,
    duplicate_element,
    mutate_tree,
    remove_element,
    set_attribute,
    set_text,
)
from gateway_conformance.hostile.exchange import (
    ACCEPTED,
    Answer,
    Exchange,
    Expectation,
    HttpRequest,
    WrongAnswerError,
)

_FORGED: Final = "receipt forgery; ebMS 3.0 core §5.2.3.3, AS4 profile §5.1.8"
_LOOP: Final = "mail loop; ebMS 3.0 core §6.5: an error about an error is not reported"
_PULLED: Final = "ebMS 3.0 core §7.10: authorisation of pulling"
_DIGESTS: Final = tuple(DigestReference(uri, SHA256, bytes(32)) for uri in ("#messaging", "#body", "cid:p1"))
_ERRORS: Final = (ErrorEntry("EBMS:0101", "Error", "", "GW202", category="Processing", title="forged"),)
_OTHER_ID: Final = "other@suite.example"
_CODES: Final = tuple(f"EBMS:{number:04}" for number in (1, 2, 3, 4, 6, 7, 8, 9, 10, 101, 103, 302))
#: A signal may be accepted without an answer, or refused by an error in the HTTP response: the verdict
#: depends only on the elements of the answer.
_ACCEPTED_OR_REFUSED: Final = Expectation(
    is_acceptance=True, must_accept=True, ebms=_CODES, http=(400, 403, 500)
)

#: Makes a signal.
_SignalMaker = Callable[[As4Kit], HttpRequest]


def _make_signal_scenario(
    make_signal: _SignalMaker, forbidden_elements: tuple[str, ...], times: int = 1
) -> Scenario:
    """Return the scenario that sends a signal `times` times and then an honest message.

    Each answer to the signal must have no element with a name of `forbidden_elements`.
    """

    def run_scenario(kit: AttackerKit) -> Generator[Exchange, Answer, None]:
        as4_kit = make_as4_kit(kit)
        post = make_signal(as4_kit)
        for _ in range(times):
            answer = yield Exchange(post, _ACCEPTED_OR_REFUSED)
            _check_absent_elements(answer, forbidden_elements)
        yield Exchange(as4_kit.build_message(), ACCEPTED)

    return run_scenario


def _check_absent_elements(answer: Answer, forbidden_elements: tuple[str, ...]) -> None:
    """Raise `WrongAnswerError` for an answer with an element of one of these names."""
    for element_name in forbidden_elements:
        if re.search(rf"<([\w.-]+:)?{element_name}\b".encode(), answer.body):
            raise WrongAnswerError(f"the signal was answered by {element_name}")


def _make_unsent_message_id(kit: As4Kit) -> str:
    return f"never-sent-{kit.make_message_id('gateway')}"


def _forge_receipt(
    *, signer: str = "a", signed: bool = True, tampered: Any = None, **fields: Any
) -> _SignalMaker:
    """Return the maker of a receipt for a message that was never sent, with further or other `fields`."""

    def make_request(kit: As4Kit) -> HttpRequest:
        values = {"references": _DIGESTS, "received_at": kit.get_current_time(), **fields}
        values.setdefault("ref_to_message_id", _make_unsent_message_id(kit))
        unit = kit.make_signal(Receipt, **values)
        return kit.build_message(unit, signer=signer, signed=signed, tampered=tampered)

    return make_request


def _tamper_receipt(change: TreeMutation) -> _SignalMaker:
    return _forge_receipt(tampered=mutate_tree(change))


def _forge_error(
    *, signed: bool = True, errors: tuple[ErrorEntry, ...] = _ERRORS, **fields: Any
) -> _SignalMaker:
    def make_request(kit: As4Kit) -> HttpRequest:
        values = {"ref_to_message_id": _make_unsent_message_id(kit), **fields}
        return kit.build_message(kit.make_signal(ErrorSignal, errors=errors, **values), signed=signed)

    return make_request


def _forge_pull(
    *, signer: str = "a", signed: bool = True, tampered: Any = None, mpc: str | None = None
) -> _SignalMaker:
    def make_request(kit: As4Kit) -> HttpRequest:
        unit = kit.make_signal(PullRequest, mpc=mpc)
        return kit.build_message(unit, signer=signer, signed=signed, tampered=tampered)

    return make_request


#: An error is never answered; a receipt may be answered by an error, which then ends it.
_ANY_SIGNAL: Final = ("SignalMessage",)
_A_RECEIPT: Final = ("Receipt", "UserMessage")
_PAYLOAD: Final = ("UserMessage",)
_USERNAME: Final = (
    "<wsse:Security><wsse:UsernameToken><wsse:Username>suite-a</wsse:Username>"
    "<wsse:Password>guess</wsse:Password></wsse:UsernameToken></wsse:Security>"
)
# fmt: off
_RECEIPTS: Final = (
    ("REP-07.as4-unsigned", "a receipt that nobody signed", _forge_receipt(signed=False)),
    ("REP-07.as4-other-signer", "a receipt of A that B signed", _forge_receipt(signer="b")),
    ("REP-07.as4-stranger", "a receipt that a stranger signed", _forge_receipt(signer="stranger")),
    ("REP-07.as4-changed", "a receipt changed after it was signed",
     _tamper_receipt(set_text("//eb:RefToMessageId", _OTHER_ID))),
    ("REP-07.as4-two-receipts", "two Receipts in one signal",
     _tamper_receipt(duplicate_element("//eb:Receipt"))),
    ("REP-07.as4-empty", "a Receipt without content",
     _tamper_receipt(remove_element("//ebbp:NonRepudiationInformation"))),
    ("REP-07.as4-no-reference", "a receipt that names no message",
     _tamper_receipt(remove_element("//eb:RefToMessageId"))),
    ("REP-08.as4-never-sent", "a receipt of a message that was never sent", _forge_receipt()),
)
_ERROR_SIGNALS: Final = (
    ("REP-10.as4-error", "an error about a message that was never sent", _forge_error()),
    ("REP-10.as4-unsigned-error", "the same, unsigned", _forge_error(signed=False)),
    ("REP-10.as4-many-errors", "two hundred errors about a message that was never sent",
     _forge_error(errors=_ERRORS * 200)),
    ("REP-10.as4-error-about-nothing", "an error about no message", _forge_error(ref_to_message_id=None)),
)
#: Pull requests. No answer to them may contain a business message.
_PULLS: Final = (
    ("REP-11.as4-pull-unsigned", "a PullRequest that nobody signed", _forge_pull(signed=False)),
    ("REP-11.as4-pull-stranger", "a PullRequest that a stranger signed", _forge_pull(signer="stranger")),
    ("REP-11.as4-pull-selfsigned", "a PullRequest under a certificate of A's name that nobody vouches for",
     _forge_pull(signer="selfsigned")),
    ("REP-11.as4-pull-changed", "a PullRequest whose channel was changed after it was signed",
     _forge_pull(tampered=mutate_tree(set_attribute("//eb:PullRequest", "mpc", "urn:example:of-b")))),
    ("REP-11.as4-pull-unknown", "a PullRequest for a channel that there is not",
     _forge_pull(mpc="urn:example:nothing")),
    ("REP-11.as4-pull-climbing", "a PullRequest for a sub-channel that climbs",
     _forge_pull(mpc="urn:example:a/../../b")),
    ("REP-11.as4-pull-name", "a PullRequest by a guessed name and password",
     _forge_pull(signed=False, tampered=mutate_tree(append_element("/soap:Envelope/soap:Header",
     _USERNAME)))),
)
# fmt: on


def _run_reflected_answer(kit: AttackerKit, *, is_forged: bool) -> Generator[Exchange, Answer, None]:
    """Send the gateway's own receipt, or its own error, back to it."""
    as4_kit = make_as4_kit(kit)
    change = mutate_tree(set_text("//eb:ConversationId", "forged")) if is_forged else None
    refused = Expectation(ebms=_CODES)
    answer = yield Exchange(as4_kit.build_message(tampered=change), refused if is_forged else ACCEPTED)
    content_type = answer.headers.get("content-type", "")
    reflected_answer = yield Exchange(
        HttpRequest("as4", {"Content-Type": content_type}, answer.body), _ACCEPTED_OR_REFUSED
    )
    _check_absent_elements(reflected_answer, _ANY_SIGNAL if is_forged else _A_RECEIPT)


CASES: Final[tuple[AttackCase, ...]] = (
    *(
        AttackCase(name, title, "as4", _FORGED, _make_signal_scenario(make, _A_RECEIPT))
        for name, title, make in _RECEIPTS
    ),
    AttackCase(
        "REP-08.as4-twice",
        "the same receipt three times",
        "as4",
        _FORGED,
        _make_signal_scenario(_forge_receipt(), _A_RECEIPT, times=3),
    ),
    *(
        AttackCase(name, title, "as4", _LOOP, _make_signal_scenario(make, _ANY_SIGNAL))
        for name, title, make in _ERROR_SIGNALS
    ),
    *(
        AttackCase(name, title, "as4", _PULLED, _make_signal_scenario(make, _PAYLOAD))
        for name, title, make in _PULLS
    ),
    AttackCase(
        "REP-10.as4-receipt-reflected",
        "the gateway's own receipt sent back to it",
        "as4",
        _LOOP,
        lambda kit: _run_reflected_answer(kit, is_forged=False),
    ),
    AttackCase(
        "REP-10.as4-error-reflected",
        "the gateway's own error sent back to it",
        "as4",
        _LOOP,
        lambda kit: _run_reflected_answer(kit, is_forged=True),
    ),
)
"""Signals that forge, loop, or ask for what is not theirs."""
