"""Draws values that the rules on a declaration accept: codes of a table, each in its form; numbers."""

from __future__ import annotations

from collections.abc import Sequence

from gateway.harmonize.language import DeclarationRule
from gateway.harmonize.tools.samples.seeded_draws import SeededDraws, draw_pattern, draw_text
from gateway.harmonize.types import ValueShape

__all__ = ["draw_ruled_text", "is_text_ruled_out"]


def is_text_ruled_out(rules: Sequence[DeclarationRule], text: str) -> bool:
    """Return whether a rule of form, list or number does not accept `text`, be it an error or a warning."""
    return any(rule.find_violation(text) is not None for rule in rules)


def draw_ruled_text(draws: SeededDraws, rules: Sequence[DeclarationRule], shape: ValueShape) -> str:
    """Return a text of a drawn form that begins with a code of the longest list, else one of `shape`.

    A number that breaks a rule becomes the bound of the rule.
    """
    if not any(rule.patterns or rule.codes is not None for rule in rules):
        text = draw_text(draws, shape)
        wrong = (rule.number for rule in rules if rule.number is not None and is_text_ruled_out([rule], text))
        return next(wrong, text)
    forms = [pattern for rule in rules for pattern in rule.patterns]
    listed = max(
        (rule for rule in rules if rule.codes is not None), key=lambda rule: rule.first, default=None
    )
    text = draw_pattern(draws, draws.choose_one(forms)) if forms else ""
    if listed is None or listed.codes is None:
        return text
    code = draws.choose_one(listed.codes.codes)
    return code + text[len(code) :]
