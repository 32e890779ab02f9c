"""The report in a real browser: it is shown without overflow or errors, and its parts can be opened."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from curate import report
from curate.candidate import Candidate
from curate.countdown import CountdownData, trajectories
from curate.drops import Reason
from tests import curated
from tests.e2e.browser import CHROMIUM, Browser, browser

MISSING = "no chromium here (docs/testing.md says how to install it)"
pytestmark = [pytest.mark.slow, pytest.mark.skipif(CHROMIUM is None, reason=MISSING)]

WIDTHS = (400, 1400)
HOSTILE = (
    "<script>document.title = 'taken'</script><img src=x onerror=\"document.title = 'taken'\">"
)
LONG = f"A step whose description is far too long for its box, {'W' * 30}, {'漢字' * 10}"


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page with prose, LaTeX, hostile text, Countdown trajectories, a run, and an unsplit one."""
    components = [
        curated.plan(1, f"{HOSTILE}\n", LONG),
        curated.task(2, "", f"{HOSTILE}{'x' * 400}", f"{HOSTILE}\n", HOSTILE, 1),
        curated.task(3, "", LONG, f"{'y' * 4000}\n", LONG, 1),
        *(curated.task(n, "", LONG, "z\n", LONG, n - 1) for n in range(4, 12)),
    ]
    hostile = curated.candidate(HOSTILE * 3, HOSTILE, components, source="x" * 300)
    made = [
        Candidate(packed)
        for packed in trajectories(CountdownData(spaces=curated.SMALL, trajectories=5), "train")
    ]
    lost = curated.dropped([("grade", Reason.WRONG, 40), ("select", Reason.DUPLICATE, 3)])
    folder = tmp_path_factory.mktemp("curated")
    return report.write(curated.write(folder, [*curated.HAND_WRITTEN, hostile, *made], lost), len)


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with browser(tmp_path_factory.mktemp("profile")) as opened:
        yield opened


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_overflows_and_there_are_no_errors(
    chromium: Browser, page: Path, width: int, scheme: str
) -> None:
    chromium.errors.clear()
    chromium.open(page, width, "dark" if scheme == "dark" else "light")
    assert chromium.value("document.documentElement.scrollWidth") <= width
    # The same is true after everything was opened.
    chromium.value("for (const d of document.querySelectorAll('details')) d.open = true")
    assert chromium.value("document.documentElement.scrollWidth") <= width
    shade = chromium.value("getComputedStyle(document.body).backgroundColor")
    red = int(shade.removeprefix("rgb(").split(",")[0])
    assert (red < 128) == (scheme == "dark")
    assert chromium.value("document.title") == "Curation report"
    assert chromium.errors == []


@pytest.mark.parametrize("width", WIDTHS)
def test_ten_drawings_are_visible_beside_their_stages(
    chromium: Browser, page: Path, width: int
) -> None:
    chromium.open(page, width)
    shown = chromium.value(
        "[...document.querySelectorAll('article .scroll > svg')].map(s =>"
        " [s.checkVisibility(), s.getBoundingClientRect().height, s.querySelectorAll('a').length])"
    )
    assert len(shown) == 10
    assert all(visible and height > 50 and boxes > 0 for visible, height, boxes in shown)
    assert chromium.value("document.querySelectorAll('.charts figure > svg').length") == 6
    assert chromium.value("document.querySelectorAll('article .edge.added-edge').length") == 1
    beside = chromium.value(
        "(() => { const [g, s] = document.querySelector('.beside.fits').children;"
        " return g.getBoundingClientRect().right <= s.getBoundingClientRect().left; })()"
    )
    assert beside == (width == 1400)


@pytest.mark.parametrize("width", WIDTHS)
def test_no_label_is_cut_or_covered(chromium: Browser, page: Path, width: int) -> None:
    chromium.open(page, width)
    outside = (
        "[...document.querySelectorAll('article .dag a')].filter(a => {"
        " const box = a.querySelector('.box').getBBox(), n = a.querySelector('.number').getBBox();"
        " return [...a.querySelectorAll('.label')].some(l => { const t = l.getBBox();"
        " return t.x < n.x + n.width || t.x + t.width > box.x + box.width"
        " || t.y < box.y || t.y + t.height > box.y + box.height; }) || n.x < box.x + 4; })"
        ".map(a => a.textContent)"
    )
    assert chromium.value(outside) == []
    cut = (
        "[...document.querySelectorAll('.charts svg text')].filter(t => {"
        " const r = t.getBBox(), all = t.ownerSVGElement.viewBox.baseVal;"
        " return r.x < 0 || r.x + r.width > all.width || r.y < 0 || r.y + r.height > all.height; })"
        ".map(t => t.textContent)"
    )
    assert chromium.value(cut) == []
    covered = (
        "[...document.querySelectorAll('.charts svg')].flatMap(s => {"
        " const labels = [...s.querySelectorAll('text')].map(t => t.getBBox());"
        " return labels.filter((a, n) => labels.slice(n + 1).some(b => a.x < b.x + b.width"
        " && b.x < a.x + a.width && a.y + 3 < b.y + b.height && b.y + 3 < a.y + a.height)); }).length"
    )
    assert chromium.value(covered) == 0


def test_details_open_by_a_click_and_by_the_link_of_a_step(chromium: Browser, page: Path) -> None:
    chromium.open(page, 1400)
    # The first shown trajectory with a second stage. Which ones are shown is random.
    stage = chromium.value("document.querySelector('[id$=-s2]').id")
    is_open = f"document.querySelector('#{stage}').open"
    assert not chromium.value(is_open)
    chromium.click(f"#{stage} > summary")
    assert chromium.value(is_open)
    text = f"#{stage} details .text"
    assert not chromium.value(f"document.querySelector('{text}').checkVisibility()")
    chromium.click(f"#{stage} details > summary")
    assert chromium.value(f"document.querySelector('{text}').checkVisibility()")
    chromium.open(page, 1400)
    target = chromium.value(
        "[...document.querySelectorAll('.dag a')].map(a => a.getAttribute('href'))"
        f".find(href => href.startsWith('#{stage.replace('-s2', '-e2.')}'))"
    )
    chromium.click(f"a[href='{target}']")
    seen = f"document.getElementById('{target[1:]}').querySelector('summary').checkVisibility()"
    assert chromium.value(seen)
    assert chromium.errors == []
