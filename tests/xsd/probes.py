"""The smallest valid message around each element of a data model, to be probed place by place."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from lxml import etree

from tests.xsd.mutations import ATTRIBUTE_VALUES, ATTRIBUTES, LENGTHS, VALUES, XSI

CANDIDATES = ("1", "9", "AB", "ABC", "A", "01")
EDGES = [size + more for size in LENGTHS for more in (-1, 0, 1)]
DIGITS = [(whole, part) for whole in (5, 7, 9, 10, 13, 15) for part in (0, 3, 4, 5, 6, 7)]
SHELL_LEAVES = (
    "WCODataModelVersionCode",
    "WCOTypeName",
    "ResponsibleCountryCode",
    "ResponsibleAgencyName",
    "AgencyAssignedCustomizationCode",
    "AgencyAssignedCustomizationVersionCode",
)
TEXTS = tuple(
    dict.fromkeys(
        [
            *VALUES,
            *(filling * size for size in EDGES for filling in ("x", "7", "é")),
            *("9" * whole + "." + "9" * part for whole, part in DIGITS),
            *("x" + " " * size for size in LENGTHS),
        ]
    )
)


@dataclass(frozen=True)
class Model:
    """The elements of one message in order, and how to write the least of it."""

    namespace: str
    moment: str
    rows: tuple[dict[str, str], ...]

    @cached_property
    def children(self) -> dict[str, list[dict[str, str]]]:
        """The rows below each path, in the order of the model."""
        found: dict[str, list[dict[str, str]]] = {row["path"]: [] for row in self.rows}
        for row in self.rows[1:]:
            found[row["path"].rpartition("/")[0]].append(row)
        return found

    @property
    def classes(self) -> list[dict[str, str]]:
        """The rows that hold other elements."""
        return [row for row in self.rows if row["kind"] == "class"]

    @property
    def leaves(self) -> list[dict[str, str]]:
        """The rows that hold a value."""
        return [row for row in self.rows if row["kind"] == "element"]

    def least(self, row: dict[str, str], text: str = "1") -> etree._Element:
        """Return one element of `row` with what must stand in it."""
        name = row["path"].rpartition("/")[2]
        element = etree.Element(f"{{{self.namespace}}}{name}")
        if row["kind"] == "class":
            for child in self.children[row["path"]]:
                if child["min"] == "1":
                    element.append(self.least(child, "9"))
        elif name.endswith("DateTime"):
            etree.SubElement(element, f"{{{self.moment}}}DateTimeString", formatCode="102").text = "20200101"
        else:
            element.text = text
        return element

    def around(self, path: str) -> tuple[etree._Element, etree._Element]:
        """Return the least message that holds an element at `path`, and that element."""
        by_path = {row["path"]: row for row in self.rows}
        names = path.split("/")
        root = self.least(by_path[names[0]])
        here = root
        for depth in range(2, len(names) + 1):
            here = self.put(here, by_path["/".join(names[:depth])])
        return root, here

    def put(self, parent: etree._Element, row: dict[str, str]) -> etree._Element:
        """Put the least element of `row` at its place into `parent`, unless one is there."""
        present = parent.find(f"{{{self.namespace}}}{row['path'].rpartition('/')[2]}")
        if present is not None:
            return present
        element = self.least(row)
        order = [r["path"].rpartition("/")[2] for r in self.children[row["path"].rpartition("/")[0]]]
        place = order.index(etree.QName(element).localname)
        before = [c for c in parent if order.index(etree.QName(c).localname) < place]
        parent.insert(len(before), element)
        return element


def read_model(table: Path, namespace: str, moment: str) -> Model:
    """Read the rows of one outside table of elements; quoted documents of other namespaces are left out."""
    with table.open(encoding="utf-8") as lines:
        rows = tuple(row for row in csv.DictReader(lines) if ":" not in row["path"])
    return Model(namespace, moment, rows)


def value_probes(model: Model, schema: etree.XMLSchema) -> Iterator[tuple[str, etree._Element]]:
    """Yield a message for each value in each leaf, the leaf being all that is tried."""
    for row in model.leaves:
        root, leaf = model.around(row["path"])
        target = leaf[0] if len(leaf) else leaf
        for text in TEXTS:
            target.text = text
            yield f"{row['path']} = {text[:40]!r} ({len(text)})", root


def attribute_probes(model: Model, schema: etree.XMLSchema) -> Iterator[tuple[str, etree._Element]]:
    """Yield a message for each attribute on each element, fitting, unfitting, unknown or absent."""
    for row in model.rows:
        root, element = model.around(row["path"])
        settle(row, element, root, schema)
        for target in [element, *element] if row["kind"] == "element" else [element]:
            for name in ATTRIBUTES:
                old = target.get(name)
                for value in ATTRIBUTE_VALUES if name != f"{XSI}type" else ("Declaration", "xs:string"):
                    target.set(name, value)
                    yield f"{row['path']}/@{name} = {value!r}", root
                if old is not None:
                    del target.attrib[name]
                    yield f"{row['path']} without @{name}", root
                restore(target, name, old)


def moment_probes(model: Model) -> Iterator[tuple[str, etree._Element]]:
    """Yield messages whose moments hold nothing, two texts, plain text or a text of another namespace."""
    for row in model.leaves:
        root, leaf = model.around(row["path"])
        if not len(leaf):
            continue
        inner = leaf[0]
        leaf.append(deepcopy(inner))
        yield f"{row['path']}: two texts", root
        reset(leaf, [])
        yield f"{row['path']}: nothing", root
        leaf.text = inner.text
        yield f"{row['path']}: plain text", root
        leaf.text = None
        other = etree.SubElement(leaf, f"{{{model.namespace}}}DateTimeString", formatCode="102")
        other.text = inner.text
        yield f"{row['path']}: text of the message's namespace", root


def structure_probes(model: Model, schema: etree.XMLSchema) -> Iterator[tuple[str, etree._Element]]:
    """Yield messages in which children of a class are absent, doubled, many, swapped or foreign."""
    yield from moment_probes(model)
    for row in model.classes:
        path = row["path"]
        root, parent = model.around(path)
        basis = list(parent)
        for one in model.children[path]:
            for other in model.children[path]:
                settle_children(model, parent, basis, root, schema, (one, other))
                yield f"{path}: {one['path']} with {other['path']}", root
                swap(parent, one, other, model)
                yield f"{path}: {one['path']} behind {other['path']}", root
            yield from repeated(model, row, one, schema)
        reset(parent, basis)
        for name in ("Unknown", "ID", "Name"):
            for namespace in (model.namespace, "", model.moment):
                extra = etree.SubElement(parent, etree.QName(namespace or None, name).text)
                yield f"{path}: ends with {extra.tag}", root
                parent.remove(extra)
        for text in ("stray", " ", "0"):
            parent.text = text
            yield f"{path}: text {text!r}", root
        parent.text = None


def shell_probes(shell: str, document: etree._Element) -> Iterator[tuple[str, etree._Element]]:
    """Yield shells of `document` with each value and attribute in each leaf, and each pair of parts moved."""
    root = etree.Element(shell)
    for name in SHELL_LEAVES:
        etree.SubElement(root, f"{shell.removesuffix('MetaData')}{name}").text = "1"
    root.append(document)
    basis = list(root)
    for leaf in basis[:-1]:
        for text in TEXTS:
            leaf.text = text
            yield f"{leaf.tag} = {text[:40]!r}", root
        leaf.text = "1"
        for name in ATTRIBUTES:
            for value in ATTRIBUTE_VALUES:
                leaf.set(name, value)
                yield f"{leaf.tag}/@{name} = {value!r}", root
            del leaf.attrib[name]
    for one in basis:
        for other in basis:
            one.addprevious(other)
            yield f"{other.tag} before {one.tag}", root
            reset(root, basis)
        root.remove(one)
        yield f"without {one.tag}", root
        reset(root, basis)
        one.addnext(deepcopy(one))
        yield f"{one.tag} twice", root
        reset(root, basis)


def repeated(
    model: Model, row: dict[str, str], one: dict[str, str], schema: etree.XMLSchema
) -> Iterator[tuple[str, etree._Element]]:
    """Yield the class with none, two, three, 999 and 1,000 of one child."""
    root, _ = model.around(one["path"])
    (parent,) = find(root, model, row["path"])
    child = model.put(parent, one)
    settle(one, child, root, schema)
    for count in (2, 3, 999, 1_000):
        for _ in range(count - len(parent.findall(child.tag))):
            child.addnext(deepcopy(child))
        yield f"{one['path']} x {count}", root
    for each in parent.findall(child.tag):
        parent.remove(each)
    yield f"{one['path']} x 0", root


def find(root: etree._Element, model: Model, path: str) -> list[etree._Element]:
    """Return the elements at `path`, a path by names from the root."""
    below = [f"{{{model.namespace}}}{name}" for name in path.split("/")[1:]]
    return root.findall("/".join(below)) if below else [root]


def settle(row: dict[str, str], leaf: etree._Element, root: etree._Element, schema: etree.XMLSchema) -> None:
    """Give a leaf the first value with which the message is valid; classes and moments have theirs."""
    if row["kind"] == "class" or len(leaf):
        return
    for text in CANDIDATES:
        leaf.text = text
        if schema.validate(root):
            return
    raise AssertionError(f"no value fits {leaf.tag}: {schema.error_log.last_error}")


def settle_children(
    model: Model,
    parent: etree._Element,
    basis: list[etree._Element],
    root: etree._Element,
    schema: etree.XMLSchema,
    rows: tuple[dict[str, str], ...],
) -> None:
    """Leave in the class what must be there and these children, with values that fit."""
    reset(parent, basis)
    for row in rows:
        child = model.put(parent, row)
        settle(row, child, root, schema)


def swap(parent: etree._Element, one: dict[str, str], other: dict[str, str], model: Model) -> None:
    """Move the first of `one` right behind the last of `other`."""
    first, last = (parent.find(f"{{{model.namespace}}}{r['path'].rpartition('/')[2]}") for r in (one, other))
    assert first is not None
    assert last is not None
    last.addnext(deepcopy(first) if first is last else first)


def reset(parent: etree._Element, basis: list[etree._Element]) -> None:
    """Take out all children but the basis."""
    for child in list(parent):
        parent.remove(child)
    parent.extend(basis)


def restore(element: etree._Element, name: str, value: str | None) -> None:
    """Set the attribute as it was."""
    if value is None:
        element.attrib.pop(name, None)
    else:
        element.set(name, value)
