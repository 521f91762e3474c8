"""HTML that is safe to show: escaping, a stand-alone page, and an object that Jupyter displays.

Everything drawn in this package passes `esc` or `clean`, because labels may come from a guest
program or from a hostile host.
"""

from __future__ import annotations

import html
import re
from pathlib import Path

# Not allowed in XML 1.0 (control characters, surrogates, noncharacters), and the bidirectional
# overrides with which a label could reorder the text around it.
_UNSAFE = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]"
)

_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'"


def clean(text: object) -> str:
    """``text`` as a string in which every character may stand in a document."""
    return _UNSAFE.sub("\ufffd", str(text)).replace("\r\n", "\n").replace("\r", "\n")


def esc(text: object) -> str:
    """``text`` cleaned and escaped, for element content and for quoted attributes."""
    return html.escape(clean(text), quote=True)


def document(title: str, body: str) -> str:
    """One HTML page around ``body``. Its policy lets it load nothing from anywhere."""
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{esc(title)}</title>\n</head>\n"
        f'<body style="margin:1rem;background:#f4f4f4">\n{body}\n</body>\n</html>\n'
    )


def asset(name: str) -> str:
    """A style sheet or a script that lies beside this file."""
    return (Path(__file__).parent / name).read_text(encoding="utf-8")


class Html:
    """A piece of HTML that Jupyter shows and nbval compares.

    Args:
        kind: what it is, for its ``repr``, e.g. ``"Matrix"``.
        title: plain text.
        body: the HTML, already escaped; a `Player` has it made when it is shown.
    """

    def __init__(self, kind: str, title: str, body: str = "") -> None:
        self.kind, self.title, self.body = kind, clean(title), body

    def __repr__(self) -> str:
        return f"{self.kind}({' '.join(self.title.split())})"

    def _repr_html_(self) -> str:
        return self.body

    def to_html(self, path: Path | str | None = None) -> str:
        """A self-contained page; also written to ``path``, as UTF-8, if one is given."""
        page = document(self.title or self.kind, self._repr_html_())
        if path is not None:
            Path(path).write_text(page, encoding="utf-8")
        return page
