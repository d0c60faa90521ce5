"""Takes what was typed on a page of a draft: texts, files, and the buttons that add or remove."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final
from zoneinfo import ZoneInfo

from werkzeug.datastructures import FileStorage

from gateway.harmonize import FiledApplication, FormValues, count_occurrences, remove_occurrence
from gateway.store import NewDraftFile, read_row_number
from gateway.web.console.filing.draft_service import Draft, keep_file
from gateway.web.console.filing.form_view import FieldNode, GroupNode, SectionView, to_stated_moment

__all__ = ["MOST_ITEMS", "TypedPage", "add_item", "apply_button", "read_typed_page", "remove_item"]

MOST_ITEMS: Final = 999
_LONGEST: Final = 20_000
_ROW: Final = re.compile(r"/[^/]*[^/ai]#[0-9]+|[^/]{2,}#[0-9]+(/|$)")
#: Not in XML 1.0.
_FORBIDDEN: Final = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


@dataclass(slots=True)
class TypedPage:
    """The values after a page was sent, and the files that came with it."""

    values: dict[str, str]
    files: list[NewDraftFile] = field(default_factory=list)


def read_typed_page(
    draft: Draft,
    inputs: Mapping[str, FieldNode],
    typed: Mapping[str, str],
    files: Mapping[str, FileStorage],
    zone: ZoneInfo,
) -> TypedPage:
    """Return the values of a draft with what was typed into the inputs of one page.

    Only inputs of that page are read. Raises DraftLimitError for a file that is too large.
    """
    page = TypedPage(dict(draft.values.values))
    for key, node in inputs.items():
        if node.kind == "file":
            _take_file(draft, page, node, typed, files)
        elif key in typed:
            text = _clean_text(typed[key])
            page.values[key] = to_stated_moment(text, zone) if node.kind == "datetime-local" else text
    # An empty value is kept only where it makes an occurrence be there.
    page.values = {key: text for key, text in page.values.items() if text or _ROW.search(key)}
    return page


def _clean_text(text: str) -> str:
    """Return a typed text as it is kept: with plain line ends, without characters that XML does not know."""
    return _FORBIDDEN.sub("", text.replace("\r\n", "\n").strip()[:_LONGEST])


def _take_file(
    draft: Draft,
    page: TypedPage,
    node: FieldNode,
    typed: Mapping[str, str],
    files: Mapping[str, FileStorage],
) -> None:
    """Keep an uploaded file in place of an earlier one, or remove it where that was ticked."""
    if typed.get(f"remove:{node.key}"):
        page.values[node.key] = ""
    upload = files.get(node.key)
    if upload is None or not upload.filename:
        return
    kept = keep_file(draft, node.key, upload.filename, upload.stream.read())
    if draft.find_file(kept.cid) is None:
        page.files.append(kept)
    page.values[node.key] = kept.cid


def apply_button(values: Mapping[str, str], views: tuple[SectionView, ...], button: str) -> dict[str, str]:
    """Return the values after a button ``add|PLACE|NAME`` or ``remove|PLACE|NAME|NUMBER`` of the page.

    Buttons that the page does not have do nothing.
    """
    act, _, rest = button.partition("|")
    place, _, name = rest.partition("|")
    if act == "add":
        node = _find_group(views, place, name)
        if node is None or not node.can_add:
            return dict(values)
        return _add_occurrence(values, node)
    name, _, number = name.rpartition("|")
    node = _find_group(views, place, name) if act == "remove" else None
    occurrence = read_row_number(number)
    if node is None or occurrence is None:
        return dict(values)
    return remove_occurrence(values, place, name, occurrence)


def _add_occurrence(values: Mapping[str, str], node: GroupNode) -> dict[str, str]:
    """Add an empty occurrence behind those that are shown: each shown one becomes one that is kept."""
    shown = max((one.number for one in node.occurrences), default=0)
    count = max(count_occurrences(values, node.place, node.name), shown) + 1
    found = dict(values)
    for number in range(1, count + 1):
        inner = f"{node.place}/{node.name}#{number}"
        if not any(key == inner or key.startswith(f"{inner}/") for key in found):
            found[_name_first_key(node, inner)] = ""
    return found


def _name_first_key(node: GroupNode, inner: str) -> str:
    """Return a key that makes an empty occurrence be there: its own, or that of a member."""
    leaf = next((one for one in node.occurrences[:1]), None)
    first = leaf.nodes[0] if leaf is not None and leaf.nodes else None
    if isinstance(first, FieldNode) and first.key.startswith(f"{node.place}/{node.name}#"):
        rest = first.key[len(f"{node.place}/{node.name}#") :].partition("/")
        return f"{inner}/{rest[2]}" if rest[1] else inner
    return f"{inner}/-"


def _find_group(views: tuple[SectionView, ...], place: str, name: str) -> GroupNode | None:
    pending = [node for view in views for node in (*view.needed, *view.further)]
    while pending:
        node = pending.pop()
        if isinstance(node, GroupNode):
            if (node.place, node.name) == (place, name) and node.repeated:
                return node
            pending += [inner for one in node.occurrences for inner in one.nodes]
    return None


def add_item(values: FormValues) -> FormValues:
    """Return the values with one more goods item, which every application concerns."""
    if len(values.items) >= MOST_ITEMS:
        return values
    item = str(1 + max((int(one) for one in values.items), default=0))
    return replace(
        values,
        items=(*values.items, item),
        applications=tuple(replace(one, items=(*one.items, item)) for one in values.applications),
    )


def remove_item(values: FormValues, item: str) -> FormValues:
    """Return the values without a goods item; those behind it get its number and the following ones."""
    kept = [one for one in values.items if one != item]
    names = {old: str(number) for number, old in enumerate(kept, 1)}
    return replace(
        values,
        items=tuple(names.values()),
        applications=tuple(_rename_items(one, names) for one in values.applications),
        values=_rename_keys(values.values, names),
        further=_rename_keys(values.further, names),
    )


def _rename_items(one: FiledApplication, names: Mapping[str, str]) -> FiledApplication:
    return replace(one, items=tuple(names[item] for item in one.items if item in names))


_ITEM: Final = re.compile(r"(^|/)i#([0-9]{1,5})(?=[/|]|$)")


def _rename_keys(values: Mapping[str, str], names: Mapping[str, str]) -> dict[str, str]:
    found = {}
    for key, text in values.items():
        match = _ITEM.search(key)
        if match is None:
            found[key] = text
        elif match[2] in names:
            found[f"{key[: match.start()]}{match[1]}i#{names[match[2]]}{key[match.end() :]}"] = text
    return found
