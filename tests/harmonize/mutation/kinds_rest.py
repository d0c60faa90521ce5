"""Mutants of the rest: repetitions, checks, what answers are read by, the head, the code lists."""

from __future__ import annotations

from collections.abc import Iterator

from tests.harmonize.mutation.mutants import Mutant, Sheet, kind
from tests.harmonize.mutation.trees import at, plain, replaced, without

_OPERATORS = ("at_most", "at_least", "more_than", "less_than", "equals")


def _bounds(low: int, high: int) -> list[list[int]]:
    """Return other bounds: one more at least, fewer and more at most."""
    found = [[low + 1, max(high, low + 1)], [low, high * 2 + 1], [max(0, low - 1), high], [low, high - 1]]
    return [pair for pair in found if pair != [low, high] and pair[1] >= max(1, pair[0])]


@kind
def bound(sheet: Sheet) -> Iterator[Mutant]:
    """A repetition, of an element or of a field, has other bounds."""
    for line in sheet.lines:
        for keys in (("each", "bound"), ("bound",)):
            said = line.spec.get("each", {}) if len(keys) == 2 else line.spec
            if "bound" in said:
                for new in _bounds(*map(int, said["bound"])):
                    yield sheet.set("bound", (*line.place, *keys), new, f"{line.full} {new}")
    for path, name, said, _ in sheet.asks:
        if "repeat" in said:
            for new in _bounds(*map(int, said["repeat"])):
                yield sheet.set("bound", (*path, "repeat"), new, f"{name} {new}")


@kind
def each(sheet: Sheet) -> Iterator[Mutant]:
    """A repetition goes over something else, has another key or none."""
    groups = [name for _, name, said, _ in sheet.asks if said["type"] == "group"]
    common = list(sheet.bundle.dictionary.groups)
    for line in sheet.lines:
        over = line.spec.get("each", {})
        place = (*line.place, "each")
        if "key" in over:
            yield sheet.drop("each", (*place, "key"), f"{line.full} without key")
            for key in ("item.hs", "item.origin", "item.description"):
                yield sheet.set("each", (*place, "key"), key, f"{line.full} by {key}")
        for how, names in (("asked", groups), ("common", common)):
            for name in [name for name in names if how in over and name != over[how]][:2]:
                yield sheet.set("each", (*place, how), name, f"{line.full} over {name}")
        if over:
            yield sheet.drop("each", place, f"{line.full} once")


@kind
def checks(sheet: Sheet) -> Iterator[Mutant]:
    """A check is gone, compares the other way round, with another bound, or over something else."""
    for number, said in enumerate(plain(at(sheet.tree, ("checks",))) if "checks" in sheet.tree.value else ()):
        path, name = ("checks", number), said["id"]
        yield sheet.drop("checks", path, f"{name} gone")
        inner = ("compare",) if "compare" in said else ()
        table = said["compare"] if inner else said
        for operator in _OPERATORS:
            if operator in table:
                for other in _OPERATORS:
                    if other != operator:
                        tree = without(sheet.tree, (*path, *inner, operator))
                        tree = replaced(tree, (*path, *inner, other), table[operator])
                        mark = at(sheet.tree, path).mark
                        yield sheet.mutant("checks", f"{name} {other}", mark, tree)
                for value in ("99", "101", "1"):
                    yield sheet.set("checks", (*path, *inner, operator), value, f"{name} {operator} {value}")
        for key in ("when_same", "within", "when"):
            if key in said:
                yield sheet.drop("checks", (*path, key), f"{name} without {key}")
        other = "item" if said["per"] == "application" else "application"
        yield sheet.set("checks", (*path, "per"), other, f"{name} per {other}")
        yield from _operands(sheet, number)


def _operands(sheet: Sheet, number: int) -> Iterator[Mutant]:
    said = plain(at(sheet.tree, ("checks", number)))
    path, name = ("checks", number), said["id"]
    if "compare" in said:
        (other,) = said["compare"].keys() - {"left", "within"}
        turned = {"left": said["compare"][other], other: said["compare"]["left"]}
        yield sheet.set("checks", (*path, "compare"), turned, f"{name} turned round")
    if "sum" in said and "multiply" in said["sum"]:
        one, two = said["sum"]["multiply"]
        yield sheet.set("checks", (*path, "sum", "multiply"), [one, one], f"{name} twice {one}")
        yield sheet.set("checks", (*path, "sum"), {"ask": two}, f"{name} of {two} alone")


@kind
def reads(sheet: Sheet) -> Iterator[Mutant]:
    """What answers a document are read by is another, or gone."""
    said = plain(at(sheet.tree, ("reads",)))
    for key in said:
        yield sheet.drop("reads", ("reads", key), f"without {key}")
    for number, name in enumerate(said["notices"]):
        yield sheet.drop("reads", ("reads", "notices", number), f"without notice {name}")
    others = ("CERTIFICATE", "GOVCBRFS7", "GOVCBRFS8", "GOVCBRRBG")
    for name in [name for name in others if name != said.get("certificate")]:
        yield sheet.set("reads", ("reads", "certificate"), name, f"certificate {name}")


@kind
def head(sheet: Sheet) -> Iterator[Mutant]:
    """The head of a document says something else."""
    said = plain(sheet.tree)
    other = "export" if said["direction"] == "import" else "import"
    status = "modelled" if said["status"] == "verified" else "verified"
    for key, value in (
        ("direction", other),
        ("law", ["42"]),
        ("law", [*said["law"], "42"]),
        ("status", status),
        ("root", "Other"),
        ("withholds", "nothing"),
        ("organisation", "RRA" if said["organisation"] != "RRA" else "KTL"),
        ("ko", "다른 문서"),
        ("fee", {"due": "before_result", "ko": "수수료", "en": "Fee"}),
    ):
        yield sheet.set("head", (key,), value, f"{key} {value}")
    for key in ("fee", "law", "status", "withholds", "direction"):
        if key in said:
            yield sheet.drop("head", (key,), f"without {key}")


@kind
def list_direction(sheet: Sheet) -> Iterator[Mutant]:
    """A list that lines translate by is read in the other direction, or from another column."""
    used = {str(line.spec["via"]) for line in sheet.leaves if isinstance(line.spec.get("via"), str)}
    used |= {
        str(line.spec["unit"]["via"]) for line in sheet.leaves if isinstance(line.spec.get("unit"), dict)
    }
    for name in sorted(used):
        said = plain(at(sheet.registry, ("lists", name)))
        other = "forward" if said["direction"] == "both" else "both"
        for key, value in (("direction", other), ("to", said["key"]), ("key", said["to"])):
            tree = replaced(sheet.registry, ("lists", name, key), value)
            mark = at(sheet.registry, ("lists", name)).mark
            what = f"{name} {key} {value}"
            yield Mutant("list_direction", sheet.document.id, what, mark, tree, registry=True)
