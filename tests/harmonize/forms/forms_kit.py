"""Random values of forms: any field may be given, with texts that XML must escape."""

from __future__ import annotations

import random
from collections.abc import Iterable

from gateway.harmonize import FiledApplication, FilingForm, FormAttachment, FormField, FormValues
from gateway.harmonize.forms.form_values import FiledDisclaimer

TEXTS = (
    "x",
    "한글 값",
    "<b>&amp;\"'",
    "  two  spaces",
    "0",
    "-",
    "=1+1",
    "A" * 300,
    "줄\n바꿈",
    "\u200f\u05d0",
)
MOMENTS = ("2026-11-20", "2026-11-20T09:00:00Z", "2026-11-20T18:00:00+09:00", "2026-11-20T18:00:00+09:30")


def draw_values(form: FilingForm, seed: int) -> FormValues:
    """Return values of a form, a third of whose fields are given."""
    draw = random.Random(seed)
    items = tuple(str(number) for number in sorted(draw.sample(range(1, 40), draw.randint(1, 3))))
    applications = tuple(
        FiledApplication(f"A{number}", document, tuple(draw.sample(items, draw.randint(1, len(items)))))
        for number, document in enumerate(form.documents, 1)
    )
    values: dict[str, str] = {}
    _draw_fields(draw, values, "h", form.header)
    for item in items:
        _draw_fields(draw, values, f"i#{item}", form.item)
        if any(item in one.items for one in applications):
            _draw_fields(draw, values, f"s/i#{item}", _asked_there(form.shared_item, applications, item))
    _draw_fields(draw, values, "s", form.shared_header)
    for number, one in enumerate(applications, 1):
        section = form.sections[one.document]
        _draw_fields(draw, values, f"a#{number}", section.application)
        for item in one.items:
            _draw_fields(draw, values, f"a#{number}/i#{item}", section.item)
    return FormValues(
        applications,
        items,
        values,
        (FormAttachment("c@1", 1, "application/pdf", "0" * 64, 12, "Label"),),
        disclaimers=(FiledDisclaimer(items[0], "05", "Z", "none"),),
    )


def _asked_there(
    fields: Iterable[FormField], applications: tuple[FiledApplication, ...], item: str
) -> list[FormField]:
    here = {one.document for one in applications if item in one.items}
    return [one for one in fields if here & {use.document for use in one.uses}]


def _draw_fields(
    draw: random.Random, values: dict[str, str], place: str, fields: Iterable[FormField]
) -> None:
    for one in fields:
        key = f"{place}/{one.name}"
        if one.pinned is not None:
            if draw.random() < 0.5:
                _draw_value(draw, values, f"{key}/{one.fields[0].name}", one.fields[0])
                _draw_fields(draw, values, key, one.fields[1:])
        elif one.is_group:
            for number in range(1, draw.choice((0, 1, 3)) + 1):
                _draw_value(draw, values, f"{key}#{number}/{one.fields[0].name}", one.fields[0])
                _draw_fields(draw, values, f"{key}#{number}", one.fields[1:])
        elif one.is_repeated:
            for number in range(1, draw.choice((0, 1, 3)) + 1):
                _draw_value(draw, values, f"{key}#{number}", one)
        elif draw.random() < 0.4:
            _draw_value(draw, values, key, one)


def _draw_value(draw: random.Random, values: dict[str, str], key: str, one: FormField) -> None:
    if one.is_group:
        values[f"{key}#1/{one.fields[0].name}"] = "x"
        return
    values[key] = draw.choice(MOMENTS if one.kind == "datetime" else TEXTS)
    if one.attribute is not None and draw.random() < 0.7:
        values[f"{key}@"] = draw.choice(("KGM", "USD", "<&"))
