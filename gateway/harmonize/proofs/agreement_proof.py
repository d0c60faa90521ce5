"""Agreement: one meaning has one value for all agencies, except for declared exceptions."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from gateway.harmonize.language import (
    HUB_VALUES,
    CodeList,
    CommonMeaning,
    Constant,
    DataDictionary,
    DocumentMapping,
    Field,
    FormatStep,
    HubValue,
    MappingLine,
    TranslationStep,
    list_unsplit_mapping_lines,
)
from gateway.harmonize.proofs.proof_report import ProofFindings
from gateway.harmonize.proofs.read_scope import list_value_reads
from gateway.harmonize.readback import compute_line_loss

_COMPARED_CHARSETS: Final = ("euc-kr", "cp949", "utf-8")
_MANY: Final = 10
_ENDING: Final = re.compile(r"(Code|ID|Name|Description)$")
_PREDICATE: Final = re.compile(r"\[[^]]*\]")


def prove_agreement(dictionary: DataDictionary, documents: list[DocumentMapping]) -> ProofFindings:
    """Return every place where agencies could receive different values of one meaning."""
    findings = ProofFindings("agreement")
    for document in documents:
        lines = list(list_unsplit_mapping_lines(document))
        _check_constants(dictionary, document, lines, findings)
        _check_hub_values(lines, findings)
        _check_crossed_names(dictionary, document, lines, findings)
        _check_code_names(lines, findings)
        _check_measures(lines, findings)
        _check_charsets(document, lines, findings)
        _check_declared_differences(dictionary, document, findings)
    _check_translations(documents, findings)
    return findings


def _check_constants(
    dictionary: DataDictionary, document: DocumentMapping, lines: list[MappingLine], findings: ProofFindings
) -> None:
    """Report a constant in an element that is named after a common meaning."""
    meanings_by_name = {_compact_name(name): meaning for name, meaning in dictionary.meanings.items()}
    for line in lines:
        if line.attribute is not None or line.content is None:
            continue
        if not isinstance(line.content.source, Constant):
            continue
        findings.checked += 1
        meaning = next(
            (meanings_by_name[name] for name in _list_line_names(line, document) if name in meanings_by_name),
            None,
        )
        if meaning is not None:
            message = f"always {line.content.source.text}, though the declaration says {meaning.name}"
            findings.add_finding(
                line.mark,
                line.path,
                message,
                f"{meaning.path} = another value than {line.content.source.text}",
            )


def _list_line_names(line: MappingLine, document: DocumentMapping) -> Iterator[str]:
    """Yield the name by which an element is compared: its own at the top, else with its parent's."""
    parts = [_PREDICATE.sub("", part) for part in line.path.split("/")]
    if len(parts) == 2 and document.status == "modelled":
        yield parts[-1].lower()
    if len(parts) > 2 and document.status == "modelled":
        yield (parts[-2] + parts[-1]).lower()


def _check_hub_values(lines: list[MappingLine], findings: ProofFindings) -> None:
    """Report an element that is named after one hub value and filled with another."""
    hub_names = {_compact_name(name): name for name in HUB_VALUES}
    for line in lines:
        source = line.content.source if line.content is not None else None
        if not isinstance(source, HubValue) or line.attribute is not None:
            continue
        findings.checked += 1
        hub_name = hub_names.get(_PREDICATE.sub("", line.name).lower())
        if hub_name is not None and hub_name != source.name:
            message = f"holds the hub's {source.name}, and is named after its {hub_name}"
            findings.add_finding(line.mark, line.path, message, f"{hub_name} = A, {source.name} = B")


