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
    raise_resource_problem,
)
from gateway.evidence import record_register_leaf
from gateway.harmonize import MappingBundle, ProofFinding, check_bundle, compile_request_schemas, load_bundle
from gateway.hub import (
    BundleFile,
    DecisionRules,
    LoadedMappings,
    MappingChanges,
    PublisherRules,
    check_publisher,
    check_unsigned_allowed,
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

_findings_by_digest: Final[dict[str, tuple[ProofFinding, ...]]] = {}
_MAX_PROVED_BUNDLES: Final = 16


@dataclass(frozen=True, slots=True)
class CheckedFolder:
    """A folder of mappings as every process will read it; `octets` are None for the shipped one."""

    bundle: MappingBundle
    folder: Traversable
    octets: bytes | None
    #: The bundle file that it came in, if any.
    bundle_file: BundleFile | None = None

    def describe_origin(self) -> dict[str, Any]:
        """Return for the audit and the evidence who published the mappings; nothing where that is unknown."""
        signer = None if self.bundle_file is None else self.bundle_file.signer
        if self.bundle_file is None or signer is None:
            return {}
        assert self.bundle_file.signed_at is not None, "a signature has its time"
        publisher = {"certificate": signer.sha256, "subject": signer.subject}
        return {"published": publisher | {"at": self.bundle_file.signed_at.isoformat()}}


def find_static_problems(bundle: MappingBundle) -> Iterator[GatewayError]:
    """Yield the faults (GW502) found by the static proofs of loaded mappings, without drawing samples.

    Mappings of the same digest are proved once in a process.
    """
    findings = _findings_by_digest.get(bundle.digest)
    if findings is None:
        findings = check_bundle(bundle, sample_count=0).findings
        if len(_findings_by_digest) >= _MAX_PROVED_BUNDLES:
            _findings_by_digest.clear()
        _findings_by_digest[bundle.digest] = findings
    for finding in findings:
        example_text = f"{finding.proof}; for example {finding.counter_example}"
        detail = f"{finding.field}: {finding.message} ({example_text})"
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


def read_published_mappings(octets: bytes, rules: PublisherRules, at: datetime) -> CheckedFolder:
    """Return the mappings in a bundle file, or in a ZIP archive where the settings require no signature.

    Raises GW514 for a publisher that the settings do not name, GW515 for a file that was changed, and
    GW502 as `check_mapping_folder` does.
    """
    if is_bundle_file(octets):
        check_publisher(read_bundle_file(octets), rules, at)
    else:
        check_unsigned_allowed(rules)
    return open_uploaded_mappings(octets)


def open_uploaded_mappings(octets: bytes) -> CheckedFolder:
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
    return replace(folder, bundle_file=file)


def _read_mapping_archive(octets: bytes) -> CheckedFolder:
    """Return the folder in a ZIP archive; raise GW502 as `check_mapping_folder` does.

    The archive contains the files of the folder, or the folder itself.
    """
    root = unpack_mapping_archive(octets)
    top_entries = list(root.iterdir())
    return check_mapping_folder(top_entries[0] if len(top_entries) == 1 and top_entries[0].is_dir() else root)


def compare_with_active(
    conn: Connection, folder: CheckedFolder, at: datetime
) -> tuple[MappingChanges, MappingBundle]:
    """Return the changes that a folder makes to the mappings in force at a time, and these mappings.

    Where this version of the program does not load the mappings in force (GW904), the documents that do load
    are compared and returned, so that such mappings can be replaced.
    """
    active_folder = open_active_mappings(conn, at)
    try:
        active_bundle = load_active_rules(conn, load_shipped_rules(), at).bundle
    except GatewayError as error:
        active_digest = mapping_bundles.find_active_digest(conn, at)
        if error.problem is not STORED_MAPPINGS_UNREAD or active_digest is None:
            raise
        active_bundle = replace(_load_readable_mappings(active_folder), digest=active_digest)
    new_mappings = LoadedMappings(folder.bundle, folder.folder)
    return compare_mapping_folders(LoadedMappings(active_bundle, active_folder), new_mappings), active_bundle


def _load_readable_mappings(folder: Traversable) -> MappingBundle:
    """Return the mappings of a folder without the documents that do not load; none where nothing loads."""
    try:
        return load_bundle(folder, [])
    except GatewayError as unread:
        raise_resource_problem(unread)
        return replace(load_shipped_rules().bundle, documents={})


def check_compared_mappings(change: DatabaseChange, compared_digest: str | None) -> None:
    """Raise GW709 where other mappings are in force than those that a folder was compared with."""
    if mapping_bundles.find_active_digest(change.conn, change.at) != compared_digest:
        detail = "other mappings came into force since the folder was compared: name it again"
        raise GatewayError(TRANSITION_REFUSED, detail, "map use")


def describe_mapping_changes(
    changes: MappingChanges, new_bundle: MappingBundle, active_bundle: MappingBundle
) -> dict[str, Any]:
    """Return a change of the mappings in force as plain values, for the audit and for readers."""
    return {
        "bundle": new_bundle.digest,
        "before": active_bundle.digest,
        "documents": sorted(new_bundle.documents),
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
    conn, new_digest = change.conn, None if folder.octets is None else folder.bundle.digest
    active_digest = mapping_bundles.find_active_digest(conn, change.at)
    if new_digest == active_digest:
        change.leave_unchanged()
        return False
    digest = store_checked_folder(change, folder)
    mapping_bundles.activate_bundle(conn, new_digest, change.at, change.actor)
    evidence_fields = {
        "before": active_digest,
        "documents": changes["documents"],
        "removed": changes["removed"],
    }
    evidence_fields |= folder.describe_origin()
    record_register_leaf(conn, "mappings", "bundle", digest, digest, evidence_fields, change.at)
    change_keys = ("bundle", "documents", "added", "changed", "removed")
    audit_after = {key: changes[key] for key in change_keys} | folder.describe_origin()
    change.record_change(f"mappings {digest[:16]}", before={"bundle": changes["before"]}, after=audit_after)
    return True


def find_mapping_plan(conn: Connection, at: datetime) -> MappingPeriod | None:
    """Return the period of the bundle planned to come into force after a time; None without a plan."""
    last_period = mapping_bundles.list_periods(conn)[-1]
    return None if last_period.has_begun(at) else last_period


@dataclass(frozen=True, slots=True)
class PlanEffect:
    """The effect of a plan: the documents that go out of force, or why its mappings do not load."""

    ending: tuple[str, ...] = ()
    problem: str = ""


def read_plan_effect(
    plan: MappingPeriod | None, document_names: Iterable[str], find_rules: Callable[[datetime], DecisionRules]
) -> PlanEffect:
    """Return the effect of a plan on some documents; `find_rules` returns the rules at a time.

    A plan that another version of the program has stored may not load in this one (GW904).
    """
    if plan is None or plan.starts is None:
        return PlanEffect()
    try:
        planned_bundle = find_rules(plan.starts).bundle
    except GatewayError as error:
        if error.problem is not STORED_MAPPINGS_UNREAD:
            raise
        return PlanEffect(problem=str(error))
    return PlanEffect(tuple(sorted({*document_names} - planned_bundle.documents.keys())))


def read_stored_plan_effect(
    conn: Connection, plan: MappingPeriod | None, document_names: Iterable[str]
) -> PlanEffect:
    """Return the effect of a plan on some documents; its mappings are loaded from the database."""
    return read_plan_effect(
        plan, document_names, lambda at: load_active_rules(conn, load_shipped_rules(), at)
    )


def list_plan_warnings(conn: Connection, at: datetime) -> list[str]:
    """Return a warning where documents that are in force at a time end with the plan."""
    plan = find_mapping_plan(conn, at)
    if plan is None or plan.starts is None:
        return []
    active_documents = load_active_rules(conn, load_shipped_rules(), at).bundle.documents
    ending_documents = read_stored_plan_effect(conn, plan, active_documents).ending
    if not ending_documents:
        return []
    clause = f"the mappings that are planned from {format_moment(plan.starts)} on do not have"
    return [f"{clause} {', '.join(ending_documents)}: out of force then"]


def describe_plan(plan: MappingPeriod | None) -> dict[str, Any] | None:
    """Return a plan as plain values, for the audit and for readers; the shipped bundle is None."""
    if plan is None:
        return None
    assert plan.starts is not None, "a plan has its date"
    return {"bundle": plan.digest, "from": format_moment(plan.starts), "actor": plan.actor}


def store_folder_plan(
    change: DatabaseChange, folder: CheckedFolder, changes: Mapping[str, Any], starts_at: datetime
) -> bool:
    """Store a folder and plan it from a time on, in place of the earlier plan, with evidence.

    Returns False if the same plan is stored already. `changes` is the difference of the folder from the
    mappings in force, as plain values. Raises GW808 for a time that has come.
    """
    if starts_at <= change.at:
        raise GatewayError(MISUSE, f"{format_moment(starts_at)} is not in the future", "--from")
    conn, new_digest = change.conn, None if folder.octets is None else folder.bundle.digest
    earlier_plan = find_mapping_plan(conn, change.at)
    if earlier_plan is not None and (earlier_plan.digest, earlier_plan.starts) == (new_digest, starts_at):
        change.leave_unchanged()
        return False
    digest = store_checked_folder(change, folder)
    replaced_use = None if earlier_plan is None else earlier_plan.use
    mapping_bundles.plan_bundle(conn, new_digest, starts_at, change.at, change.actor, replaced_use)
    start_text, earlier_description = format_moment(starts_at), describe_plan(earlier_plan)
    evidence_fields = {
        "documents": changes["documents"],
        "removed": changes["removed"],
        "from": start_text,
        "replaces": earlier_description,
    }
    evidence_fields |= folder.describe_origin()
    record_register_leaf(conn, "mappings", "bundle", digest, digest, evidence_fields, change.at)
    change_keys = ("bundle", "documents", "added", "changed", "removed")
    audit_after = {key: changes[key] for key in change_keys} | {"from": start_text} | folder.describe_origin()
    change.record_change(
        f"mappings {digest[:16]}", before={"planned": earlier_description}, after=audit_after
    )
    return True


def withdraw_mapping_plan(change: DatabaseChange) -> MappingPeriod:
    """Take back the plan and return it, with evidence; raises GW808 where none is planned."""
    plan = find_mapping_plan(change.conn, change.at)
    if plan is None or plan.use is None:
        raise GatewayError(MISUSE, "no mappings are planned", "--cancel")
    mapping_bundles.withdraw_plan(change.conn, plan.use, change.at, change.actor)
    description = describe_plan(plan)
    bundle_name = plan.digest or "shipped"
    record_register_leaf(
        change.conn, "mappings", "bundle", bundle_name, plan.digest, {"withdrawn": description}, change.at
    )
    change.record_change(
        f"mappings {bundle_name[:16]}", before={"planned": description}, after={"planned": None}
    )
    return plan


def check_used_units(conn: Connection, active_bundle: MappingBundle, new_bundle: MappingBundle) -> None:
    """Raise GW502 if a used unit of `active_bundle` is missing in `new_bundle`, or has another dimension.

    Without the unit, a quantity that is written off could not be compared with the rest of its certificate,
    so the certificate could be used twice.
    """
    lost_units = [
        unit.code
        for unit in active_bundle.units.units.values()
        if (unit_after := new_bundle.units.get(unit.code)) is None or unit_after.dimension != unit.dimension
    ]
    used_units = requirement_results.filter_counted_units(conn, lost_units)
    if used_units:
        detail = (
            f"certificates are granted or used in {', '.join(used_units)}: the table of units must keep "
            "each of them in its dimension"
        )
        raise GatewayError(MAPPING_WRONG, detail, "codelists.yaml/units")
