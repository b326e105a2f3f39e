"""The site: it builds without a warning, its links lead somewhere, a browser shows it.

Needs the extra `site` and a Chromium or Chrome; skipped without them. Of the network it
uses a server on this machine alone.
"""

from __future__ import annotations

import functools
import http.server
import importlib.util
import json
import shutil
import tarfile
import threading
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urldefrag, urljoin, urlparse

import pytest
from filelock import FileLock

from docs import make_site

CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))),
    None,
)
MISSING = [
    name
    for name in ("sphinx", "furo", "myst_nb", "jupytext", "playwright")
    if importlib.util.find_spec(name) is None
]
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(bool(MISSING), reason=f"the extra `site` lacks {MISSING}"),
]
# The least contrast of text and of large text: WCAG 2.2, level AA, criterion 1.4.3.
CONTRAST, LARGE_CONTRAST = 4.5, 3.0
TELEPHONE = 375
# The least size of a diagram's text on a telephone, in pixels.
TEXT_SIZE = 11
# How long to wait for a page, in milliseconds: a machine may be busy.
PATIENCE = 600_000


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built once for all workers of pytest-xdist."""
    base = tmp_path_factory.getbasetemp()
    # With xdist, the parent is common to the workers; without, to earlier runs.
    shared = base.parent if base.name.startswith("popen-") else base
    out, status = shared / "site", shared / "site-status.json"
    with FileLock(shared / "site.lock"):
        if not status.exists():
            status.write_text(json.dumps(make_site.build(out)), encoding="utf-8")
    assert json.loads(status.read_text(encoding="utf-8")) == 0, (
        "see what Sphinx printed"
    )
    return out


def pages(site: Path) -> list[str]:
    return sorted(str(path.relative_to(site)) for path in site.rglob("*.html"))


class Links(HTMLParser):
    """The addresses that a page names, and the ids that it has."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.addresses: set[str] = set()
        self.ids: set[str] = {""}
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        self.ids |= {values[name] for name in ("id", "name") if name in values}
        self.addresses |= {values[name] for name in ("href", "src") if name in values}


def test_notebooks_and_source_are_downloads(site: Path) -> None:
    names = {path.name: path for path in site.glob("_downloads/*/*")}
    for page in make_site.ROOT.glob("notebooks/[0-9]*.md"):
        notebook = json.loads(names[f"{page.stem}.ipynb"].read_text(encoding="utf-8"))
        cells = notebook["cells"]
        text = page.read_text(encoding="utf-8")
        code = [cell for cell in cells if cell["cell_type"] == "code"]
        assert len(code) == text.count("```{code-cell} python")
        # They lead to pages of the site, and a file that is downloaded has none.
        prose = ["".join(c["source"]) for c in cells if c["cell_type"] == "markdown"]
        assert not any(".md)" in source for source in prose)
    if (make_site.ROOT / ".git").exists():
        (archive,) = [path for name, path in names.items() if name.endswith(".tar.gz")]
        with tarfile.open(archive) as files:
            inside = {name.partition("/")[2] for name in files.getnames()}
        assert {"pyproject.toml", "pg_envs/__init__.py", "Makefile"} <= inside


def test_every_page_of_the_menu_is_there(site: Path) -> None:
    found = {page.removesuffix(".html") for page in pages(site)}
    expected = {"index", *make_site.ENVIRONMENTS, *make_site.AGENTS}
    expected |= {f"api/{package}" for package in make_site.PACKAGES}
    assert expected <= found


def test_internal_links_and_anchors_lead_somewhere(site: Path) -> None:
    links = {page: Links(site / page) for page in pages(site)}
    broken = []
    for page, of_page in links.items():
        for address in of_page.addresses:
            if urlparse(address).scheme or address.startswith("//"):
                continue
            target, anchor = urldefrag(urljoin(page, address))
            path = unquote(urlparse(target).path)
            ids = links[path].ids if path in links else None
            if not (site / path).is_file() or (
                ids is not None and unquote(anchor) not in ids
            ):
                broken.append(f"{page}: {address}")
    assert broken == []


