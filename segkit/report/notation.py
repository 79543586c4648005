"""How values are written into the page: numbers, positions on a line, JSON in scripts, digests for its policy."""

import base64
import hashlib
import json

from markupsafe import Markup


def digest(text: str) -> str:
    """How a content security policy names an inline style or script."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def number(value: float | None, unit: str = "") -> str:
    """Distances in mm with one digit, fractions with three; a dash where there is none."""
    if value is None:
        return "–"
    return f"{value:.1f}" if unit == "mm" else f"{value:.3f}"


def position(value: float, size: float) -> float:
    """Where a fraction stands on a line of `size` pixels."""
    return round(value * size, 1)


def strict_json(value: object) -> Markup:
    """JSON that may stand inside a script tag: no NaN, and nothing that ends the tag."""
    text = json.dumps(value, allow_nan=False, separators=(",", ":"))
    return Markup(text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026"))
