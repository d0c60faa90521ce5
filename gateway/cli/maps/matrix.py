"""``gateway map matrix``: one mapping as a picture, in a file that any browser shows and prints."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from gateway.errors import SETTINGS_WRONG, GatewayError
from gateway.harmonize import Bundle
from gateway.harmonize.picturing import draw, picture

__all__ = ["add_matrix", "draw_matrix"]


def add_matrix(verbs: Any) -> argparse.ArgumentParser:
    """Add the verb ``map matrix`` and return its parser."""
    parser: argparse.ArgumentParser = verbs.add_parser("matrix", help="draw one mapping as a page of HTML")
    parser.add_argument("document")
    parser.add_argument("--out", type=Path, required=True, help="the HTML file to write")
    parser.add_argument("--json", action="store_true", help="one JSON object")
    return parser


def draw_matrix(args: argparse.Namespace, bundle: Bundle) -> int:
    """Write the picture of ``args.document`` to ``args.out``; 0 when it is written."""
    document = bundle.documents.get(args.document)
    if document is None:
        known = ", ".join(bundle.documents)
        raise GatewayError(SETTINGS_WRONG, f"no document {args.document[:70]!r}; known: {known}", "DOCUMENT")
    made = picture(document, bundle)
    text = draw(made, bundle.organisations[document.organisation])
    try:
        args.out.write_text(text, encoding="utf-8")
    except OSError as error:
        raise GatewayError(
            SETTINGS_WRONG, f"{args.out} cannot be written: {error.strerror}", "--out"
        ) from None
    shown = {
        "written": str(args.out),
        "document": document.id,
        "left": len(made.left),
        "right": len(made.right),
        "lines": len(made.links) + len(made.arcs),
    }
    if args.json:
        print(json.dumps(shown, ensure_ascii=False))
    else:
        told = f"{shown['left']} rows on the left, {shown['right']} on the right, {shown['lines']} lines"
        print(f"{args.out}: {told}")
    return 0
