"""A table is read strictly: every mistake has its line and column, and nothing wrong is loaded."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.errors import NEED_TABLE_WRONG, GatewayError
from gateway.needs import TableNames, check_need_table, read_law_book, read_need_table
from gateway.share import get_data_folder
from tests.needs.need_kit import CHOICES, LAWS, table

HEAD = "# table: border\n# edition: 1\n# valid_from: 2027-01-01\n# valid_until: 2027-12-31\n"
COLUMNS = "hs,direction,law,origin,use,documents,organisation,mandatory,exemptions,valid_from,valid_until\n"
NAMES = TableNames(
    frozenset({"01", "12"}), frozenset({"ONE-IMP"}), frozenset({"ONE"}), frozenset({"KR", "CN"})
)


#: Law 01 has a document of each of two organisations for imports, law 12 one for exports.
ANSWERS = TableNames(
    laws=frozenset({"01", "12", "99"}),
    documents=frozenset({"ONE-IMP", "TWO-IMP", "TWO-EXP"}),
    organisations=frozenset({"ONE", "TWO", "THREE"}),
    answers={("01", "import"): {"ONE-IMP": "ONE", "TWO-IMP": "TWO"}, ("12", "export"): {"TWO-EXP": "TWO"}},
)


@pytest.mark.parametrize(
    ("row", "column", "words"),
    [
        ("0301,import,01,,,TWO-EXP,,,,,", 6, "documents under law 01 for an import, found TWO-EXP"),
        ("0301,import,12,,,TWO-EXP,,,,,", 6, "documents under law 12 for an import"),
        ("0301,import,99,,,ONE-IMP,,,,,", 6, "documents under law 99 for an import"),
        ("0301,import,01,,,ONE-IMP TWO-EXP,,,,,", 6, "documents under law 01"),
        ("0301,import,01,,,,THREE,,,,", 7, "an organisation that has a document under law 01 for an import"),
        ("0301,import,01,,,ONE-IMP,TWO,,,,", 7, "an organisation that has one of these documents, found TWO"),
        ("0301,import,01,,,ONE-IMP TWO-IMP,TWO,,,,", 0, ""),
        ("0301,import,01,,,,ONE,,,,", 0, ""),
        ("0301,import,99,,,,THREE,,,,", 0, ""),
        ("0301,export,12,,,TWO-EXP,TWO,,,,", 0, ""),
    ],
)
def test_a_row_that_no_document_answers_is_a_mistake(row: str, column: int, words: str) -> None:
    checked = check_need_table(f"{HEAD}{COLUMNS}{row}\n".encode(), ANSWERS)
    found = [(one.column, one.message) for one in checked.mistakes]
    assert [place for place, _ in found] == ([column] if column else [])
    assert all(words in message for _, message in found), found


def test_a_row_is_read_with_all_its_columns() -> None:
    text = HEAD + COLUMNS + "0301,import,01,!CN !KR,1 2,ONE-IMP,ONE,no,A C,2027-02-01,2027-03-01\n"
    checked = check_need_table(text.encode("utf-8-sig"), NAMES)
    assert checked.mistakes == ()
    assert checked.table is not None
    row = checked.table.rows[0]
    assert row.key == ("0301", "import", "01", "!CN KR", "1 2")
    assert (row.documents, row.organisation, row.mandatory) == (("ONE-IMP",), "ONE", False)
    assert row.exemptions == "AC"
    assert row.line == 6
    assert checked.table.label == "border@1"


@pytest.mark.parametrize(
    ("row", "column", "field", "words"),
    [
        ("03011,import,01,,,,,,,,", 1, "hs", "2, 4, 6, 8 or 10 digits, found 03011"),
        ("0301,inport,01,,,,,,,,", 2, "direction", "import or export, found inport"),
        ("0301,import,99,,,,,,,,", 3, "law", "a law of laws.csv, found 99"),
        ("0301,import,,,,,,,,,", 3, "law", "found nothing"),
        ("0301,import,01,XX,,,,,,,", 4, "origin", "country codes"),
        ("0301,import,01,!CN KR,,,,,,,", 4, "origin", "all of them with !"),
        ("0301,import,01,,1 1,,,,,,", 5, "use", "each once"),
        ("0301,import,01,,,TWO-IMP,,,,,", 6, "documents", "ids of documents"),
        ("0301,import,01,,,,NOBODY,,,,", 7, "organisation", "an organisation"),
        ("0301,import,01,,,,,maybe,,,", 8, "mandatory", "yes or no, found maybe"),
        ("0301,import,01,,,,,,AX,,", 9, "exemptions", "letters of ABCZ"),
        ("0301,import,01,,,,,,,2026-12-31,", 10, "valid_from", "in the period of the edition"),
        ("0301,import,01,,,,,,,2027-13-01,", 10, "valid_from", "a day as"),
        ("0301,import,01,,,,,,,2027-02-01,2027-01-01", 11, "valid_until", "not before the first"),
        ("0301,import,01,,,,,,,,2028-01-01", 11, "valid_until", "in the period of the edition"),
    ],
)
def test_a_mistake_has_its_line_and_column(row: str, column: int, field: str, words: str) -> None:
    text = f"{HEAD}{COLUMNS}0302,import,12,,,,,,,,\n{row}\n"
    checked = check_need_table(text.encode(), NAMES)
    assert checked.table is None
    first = checked.mistakes[0]
    assert (first.line, first.column, first.field) == (7, column, field)
    assert words in first.message
    with pytest.raises(GatewayError) as caught:
        read_need_table(text.encode(), "new.csv", NAMES)
    assert caught.value.problem is NEED_TABLE_WRONG
    assert caught.value.location == "new.csv:7"
    assert f"line 7, column {column} ({field})" in caught.value.detail


@pytest.mark.parametrize("country", ["XX", "GB"])
def test_a_table_is_of_a_country_that_is_known(country: str) -> None:
    text = f"# country: {country}\n{HEAD}hs,direction,law\n0301,import,01\n".encode()
    (mistake,) = check_need_table(text, NAMES).mistakes
    assert (mistake.line, mistake.message) == (
        1,
        f"country: expected a code of ISO 3166 as KR, found {country}",
    )
    # A table that is in the database is read without the names of today.
    assert check_need_table(text).table is not None


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("", 1, "`# table: …` is missing"),
        (HEAD, 5, "the names of the columns are missing"),
        (HEAD + "hs,direction\n", 5, "the column law is missing"),
        (HEAD + "hs,direction,law,hs\n", 5, "given again"),
        (HEAD + "hs,direction,law,color\n", 5, "expected one of"),
        (HEAD + "hs,direction,law\n", 1, "the table has no rows"),
        (HEAD + "hs,direction,law\n0301,import\n", 6, "the row has 2 fields"),
        (HEAD + 'hs,direction,law\n0301,"import,01\n', 6, "not a row of CSV"),
        (HEAD + "hs,direction,law\n0301,import,01\n0301,import,01\n", 7, "line 6 says this already"),
        (HEAD + "# colour: red\nhs,direction,law\n", 5, "expected `# key: value`"),
        (HEAD + "# edition: 2\nhs,direction,law\n", 5, "edition is given again"),
        (HEAD.replace("border", "Border") + "hs,direction,law\n", 1, "small letters"),
        (HEAD.replace("2027-12-31", "2026-12-31") + "hs,direction,law\n", 4, "valid_until is before"),
        (HEAD.replace("2027-01-01", "soon") + "hs,direction,law\n", 3, "expected a day"),
        (HEAD + "# test: perhaps\nhs,direction,law\n", 5, "expected yes or no"),
    ],
)
def test_a_mistake_of_the_file_has_its_line(text: str, line: int, words: str) -> None:
    checked = check_need_table(text.encode())
    assert checked.table is None
    assert any(one.line == line and words in one.message for one in checked.mistakes), checked.mistakes


def test_octets_that_are_not_utf_8_have_their_line() -> None:
    mistakes = check_need_table(HEAD.encode() + b"hs,direction,law\n0301,import,\xff\n").mistakes
    assert [(one.line, one.message) for one in mistakes] == [(6, "the file is not UTF-8")]


def test_every_mistake_is_told_and_at_most_a_hundred() -> None:
    rows = "".join(f"03{n % 10}{n // 10 % 10}1,import,01\n" for n in range(300))
    mistakes = check_need_table(f"{HEAD}hs,direction,law\n{rows}".encode()).mistakes
    assert [one.line for one in mistakes] == list(range(6, 106))


def test_rows_of_one_key_may_follow_each_other_in_time() -> None:
    rows = table(
        "0301,import,01,2021-01-01,2021-06-30",
        "0301,import,01,2021-07-01,",
        columns="hs,direction,law,valid_from,valid_until",
    )
    assert len(rows.rows) == 2


@given(st.binary(max_size=300))
@settings(max_examples=100, deadline=None)
def test_any_octets_are_a_table_or_have_mistakes(octets: bytes) -> None:
    for content in (octets, HEAD.encode() + b"hs,direction,law\n" + octets):
        checked = check_need_table(content)
        assert (checked.table is None) == bool(checked.mistakes)


@pytest.mark.parametrize(
    ("laws", "choices", "words"),
    [
        ("law,ko\n", CHOICES, "laws.csv:1"),
        (LAWS + "01,a,b,\n", CHOICES, "line 6, column 1 (law): expected each code once"),
        (LAWS + ",a,b,\n", CHOICES, "line 6, column 1 (law): expected each code once"),
        (LAWS.replace("forbidden", "never"), CHOICES, "line 3, column 4 (disclaimers)"),
        (LAWS, CHOICES + "09,import,,X,\n", "line 4, column 1 (law): expected a law of laws.csv, found 09"),
        (LAWS, CHOICES + "01,both,,X,\n", "column 2 (direction)"),
        (LAWS, CHOICES + "01,import,3a,X,\n", "column 3 (hs)"),
        (LAWS, CHOICES + "01,import,,,\n", "column 4 (documents)"),
        (LAWS, CHOICES + "01,import\n", "expected 5 fields"),
    ],
)
def test_a_wrong_book_of_laws_names_the_place(laws: str, choices: str, words: str) -> None:
    with pytest.raises(GatewayError) as caught:
        read_law_book(laws, choices, ())
    assert caught.value.problem is NEED_TABLE_WRONG
    assert words in str(caught.value)


@pytest.mark.night
def test_the_shipped_table_is_a_test_edition_with_source_and_every_row() -> None:
    folder = get_data_folder("mappings").joinpath("needs", "tables")
    shipped = read_need_table(folder.joinpath("kr-customs-confirmation-2016-02.csv").read_bytes(), "shipped")
    assert shipped.is_test
    assert (len(shipped.rows), shipped.valid_from.isoformat()) == (7936, "2016-02-01")
    assert len({(row.hs, row.direction) for row in shipped.rows}) == 5520
    assert shipped.source
    assert shipped.licence
