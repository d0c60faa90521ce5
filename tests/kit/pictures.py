"""The pictures in the manual, drawn from the mappings that are shipped."""

from __future__ import annotations

from pathlib import Path

from gateway.harmonize import Bundle, load
from gateway.harmonize.picturing import draw, picture
from gateway.share import folder
from tests.kit.facts import MANUAL

PICTURES = MANUAL / "pictures"
DRAWN = ("KPTA-PHARM-IMP",)


def drawn(name: str, bundle: Bundle | None = None) -> str:
    """Return the picture of one shipped document."""
    bundle = bundle or load(folder("mappings"))
    document = bundle.documents[name]
    return draw(picture(document, bundle), bundle.organisations[document.organisation])


def write() -> list[Path]:
    """Draw the pictures of the manual anew; return those that changed."""
    changed = []
    for name in DRAWN:
        path, new = PICTURES / f"{name}.html", drawn(name)
        if not path.is_file() or path.read_text(encoding="utf-8") != new:
            path.parent.mkdir(exist_ok=True)
            path.write_text(new, encoding="utf-8")
            changed.append(path)
    return changed
