"""Every page of the built documentation in headless Chromium, at the width of a laptop and of a phone.

``make docs`` builds the pages. Debian's package chromium is enough for the browser.
"""

import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote, urldefrag, urlsplit

import pytest
from playwright.sync_api import Browser, Request, ViewportSize, sync_playwright

from tests.support import ROOT

BUILT = ROOT / "docs" / "_build"
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
LAPTOP: ViewportSize = {"width": 1300, "height": 900}
PHONE: ViewportSize = {"width": 390, "height": 844}
FINDINGS = (Path(__file__).parent / "findings.js").read_text("utf-8")
FORMULAS_ARE_DRAWN = "window.MathJax?.startup?.promise"

needs_pages = pytest.mark.skipif(not (BUILT / "index.html").exists(), reason="there is no docs/_build: run make docs")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium")


@dataclass
class Visit:
    """What was found on a page: the results of findings.js at both widths, and what the browser reported."""

    wide: Mapping[str, list[str]] = field(default_factory=dict)
    narrow: Mapping[str, list[str]] = field(default_factory=dict)
    console: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


def visit(browser: Browser, paths: Iterable[Path]) -> Mapping[str, Visit]:
    """Open files one after the other, without a network; by URL."""
    visits: dict[str, Visit] = {}

    def observe(request: Request) -> None:
        if not request.url.startswith(("file:", "data:")):
            visits[page.url].requests.append(request.url)

    page = browser.new_page(offline=True)
    page.on("request", observe)
    page.on("console", lambda message: visits[page.url].console.append(f"{message.type}: {message.text}"))
    page.on("pageerror", lambda error: visits[page.url].console.append(str(error)))
    for path in paths:
        visits[path.as_uri()] = found = Visit()
        page.set_viewport_size(LAPTOP)
        page.goto(path.as_uri())
        page.evaluate(FORMULAS_ARE_DRAWN)
        found.wide = page.evaluate(FINDINGS)
        page.set_viewport_size(PHONE)
        found.narrow = page.evaluate(FINDINGS)
    page.close()
    return visits


def dead_links(visits: Mapping[str, Visit]) -> dict[str, list[str]]:
    """Links of each page to files that do not exist, or to anchors that their page does not have."""
    return {
        url: dead for url, found in visits.items() if (dead := [x for x in found.wide["links"] if is_dead(x, visits)])
    }


def is_dead(link: str, visits: Mapping[str, Visit]) -> bool:
    page, anchor = urldefrag(link)
    if urlsplit(page).scheme != "file":
        return False
    if not Path(unquote(urlsplit(page).path)).is_file():
        return True
    return bool(anchor) and page in visits and unquote(anchor) not in visits[page].wide["anchors"]


@pytest.fixture(scope="module")
def pages(browser: Browser) -> Mapping[str, Visit]:
    static = BUILT / "_static"
    return visit(browser, [path for path in sorted(BUILT.rglob("*.html")) if static not in path.parents])


def findings(pages: Mapping[str, Visit], find: Callable[[Visit], list[str]]) -> dict[str, list[str]]:
    """What is wrong, by page."""
    return {Path(url).name: found for url, page in pages.items() if (found := find(page))}


FAULTS: dict[str, Callable[[Visit], list[str]]] = {
    "a formula that is not rendered": lambda page: page.wide["formulas"],
    "a request that leaves the machine": lambda page: page.requests,
    "an error in the console": lambda page: page.console,
    "a link to another site that is not https": lambda page: [x for x in page.wide["links"] if is_insecure(x)],
    "code that scrolls sideways on a laptop": lambda page: page.wide["code"],
    "an element wider than a laptop": lambda page: page.wide["wide"],
    "an element wider than a phone": lambda page: page.narrow["wide"],
    "a table cell too narrow to read": lambda page: page.wide["narrow"] + page.narrow["narrow"],
    "a heading with a word broken in two": lambda page: page.wide["headings"] + page.narrow["headings"],
    "a picture that does not load or has no text": lambda page: page.wide["pictures"],
}


def is_insecure(link: str) -> bool:
    return urlsplit(link).scheme not in ("file", "https")


