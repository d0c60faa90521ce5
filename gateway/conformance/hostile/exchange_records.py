"""Records the steps of an attack as octets, for the page of a run."""

from __future__ import annotations

from gateway.conformance.hostile.exchange import Answer, RawScript, Step
from gateway.conformance.reports import ExchangeLog, RecordedMessage, record_message

__all__ = ["record_step"]


def record_step(log: ExchangeLog, step: Step, answer: Answer) -> None:
    """Append a step and its answer to the exchanges of a case."""
    came = None
    if answer.status is not None:
        came = record_message(f"HTTP/1.1 {answer.status}", answer.headers, answer.body + answer.more)
    trouble = answer.trouble or ("no answer in time" if answer.timed_out else "closed without an answer")
    log.add_exchange(_record_request(step), came, trouble)


def _record_request(step: Step) -> RecordedMessage:
    if isinstance(step, RawScript):
        line = f"octets on {step.connections} connections"
        return record_message(line, {}, b"".join(octets for octets, _ in step.script))
    return record_message(f"{step.method} {step.face} HTTP/1.1", step.headers, step.body)
