"""How large a page may be and is, and how large the planes of a case are on it."""

from collections.abc import Callable, Sequence

from segkit.report.overlay import Panel

LIMIT = 10_000_000  # bytes of a page; a larger one is made again with fewer slices
SLICES = (40, 20, 10, 5)  # of a plane, at most
WIDTH, HEIGHT, GAP = 1110, 380, 14  # of the planes of a case together, in CSS pixels, and between them


def within_limit(made: Callable[[int], str]) -> str:
    """A page with as many slices of a plane as keep it within LIMIT, or with the fewest. made: a page with so many."""
    for slices in SLICES:
        page = made(slices)
        if len(page.encode()) <= LIMIT:
            break
    return page


def volume_of(page: str) -> str:
    """The size of a page in UTF-8: `85 kB`, `1.2 MB`."""
    size = len(page.encode())
    return f"{size / 1e6:.1f} MB" if size >= 999_500 else f"{size / 1e3:.0f} kB"


def scale_of(panels: Sequence[Panel]) -> float:
    """CSS pixels a mm, the same for the planes of a case: as large as lets them stand side by side."""
    return min(
        (WIDTH - GAP * (len(panels) - 1)) / sum(panel.width_mm for panel in panels), HEIGHT / max(panel.height_mm for panel in panels)
    )
