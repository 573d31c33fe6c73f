"""The refusal as a page for people with a browser: one file, nothing loaded, light and dark."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape

_STYLE = """
:root{color-scheme:light dark}
body{font:1rem/1.5 system-ui,sans-serif;max-width:42rem;margin:3rem auto;padding:0 1rem}
h1{font-size:1.4rem}
dl{display:grid;grid-template-columns:max-content 1fr;gap:.25rem 1rem}
dt{opacity:.7}
dd{margin:0;overflow-wrap:anywhere}
code{font-size:.95em}
"""

_LABELS = {
    "reason": "Reason",
    "host": "Host",
    "rule": "Rule",
    "policy": "Policy",
    "owner": "Owner",
    "list": "List",
    "findings": "Found",
    "incident": "Incident",
}


def html(facts: Mapping[str, object], status: int) -> str:
    """`facts` as refusal.render makes them. Every value is escaped."""
    rows = "\n".join(
        f"<dt>{label}</dt><dd><code>{escape(_shown(facts[key]))}</code></dd>"
        for key, label in _LABELS.items()
        if key in facts
    )
    detail = escape(_sentence(str(facts.get("detail", "the egress gateway refused this request"))))
    remedy = escape(_sentence(str(facts["what_to_do"])))
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>{status} refused by the egress gateway</title>
<style>{_STYLE}</style>
</head>
<body>
<h1>Refused by the egress gateway</h1>
<p>{detail}</p>
<p><strong>What to do:</strong> {remedy}</p>
<dl>
{rows}
</dl>
</body>
</html>
"""


def _shown(value: object) -> str:
    match value:
        case Mapping():
            return ", ".join(str(part) for part in value.values() if part)
        case list():
            return "; ".join(_shown(part) for part in value)
        case _:
            return str(value)


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}" + ("" if text.endswith(".") else ".")
