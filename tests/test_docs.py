"""The pages against what they speak of: public names and links."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import pytest

import dhtex

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def test_every_public_name_is_in_the_library_reference() -> None:
    page = (ROOT / "docs" / "reference" / "library.md").read_text(encoding="utf-8")
    told = re.findall(r"^### `(\w+)`$", page, re.MULTILINE)
    assert sorted(told) == sorted(dhtex.__all__)


def test_the_library_reference_is_what_the_source_says() -> None:
    script = ROOT / "docs" / "reference" / "library_page.py"
    page = runpy.run_path(str(script))["page"]()
    assert page == script.with_name("library.md").read_text(encoding="utf-8"), f"run {script.name}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_relative_link_resolves(page: Path) -> None:
    links = re.findall(r"\]\(([^)\s#]+)(?:#[^)\s]*)?\)", page.read_text(encoding="utf-8"))
    missing = [link for link in links if "://" not in link and not (page.parent / link).exists()]
    assert missing == []