def _check_crossed_names(
    dictionary: DataDictionary, document: DocumentMapping, lines: list[MappingLine], findings: ProofFindings
) -> None:
    """Report two elements, each named after the source that fills the other."""
    sources_by_name: dict[str, Field] = {_compact_name(name): m for name, m in dictionary.meanings.items()}
    sources_by_name |= {
        _compact_name(ask.name.rpartition(".")[2]): ask for ask in document.ask_names.values()
    }
    sources_by_name |= {_compact_name(ask.name): ask for ask in document.ask_names.values()}
    filled: dict[tuple[str, str], MappingLine] = {}
    for line in lines:
        sources = list_value_reads(line)
        if line.attribute is not None or len(sources) != 1:
            continue
        findings.checked += 1
        names = [_PREDICATE.sub("", line.name).lower(), *_list_line_names(line, document)]
        namesake = next((sources_by_name[name] for name in names if name in sources_by_name), None)
        if (
            namesake is None
            or namesake.name == sources[0].name
            or _get_last_name(namesake) == _get_last_name(sources[0])
        ):
            continue
        crossed = filled.get((sources[0].name, namesake.name))
        if crossed is not None:
            message = (
                f"holds {sources[0].name}, and {crossed.path} ({crossed.mark}) holds {namesake.name}: crossed"
            )
            findings.add_finding(line.mark, line.path, message, f"{sources[0].name} = A, {namesake.name} = B")
        filled[(namesake.name, sources[0].name)] = line


def _get_last_name(source: Field) -> str:
    return _compact_name(source.name)


def _check_code_names(lines: list[MappingLine], findings: ProofFindings) -> None:
    """Report a code beside the name of another: ``CountryCode`` and ``CountryName`` of two sources."""
    plain: dict[tuple[str, str], MappingLine] = {}
    coded: list[tuple[tuple[str, str], MappingLine]] = []
    for line in lines:
        sources = list_value_reads(line)
        if line.attribute is not None or len(sources) != 1 or sources[0].shape.codes is None:
            continue
        parent, _, name = _PREDICATE.sub("", line.path).rpartition("/")
        stem = parent, _ENDING.sub("", name)
        if next(_list_code_lists(line), None) is None:
            plain.setdefault(stem, line)
        else:
            coded.append((stem, line))
    for stem, line in coded:
        plain_line = plain.get(stem)
        if plain_line is None:
            continue
        findings.checked += 1
        (source,), (plain_source,) = list_value_reads(line), list_value_reads(plain_line)
        if source.name != plain_source.name and source.shape.codes == plain_source.shape.codes:
            message = (
                f"the name of {source.name}, beside {plain_line.path} ({plain_line.mark}), "
                f"the code of {plain_source.name}"
            )
            findings.add_finding(line.mark, line.path, message, f"{source.name} = A, {plain_source.name} = B")


def _check_measures(lines: list[MappingLine], findings: ProofFindings) -> None:
    """Report one size limit of one meaning, counted in two charsets or in characters and octets."""
    measured: dict[tuple[str, int], MappingLine] = {}
    for line in lines:
        size, sources = _get_size_bound(line), list_value_reads(line)
        if line.attribute is not None or size is None or len(sources) != 1:
            continue
        findings.checked += 1
        first = measured.setdefault((sources[0].name, size), line)
        if _describe_measure(first) != _describe_measure(line):
            there = f"{_describe_measure(first)} in {first.path} ({first.mark})"
            message = f"{size} {_describe_measure(line)} here and {there}"
            findings.add_finding(line.mark, line.path, message, f"{sources[0].name} = {'가' * (size // 2)}")


def _get_size_bound(line: MappingLine) -> int | None:
    """Return the size limit that a line itself sets for a text; None where it sets none."""
    if line.target.text_piece is not None:
        return line.target.text_piece.octets or line.target.text_piece.max_characters
    if line.target.shape.octets is not None:
        return line.target.shape.octets
    source_length = line.content.source.infer_shape().max_length if line.content is not None else None
    max_length = line.target.shape.max_length
    return max_length if max_length != source_length and line.target.shape.kind == "text" else None


def _describe_measure(line: MappingLine) -> str:
    """Return the unit in which a line counts the size of a text."""
    size_limit = line.target.text_piece if line.target.text_piece is not None else line.target.shape
    return f"octets of {size_limit.charset}" if size_limit.octets is not None else "characters"


def _check_charsets(document: DocumentMapping, lines: list[MappingLine], findings: ProofFindings) -> None:
    """Report a single line that is measured in another character set than the other lines.

    An agency usually stores text in one character set.  Several lines in another one may be
    intended; a single one among at least ten is probably a mistake.
    """
    by_charset: dict[str, list[MappingLine]] = {}
    for line in lines:
        octets = (
            line.target.text_piece.octets if line.target.text_piece is not None else line.target.shape.octets
        )
        if line.attribute is None and octets is not None and _get_charset(line) in _COMPARED_CHARSETS:
            by_charset.setdefault(_get_charset(line), []).append(line)
    if len(by_charset) < 2:
        return
    *few, (usual, many) = sorted(by_charset.items(), key=lambda entry: len(entry[1]))
    findings.checked += len(many)
    for charset, (line, *others) in few:
        if not others and len(many) >= _MANY:
            message = f"measured in {charset}, and {len(many)} other lines of {document.id} in {usual}"
            findings.add_finding(
                line.mark, line.path, message, f"a text that fits in {charset} and not in {usual}"
            )


