# ruff: noqa: E501 (mappings with long lines)
"""Where, default, concat, convert, translation with context, dates: each works, each wrong use is GW502."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import GatewayError
from gateway.harmonize import MappingBundle, SplitResult, load_bundle
from gateway.harmonize.language import (
    CodeList,
    Concatenation,
    Constant,
    ConversionError,
    ConvertedSource,
    EvaluatedValue,
    FormatStep,
    OccurrenceLookup,
    TextPiece,
    TranslationStep,
    UnitConversion,
    UnitTable,
    count_octets,
    format_decimal,
    parse_fraction,
    round_fraction,
    split_by_separator,
)
from gateway.harmonize.language.unit_table import Unit
from gateway.harmonize.readback import compare_request, read_request
from gateway.harmonize.split import split_text
from gateway.wire import SourceMark
from tests.harmonize import small_bundle

UNITS = """unit,dimension,factor,source
KGM,mass,1,test
GRM,mass,0.001,test
TNE,mass,1000,test
LBR,mass,0.45359237,test
THD,mass,1/3,test
TRI,mass,3,test
MTR,length,1,test
EA,count of EA,1,test
"""
PAIRS = "code,origin,out\nAA,C1,one\nAA,C2,two\nBB,C1,three\n"
ASKS = """  grp: {type: group, repeat: [0, 5], req: O, per: application, ko: 묶음, en: Group, fields: {
      key: {type: code, codes: {K1: one, K2: two}, req: M, means: g.key, ko: 열쇠, en: Key},
      id: {type: id, max: 9, req: O, means: g.id, ko: 번호, en: Id},
      value: {type: text, max: 20, req: O, means: g.value, ko: 값, en: Value}
  }}
  ref: {type: id, max: 9, req: O, per: application, means: ref, ko: 참조, en: Reference}
  origin: {type: code, codes: {C1: one, C2: two}, req: O, per: application, means: origin, ko: 산지, en: Origin}
  when_at: {type: datetime, req: O, per: application, means: when_at, ko: 때, en: When}
  day: {type: date, req: O, per: application, means: day, ko: 날, en: Day}
  mass: {type: quantity, units: [KGM, GRM, TNE, LBR, MTR, XXX], decimals: 6, req: O, per: application, means: mass, ko: 양, en: Mass}
"""
PLAIN = """  - Refs: {ask: ref}
  - Origin: {ask: origin}
  - WhenAt: {ask: when_at, form: iso}
  - DayOn: {ask: day, form: iso}
  - Mass: {ask: mass, unit: "@u"}
  - Grp:
      each: {asked: grp, bound: [0, 5]}
      puts:
        - Key: {ask: grp.key}
        - Id: {ask: grp.id}
        - Value: {ask: grp.value}
