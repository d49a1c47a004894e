"""`report.html`, one file that opens offline: what the page is told in, its text out.

Scripts and styles lie beside this module in `page/` and are written into the file. Its policy
lets nothing run but them, by their hashes, and no request leave.
"""

import base64
import hashlib
import json
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from dvmap_jax.survey.page import STYLE

PAGE = pathlib.Path(__file__).parent / "page"
SCRIPTS = (  # each uses only what stands before it
    *("elements", "columns", "charts", "summary", "places", "shares", "calibration"),
    *("probes", "learning", "completions", "start"),
)
# Inside a script element only these could end it, or a line of it.
ESCAPED = {"<": "\\u003c", ">": "\\u003e", "&": "\\u0026", "\u2028": "\\u2028", "\u2029": "\\u2029"}


def report_page(data: Mapping[str, Any]) -> str:
    """The page of what `report_data` gives, which it holds as text that no markup can leave."""
    style = STYLE + (PAGE / "report.css").read_text(encoding="utf-8")
    script = _script([(PAGE / f"{name}.js").read_text(encoding="utf-8") for name in SCRIPTS])
    policy = (
        f"default-src 'none'; script-src '{_hash(script)}'; style-src '{_hash(style)}'; "
        "base-uri 'none'; form-action 'none'"
    )
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="referrer" content="no-referrer">\n'
        f"<title>Evaluation report</title>\n<style>{style}</style>\n</head>\n<body>\n"
        '<a class="skip" href="#main">Skip to the results</a>\n'
        "<header><h1>Evaluation report</h1></header>\n"
        '<nav aria-label="Sections"><ul id="sections"></ul></nav>\n<main id="main" tabindex="-1">'
        "<noscript><p>This page needs JavaScript; report.md beside it does not.</p></noscript>"
        f'</main>\n<script type="application/json" id="data">{embedded(data)}</script>\n'
        f"<script>{script}</script>\n</body>\n</html>\n"
    )


def embedded(data: Any) -> str:
    """JSON that may stand in a script element whatever its texts are."""
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return text.translate(str.maketrans(ESCAPED))


def _script(sources: Sequence[str]) -> str:
    """All scripts as one, which leaves nothing in the window but `reportReady`."""
    return '\n"use strict";\n{\n' + "\n".join(sources) + "}\n"


def _hash(text: str) -> str:
    """How a content security policy names an inline text (CSP level 3, section 2.3.1)."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
