"""The other way round of `find_error_place`: the three short texts by which an error names a leaf."""

from __future__ import annotations

from collections.abc import Iterator

from gateway.harmonize.language import DocumentMapping, TargetElement, count_octets, find_item_identifiers
from gateway.harmonize.notices.error_places import find_error_place
from gateway.harmonize.notices.notice_reader import NoticeFact

_LONGEST_KEY = 10
_LONGEST_SECTION = 50


def list_request_leaves(document: DocumentMapping) -> Iterator[tuple[str, TargetElement]]:
    """Yield every element of a document's requests that has a value, with its path from the root."""
    return _walk_leaves(document.root, document.root.name)


def _walk_leaves(target: TargetElement, path: str) -> Iterator[tuple[str, TargetElement]]:
    if target.content is not None:
        yield path, target
    for child in target.children:
        yield from _walk_leaves(child, f"{path}/{child.name}{child.path_predicates}")


def get_error_keys(document: DocumentMapping, path: str, item: str | None) -> tuple[str, str, str]:
    """Return section, first and second key by which an error names the leaf at `path`.

    Of several candidates, return the first that `find_error_place` resolves to the leaf; where
    none does (the texts are short), return the last one, which resolves to an enclosing element.
    """
    *parent_steps, name = path.removeprefix(f"{document.root.name}/").split("/")
    key = name.partition("[")[0][:_LONGEST_KEY]
    keys = (key, "") if item is None else (find_item_identifiers(document).format_item_identifier(item), key)
    sections = [path, _cut_path_end([*parent_steps, name]), _cut_path_end(parent_steps), ""]
    target_mark = next(
        (target.mark for leaf_path, target in list_request_leaves(document) if leaf_path == path),
        None,
    )
    for section in sections:
        error_values = {"error.section": section, "error.key1": keys[0], "error.key2": keys[1]}
        error_place = find_error_place(
            document, {n: NoticeFact(n, v, "", document.mark) for n, v in error_values.items() if v}
        )
        short = (count_octets(section, "utf-8") or 0) <= _LONGEST_SECTION
        if short and error_place.is_single_leaf and error_place.target.mark == target_mark:
            return section, *keys
    return _cut_path_end(parent_steps), *keys


def _cut_path_end(steps: list[str]) -> str:
    """Return the end of a path that fits into a section, since the end identifies the place."""
    while steps and (count_octets("/".join(steps), "utf-8") or 0) > _LONGEST_SECTION:
        steps = steps[1:]
    return "/".join(steps)