"""


def folder(target: Path, line: str) -> Path:
    """Write the small mapping with more fields, and one line more."""
    root = small_bundle.write(
        target,
        document=("  risky: {type: boolean", ASKS + "  risky: {type: boolean"),
        codelists=(
            "lists:\n",
            'units: {file: codelists/factors.csv, version: "1", source: ours}\nlists:\n'
            '  pairs: {file: codelists/pairs.csv, key: [code, origin], to: out, direction: both, version: "1", source: ours}\n',
        ),
    )
    (root / "codelists" / "factors.csv").write_text(UNITS, encoding="utf-8")
    (root / "codelists" / "pairs.csv").write_text(PAIRS, encoding="utf-8")
    path = root / "agencies" / "ORG" / "TINY.yaml"
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace("  - Kind:", f"{PLAIN}{line}\n  - Kind:", 1), encoding="utf-8")
    return root


def made(target: Path, line: str) -> MappingBundle:
    return load_bundle(folder(target, line))


def fields(extra: str) -> str:
    return extra + small_bundle.FIELDS


def run(target: Path, line: str, extra: str, items: str = "1", more: str = "") -> SplitResult:
    return small_bundle.apply(
        made(target, line), small_bundle.submission(fields=fields(extra) + more, items=items)
    )


def troubles(result: SplitResult) -> list[tuple[str, str]]:
    return [(one.problem.id, one.pointer) for one in result.problems]


def group(key: str, name: str = "", value: str = "") -> str:
    inner = f"<t:Key>{key}</t:Key>" + (f"<t:Id>{name}</t:Id>" if name else "")
    return f"<t:Grp>{inner}" + (f"<t:Value>{value}</t:Value>" if value else "") + "</t:Grp>"


# ------------------------------------------------------------------------------------ where


@pytest.mark.night
def test_where_takes_the_member_of_the_occurrence_with_the_key(tmp_path: Path) -> None:
    line = "  - One: {ask: grp.value, where: {grp.key: {is: K1}}}\n  - Two: {ask: grp.value, where: {grp.key: {is: K2}}}"
    result = run(tmp_path, line, group("K2", value="b") + group("K1", value="a"))
    assert (small_bundle.text(result, "One"), small_bundle.text(result, "Two")) == (["a"], ["b"])
    assert not result.unaccounted_leaves


def test_where_no_match_is_no_value_and_two_are_refused_at_the_second_key(tmp_path: Path) -> None:
    line = "  - One: {ask: grp.value, where: {grp.key: {is: K1}}}"
    assert small_bundle.text(run(tmp_path, line, group("K2", value="b")), "One") == []
    twice = run(tmp_path, line, group("K1", value="a") + group("K1", value="a"))
    ((problem, pointer),) = troubles(twice)
    assert problem == "GW505"
    assert pointer.endswith("Grp[2]/Key[1]") or "Grp[2]" in pointer
    assert not twice.unaccounted_leaves


def test_where_joins_by_the_value_of_another_field(tmp_path: Path) -> None:
    line = "  - Name: {ask: grp.value, where: {grp.id: {same: ref}}}"
    groups = group("K1", "A", "first") + group("K2", "B", "second")
    assert small_bundle.text(run(tmp_path, line, groups + "<t:Ref>B</t:Ref>"), "Name") == ["second"]
    assert small_bundle.text(run(tmp_path, line, groups + "<t:Ref>C</t:Ref>"), "Name") == []
    assert small_bundle.text(run(tmp_path, line, groups), "Name") == []


@pytest.mark.night
def test_where_joins_groups_of_the_dictionary_and_goes_down_into_them(tmp_path: Path) -> None:
    line = "  - Sealed: {common: seal.id, where: {container.id: {is: CONT2}}}\n  - Which: {common: container.id, where: {seal.id: {same: ref}}}"
    with pytest.raises(GatewayError, match="keys beside or around container"):
        made(tmp_path, line)
    line = "  - Sealed: {common: seal.id, where: {container.id: {same: ref}}}"
    alone = run(tmp_path, line, "<t:Ref>CONT2</t:Ref>")
    assert small_bundle.text(alone, "Sealed") == []
    assert not alone.unaccounted_leaves
    assert troubles(run(tmp_path, line, "<t:Ref>CONT1</t:Ref>"))[0][0] == "GW505"


def test_where_looks_up_another_item_by_its_number(tmp_path: Path) -> None:
    line = "  - Other: {common: item.hs, where: {item.number: {same: ref}}}"
    result = run(tmp_path, line, "<t:Ref>01</t:Ref>")
    assert small_bundle.text(result, "Other") == ["3004101090"]


def test_where_is_looked_up_once_for_all_items(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = folder(tmp_path, "  - Plain: {const: x}")
    path = root / "agencies" / "ORG" / "TINY.yaml"
    line = "        - Name: {ask: grp.value, where: {grp.key: {is: K1}}}\n        - HS:"
    path.write_text(path.read_text(encoding="utf-8").replace("        - HS:", line, 1), encoding="utf-8")
    looked: list[object] = []
    look = OccurrenceLookup._build_key_index
    monkeypatch.setattr(
        OccurrenceLookup, "_build_key_index", lambda *given: looked.append(given) or look(*given)
    )
    second = """<t:Item sequence="2"><t:Risky>false</t:Risky><t:Weight unitCode="KGM">1</t:Weight><t:Price currencyID="EUR">1</t:Price></t:Item>"""
    filled = fields(group("K1", value="a")) + second
    result = small_bundle.apply(load_bundle(root), small_bundle.submission(fields=filled, items="1 2"))
    assert small_bundle.text(result, "Line/Name") == ["a", "a"]
    assert len(looked) == 1


@pytest.mark.parametrize(
    "inner", ["{common: seal.id, where: {container.id: {same: animal.tag}}}", "{common: previous}"]
)
def test_what_lies_outside_of_a_repetition_that_does_not_occur_is_withheld(
    tmp_path: Path, inner: str
) -> None:
    root = folder(tmp_path, "  - Plain: {const: x}")
    path = root / "agencies" / "ORG" / "TINY.yaml"
    text = path.read_text(encoding="utf-8").replace("  - Previous: {common: previous}\n", "")
    start, end = text.index("  - Container:\n"), text.index("  - Items:")
    text = text[:start] + text[end:]
    text = text.replace("- No: {index: animal}", f"- Boxed: {inner}\n              - No: {{index: animal}}")
    path.write_text(text, encoding="utf-8")
    start, end = small_bundle.FIELDS.index("<t:Animal>"), small_bundle.FIELDS.index("</t:Item>")
    result = small_bundle.apply(
        load_bundle(root),
        small_bundle.submission(fields=small_bundle.FIELDS[:start] + small_bundle.FIELDS[end:]),
    )
    assert len(result.requests) == 1
    assert not result.unaccounted_leaves


# ---------------------------------------------------------------------------------- default


def test_a_default_stands_where_there_is_no_value(tmp_path: Path) -> None:
    line = '  - R: {ask: ref, default: NONE}\n  - P: {ask: place, via: placeName, default: AA}\n  - W: {ask: grp.id, where: {grp.key: {is: K1}}, default: "0"}'
    result = run(tmp_path, line, "")
    assert (small_bundle.text(result, "R"), small_bundle.text(result, "W")) == (["NONE"], ["0"])
    assert small_bundle.text(run(tmp_path, line, "<t:Ref>X1</t:Ref>"), "R") == ["X1"]
    assert not result.unaccounted_leaves


# ----------------------------------------------------------------------------------- concat


def test_concat_puts_parts_together_and_leaves_a_missing_one_empty(tmp_path: Path) -> None:
    line = '  - Text: {concat: [{ask: ref}, {const: X}, {ask: day, form: CCYYMMDD}, {common: importer.name}], with: "/"}\n  - None: {concat: [{ask: ref}, {const: X}], with: "/"}'
    result = run(tmp_path, line, "<t:Day>2026-01-02</t:Day>")
    assert small_bundle.text(result, "Text") == ["/X/20260102/한빛무역"]
    assert small_bundle.text(result, "None") == []
    assert not result.unaccounted_leaves


def test_a_part_that_holds_the_separator_is_refused_at_that_part(tmp_path: Path) -> None:
    line = '  - Text: {concat: [{common: importer.name}, {ask: ref}], with: "/"}'
    result = run(tmp_path, line, "<t:Ref>a/b</t:Ref>")
    ((problem, pointer),) = troubles(result)
    assert problem == "GW506"
    assert pointer.endswith("Ref") or "Ref" in pointer
    assert not result.unaccounted_leaves


@given(
    st.lists(st.text("가나다ab/-", max_size=6), min_size=2, max_size=5),
    st.sampled_from(["/", "--", "-/", " "]),
)
def test_what_was_put_together_comes_apart_exactly(parts: list[str], separator: str) -> None:
    joined = separator.join(parts)
    if joined.split(separator) == parts:
        assert split_by_separator(joined, separator, len(parts)) == parts
    else:
        assert any(separator in part for part in parts) or len(separator) > 1


def test_concat_reads_its_parts_back() -> None:
    day = ConvertedSource(Constant("2026-01-02"), (FormatStep("CCYYMMDD", ""),))
    concat = Concatenation((day, ConvertedSource(Constant("X"), ())), "/")
    assert concat.invert_parts("20260102/X") == ("2026-01-02", "X")
    assert concat.invert_parts("20260102") is None
    assert concat.invert_parts("/Y") == ("", None)


# ---------------------------------------------------------------------------------- convert


def quantity(text: str, unit: str) -> str:
    return f'<t:Mass unitCode="{unit}">{text}</t:Mass>'


def weigh(*weights: tuple[str, str]) -> str:
    """Return the fields of the items behind the first one, of which each has a weight."""
    return "".join(
        f'<t:Item sequence="{number}"><t:Risky>false</t:Risky><t:Weight unitCode="{unit}">{text}</t:Weight>'
        '<t:Price currencyID="EUR">1</t:Price></t:Item>'
        for number, (unit, text) in enumerate(weights, 2)
    )


TOTAL = '  - Total: {sum: weight, over: items, decimals: 8, unit: "@unit"}'


def total(target: Path, line: str, *weights: tuple[str, str]) -> tuple[SplitResult, MappingBundle]:
    """Split a submission whose items have these weights."""
    root = folder(target, line)
    path = root / "agencies" / "ORG" / "TINY.yaml"
    text = path.read_text(encoding="utf-8")
    path.write_text(
        text.replace("units: [KGM, EA]", "units: [KGM, GRM, LBR, THD, TRI, TNE, EA]"), encoding="utf-8"
    )
    with (root / "codelists" / "unit.csv").open("a", encoding="utf-8") as file:
        file.write("GRM,G\nLBR,LB\nTHD,TH\nTRI,TR\nTNE,T\n")
    bundle = load_bundle(root)
    items = " ".join(str(number) for number in range(1, len(weights) + 1))
    given = fields("").replace('unitCode="KGM">2.125<', 'unitCode="{}">{}<'.format(*weights[0]))
    filled = small_bundle.submission(fields=given + weigh(*weights[1:]), items=items)
    return small_bundle.apply(bundle, filled), bundle


KILO = ("KGM", "2.125")


@pytest.mark.parametrize(
    ("line", "weights", "wanted", "unit"),
    [
        (TOTAL, [KILO, ("TNE", "0.5")], "502.125", "KGM"),
        (TOTAL, [("TNE", "0.5"), KILO], "0.502125", "TNE"),
        # A kilogram is no finite decimal of pounds, but a pound is one of kilograms.
        (TOTAL, [("LBR", "2"), KILO], "3.03218474", "KGM"),
        (TOTAL, [KILO, ("THD", "3")], "3.125", "KGM"),
        (TOTAL, [KILO, ("THD", "1")], "7.375", "THD"),
        (TOTAL.replace("unit:", "convert: {to: GRM, decimals: 1, round: half_up}, unit:"),
         [KILO, ("TNE", "0.501")], "503125", "GRM"),
    ],
)  # fmt: skip
def test_quantities_of_one_dimension_are_added_exactly(
    tmp_path: Path, line: str, weights: list[tuple[str, str]], wanted: str, unit: str
) -> None:
    """The total is in a unit of its values; what was given stays accounted for."""
    result, bundle = total(tmp_path, line, *weights)
    assert (troubles(result), result.unaccounted_leaves) == ([], ())
    assert (small_bundle.text(result, "Total"), small_bundle.text(result, "Total/@unit")) == (
        [wanted],
        [unit],
    )
    (request,) = result.requests
    reading = read_request(bundle.documents["TINY"], request.xml)
    assert compare_request(request, reading, result.submission_index, bundle) == []
    # Another total than that of the values is found.
    (element,) = request.xml.iter("{*}Total")
    element.text = "7"
    reading = read_request(bundle.documents["TINY"], request.xml)
    assert compare_request(request, reading, result.submission_index, bundle) != []


@pytest.mark.parametrize(
    ("line", "weights", "problem", "words"),
    [
        (TOTAL, [KILO, ("EA", "1")], "GW404", "values of different units cannot be added: KGM, EA"),
        (TOTAL, [("LBR", "1"), ("TRI", "1")], "GW506", "the sum of weight is a finite decimal in none of its units"),
        (TOTAL.replace("8", "6"), [("LBR", "2"), KILO], "GW506", "Total"),
    ],
)  # fmt: skip
def test_quantities_that_have_no_exact_total_are_refused_at_their_place(
    tmp_path: Path, line: str, weights: list[tuple[str, str]], problem: str, words: str
) -> None:
    result, _ = total(tmp_path, line, *weights)
    assert [(one.problem.id, words in one.detail) for one in result.problems] == [(problem, True)], (
        result.problems
    )
    assert "Weight" in result.problems[0].pointer


CONVERT = '  - Kilo: {ask: mass, convert: {to: KGM, decimals: 3, round: half_up}, unit: "@unit"}'


def test_a_quantity_is_converted_exactly_and_the_original_is_kept(tmp_path: Path) -> None:
    result = run(tmp_path, CONVERT, quantity("12.5", "TNE"))
    assert small_bundle.text(result, "Kilo") == ["12500"]
    assert small_bundle.text(result, "Kilo/@unit") == ["KGM"]
    origin = next(one for one in result.requests[0].origins if one.target.endswith("/Kilo"))
    assert origin.transforms == ("convert 12.5 TNE to 12500 KGM",)
    assert not result.unaccounted_leaves
    rounded = run(tmp_path, CONVERT, quantity("1", "LBR"))
    assert small_bundle.text(rounded, "Kilo") == ["0.454"]
    origin = next(one for one in rounded.requests[0].origins if one.target.endswith("/Kilo"))
    assert origin.transforms == ("convert 1 LBR to 0.454 KGM (rounded half_up to 3)",)


@pytest.mark.parametrize(("unit", "problem"), [("MTR", "GW404"), ("XXX", "GW403")])
def test_a_unit_of_another_dimension_is_refused_at_the_attribute(
    tmp_path: Path, unit: str, problem: str
) -> None:
    result = run(tmp_path, CONVERT, quantity("1", unit))
    ((found, pointer),) = troubles(result)
    assert (found, pointer.rpartition("/")[2]) == (problem, "@unitCode")
    assert not result.unaccounted_leaves


def test_an_exact_conversion_that_would_round_is_refused(tmp_path: Path) -> None:
    line = CONVERT.replace("half_up", "exact")
    assert troubles(run(tmp_path, line, quantity("1", "LBR")))[0][0] == "GW506"
    assert small_bundle.text(run(tmp_path, line, quantity("1", "GRM")), "Kilo") == ["0.001"]


TABLE = UnitTable(
    {
        code: Unit(code, dimension, Fraction(factor))
        for code, dimension, factor, _ in (row.split(",") for row in UNITS.splitlines()[1:])
    }
)
NUMBERS = st.decimals(-(10**9), 10**9, allow_nan=False, places=6)


@given(
    NUMBERS,
    st.sampled_from(["KGM", "GRM", "TNE", "LBR", "THD"]),
    st.sampled_from(["KGM", "GRM", "TNE", "LBR", "THD"]),
)
def test_a_conversion_there_and_back_is_exact(number: Decimal, first: str, last: str) -> None:
    there = TABLE.convert_quantity(Fraction(number), first, last)
    assert there is not None
    assert TABLE.convert_quantity(there, last, first) == Fraction(number)


@given(NUMBERS, st.integers(0, 8), st.sampled_from(["half_up", "half_even", "down", "up"]))
def test_rounding_is_what_it_is_called(number: Decimal, decimals: int, rounding: str) -> None:
    import decimal

    names = {
        "half_up": decimal.ROUND_HALF_UP,
        "half_even": decimal.ROUND_HALF_EVEN,
        "down": decimal.ROUND_DOWN,
        "up": decimal.ROUND_UP,
    }
    rounded = round_fraction(Fraction(number), decimals, rounding)
    assert rounded == Fraction(number.quantize(Decimal(1).scaleb(-decimals), rounding=names[rounding]))


@pytest.mark.night
@given(st.fractions(max_denominator=10**6))
def test_a_fraction_is_written_as_a_decimal_exactly_or_not_at_all(number: Fraction) -> None:
    text = format_decimal(number)
    rest = number.denominator
    for prime in (2, 5):
        while rest % prime == 0:
            rest //= prime
    assert (text is None) == (rest != 1)
    assert text is None or (parse_fraction(text) == number and "e" not in text.lower())


@given(st.decimals(0, 10**6, places=3, allow_nan=False), st.sampled_from(["GRM", "TNE", "LBR"]))
def test_a_conversion_is_undone_or_said_to_have_no_way_back(number: Decimal, unit: str) -> None:
    step = UnitConversion(TABLE, "KGM", 12, "exact", unit)
    value = step.convert_value(EvaluatedValue(str(number), (), "x", stated_unit=(unit, ())))
    assert value is not None
    back = step.invert_value(value.text)
    assert back is not None
    assert Decimal(back) == number
    assert UnitConversion(TABLE, "KGM", 3, "half_up", None).invert_value("1") is None
    assert UnitConversion(TABLE, "LBR", 3, "half_up", "KGM").invert_value("1") == "0.45359237"
    assert UnitConversion(TABLE, "KGM", 3, "half_up", "THD").invert_value("1") == "3"
    assert UnitConversion(TABLE, "THD", 3, "half_up", "LBR").invert_value("1") is None


# ------------------------------------------------------------------------ via with a context


def test_a_code_is_translated_with_the_value_beside_it(tmp_path: Path) -> None:
    line = "  - Out: {ask: place, via: {list: pairs, with: origin}}"
    base = fields("").replace("<t:Place>AA</t:Place>", "")
    bundle = made(tmp_path, line)

    def out(place: str, origin: str) -> SplitResult:
        extra = f"<t:Place>{place}</t:Place>" + (f"<t:Origin>{origin}</t:Origin>" if origin else "")
        return small_bundle.apply(bundle, small_bundle.submission(fields=extra + base))

    assert small_bundle.text(out("AA", "C1"), "Out") == ["one"]
    assert small_bundle.text(out("AA", "C2"), "Out") == ["two"]
    assert troubles(out("BB", "C2"))[0][0] == "GW403"
    assert troubles(out("AA", ""))[0][0] == "GW403"
    assert not out("AA", "C2").unaccounted_leaves


def test_a_translation_with_context_reads_back_with_it() -> None:
    pairs = {("AA", "C1"): "one", ("BB", "C2"): "one", ("BB", "C1"): "two"}
    codes = CodeList("x", "1", "t", ("AA", "BB"), None, None, "both", SourceMark("x", 1), pairs)
    via = TranslationStep(codes, omits_unknown_codes=False)
    assert (
        via.invert_value("one", "C1"),
        via.invert_value("one", "C2"),
        via.invert_value("one"),
        via.invert_value("two"),
    ) == (
        "AA",
        "BB",
        None,
        "BB",
    )
    forward = CodeList("x", "1", "t", ("AA",), None, {"AA": "one"}, "forward", SourceMark("x", 1))
    assert TranslationStep(forward, omits_unknown_codes=False).invert_value("one") is None


# ------------------------------------------------------------------------------------ dates


@given(st.datetimes(datetime(1900, 1, 1), datetime(2999, 1, 1)), st.booleans())
def test_an_unknown_time_never_becomes_midnight(moment: datetime, known: bool) -> None:
    form = FormatStep("CCYYMMDDHHMMSS", "000000")
    text = moment.replace(microsecond=0).isoformat() if known else moment.date().isoformat()
    if known and text.endswith("T00:00:00"):
        return
    written = form.convert_value(EvaluatedValue(text, (), "x"))
    assert written is not None
    assert len(written.text) == 14
    assert form.invert_value(written.text) == text


def test_midnight_is_refused_where_it_would_read_as_unknown() -> None:
    form = FormatStep("CCYYMMDDHHMMSS", "000000")
    with pytest.raises(ConversionError) as refused:
        form.convert_value(EvaluatedValue("2026-01-02T00:00:00+09:00", (), "x"))
    assert refused.value.problem.id == "GW506"
    assert form.invert_value("20260102000000") == "2026-01-02"
    assert FormatStep("CCYYMMDDHHMMSS", "").invert_value("20260102000000") == "2026-01-02T00:00:00"
    assert form.invert_value("20261302000000") is None


def test_the_forms_of_a_date_and_their_way_back(tmp_path: Path) -> None:
    line = '  - Month: {ask: day, form: CCYYMM}\n  - Stamp: {ask: day, form: CCYYMMDDHHMMSS, unknown_time: "000000"}\n  - Moment: {ask: when_at, form: CCYYMMDDHHMMSS, unknown_time: "000000"}'
    result = run(
        tmp_path,
        line.replace("- Moment", "- Stamp2"),
        "<t:WhenAt>2026-01-02T10:11:12Z</t:WhenAt><t:Day>2026-01-02</t:Day>",
    )
    assert small_bundle.text(result, "Month") == ["202601"]
    assert small_bundle.text(result, "Stamp") == ["20260102000000"]
    assert small_bundle.text(result, "Stamp2") == ["20260102191112"]
    assert FormatStep("CCYYMM", "").invert_value("202601") is None
    assert FormatStep("CCYYMMDD", "").invert_value("20260102") == "2026-01-02"
    midnight = run(
        tmp_path, line.replace("- Moment", "- Stamp2"), "<t:WhenAt>2026-01-02T00:00:00+09:00</t:WhenAt>"
    )
    ((problem, pointer),) = troubles(midnight)
    assert problem == "GW506"
    assert "WhenAt" in pointer


# ------------------------------------------------------------------------------------ split


@given(
    st.text("가나다라마바사아자차카타파하abcXYZ 0123,.", min_size=1, max_size=120),
    st.integers(4, 30),
    st.booleans(),
)
def test_korean_text_in_pieces_joined_is_the_text(text: str, size: int, by_octets: bool) -> None:
    part = TextPiece(0, 200, size if by_octets else None, None if by_octets else size, "euc-kr")
    cut = split_text(text, part)
    assert cut is not None
    assert "".join(cut) == text
    assert all((count_octets(one, "euc-kr") or 0) <= size if by_octets else len(one) <= size for one in cut)


# ------------------------------------------------------------------------------- wrong uses

WRONG = [
    ("One: {ask: ref, where: {grp.key: {is: K1}}}", "a value of something that repeats"),
    ("One: {ask: grp.value, where: {ref: {is: K1}}}", "keys beside or around grp.value"),
    ("One: {ask: grp.value, where: {grp.key: {is: K9}}}", "a value of grp.key"),
    ("One: {ask: grp.value, where: {grp.key: {like: K1}}}", "one test, is or same"),
    (
        "One: {ask: grp.value, where: {grp.nokey: {is: K1}}}",
        "an asked field or a common meaning with one value",
    ),
    ("One: {ask: grp.value, where: {grp.id: {same: day}}}", "a value of the kind of grp.id"),
    ("One: {ask: grp.value, where: {grp.id: {same: risky}}}", "a line inside each item"),
    ("One: {ask: grp.value, where: {}}", "one to 3 keys"),
    ("One: {const: X, where: {grp.key: {is: K1}}}", "unknown key 'where'"),
    ("One: {ask: colour, default: '090'}", "a value that may be missing"),
    ("One: {ask: origin, default: C9}", "a value of origin"),
    ("One: {ask: mass, default: '1', unit: '@u'}", "a plain value beside a default"),
    ("One: {ask: place, via: placeName, default: ZZ}", "a constant that the line can convert"),
    ("One: {concat: [{ask: ref}], with: '/'}", "two to 10 parts"),
    ("One: {concat: [{const: a}, {const: b}], with: '/'}", "not all constant"),
    ("One: {concat: [{ask: ref}, {const: a/b}], with: '/'}", "a constant without '/'"),
    ("One: {concat: [{ask: ref}, {ask: day}], with: ''}", "a separator of 1 to 5"),
    ("One: {concat: [{ask: ref}, {ask: day}]}", "the key 'with'"),
    ("One: {concat: [{ask: ref}, {common: bills}], with: '/'}", "parts of one value each"),
    ("One: {concat: [{ask: ref}, {ask: day, eval: x}], with: '/'}", "unknown key 'eval'"),
    (
        "One: {ask: mass, convert: {to: KG, decimals: 3, round: half_up}}",
        "a unit of the table of units, found KG",
    ),
    (
        "One: {ask: ref, convert: {to: KGM, decimals: 3, round: half_up}}",
        "a value that carries @unitCode, found ref",
    ),
    ("One: {ask: mass, convert: {to: KGM, decimals: 3, round: nearest}}", "one of down, exact"),
    ("One: {ask: mass, convert: {to: KGM, round: up}}", "the key 'decimals'"),
    (
        "One: {ask: animal.share, where: {animal.tag: {is: A1}}, convert: {to: KGM, decimals: 1, round: up}}",
        "a field with a unit of mass, found P1",
    ),
    ("One: {ask: place, via: {list: pairs}}", "the key 'with'"),
    ("One: {ask: place, via: pairs}", "a translation by one key column"),
    ("One: {ask: place, via: {list: placeName, with: origin}}", "two key columns"),
    ("One: {ask: place, via: {list: pairs, with: risky}}", "a line inside each item"),
    ("One: {ask: ref, form: CCYYMM}", "a date, to be written as CCYYMM, found text"),
    ("One: {ask: day, form: CCYYMMDDHHMMSS}", "unknown_time, since a date has no time"),
    ("One: {ask: when_at, form: CCYYMMDDHHMMSS, unknown_time: '0000'}", "six digits"),
    (
        "One: {ask: when_at, form: CCYYMMDD, unknown_time: '000000'}",
        "six digits beside the form CCYYMMDDHHMMSS",
    ),
    ("One: {ask: when_at, unknown_time: '000000'}", "the form CCYYMMDDHHMMSS beside it"),
]


@pytest.mark.night
@pytest.mark.parametrize(("line", "words"), WRONG, ids=[line for line, _ in WRONG])
def test_a_wrong_use_names_the_line(tmp_path: Path, line: str, words: str) -> None:
    root = folder(tmp_path, f"  - {line}")
    with pytest.raises(GatewayError) as refused:
        load_bundle(root)
    assert refused.value.problem.id == "GW502"
    assert words in str(refused.value)
    file, _, number = refused.value.location.rpartition(":")
    text = (root / file).read_text(encoding="utf-8").splitlines()[int(number) - 1]
    assert "One:" in text


TABLES = [
    ("KGM,mass,1,test\n", "KGM,mass,1,test\nKGM,mass,2,test\n", "each unit once", 3),
    ("KGM,mass,1,", "KGM,mass,1e3,", "a factor as", 2),
    ("KGM,mass,1,", "KGM,mass,1/0,", "a factor above zero", 2),
    ("KGM,mass,1,", "KGM,,1,", "a dimension and a source", 2),
    ("unit,dimension", "unit,dim", "the column 'dimension'", 1),
]


@pytest.mark.parametrize(("old", "new", "words", "line"), TABLES, ids=[words for _, _, words, _ in TABLES])
def test_a_wrong_table_of_units_names_the_line(
    tmp_path: Path, old: str, new: str, words: str, line: int
) -> None:
    root = folder(tmp_path, CONVERT)
    path = root / "codelists" / "factors.csv"
    path.write_text(UNITS.replace(old, new, 1), encoding="utf-8")
    with pytest.raises(GatewayError, match=words) as refused:
        load_bundle(root)
    assert refused.value.location == f"codelists/factors.csv:{line}"


def test_a_list_with_two_keys_must_be_one_to_one_for_each_context(tmp_path: Path) -> None:
    root = folder(tmp_path, CONVERT)
    (root / "codelists" / "pairs.csv").write_text(PAIRS + "CC,C1,one\n", encoding="utf-8")
    with pytest.raises(GatewayError, match="one to one"):
        load_bundle(root)


@pytest.mark.night
def test_the_shipped_units_are_one_of_each_dimension(bundle: MappingBundle) -> None:
    units = bundle.units
    assert units.version
    assert units.convert_quantity(Fraction(1), "TNE", "KGM") == 1000
    assert units.convert_quantity(Fraction(1), "LBR", "GRM") == Fraction("453.59237")
    assert units.convert_quantity(Fraction(1), "GLL", "LTR") == Fraction("3.785411784")
    assert units.convert_quantity(Fraction(50), "P1", "59") == 500000
    assert units.convert_quantity(Fraction(1), "EA", "SET") is None
    assert units.convert_quantity(Fraction(1), "KGM", "LTR") is None
    bases = {unit.dimension for unit in units.units.values() if unit.factor == 1}
    assert {unit.dimension for unit in units.units.values()} - bases == {"proportion"}
    assert set(bundle.lists["rec20ToKcs"].codes) <= set(units.units)
