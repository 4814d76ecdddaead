"""The page in a real browser, offline: boxes, highlights, dark and light, wide and narrow."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from interceptor.model import Chain, Rule, Ruleset, Table, Unreadable, UnreadableAction
from interceptor.names import Family
from interceptor.render.graph.draw import draw
from interceptor.render.graph.drawing import Hop, Marks, VisitAt
from interceptor.render.graph.page import page
from interceptor.render.graph.style import PATH_DARK, PATH_LIGHT
from interceptor.render.graph.svg import svg
from tests.lab import browser
from tests.unit.common import rules

if TYPE_CHECKING:
    from pathlib import Path

_PATH = (
    VisitAt(Family.IP, "nat", "OUTPUT", 1),
    VisitAt(Family.IP, "nat", "INTERCEPTOR_OUTBOUND", 4),
    VisitAt(Family.IP, "nat", "INTERCEPTOR_OUT_REDIRECT", 1),
)
_MARKS = Marks(
    "An app calls <out> & the proxy takes it",
    _PATH,
    {(Family.INET, "nat", "OUTPUT", 1): (4321, 99)},
    (Hop("app", "proxy", "redirect to 15001"), Hop("proxy", "outside", "direct")),
)
_MARGIN = 6
"""How far a sample may be from a colour: screens and printers round."""


_MEASURE = """<script>
const out = [];
for (const box of document.querySelectorAll("svg .box")) {
  const card = box.querySelector(".card").getBoundingClientRect();
  for (const text of box.querySelectorAll("text:not(.step)")) {
    const t = text.getBoundingClientRect();
    if (t.width && (t.left < card.left || t.right > card.right || t.bottom > card.bottom + 1))
      out.push(text.textContent);
  }
  // A text of several lines is as wide as the widest: look at each line by itself.
  const all = [...box.querySelectorAll("text:not(:has(tspan)), tspan")]
    .map(t => t.getBoundingClientRect());
  for (const [n, a] of all.entries()) for (const b of all.slice(0, n))
    if (a.width && a.left < b.right && b.left < a.right && a.top + 3 < b.bottom
        && b.top + 3 < a.bottom) out.push("over another");
}
const seen = [...document.querySelectorAll("svg .box")].filter(b => b.getClientRects().length);
document.body.setAttribute("data-out", JSON.stringify(out));
document.body.setAttribute("data-seen", seen.length);
</script></body>"""
"""Names texts that stick out of their box, or lie over one another."""


def rgb(colour: str) -> browser.Colour:
    red, green, blue = bytes.fromhex(colour.removeprefix("#"))
    return red, green, blue


def many(pixels: browser.Pixels, colour: str) -> int:
    """Count the pixels of about a colour."""
    wanted = rgb(colour)
    return sum(
        count
        for found, count in pixels.colours().items()
        if all(abs(a - b) <= _MARGIN for a, b in zip(found, wanted, strict=True))
    )


@pytest.fixture
def written(tmp_path: Path) -> Path:
    """A page of the default rules with a path."""
    target = tmp_path / "rules.html"
    target.write_text(page(draw(rules(), _MARKS)), encoding="utf-8")
    return target


def test_a_browser_reads_the_page_as_it_is_meant(written: Path, tmp_path: Path) -> None:
    dom = browser.elements(written, tmp_path)
    drawing = draw(rules(), _MARKS)
    assert "<h1>An app calls &lt;out&gt; &amp; the proxy takes it</h1>" in dom
    for box in (box for group in drawing.groups for box in group.boxes):
        for prefix in ("w-", "n-"):
            assert f'<g id="{prefix}{box.id}" class="box' in dom
        assert f">{box.name}</text>" in dom
    assert "4,321 packets" in dom
    assert dom.count("<svg") == len(re.findall("</svg>", dom))
    assert not re.search(r"<(?:script|link|img|iframe)\b", dom)
    assert set(re.findall(r"https?://[^\"<> ]*", dom)) <= {"http://www.w3.org/2000/svg"}


@pytest.mark.parametrize(
    ("width", "dark", "path", "back"),
    [
        (1280, False, PATH_LIGHT, "#ffffff"),
        (1280, True, PATH_DARK, "#10151d"),
        (400, False, PATH_LIGHT, "#ffffff"),
    ],
    ids=["light", "dark", "phone"],
)
def test_a_browser_shows_the_path(
    written: Path, tmp_path: Path, width: int, dark: bool, path: str, back: str
) -> None:
    pixels = browser.screenshot(written, tmp_path, width=width, height=1400, dark=dark)
    assert (pixels.width, pixels.height) == (width, 1400)
    assert pixels.at(2, 2) == rgb(back)
    assert len(pixels.colours()) > 50
    assert many(pixels, path) > 1500
    assert many(pixels, back) < width * 1400


def test_without_a_path_nothing_is_marked(tmp_path: Path) -> None:
    target = tmp_path / "rules.html"
    target.write_text(page(draw(rules(), Marks("Rules"))), encoding="utf-8")
    pixels = browser.screenshot(target, tmp_path, width=1280, height=1400)
    assert len(pixels.colours()) > 50
    assert many(pixels, PATH_LIGHT) == 0


def test_an_svg_stands_alone(tmp_path: Path) -> None:
    target = tmp_path / "rules.svg"
    target.write_text(svg(draw(rules(), _MARKS)), encoding="utf-8")
    pixels = browser.screenshot(target, tmp_path, width=1280, height=1400)
    assert many(pixels, PATH_LIGHT) > 1500


@pytest.mark.parametrize("width", [400, 1280])
def test_no_text_leaves_its_box_or_covers_another(tmp_path: Path, width: int) -> None:
    long = "W" * 40 + " mmmm WWWW," * 12 + " " + "漢字" * 20
    odd = Rule((Unreadable(long),), UnreadableAction(long), long)
    more = Table(Family.IP, "odd", (Chain("M" * 60, (odd, odd)),))
    counters = {
        (family, table, chain, n): (10**9, 1)
        for family in Family
        for table, chain in (("nat", "INTERCEPTOR_OUTBOUND"), ("nat", "OUTPUT"), ("odd", "M" * 60))
        for n in range(1, 9)
    }
    drawn = Ruleset((*rules(mode="tproxy", capture_dns="all").tables, more))
    made = page(draw(drawn, Marks("Long", _PATH, counters)))
    target = tmp_path / "measured.html"
    measured = re.sub(r"<meta http-equiv[^>]*>", "", made).replace("</body>", _MEASURE)
    target.write_text(measured, encoding="utf-8")
    dom = browser.elements(target, tmp_path, width=width)
    assert re.search(r'data-seen="19"', dom)
    found = re.search(r'data-out="([^"]*)"', dom)
    assert found is not None
    assert found[1] == "[]"
