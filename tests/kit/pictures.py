"""The pictures in the manual: of mappings, of the flow of a submission, and of state machines."""

from __future__ import annotations

from pathlib import Path

from gateway.harmonize import MappingBundle, load_bundle
from gateway.share import get_data_folder
from gateway.state_machines import CASE, REQUEST
from gateway_workbench import build_diagram, draw_page
from tests.kit.flow_diagram import draw_flow
from tests.kit.paths import MANUAL
from tests.kit.state_diagram import draw_machine

PICTURES = MANUAL / "pictures"
DRAWN = ("KPTA-PHARM-IMP",)
FLOW = PICTURES / "flow.svg"
#: The pictures of state machines, each with its title.
MACHINES = {
    PICTURES / "case-states.svg": (CASE, "The states of a case, and the events that change them"),
    PICTURES / "request-states.svg": (
        REQUEST,
        "The states of an agency request, and the events that change them",
    ),
}


def drawn(name: str, bundle: MappingBundle | None = None) -> str:
    """Return the picture of one shipped document."""
    bundle = bundle or load_bundle(get_data_folder("mappings"))
    document = bundle.documents[name]
    return draw_page(build_diagram(document, bundle), bundle.organisations[document.organisation])


def write() -> list[Path]:
    """Draw the pictures of the manual anew; return those that changed."""
    texts = {PICTURES / f"{name}.html": drawn(name) for name in DRAWN} | {FLOW: drawn_flow()}
    texts |= drawn_machines()
    changed = []
    for path, new in texts.items():
        if not path.is_file() or path.read_text(encoding="utf-8") != new:
            path.parent.mkdir(exist_ok=True)
            path.write_text(new, encoding="utf-8")
            changed.append(path)
    return changed


def drawn_machines() -> dict[Path, str]:
    """Return the pictures of the state machines, drawn from their tables."""
    return {path: draw_machine(machine, title) for path, (machine, title) in MACHINES.items()}


def drawn_flow() -> str:
    """Return the picture of the flow, drawn from the file beside it."""
    return draw_flow(FLOW.with_suffix(".toml").read_text(encoding="utf-8"))