def _get_charset(line: MappingLine) -> str:
    return line.target.text_piece.charset if line.target.text_piece is not None else line.target.shape.charset


def _check_declared_differences(
    dictionary: DataDictionary, document: DocumentMapping, findings: ProofFindings
) -> None:
    """Report a field that refines a common meaning without a declared override."""
    for ask in document.ask_names.values():
        findings.checked += 1
        meaning = next(
            (m for name, m in dictionary.meanings.items() if ask.means.startswith(f"{name}.")), None
        )
        if (
            meaning is not None
            and ask.name not in document.overrides
            and ask.type not in ("group", "attachment")
        ):
            message = f"means {ask.means}, in place of the common {meaning.name}, and no override declares it"
            findings.add_finding(ask.mark, ask.name, message, f"{meaning.path} = A and {ask.name} = B")


def _check_translations(documents: list[DocumentMapping], findings: ProofFindings) -> None:
    """Report one meaning translated by two lists that use the same result for different codes."""
    used: dict[str, list[tuple[MappingLine, CodeList]]] = {}
    for line, codes in (
        (proof_line, c)
        for d in documents
        for proof_line in list_unsplit_mapping_lines(d)
        for c in _list_code_lists(proof_line)
    ):
        for meaning in list_value_reads(line):
            if not isinstance(meaning, CommonMeaning):
                continue
            for earlier_line, earlier_codes in used.get(meaning.name, []):
                findings.checked += 1
                code = _find_contradiction(codes, earlier_codes)
                if code is not None:
                    message = (
                        f"{meaning.name} by {codes.name} here, "
                        f"by {earlier_codes.name} in {earlier_line.mark}: they disagree"
                    )
                    translation, earlier_translation = (
                        codes.translate_code(code),
                        earlier_codes.translate_code(code),
                    )
                    example = f"{code} is {translation!r} here and {earlier_translation!r} there"
                    findings.add_finding(line.mark, line.path, message, example)
            used.setdefault(meaning.name, []).append((line, codes))


def _list_code_lists(line: MappingLine) -> Iterator[CodeList]:
    for step in line.content.steps if line.content is not None else ():
        if isinstance(step, TranslationStep):
            yield step.code_list


def _find_contradiction(codes: CodeList, other_codes: CodeList) -> str | None:
    """Return a code that both lists translate differently, where one result is a result of both lists."""
    if codes.name == other_codes.name:
        return None
    translations, other_translations = dict(codes.translations or {}), dict(other_codes.translations or {})
    shared_results = set(translations.values()) & set(other_translations.values())
    for code in translations.keys() & other_translations.keys():
        if translations[code] != other_translations[code] and (
            translations[code] in shared_results or other_translations[code] in shared_results
        ):
            return code
    return None


def list_lossy_formats(documents: list[DocumentMapping]) -> tuple[str, ...]:
    """Return a note for each common meaning that documents write with different precision."""
    lines_by_meaning: dict[str, dict[str, MappingLine]] = {}
    for line in (line for document in documents for line in list_unsplit_mapping_lines(document)):
        for meaning in list_value_reads(line):
            if isinstance(meaning, CommonMeaning) and line.content is not None and line.attribute is None:
                format_names = [
                    step.format_name for step in line.content.steps if isinstance(step, FormatStep)
                ]
                if compute_line_loss(line.content) == "lossy" or format_names:
                    lines_by_meaning.setdefault(meaning.name, {}).setdefault(
                        "/".join(format_names) or "translated", line
                    )
    return tuple(
        f"{name}: "
        + "; ".join(f"{format_name} in {line.mark}" for format_name, line in lines_by_format.items())
        for name, lines_by_format in sorted(lines_by_meaning.items())
        if len(lines_by_format) > 1
    )


def _compact_name(name: str) -> str:
    return name.replace(".", "").replace("_", "").lower()
