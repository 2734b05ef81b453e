"""``docs/lint.md`` names every rule; run with HEADRACE_UPDATE_GOLDEN=1 to write its table anew."""

from __future__ import annotations

import os
from pathlib import Path

from headrace.manifests.lint.reading import READING_RULES
from headrace.manifests.lint.rules.table import ALL

PAGE = Path(__file__).parents[3] / "docs/lint.md"
START, END = "<!-- rules -->\n", "<!-- end of rules -->"


def table() -> str:
    """The rules as the page has them."""
    rows = [(rule.id, rule.severity, rule.about, rule.remedy) for rule in ALL]
    rows += [(rule, "error", about, remedy) for rule, (about, remedy) in READING_RULES.items()]
    lines = ["| rule | severity | what it asks, and why | remedy |", "| --- | --- | --- | --- |"]
    lines += [f"| `{rule}` | {severity} | {about} | {remedy} |" for rule, severity, about, remedy in sorted(rows)]
    return "\n".join(lines) + "\n"


def test_the_page_has_every_rule_as_it_is() -> None:
    """The page is what people read before they trust a finding: it never lags behind."""
    text = PAGE.read_text(encoding="utf-8")
    before, _, rest = text.partition(START)
    _, _, after = rest.partition(END)
    if os.environ.get("HEADRACE_UPDATE_GOLDEN"):
        PAGE.write_text(f"{before}{START}{table()}{END}{after}", encoding="utf-8")
    assert f"{START}{table()}{END}" in PAGE.read_text(encoding="utf-8")