@needs_pages
@pytest.mark.parametrize("fault", FAULTS)
def test_no_page_has(pages: Mapping[str, Visit], fault: str) -> None:
    assert len(pages) > 10
    assert findings(pages, FAULTS[fault]) == {}


@needs_pages
def test_every_link_between_pages_leads_to_a_page_and_to_its_anchor(pages: Mapping[str, Visit]) -> None:
    assert dead_links(pages) == {}


@needs_pages
def test_a_laptop_shows_the_landing_page_down_to_its_four_doors(browser: Browser) -> None:
    page = browser.new_page(viewport=LAPTOP, offline=True)
    page.goto((BUILT / "index.html").as_uri())
    doors = [door.bounding_box() for door in page.locator(".sd-card").all()]
    page.close()
    assert len(doors) == 4
    assert all(door and door["y"] + door["height"] < LAPTOP["height"] for door in doors)


TABLE = "<table style='width: 100%'><tr><td>one two three four five six</td><td>{}</td></tr></table>"
EXAMPLES = [
    ("a formula that is not rendered", "<p>From $p_i \\log q_i$ alone.</p>"),
    ("a formula that is not rendered", "<span class=math>\\(p\\)</span>"),
    ("a request that leaves the machine", "<script src='https://example.org/x.js'></script>"),
    ("an error in the console", "<script>undefined.name</script>"),
    ("an error in the console", "<script src='gone.js'></script>"),
    ("a link to another site that is not https", "<a href='http://example.org'>there</a>"),
    ("code that scrolls sideways on a laptop", f"<pre style='overflow: auto'>{'x' * 500}</pre>"),
    ("an element wider than a laptop", "<p style='width: 1500px'>wide</p>"),
    ("an element wider than a phone", "<p style='width: 600px'>wide</p>"),
    ("a table cell too narrow to read", TABLE.format("x" * 60)),
    ("a table cell too narrow to read", "<table><tr><td style='max-width: 4em'>1.25 ± 1.25e-05</td></tr></table>"),
    ("a heading with a word broken in two", f"<h2 style='overflow-wrap: anywhere'>{'Divergence' * 9}</h2>"),
    ("a picture that does not load or has no text", "<img src='gone.png' alt='a plot'>"),
    ("a picture that does not load or has no text", "<img src='data:image/gif;base64,R0lGODlhAQABAAAAACw=' alt=''>"),
]


def written(folder: Path, bodies: Iterable[str]) -> list[Path]:
    """Pages with these bodies."""
    pages = []
    for number, body in enumerate(bodies):
        pages.append(folder / f"{number}.html")
        pages[-1].write_text(f"<!doctype html><meta charset=utf-8>{body}", "utf-8")
    return pages


def test_each_fault_is_found_on_a_page_that_has_it(browser: Browser, tmp_path: Path) -> None:
    pages = written(tmp_path, [body for _, body in EXAMPLES])
    for (fault, body), found in zip(EXAMPLES, visit(browser, pages).values(), strict=True):
        assert FAULTS[fault](found), body
    assert {fault for fault, _ in EXAMPLES} == FAULTS.keys()


@needs_pages
def test_a_formula_that_is_rendered_wrong_is_found(browser: Browser, tmp_path: Path) -> None:
    formulas = [r"p \unknown q", r"p \\vert q", r"\frac{p", r"p \vert q"]
    script = f"<script defer src='{(BUILT / '_static/mathjax/tex-chtml.js').as_uri()}'></script>"
    pages = written(tmp_path, [rf"{script}<p><span class=math>\({formula}\)</span>" for formula in formulas])
    found = [bool(page.wide["formulas"]) for page in visit(browser, pages).values()]
    assert found == [True, True, True, False]


def test_dead_links_are_found(browser: Browser, tmp_path: Path) -> None:
    links = ["0.html#here", "0.html#gone", "gone.html", "https://example.org"]
    body = "".join(f"<a href='{link}'>there</a>" for link in links)
    (found,) = dead_links(visit(browser, written(tmp_path, [f"<p id=here>{body}"]))).values()
    assert [link.rpartition("/")[2] for link in found] == ["0.html#gone", "gone.html"]
