"""Self-contained HTML reports: text, tables and pictures in one file."""

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment
from matplotlib.figure import Figure


__all__ = ["Section", "write_report"]


PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{{ title }}</title>
<style>
  body { font: 16px/1.5 system-ui, sans-serif; color: #111; max-width: 72rem; margin: 2rem auto;
         padding: 0 1rem; }
  h1 { font-size: 1.6rem; } h2 { font-size: 1.15rem; margin-top: 2rem; }
  .lead { font-size: 1.1rem; border-left: 4px solid #0072B2; padding-left: .8rem; }
  .table { overflow-x: auto; }
  table { border-collapse: collapse; font-size: .88rem; font-variant-numeric: tabular-nums; }
  th, td { padding: .3rem .55rem; border-bottom: 1px solid #ddd; } td { white-space: nowrap; }
  th { border-bottom: 2px solid #444; }
  figure { margin: 1rem 0; } figure img { max-width: 100%; }
  figcaption, footer { color: #555; font-size: .88rem; }
  footer { border-top: 1px solid #ddd; margin-top: 3rem; padding-top: .6rem; }
</style>
</head>
<body>
<h1>{{ title }}</h1>
{% for section in sections %}
{% if section.heading %}<h2>{{ section.heading }}</h2>{% endif %}
{% if section.lead %}<p class="lead">{{ section.lead }}</p>{% endif %}
{% if section.text %}<p>{{ section.text }}</p>{% endif %}
{% if section.table %}<div class="table">{{ section.table | safe }}</div>{% endif %}
{% if section.image %}<figure>
<img src="{{ section.image }}" alt="{{ section.heading }}">
<figcaption>{{ section.caption }}</figcaption>
</figure>{% endif %}
{% endfor %}
<footer>{% for name, value in footer.items() %}{{ name }}: {{ value }}<br>
{% endfor %}</footer>
</body>
</html>
"""


@dataclass(frozen=True)
class Section:
    """A part of a report; what is empty is left out.

    Attributes:
        heading: Its heading.
        lead: The one sentence that matters most.
        text: A paragraph.
        table: A table as HTML, such as tabulate makes with `tablefmt="html"`.
        figure: A picture.
        caption: What the picture shows.
    """

    heading: str = ""
    lead: str = ""
    text: str = ""
    table: str = ""
    figure: Figure | None = None
    caption: str = ""

    @property
    def image(self) -> str:
        """The picture as a data URL, or nothing."""
        if self.figure is None:
            return ""
        buffer = io.BytesIO()
        self.figure.savefig(buffer, format="png", dpi=160)
        return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def html(title: str, sections: Sequence[Section], footer: dict[str, object]) -> str:
    """The report as one page that needs no other file.

    Arguments:
        title: The heading of the page.
        sections: Its parts, in order.
        footer: Where the results come from, name by name.
    """
    page = Environment(autoescape=True).from_string(PAGE)
    return page.render(title=title, sections=sections, footer=footer)


def write_report(
    path: Path, title: str, sections: Sequence[Section], footer: dict[str, object]
) -> None:
    """Writes the report to a file, as one page that needs no other file.

    Arguments:
        path: The file, which is overwritten.
        title: The heading of the page.
        sections: Its parts, in order.
        footer: Where the results come from, name by name.
    """
    path.write_text(html(title, sections, footer), encoding="utf-8")
