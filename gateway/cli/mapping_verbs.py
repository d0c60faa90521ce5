"""The verbs of mappings, as the table of all verbs has them."""

from __future__ import annotations

from typing import Final

from gateway.cli.trust_verbs import Verb

__all__ = ["MAPPING_VERBS"]

MAPPING_VERBS: Final[dict[str, Verb]] = {
    "map check": Verb(
        "map_check:check_mappings",
        "prove properties of the mappings, or report where a proof fails",
        "gateway map check --path mappings",
    ),
    "map split": Verb(
        "map_split:split_submission_file",
        "show the requests that a submission gives for each agency",
        "gateway map split submission.xml",
    ),
    "map explain": Verb(
        "map_explain:explain_place",
        "show the source and the destinations of a value",
        "gateway map explain /Declaration/GoodsShipment --submission submission.xml",
    ),
    "map read": Verb(
        "map_document:read_notice_file",
        "show the facts in a notice of an agency",
        "gateway map read notice.xml",
    ),
    "map render": Verb(
        "map_render:render_file",
        "convert a request or a notice between XML, JSON and fixed records",
        "gateway map render request.xml --document DOCUMENT --form json",
    ),
    "map sample": Verb(
        "map_document:print_sample",
        "print a valid random submission with one application, or a notice",
        "gateway map sample DOCUMENT --items 3 --seed 7",
    ),
    "map build": Verb(
        "map_document:build_files",
        "write the files generated from the mappings: schemas, WSDLs, forms, labels",
        "gateway map build --path mappings --out built",
    ),
    "map matrix": Verb(
        "map_document:draw_matrix",
        "draw one mapping as an HTML page",
        "gateway map matrix DOCUMENT --out document.html",
    ),
    "map import": Verb(
        "map_import:import_documents",
        "convert an inventory of documents to a folder of mappings",
        "gateway map import inventory.yaml --out mappings",
    ),
    "map diff": Verb(
        "map_diff:compare_folders",
        "tell what changes from one folder of mappings to another, field by field",
        "gateway map diff shipped mappings",
    ),
    "map impact": Verb(
        "map_impact:show_mapping_impact",
        "tell which stored cases new mappings would have changed, and how, field by field",
        "gateway map impact mappings --home D",
    ),
    "map pack": Verb(
        "map_pack:pack_mappings",
        "write a folder of mappings to one signed file with its address, its dates and its proofs",
        "gateway map pack mappings --out mappings.bundle.xml --key publisher.key.pem "
        "--certificate publisher.cert.pem",
    ),
    "map verify": Verb(
        "map_pack:verify_bundle_file",
        "verify a bundle file: signature, publisher, address and dates; prove its mappings again",
        "gateway map verify mappings.bundle.xml --publisher publisher.cert.pem",
    ),
    "map use": Verb(
        "map_use:use_mappings",
        "show what a folder changes in the active mappings, and activate it now or from a day on",
        "gateway map use mappings --home D",
        effect="changes",
    ),
    "map export": Verb(
        "map_export:export_mappings",
        "write all active mappings to a folder, to change it and activate it again",
        "gateway map export mappings --home D",
    ),
    "map list": Verb(
        "map_use:list_mappings",
        "list the active documents, and the mappings that are planned or were active before",
        "gateway map list --home D",
    ),
}
