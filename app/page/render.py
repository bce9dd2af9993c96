"""From sections to one HTML file without references to other files or hosts."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.resources import files

from app.page.blocks import Section
from app.page.figures import COLOURS


def render(title: str, subtitle: str, sections: Sequence[Section]) -> str:
    """Return the page.

    Args:
        title: its heading.
        subtitle: the line below.
        sections: in order; those without blocks are left out.
    """
    import jinja2

    environment = jinja2.Environment(
        autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined
    )
    template = environment.from_string((files("app.page") / "page.html.jinja").read_text(encoding="utf-8"))
    return template.render(
        title=title,
        subtitle=subtitle,
        sections=[section for section in sections if section.blocks],
        positive=COLOURS[0],
        negative=COLOURS[1],
    )
