"""The stories of ``gateway demo --story NAME``, each one file of ``conformance/demo/stories``.

A story says how the agencies differ from the usual demo, which documents the broker sends when the
applications are in certain states, and which outcome the case must have. To add a story, add its file.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from gateway.client import Journal, get_current_time, read_identity
from gateway.errors import MISUSE, PARTNER_FAULT, GatewayError
from gateway_conformance import DATA_FOLDER
from gateway_conformance.partners import (
    add_used_certificate,
    change_items,
    leave_applications_out,
    make_amendment,
    make_child_declaration,
    make_retransmission,
    make_withdrawal,
    say_requirement_result,
)
from gateway_conformance.verbs.demo_stage import Cast, Stage

_SUFFIX: Final = ".toml"
#: A step in which not the broker speaks, but an agency by itself.
_RESULT: Final = "result"

#: How the document of a step is made from the sample: by the value of `send`.
_MAKERS: Final[Mapping[str, Callable[[bytes, Mapping[str, Any]], bytes]]] = {
    "amendment": lambda sample, words: make_amendment(
        change_items(sample, words.get("remove", ()), words.get("add", ())),
        words["reason"],
        words["text"],
        words["changes"],
    ),
    "child": lambda sample, words: make_child_declaration(
        sample, words["case_number"], words["reference"], words["items"]
    ),
    "retransmission": lambda sample, _: make_retransmission(sample),
    "withdrawal": lambda sample, words: make_withdrawal(sample, words["reason"], words["text"]),
}


@dataclass(frozen=True, slots=True)
class StoryStep:
    """A step of a story, due as soon as each agency's application (or `case`) is in its state of `when`."""

    when: Mapping[str, str]
    send: str
    message_fields: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class StoryPlan:
    """One story. `decides` are the agencies whose decisions the result has; None: all that were asked.

    `problems` are the ids in the result, `customs_codes` the codes for customs (None: the usual ones).
    `agencies` has new values of agencies of the cast. The first submission lacks the applications of
    the documents in `left_out_documents`; `needs` are settings of the hub about that.
    With `tariffs` a payment provider plays, too: the fee of each document. `agreement` is the file of
    another agreement between broker and hub.
    """

    title: str = ""
    outcome: str | None = None
    deciding_agencies: tuple[str, ...] | None = None
    problems: frozenset[str] = frozenset()
    customs_codes: tuple[str, ...] | None = None
    steps: tuple[StoryStep, ...] = ()
    agencies: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    #: The certificates that items of the sample use: item, number, quantity, unit.
    used_certificates: tuple[Mapping[str, Any], ...] = ()
    left_out_documents: tuple[str, ...] = ()
    needs: Mapping[str, str] = field(default_factory=dict)
    tariffs: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    agreement: str = ""


#: The demo without a story.
USUAL: Final = StoryPlan()


def list_stories() -> tuple[str, ...]:
    """Return the names of the stories, sorted."""
    files = DATA_FOLDER.joinpath("demo", "stories").iterdir()
    return tuple(sorted(file.name.removesuffix(_SUFFIX) for file in files if file.name.endswith(_SUFFIX)))


def read_story(name: str) -> StoryPlan:
    """Read a story by its name; raise GW808 for one that is not there."""
    if name not in list_stories():
        raise GatewayError(
            MISUSE, f"a story must be one of {', '.join(list_stories())}, not {name[:40]!r}", "--story"
        )
    file = DATA_FOLDER.joinpath("demo", "stories", name + _SUFFIX)
    table = tomllib.loads(file.read_text(encoding="utf-8"))
    decides = table.get("decides")
    return StoryPlan(
        title=table["title"],
        outcome=table["outcome"],
        deciding_agencies=None if decides is None else tuple(decides),
        problems=frozenset(table.get("problems", ())),
        customs_codes=tuple(table["customs_codes"]) if "customs_codes" in table else None,
        steps=tuple(_read_step(row) for row in table.get("step", ())),
        agencies=table.get("agency", {}),
        used_certificates=tuple(table.get("names", ())),
        left_out_documents=tuple(table.get("without", ())),
        needs=table.get("needs", {}),
        tariffs=table.get("tariff", {}),
        agreement=table.get("agreement", ""),
    )


def _read_step(row: Mapping[str, Any]) -> StoryStep:
    kinds = (*_MAKERS, _RESULT)
    if row["send"] not in kinds:
        raise GatewayError(MISUSE, f"a step sends one of {', '.join(kinds)}", str(row["send"])[:40])
    return StoryStep(row["when"], row["send"], {key: row[key] for key in row if key not in ("when", "send")})


def apply_story(cast: Cast, plan: StoryPlan) -> Cast:
    """Return the cast as the story has it."""
    agencies = tuple(agency | dict(plan.agencies.get(agency["code"], {})) for agency in cast.agencies)
    sample = cast.sample
    for reference in plan.used_certificates:
        sample = add_used_certificate(sample, **reference)
    agreement = cast.agreement
    if plan.agreement:
        file = DATA_FOLDER.joinpath("demo", plan.agreement)
        agreement = file.read_text(encoding="utf-8")
    return replace(
        cast,
        sample=sample,
        agreement=agreement,
        agencies=agencies,
        outcome=plan.outcome or cast.outcome,
        needs=plan.needs,
        tariffs=plan.tariffs,
    )


def report_step_result(step: StoryStep, stage: Stage) -> bool:
    """Make the agency of a step report its decision; return False for a step of the broker.

    Raises GW608 for a decision that the hub does not accept.
    """
    if step.send != _RESULT:
        return False
    agency = step.message_fields["agency"]
    folder = stage.get_partner_folder(agency)
    calls = folder / "log" / "calls.jsonl"
    identity = read_identity(folder, agency.lower())
    url = f"{stage.hub_url}/soap/agency"
    if not say_requirement_result(identity, url, Journal(calls), step.message_fields, get_current_time()):
        raise GatewayError(PARTNER_FAULT, f"the hub does not accept the decision of {agency}", str(calls))
    return True


def make_first_document(plan: StoryPlan, sample: bytes) -> bytes:
    """Return the first submission of the broker."""
    return leave_applications_out(sample, plan.left_out_documents) if plan.left_out_documents else sample


def make_step_document(step: StoryStep, sample: bytes, case_number: str) -> bytes:
    """Return the unsigned document that the broker sends in a step, after the case of this number."""
    return _MAKERS[step.send](sample, {**step.message_fields, "case_number": case_number})