# Contrast of every visible text with what is behind it, after WCAG 2.2: colours of
# ancestors are blended until one is opaque. Texts above a picture are left out.
CONTRAST_SCRIPT = """
([least, least_large]) => {
  const colour = text => {
    const numbers = text.match(/[\\d.]+(e-?\\d+)?/g).map(Number);
    const [r, g, b, a = 1] = numbers;
    return text.startsWith("color(") ? [255 * r, 255 * g, 255 * b, a] : [r, g, b, a];
  };
  const over = (top, bottom) =>
    [0, 1, 2].map(i => top[3] * top[i] + (1 - top[3]) * bottom[i]).concat(1);
  const luminance = c => {
    const [r, g, b] = c.map(v => (v /= 255) <= 0.04045
      ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const behind = element => {
    const layers = [];
    for (let e = element; e; e = e.parentElement) {
      const style = getComputedStyle(e);
      if (style.backgroundImage !== "none") return null;
      layers.push(colour(style.backgroundColor));
      if (layers.at(-1)[3] === 1) break;
    }
    const white = [255, 255, 255, 1];
    return layers.reverse().reduce((bottom, top) => over(top, bottom), white);
  };
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  const found = {};
  const check = (element, text) => {
    const style = getComputedStyle(element);
    const diagram = element.closest("svg.diagram");
    const surface = diagram
      ? colour(getComputedStyle(diagram.querySelector("rect")).fill) : behind(element);
    if (surface === null) return;
    const ink = colour(diagram ? style.fill : style.color);
    for (let e = element; e; e = e.parentElement) ink[3] *= getComputedStyle(e).opacity;
    const a = luminance(over(ink, surface)), b = luminance(surface);
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    const size = parseFloat(style.fontSize), bold = style.fontWeight >= 700;
    const large = size >= 24 || (bold && size >= 18.66);
    if (ratio < (large ? least_large : least))
      found[`${element.tagName}.${element.className} ${ink} on ${surface}`] =
        `${ratio.toFixed(2)}: ${text.slice(0, 40)}`;
  };
  while (walker.nextNode()) {
    const text = walker.currentNode.textContent.trim();
    const element = walker.currentNode.parentElement;
    if (!text || element.closest("script, style, title, mjx-container")) continue;
    const box = element.getBoundingClientRect();
    const shown = element.checkVisibility({visibilityProperty: true});
    if (shown && box.width > 1 && box.height > 1) check(element, text);
  }
  document.querySelectorAll("mjx-container").forEach(e => check(e, "formula"));
  return Object.entries(found).map(entry => entry.join(" "));
}
"""
BROKEN_PICTURES = """
async () => {
  const broken = [];
  for (const image of document.images) {
    image.loading = "eager";
    try { await image.decode(); } catch { broken.push(image.src); }
    if (!image.hasAttribute("alt")) broken.push(`${image.src} has no alternative text`);
  }
  return broken;
}
"""
# The widest region that scrolls sideways and is neither code, table nor output of a
# notebook; how many of those scroll without a shadow that shows it; the sizes of the
# diagrams' text.
WIDTHS = """
() => {
  const scrolling = "pre, .table-wrapper, .cell_output";
  const wide = e => e.scrollWidth > e.clientWidth + 1;
  return [
    Math.max(...[...document.querySelectorAll("html, body, article, article *")]
      .filter(e => e.matches("html, body, article")
        || getComputedStyle(e).overflowX !== "visible")
      .filter(e => !e.closest(scrolling))
      .map(e => wide(e) ? e.scrollWidth : 0)),
    [...document.querySelectorAll(scrolling)].filter(e => wide(e)
      && getComputedStyle(e).overflowX === "auto"
      && !getComputedStyle(e).backgroundAttachment.includes("local")).length,
    ...[...document.querySelectorAll("svg.diagram")].map(
      e => 15 * e.getBoundingClientRect().width / e.viewBox.baseVal.width),
  ];
}
"""


class QuietHandler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def address(site: Path) -> Iterator[str]:
    """Where the site is served."""
    handler = functools.partial(QuietHandler, directory=str(site))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()
        thread.join()


def problems_of(tab: Any, url: str, page: str) -> Iterator[str]:
    """Opens a page, light and dark, wide and on a telephone, and yields its faults."""
    said: list[str] = []

    def note_message(message: Any) -> None:
        if message.type in ("error", "warning"):
            said.append(message.text)

    def note_foreign(request: Any) -> None:
        if not request.url.startswith((url, "data:")):
            said.append(request.url)

    tab.on("console", note_message)
    tab.on("pageerror", lambda error: said.append(str(error)))
    tab.on("request", note_foreign)
    tab.set_viewport_size({"width": 1280, "height": 900})
    tab.goto(url + page, wait_until="load")
    if tab.query_selector(".math") is not None:
        tab.wait_for_function("window.MathJax && MathJax.startup.promise")
        tab.evaluate("MathJax.startup.promise")
    yield from (f"broken picture {found}" for found in tab.evaluate(BROKEN_PICTURES))
    for scheme in ("light", "dark"):
        tab.emulate_media(color_scheme=scheme)
        least = [CONTRAST, LARGE_CONTRAST]
        found = tab.evaluate(CONTRAST_SCRIPT, least)
        yield from (f"{scheme}: contrast of {text}" for text in found)
    tab.set_viewport_size({"width": TELEPHONE, "height": 700})
    width, unmarked, *sizes = tab.evaluate(WIDTHS)
    if width > TELEPHONE:
        yield f"{width} pixels wide on a telephone"
    if unmarked:
        yield f"{unmarked} regions scroll and do not show it"
    yield from (f"text of {size:.1f} pixels" for size in sizes if size < TEXT_SIZE)
    yield from (f"console or foreign request: {text}" for text in said)


@pytest.mark.skipif(
    CHROMIUM is None, reason="no chromium on the path (see `make site`)"
)
def test_pages_are_readable_in_a_browser(site: Path, address: str) -> None:
    from playwright.sync_api import sync_playwright

    problems = []
    with sync_playwright() as playwright:
        # As root, such as in a container, Chromium refuses its sandbox.
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox"]
        )
        for page in pages(site):
            tab = browser.new_page(reduced_motion="reduce")
            tab.set_default_timeout(PATIENCE)
            problems += [f"{page}: {text}" for text in problems_of(tab, address, page)]
            tab.close()
        browser.close()
    assert problems == []
