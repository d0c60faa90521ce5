"""The first honest message on each endpoint: where it is not taken, no attack proves anything.

The suite stops there, and says which step before the attack is missing.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Final

from gateway.conformance.hostile.answer_evaluation import summarize_answer
from gateway.conformance.hostile.attack_case import AttackCase
from gateway.conformance.hostile.exchange import Answer, NotOfferedError
from gateway.conformance.hostile.runner import AttackRunner
from gateway.errors import GatewayError

__all__ = ["RefusedControl", "find_refused_control"]

_INVITE: Final = (
    "the gateway does not know the suite: register it with `gateway conformance invite --home D --out "
    "partner`, and run with `--partner partner`"
)
_INVITE_AGAIN: Final = (
    "the partner folder is not that of this gateway, or is old: write a new one with `gateway conformance "
    "invite --home D --out partner`"
)
_RESUME: Final = "a party or agreement of the suite is suspended: `gateway party resume suite-a --home D`"
_TRUST: Final = (
    "the gateway does not trust the authority of the partner folder: `pki.anchors` in its settings must name "
    "the authority of the home in which the suite was invited"
)
_PATH: Final = "this path serves no such endpoint: correct `--url`, or the `path` in suite.toml"
_REACH: Final = "start the gateway with `gateway run --home D`, or correct `--url`"
_BUSY: Final = "wait until `/status/ready` of the gateway answers 200, then run again"
_OTHER: Final = "`gateway error ID` explains a problem that the gateway names; mend that, then run again"
#: What to do, by the problem that the gateway names.
_ADVICE: Final = {
    "GW301": _INVITE,
    "GW302": f"{_INVITE}; or {_RESUME}",
    "GW303": _INVITE_AGAIN,
    "GW205": _TRUST,
    "GW206": _INVITE_AGAIN,
    "GW207": _INVITE_AGAIN,
    "GW209": _INVITE_AGAIN,
    "GW701": _INVITE_AGAIN,
}


@dataclass(frozen=True, slots=True)
class RefusedControl:
    """An honest message that was not taken: on which endpoint, why, and what to do."""

    face: str
    reason: str
    advice: str

    def format_lines(self) -> str:
        """Return two lines for people."""
        return f"stopped: the first honest message on {self.face} was not taken: {self.reason}\n{self.advice}"

    def to_json(self) -> dict[str, str]:
        """Return the three values."""
        return asdict(self)


def find_refused_control(runner: AttackRunner, cases: Iterable[AttackCase]) -> RefusedControl | None:
    """Return the first honest message that is not taken, on the endpoints that the cases attack.

    An endpoint for which the kit has no key, or that the gateway is not said to have, is left out: its
    cases have no verdict.
    """
    known = runner.features | runner.kit.features | {""}
    for face in dict.fromkeys(case.face for case in cases if case.feature in known):
        with suppress(NotOfferedError, LookupError, GatewayError):
            reason, answer = runner.send_control(face)
            if reason:
                return RefusedControl(face, answer.trouble or reason, _find_advice(reason, answer))
    return None


def _find_advice(reason: str, answer: Answer) -> str:
    if answer.trouble:
        return _REACH
    if "answered without proof" in reason:
        return _INVITE_AGAIN
    named = next((one for one in summarize_answer(answer).problems if one in _ADVICE), None)
    if named is not None:
        return _ADVICE[named]
    if answer.status in (404, 405):
        return _PATH
    return _BUSY if answer.status == 503 else _OTHER
