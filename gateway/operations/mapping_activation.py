"""Puts a folder of mappings into force: reads it as every process will, shows the difference, activates."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from importlib.resources.abc import Traversable
from typing import Any, Final

from sqlalchemy import Connection

from gateway.errors import (
    BUNDLE_FILE_WRONG,
    MAPPING_WRONG,
    MISUSE,
    STORED_MAPPINGS_UNREAD,
    TRANSITION_REFUSED,
    GatewayError,
)
from gateway.evidence import record_evidence
from gateway.harmonize import MappingBundle, ProofFinding, check_bundle, compile_request_schemas, load_bundle
from gateway.hub import (
    BundleFile,
    DecisionRules,
    LoadedMappings,
    MappingChanges,
    PublisherRules,
    check_publisher,
    check_unsigned,
    compare_mapping_folders,
    is_bundle_file,
    load_active_rules,
    load_rules,
    load_shipped_rules,
    open_active_mappings,
    pack_mapping_folder,
    read_bundle_file,
    unpack_mapping_archive,
)
from gateway.operations.audited_changes import DatabaseChange
from gateway.operations.plain_values import format_moment
from gateway.share import get_data_folder
from gateway.store import MappingPeriod, mapping_bundles, requirement_results

_proved: Final[dict[str, tuple[ProofFinding, ...]]] = {}
_MOST_PROVED: Final = 16


@dataclass(frozen=True, slots=True)
class CheckedFolder:
    """A folder of mappings as every process will read it; `octets` are None for the shipped one."""

    bundle: MappingBundle
    folder: Traversable
    octets: bytes | None
    #: The bundle file that it came in, if any.
    file: BundleFile | None = None

    def describe_origin(self) -> dict[str, Any]:
        """Return for the audit and the evidence who published the mappings; nothing where that is unknown."""
        signer = None if self.file is None else self.file.signer
        if self.file is None or signer is None:
            return {}
        assert self.file.signed_at is not None, "a signature has its time"
        published = {"certificate": signer.sha256, "subject": signer.subject}
        return {"published": published | {"at": self.file.signed_at.isoformat()}}


def find_static_problems(bundle: MappingBundle) -> Iterator[GatewayError]:
    """Yield the faults (GW502) found by the static proofs of loaded mappings, without drawing samples.

    Mappings of the same digest are proved once in a process.
    """
    findings = _proved.get(bundle.digest)
    if findings is None:
        findings = check_bundle(bundle, samples=0).findings
        if len(_proved) >= _MOST_PROVED:
            _proved.clear()
        _proved[bundle.digest] = findings
    for finding in findings:
        example = f"{finding.proof}; for example {finding.counter_example}"
        detail = f"{finding.field}: {finding.message} ({example})"
        yield GatewayError(MAPPING_WRONG, detail, str(finding.mark))


def check_mapping_folder(folder: Traversable | None) -> CheckedFolder:
    """Return a folder (None: the shipped one) that loads and whose static proofs hold.

    Raises GW502 for the mappings, and GW512 for the rules of need.
    """
    if folder is None:
        return CheckedFolder(load_shipped_rules().bundle, get_data_folder("mappings"), None)
    octets = pack_mapping_folder(folder)
    folder = unpack_mapping_archive(octets)
    rules = load_rules(folder)
    rules.needs.get_index()
    bundle = rules.bundle
    compile_request_schemas(bundle)
    for problem in find_static_problems(bundle):
        raise problem
    return CheckedFolder(bundle, folder, octets)


def read_offered_mappings(octets: bytes, rules: PublisherRules, at: datetime) -> CheckedFolder:
    """Return the mappings in a bundle file, or in a ZIP archive where the settings require no signature.

    Raises GW514 for a publisher that the settings do not name, GW515 for a file that was changed, and
    GW502 as `check_mapping_folder` does.
    """
    if is_bundle_file(octets):
        check_publisher(read_bundle_file(octets), rules, at)
    else:
        check_unsigned(rules)
    return open_offered_mappings(octets)


def open_offered_mappings(octets: bytes) -> CheckedFolder:
    """Return the mappings in a bundle file or a ZIP archive after their static proofs, by any publisher.

    Raises GW515 for a file that was changed, GW502 as `check_mapping_folder` does.
    """
    if is_bundle_file(octets):
        return open_bundle_file(read_bundle_file(octets))
    return _read_mapping_archive(octets)


def open_bundle_file(file: BundleFile) -> CheckedFolder:
    """Return the mappings in a bundle file, proved again; raise GW515 where they have another address."""
    folder = _read_mapping_archive(file.archive)
    if folder.bundle.digest != file.terms.address:
        detail = (
            f"the content has the address {folder.bundle.digest[:16]}, not {file.terms.address[:16]}: it was "
            "changed, or packed by another version of the program; let its publisher pack it again"
        )
        raise GatewayError(BUNDLE_FILE_WRONG, detail, "/MappingBundle/Address")
    return replace(folder, file=file)


def _read_mapping_archive(octets: bytes) -> CheckedFolder:
    """Return the folder in a ZIP archive; raise GW502 as `check_mapping_folder` does.

    The archive contains the files of the folder, or the folder itself.
    """
    root = unpack_mapping_archive(octets)
    tops = list(root.iterdir())
    return check_mapping_folder(tops[0] if len(tops) == 1 and tops[0].is_dir() else root)


def compare_with_active(
    conn: Connection, folder: CheckedFolder, at: datetime
) -> tuple[MappingChanges, MappingBundle]:
    """Return the changes that a folder makes to the mappings in force at a time, and these mappings.

    Where this version of the program does not load the mappings in force (GW904), the documents that do load
    are compared and returned, so that such mappings can be replaced.
    """
    active_folder = open_active_mappings(conn, at)
    try:
        before = load_active_rules(conn, load_shipped_rules(), at).bundle
    except GatewayError as error:
        version = mapping_bundles.find_active_digest(conn, at)
        if error.problem is not STORED_MAPPINGS_UNREAD or version is None:
            raise
        before = replace(_load_what_loads(active_folder), digest=version)
    offered = LoadedMappings(folder.bundle, folder.folder)
    return compare_mapping_folders(LoadedMappings(before, active_folder), offered), before


def _load_what_loads(folder: Traversable) -> MappingBundle:
    """Return the mappings of a folder without the documents that do not load; none where nothing loads."""
    try:
        return load_bundle(folder, [])
    except GatewayError:
        return replace(load_shipped_rules().bundle, documents={})


def check_compared_mappings(change: DatabaseChange, over: str | None) -> None:
    """Raise GW709 where other mappings are in force than those that a folder was compared with."""
    if mapping_bundles.find_active_digest(change.conn, change.at) != over:
        detail = "other mappings came into force since the folder was compared: name it again"
        raise GatewayError(TRANSITION_REFUSED, detail, "map use")


def describe_mapping_changes(
    changes: MappingChanges, after: MappingBundle, before: MappingBundle
) -> dict[str, Any]:
    """Return a change of the mappings in force as plain values, for the audit and for readers."""
    return {
        "bundle": after.digest,
        "before": before.digest,
        "documents": sorted(after.documents),
        "added": list(changes.added),
        "changed": list(changes.changed),
        "removed": list(changes.removed),
        "files": list(changes.files),
    }


def store_checked_folder(change: DatabaseChange, folder: CheckedFolder) -> str:
    """Store the files of a folder, unless it is the shipped one; return the digest of its bundle."""
    if folder.octets is not None:
        mapping_bundles.store_bundle(change.conn, folder.bundle.digest, folder.octets, change.at)
    return folder.bundle.digest


def activate_folder(change: DatabaseChange, folder: CheckedFolder, changes: Mapping[str, Any]) -> bool:
    """Store and activate a folder, with evidence; return False if this folder is in force already.

    `changes` is its difference from the mappings in force, as plain values.
    """
    conn, version = change.conn, None if folder.octets is None else folder.bundle.digest
    before = mapping_bundles.find_active_digest(conn, change.at)
    if version == before:
        change.leave_unchanged()
        return False
    digest = store_checked_folder(change, folder)
    mapping_bundles.activate_bundle(conn, version, change.at, change.by)
    data = {"before": before, "documents": changes["documents"], "removed": changes["removed"]}
    data |= folder.describe_origin()
    record_evidence(conn, "mappings", "bundle", digest, digest, data, change.at)
    names = ("bundle", "documents", "added", "changed", "removed")
    after = {name: changes[name] for name in names} | folder.describe_origin()
    change.record_change(f"mappings {digest[:16]}", before={"bundle": changes["before"]}, after=after)
    return True


def find_mapping_plan(conn: Connection, at: datetime) -> MappingPeriod | None:
    """Return the period of the bundle planned to come into force after a time; None without a plan."""
    last = mapping_bundles.list_periods(conn)[-1]
    return None if last.has_begun(at) else last


@dataclass(frozen=True, slots=True)
class PlanEffect:
    """The effect of a plan: the documents that go out of force, or why its mappings do not load."""

    ending: tuple[str, ...] = ()
    problem: str = ""


def read_plan_effect(
    plan: MappingPeriod | None, held: Iterable[str], find_rules: Callable[[datetime], DecisionRules]
) -> PlanEffect:
    """Return the effect of a plan on some documents; `find_rules` returns the rules at a time.

    A plan that another version of the program has stored may not load in this one (GW904).
    """
    if plan is None or plan.starts is None:
        return PlanEffect()
    try:
        planned = find_rules(plan.starts).bundle
    except GatewayError as error:
        if error.problem is not STORED_MAPPINGS_UNREAD:
            raise
        return PlanEffect(problem=str(error))
    return PlanEffect(tuple(sorted({*held} - planned.documents.keys())))


def read_stored_plan(conn: Connection, plan: MappingPeriod | None, held: Iterable[str]) -> PlanEffect:
    """Return the effect of a plan on some documents; its mappings are loaded from the database."""
    return read_plan_effect(plan, held, lambda at: load_active_rules(conn, load_shipped_rules(), at))


def find_plan_warnings(conn: Connection, at: datetime) -> list[str]:
    """Return a warning where documents that are in force at a time end with the plan."""
    plan = find_mapping_plan(conn, at)
    if plan is None or plan.starts is None:
        return []
    held = load_active_rules(conn, load_shipped_rules(), at).bundle.documents
    ending = read_stored_plan(conn, plan, held).ending
    if not ending:
        return []
    clause = f"the mappings that are planned from {format_moment(plan.starts)} on do not have"
    return [f"{clause} {', '.join(ending)}: out of force then"]


def describe_plan(plan: MappingPeriod | None) -> dict[str, Any] | None:
    """Return a plan as plain values, for the audit and for readers; the shipped bundle is None."""
    if plan is None:
        return None
    assert plan.starts is not None, "a plan has its date"
    return {"bundle": plan.digest, "from": format_moment(plan.starts), "actor": plan.actor}


def plan_folder(
    change: DatabaseChange, folder: CheckedFolder, changes: Mapping[str, Any], starts: datetime
) -> bool:
    """Store a folder and plan it from a time on, in place of the earlier plan, with evidence.

    Returns False if the same plan is stored already. `changes` is the difference of the folder from the
    mappings in force, as plain values. Raises GW808 for a time that has come.
    """
    if starts <= change.at:
        raise GatewayError(MISUSE, f"{format_moment(starts)} is not in the future", "--from")
    conn, version = change.conn, None if folder.octets is None else folder.bundle.digest
    earlier = find_mapping_plan(conn, change.at)
    if earlier is not None and (earlier.digest, earlier.starts) == (version, starts):
        change.leave_unchanged()
        return False
    digest = store_checked_folder(change, folder)
    replaced = None if earlier is None else earlier.use
    mapping_bundles.plan_bundle(conn, version, starts, change.at, change.by, replaced)
    day, before = format_moment(starts), describe_plan(earlier)
    data = {"documents": changes["documents"], "removed": changes["removed"], "from": day, "replaces": before}
    data |= folder.describe_origin()
    record_evidence(conn, "mappings", "bundle", digest, digest, data, change.at)
    names = ("bundle", "documents", "added", "changed", "removed")
    after = {name: changes[name] for name in names} | {"from": day} | folder.describe_origin()
    change.record_change(f"mappings {digest[:16]}", before={"planned": before}, after=after)
    return True


def withdraw_mapping_plan(change: DatabaseChange) -> MappingPeriod:
    """Take back the plan and return it, with evidence; raises GW808 where none is planned."""
    plan = find_mapping_plan(change.conn, change.at)
    if plan is None or plan.use is None:
        raise GatewayError(MISUSE, "no mappings are planned", "--cancel")
    mapping_bundles.withdraw_plan(change.conn, plan.use, change.at, change.by)
    description = describe_plan(plan)
    subject = plan.digest or "shipped"
    record_evidence(
        change.conn, "mappings", "bundle", subject, plan.digest, {"withdrawn": description}, change.at
    )
    change.record_change(f"mappings {subject[:16]}", before={"planned": description}, after={"planned": None})
    return plan


def check_counted_units(conn: Connection, before: MappingBundle, after: MappingBundle) -> None:
    """Raise GW502 where `after` lacks a unit of `before`, or has it in another dimension, that is counted in.

    Without the unit, a quantity that is written off could not be compared with the rest of its certificate,
    so the certificate could be used twice.
    """
    lost = [
        unit.code
        for unit in before.units.units.values()
        if (unit_after := after.units.get(unit.code)) is None or unit_after.dimension != unit.dimension
    ]
    counted = requirement_results.filter_counted_units(conn, lost)
    if counted:
        detail = (
            f"certificates are granted or used in {', '.join(counted)}: the table of units must keep "
            "each of them in its dimension"
        )
        raise GatewayError(MAPPING_WRONG, detail, "codelists.yaml/units")
