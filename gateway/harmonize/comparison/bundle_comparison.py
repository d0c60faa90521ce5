"""Compares two folders of mappings by the trees of their files: the text of each key, before and after."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import chain
from typing import Final, NamedTuple

from gateway.errors import GatewayError
from gateway.wire import SourceMark, YamlNode, read_yaml

#: For each kind of part: the words when it is new, when it is gone, and before what becomes what.
_SENTENCES: Final = {
    "document": ("is a new document", "is no document any more", "changes"),
    "ask": ("asks {}", "no longer asks {}", "asks {} in another way"),
    "need": ("uses {} of the declaration", "no longer uses {} of the declaration", "uses {} in another way"),
    "target": ("sends {}", "no longer sends {}", "sends {} in another way"),
    "order": ("", "", "sends {} at another place"),
    "check": ("checks {}", "no longer checks {}", "checks {} in another way"),
    "list": ("new code list {}", "code list {} is gone", "code list {} changes"),
    "code": ("code {} is new", "code {} is gone", "code {} changes"),
    "meaning": ("new common meaning {}", "common meaning {} is gone", "common meaning {} changes"),
    "organisation": ("new organisation {}", "organisation {} is gone", "organisation {} changes"),
    "carrier": ("{} speaks a form of its own", "{} speaks XML again", "{} speaks its form in another way"),
    "fact": ("new fact {} of notices", "fact {} of notices is gone", "fact {} of notices changes"),
    "notice": ("new notice {}", "notice {} is gone", "notice {} changes"),
    "line": ("new element {} of notices", "element {} of notices is gone", "element {} of notices changes"),
    "unit": ("new unit {}", "unit {} is gone", "unit {} changes"),
    "decision": ("new decision on {}", "decision on {} is gone", "decision on {} changes"),
    "rule": ("new rule {}", "rule {} is gone", "rule {} changes"),
}
#: The keys whose values are shown with a new part, where it has them.
_PRINTED_KEYS: Final = ("needs", "req", "type", "list", "ask", "common", "hub", "const")
#: The kinds of which a new part is shown with all its keys.
_WHOLE: Final = ("carrier", "unit", "decision")
#: The keys that contain the lines: of a request, and of a notice.
_LINES: Final = ("puts", "reads")
#: The kinds of lines whose order has a meaning, with the kind of part as which a new order is reported.
_ORDERED: Final = {"target": "order", "line": "line"}
#: The keys of a document whose parts are compared separately.
_CONTENTS: Final = ("asks", "needs", "checks", "puts")


@dataclass(frozen=True, slots=True)
class BundleChange:
    """One change: a part of the mappings that is `added`, `removed` or `changed`, and its place.

    `document` and `organisation` are empty where the change concerns the whole bundle. `part` is
    document, ask, need, target, order, check, list, code, meaning, organisation, carrier, fact, notice,
    line (of a notice), unit, decision or rule, `name` its name (of a code ``list/code``). `before` and
    `after` are the keys that differ, each with its text; below a table a key is a path (``each.bound``).
    `place` is the file and line in the new bundle, or in the old bundle for a removed part.
    """

    change: str
    part: str
    name: str
    document: str
    organisation: str
    ko: str
    en: str
    before: dict[str, str]
    after: dict[str, str]
    place: str

    @property
    def sentence(self) -> str:
        """Return the change as one English sentence without a full stop."""
        template = _SENTENCES[self.part][("added", "removed", "changed").index(self.change)]
        subject = f"{self.en} ({self.name})" if self.en and self.en != self.name else self.name
        start = f"{self.document} " if self.document else ""
        if self.part == "code":
            list_name, _, code = self.name.partition("/")
            start, subject = f"code list {list_name}: ", f"{code} ({self.en})" if self.en else code
        return start + template.format(subject) + self._describe_values()

    def _describe_values(self) -> str:
        """Return the changed values as the end of a sentence; of most added parts only `_PRINTED_KEYS`."""
        if self.change == "changed":
            details = (
                f"{key} {self.before.get(key) or 'none'} becomes {self.after.get(key) or 'none'}"
                for key in self.after
            )
            return f": {'; '.join(details)}"
        values = self.after if self.change == "added" else {}
        keys = values if self.part in _WHOLE else _PRINTED_KEYS
        return "".join(f", {key} {values[key]}" for key in keys if values.get(key))


class _PartName(NamedTuple):
    """The kind of a part of the mappings, its name, and its document (empty: of the whole bundle)."""

    part: str
    name: str
    document: str = ""


@dataclass(frozen=True, slots=True)
class _Part:
    """One part of the mappings: the text of each of its keys, its place and its labels.

    A part inside another one is compared only where both folders have the other, the `whole`.
    """

    values: Mapping[str, str]
    location: str
    whole: _PartName | None = None
    organisation: str = ""
    ko: str = ""
    en: str = ""


_Parts = dict[_PartName, _Part]
_NamedPart = tuple[_PartName, _Part]


def compare_mapping_files(
    before: Mapping[str, bytes], after: Mapping[str, bytes]
) -> tuple[BundleChange, ...]:
    """Return every difference of two folders of mappings; the files of each folder are given by their names.

    The differences come in the order of the new folder, then removed parts, and last lines in another order.
    Layout, comments and quotes make no difference; a default that is written out does. A file that is no
    readable YAML counts as empty.
    """
    old, new = dict(_list_parts(before)), dict(_list_parts(after))
    return (*_compare_parts(old, new), *_compare_orders(old, new))


def list_shared_names(files: Mapping[str, bytes], document: str) -> frozenset[str]:
    """Return every name in a document of a folder, also those in the common meanings that it uses."""
    common = _read_tree(files, "common.yaml")
    trees = (_read_tree(files, file) for file in files if file.startswith("agencies/"))
    names = {name for tree in trees if _get_text(tree, "document") == document for name in _list_names(tree)}
    for meaning, entry in _get_entries(common, "meanings"):
        if meaning in names:
            names.update(_list_names(entry))
    return frozenset(names)


def _list_names(node: YamlNode) -> Iterator[str]:
    """Yield every key and text at and below a node."""
    if isinstance(node.value, str):
        yield node.value
        return
    yield from node.value if isinstance(node.value, dict) else ()
    for entry in node.value.values() if isinstance(node.value, dict) else node.value:
        yield from _list_names(entry)


def _compare_parts(old: _Parts, new: _Parts) -> Iterator[BundleChange]:
    """Yield the parts that are added, changed or removed from `old` to `new`.

    A part within a larger one (`whole`) is left out if all of that is added or removed.
    """
    for name, part in new.items():
        former = old.get(name)
        if former is None and (part.whole is None or part.whole in old):
            yield _make_change("added", name, part, {}, part.values)
        elif former is not None and former.values != part.values:
            keys = {**former.values, **part.values}
            differing = [key for key in keys if former.values.get(key) != part.values.get(key)]
            was, now = ({key: side.values.get(key, "") for key in differing} for side in (former, part))
            yield _make_change("changed", name, part, was, now)
    for name, former in old.items():
        if name not in new and (former.whole is None or former.whole in new):
            yield _make_change("removed", name, former, former.values, {})


def _compare_orders(old: _Parts, new: _Parts) -> Iterator[BundleChange]:
    """Yield a change for the first line of each document and notice that follows another line than before.

    Only lines that are in both folders are compared.
    """
    lines: dict[_PartName | None, list[_PartName]] = {}
    for name, part in new.items():
        if name.part in _ORDERED and name in old:
            lines.setdefault(part.whole, []).append(name)
    for names in lines.values():
        in_both = set(names)
        former = [name for name in old if name in in_both]
        pairs = enumerate(zip(former, names, strict=True))
        at = next((at for at, (old_name, name) in pairs if old_name != name), None)
        if at is not None:
            was, now = _name_line_above(former, names[at]), _name_line_above(names, names[at])
            moved = names[at]._replace(part=_ORDERED[names[at].part])
            yield _make_change("changed", moved, new[names[at]], {"after": was}, {"after": now})


def _name_line_above(lines: list[_PartName], line: _PartName) -> str:
    at = lines.index(line)
    return lines[at - 1].name if at else "nothing"


def _make_change(
    change: str, name: _PartName, part: _Part, before: Mapping[str, str], after: Mapping[str, str]
) -> BundleChange:
    """Return the change of a part; `part` is that of the new folder, or of the old one where it is gone."""
    labels = part.ko, part.en
    identifying_names = name.part, name.name, name.document, part.organisation
    return BundleChange(change, *identifying_names, *labels, dict(before), dict(after), part.location)


def _list_parts(files: Mapping[str, bytes]) -> Iterator[_NamedPart]:
    """Yield every part of a folder of mappings: those of its documents first, then the shared parts."""
    common, notices = _read_tree(files, "common.yaml"), _read_tree(files, "notices.yaml")
    organisations = _read_tree(files, "organisations.yaml")
    for file in sorted(files):
        if file.startswith("agencies/") and file.endswith(".yaml"):
            yield from _list_document_parts(_read_tree(files, file), common)
    yield from _list_code_parts(files)
    yield from _list_texts("meaning", common, "common.yaml")
    for group, entry in _get_entries(common, "groups"):
        yield _PartName("meaning", f"group {group}"), _make_part(entry)
    yield from _list_entries("meaning", common, "meanings")
    yield from _list_entries("organisation", organisations, "organisations")
    labels = dict(_get_entries(organisations, "organisations"))
    for code, entry in _get_entries(_read_tree(files, "carriers.yaml"), "carriers"):
        if _get_text(entry, "form") == "xml":
            continue  # An organisation without an entry speaks XML, too.
        yield _PartName("carrier", code), _make_part(entry, labels=labels.get(code))
    yield from _list_identified(_PartName("rule", ""), _read_tree(files, "rules.yaml"), "rules")
    yield from _list_texts("notice", notices, "notices.yaml")
    yield from _list_entries("fact", notices, "facts")
    for notice, entry in _get_entries(notices, "notices"):
        whole = _PartName("notice", notice)
        yield whole, _make_part(entry, without=("reads",))
        lines = _list_lines(entry, _PartName("line", f"{notice}: {_get_text(entry, 'root')}"))
        yield from _put_inside(whole, lines)
    for row, mark in _read_rows(files, "reconciled.csv"):
        decision = {"decision": f"{row['decision']} ({row['reason']})"}
        yield _PartName("decision", f"{row['document']}/{row['field']}"), _Part(decision, mark)


def _list_document_parts(document: YamlNode, common: YamlNode) -> Iterator[_NamedPart]:
    """Yield a document with its asks, needs, checks and targets; `common` has the labels of its needs."""
    name, organisation = _get_text(document, "document"), _get_text(document, "organisation")
    whole = _PartName("document", name, name)
    yield whole, replace(_make_part(document, without=_CONTENTS), organisation=organisation)
    contents = (
        *_list_asks(document, "asks", _PartName("ask", "", name)),
        *_list_needs(document, common, name),
        *_list_identified(_PartName("check", "", name), document, "checks"),
        *_list_lines(document, _PartName("target", _get_text(document, "root"), name)),
    )
    for part_name, part in _put_inside(whole, contents):
        yield part_name, replace(part, organisation=organisation)


def _put_inside(whole: _PartName, parts: Iterable[_NamedPart]) -> Iterator[_NamedPart]:
    for name, part in parts:
        yield name, replace(part, whole=whole)


def _list_asks(node: YamlNode, key: str, outer: _PartName) -> Iterator[_NamedPart]:
    """Yield every field below a key, groups before their members, which are named by group and member."""
    for field, entry in _get_entries(node, key):
        name = outer._replace(name=f"{outer.name}.{field}" if outer.name else field)
        yield name, _make_part(entry, without=("fields",))
        yield from _list_asks(entry, "fields", name)


def _list_needs(document: YamlNode, common: YamlNode, name: str) -> Iterator[_NamedPart]:
    """Yield every value of the declaration that a document uses, with the labels that it has in common."""
    needs, meanings = _get_child(document, "needs"), dict(_get_entries(common, "meanings"))
    entries = [
        *((key, entry.value, entry) for key in ("mandatory", "optional") for entry in _get_list(needs, key)),
        *(("conditional", field, entry) for field, entry in _get_entries(needs, "conditional")),
    ]
    for kind, field, entry in entries:
        part = _make_part(entry, labels=meanings.get(str(field)))
        values = dict(part.values) if kind == "conditional" else {}
        yield _PartName("need", str(field), name), replace(part, values={"needs": kind} | values)


def _list_lines(node: YamlNode, outer: _PartName) -> Iterator[_NamedPart]:
    """Yield every element and attribute below a node by its path in order; a repeated path gets a number."""
    numbers: Counter[_PartName] = Counter()
    for name, entry in _walk_lines(node, outer):
        numbers[name] += 1
        number = f" ({numbers[name]})" if numbers[name] > 1 else ""
        yield name._replace(name=name.name + number), _make_part(entry, without=_LINES)


def _walk_lines(node: YamlNode, outer: _PartName) -> Iterator[tuple[_PartName, YamlNode]]:
    """Yield the lines of the element tree below `node`, each with its path from the root."""
    for line in chain.from_iterable(_get_list(node, key) for key in _LINES):
        for path, entry in _list_table_entries(line):
            name = outer._replace(name=f"{outer.name}/{path}")
            yield name, entry
            yield from _walk_lines(entry, name)


def _list_identified(outer: _PartName, node: YamlNode, key: str) -> Iterator[_NamedPart]:
    """Yield the tables of a list, each named by its ``id``."""
    for entry in _get_list(node, key):
        yield outer._replace(name=_get_text(entry, "id")), _make_part(entry, without=("id",))


def _list_entries(part: str, node: YamlNode, key: str) -> Iterator[_NamedPart]:
    for name, entry in _get_entries(node, key):
        yield _PartName(part, name), _make_part(entry)


def _list_texts(part: str, node: YamlNode, file: str) -> Iterator[_NamedPart]:
    """Yield the texts at the top of a file, which concern the whole file."""
    for key, entry in _list_table_entries(node):
        if isinstance(entry.value, str):
            yield _PartName(part, f"{key} of {file}"), _Part({key: entry.value}, str(entry.mark))


def _list_code_parts(files: Mapping[str, bytes]) -> Iterator[_NamedPart]:
    """Yield every code list with its codes, and the table of units with its rows."""
    registry = _read_tree(files, "codelists.yaml")
    for list_name, entry in _get_entries(registry, "lists"):
        whole = _PartName("list", list_name)
        yield whole, _make_part(entry)
        keys = [node.value for node in _get_list(entry, "key")] or [_get_text(entry, "key")]
        for row, mark in _read_rows(files, _get_text(entry, "file")):
            code = ", ".join(row.get(str(key), "") for key in keys)
            values = {
                column: row[column] for column in ("ko", "en", _get_text(entry, "to")) if row.get(column)
            }
            part = _Part(values, mark, whole, "", values.get("ko", ""), values.get("en", ""))
            yield _PartName("code", f"{list_name}/{code}"), part
    units = _get_child(registry, "units")
    yield _PartName("unit", "table"), _make_part(units)
    for row, mark in _read_rows(files, _get_text(units, "file")):
        values = {column: row.get(column, "") for column in ("dimension", "factor")}
        yield _PartName("unit", row.get("unit", "")), _Part(values, mark)


def _make_part(node: YamlNode, *, without: Collection[str] = (), labels: YamlNode | None = None) -> _Part:
    """Return a node of the mappings as a part that is compared, without the keys in `without`.

    Its labels in Korean and English are taken from the node `labels`; from the node itself if this is None.
    """
    texts = [
        (key, text)
        for entry_key, entry in _list_table_entries(node)
        if entry_key not in without
        for key, text in _list_nested_texts(entry, entry_key)
    ]
    labelled = labels or node
    return _Part(dict(texts), str(node.mark), ko=_get_text(labelled, "ko"), en=_get_text(labelled, "en"))


def _list_nested_texts(node: YamlNode, path: str) -> Iterator[tuple[str, str]]:
    """Yield every text at and below a node by its path of keys; a list of texts counts as one."""
    if isinstance(node.value, str):
        yield path, node.value
    elif isinstance(node.value, list) and all(isinstance(entry.value, str) for entry in node.value):
        yield path, ", ".join(str(entry.value) for entry in node.value)
    else:
        if isinstance(node.value, dict) and path.rpartition(".")[2] == "codes":
            yield path, ", ".join(node.value)  # Applicants see the choices in this order.
        entries = node.value.items() if isinstance(node.value, dict) else enumerate(node.value, 1)
        for key, entry in entries:
            yield from _list_nested_texts(entry, f"{path}.{key}")


def _list_table_entries(node: YamlNode) -> Iterator[tuple[str, YamlNode]]:
    """Yield the keys and nodes of a table, each with the place of its key; none for another node."""
    for key, entry in node.value.items() if isinstance(node.value, dict) else ():
        yield key, replace(entry, mark=node.keys[key])


def _get_child(node: YamlNode, key: str) -> YamlNode:
    """Return the node at a key; an empty table where there is none."""
    child = node.value.get(key) if isinstance(node.value, dict) else None
    return child or YamlNode({}, node.mark)


def _get_entries(node: YamlNode, key: str) -> Iterator[tuple[str, YamlNode]]:
    return _list_table_entries(_get_child(node, key))


def _get_list(node: YamlNode, key: str) -> list[YamlNode]:
    value = _get_child(node, key).value
    return value if isinstance(value, list) else []


def _get_text(node: YamlNode, key: str) -> str:
    value = _get_child(node, key).value
    return value if isinstance(value, str) else ""


def _read_tree(files: Mapping[str, bytes], file: str) -> YamlNode:
    """Return the content of a YAML file; empty if it is missing or malformed."""
    try:
        return read_yaml(files[file], file)
    except (KeyError, GatewayError):
        return YamlNode({}, SourceMark(file, 1))


def _read_rows(files: Mapping[str, bytes], file: str) -> Iterator[tuple[dict[str, str], str]]:
    """Yield the rows of a table in CSV by their columns, each with its place; none where there is no file."""
    text = files.get(file, b"").decode("utf-8-sig", "replace")
    reader = csv.DictReader(io.StringIO(text, newline=""))
    for row in reader:
        yield row, f"{file}:{reader.line_num}"
