"""The site's sources: pages, links and docstrings; without Sphinx and a browser."""

from __future__ import annotations

import inspect
import re
import shutil
from pathlib import Path

import gymnasium
import numpy as np
import pytest

import pg_envs
from docs import make_site
from docs.diagrams import DIAGRAMS
from docs.environment_pages import (
    HEADINGS,
    PAGES,
    Page,
    exact_ascent,
    markdown,
    sections,
)
from pg_envs import oracle

ROOT = Path(__file__).parent.parent


@pytest.fixture(params=PAGES, ids=lambda page: page.name)
def page(request: pytest.FixtureRequest) -> Page:
    found: Page = request.param
    return found


def test_every_environment_with_an_id_has_a_page() -> None:
    entry_points = {
        spec.entry_point.rpartition(":")[2]
        for name, spec in gymnasium.registry.items()
        if name.startswith("PGToy-") and isinstance(spec.entry_point, str)
    }
    assert entry_points
    assert entry_points <= {page.cls.__name__ for page in PAGES}


def test_docstrings_have_the_headings_of_the_pages(page: Page) -> None:
    texts = sections(page.cls.__doc__ or "")
    assert all(texts[heading] for heading in ("Description", *HEADINGS))
    assert [name for name in texts if name in HEADINGS] == list(HEADINGS)


def test_docstrings_name_the_arguments_in_the_order_of_the_signature(
    page: Page,
) -> None:
    texts = sections(page.cls.__doc__ or "")
    names = re.findall(r"^(\w+): ", texts["Arguments"], flags=re.MULTILINE)
    assert names == list(inspect.signature(page.cls).parameters)


def test_docstrings_name_the_spaces(page: Page) -> None:
    """A `Discrete` space is written out, and so is a `Box` with one pair of bounds."""
    texts, env = sections(page.cls.__doc__ or ""), page.make()
    for heading in ("Action Space", "Observation Space"):
        space = getattr(env, heading.lower().replace(" ", "_"))
        if isinstance(space, gymnasium.spaces.Box) and np.unique(space.low).size > 1:
            assert str(space.dtype) in texts[heading]
            numbers = re.findall(r"^- (\d+): ", texts[heading], flags=re.MULTILINE)
            assert list(map(int, numbers)) == list(range(space.shape[-1]))
        elif isinstance(space, gymnasium.spaces.MultiDiscrete):
            assert "`MultiDiscrete`" in texts[heading]
        else:
            assert f"`{space}`" in texts[heading]


def test_a_page_has_the_headings_of_gymnasium_and_its_pictures(page: Page) -> None:
    text = markdown(page)
    found = re.findall(r"^## (.+)$", text, flags=re.MULTILINE)
    assert found[: len(HEADINGS) + 1] == ["Description", *HEADINGS]
    assert f"{page.name}-light.gif" in text
    assert f"{page.name}-dark.gif" in text


def test_sections_are_split_at_lines_that_are_headings() -> None:
    docstring = """A summary.

    Text with a colon: no heading.

    Rewards:
        1 for each step:
        nothing else.

        - an item
    Reference: Someone (2001).
    """
    assert sections(docstring) == {
        "Description": "A summary.\n\nText with a colon: no heading.",
        "Rewards": "1 for each step:\nnothing else.\n\n- an item",
        "Reference": "Someone (2001).",
    }


@pytest.mark.parametrize(
    ("mdp", "gamma", "horizon", "best"),
    [
        # One pull: 1. Right, right, centre: -0.05 - 0.05 gamma + gamma^2.
        (pg_envs.bandit_mdp(), 1.0, 1, 1.0),
        (pg_envs.sequence_mdp(), 0.9, 100, -0.05 - 0.045 + 0.81),
    ],
    ids=["bandit", "sequence"],
)
def test_the_films_show_a_policy_that_improves_towards_the_best(
    mdp: pg_envs.TabularMDP, gamma: float, horizon: int, best: float
) -> None:
    returns = [
        oracle.expected_return(mdp, policy, gamma, horizon)
        for policy in exact_ascent(mdp, gamma, horizon, 0.5, 300)
    ]
    assert np.all(np.diff(returns) > 0)
    assert best - 0.05 < returns[-1] < best


def test_every_page_has_a_place_in_the_menu() -> None:
    """Sphinx, too, complains of a page that no menu names."""
    menu = {page for pages in make_site.MENU.values() for page in pages}
    known = {"index", *menu, *make_site.ENVIRONMENTS, *make_site.AGENTS}
    paths = [*ROOT.glob("docs/*.md"), *ROOT.glob("docs/*/*.md")]
    names = {make_site.site_path(str(path.relative_to(ROOT))) for path in paths}
    assert {name.removesuffix(".md") for name in names} <= known


@pytest.mark.parametrize(
    ("path", "place"),
    [
        ("docs/agents.md", "agents.md"),
        ("docs/agents/reinforce.md", "agents/reinforce.md"),
        ("docs/pictures/bandit.png", "pictures/bandit.png"),
        ("notebooks/README.md", "notebooks/index.md"),
        ("notebooks/01-bandit.md", "notebooks/01-bandit.md"),
        ("CONTRIBUTING.md", "contributing.md"),
        ("demos/sequence.py", "demos/sequence.py"),
    ],
)
def test_places_of_files_on_the_site(path: str, place: str) -> None:
    assert make_site.site_path(path) == place


@pytest.mark.parametrize(
    ("page", "link", "expected"),
    [
        ("docs/a.md", "[a page](agents.md)", "[a page](agents.md)"),
        ("docs/a.md", "[a page](agents.md#policies)", "[a page](agents.md#policies)"),
        # The name of the file gives way to the page's title.
        ("docs/a.md", "[agents.md](agents.md)", "[](agents.md)"),
        ("docs/a.md", "[how](../CONTRIBUTING.md)", "[how](contributing.md)"),
        ("docs/agents/a.md", "[it](../sb3.md)", "[it](../sb3.md)"),
        ("CONTRIBUTING.md", "[design](docs/design.md)", "[design](design.md)"),
        ("notebooks/a.md", "[it](../docs/sb3.md)", "[it](../sb3.md)"),
        ("docs/a.md", "![it](pictures/bandit.png)", "![it](pictures/bandit.png)"),
        ("docs/a.md", "[it](../demos/common.py)", "[it](demos/common.py)"),
        ("docs/a.md", "[out](https://example.org/a)", "[out](https://example.org/a)"),
        ("docs/a.md", "[here](#there)", "[here](#there)"),
        ("docs/a.md", "`x[i](y)`", "`x[i](y)`"),
        ("docs/a.md", "```python\nx[i](y)\n```", "```python\nx[i](y)\n```"),
        (
            "notebooks/a.md",
            "```{note}\n[it](../docs/sb3.md)\n```",
            "```{note}\n[it](../sb3.md)\n```",
        ),
    ],
)
def test_links_are_rewritten(page: str, link: str, expected: str) -> None:
    assert make_site.relinked(link, page)[0] == expected


def test_a_link_to_a_missing_file_is_an_error() -> None:
    with pytest.raises(FileNotFoundError, match=r"docs/a\.md links to nowhere\.md"):
        make_site.relinked("[it](nowhere.md)", "docs/a.md")


def test_the_page_on_installing_says_how_to_get_the_source(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("jupytext")
    monkeypatch.setenv("PROJECT_URL", "https://example.org/pgtoy")
    shutil.copytree(ROOT / "notebooks", tmp_path / "notebooks")
    shutil.copy(ROOT / "docs/install.md", tmp_path)
    make_site.write_downloads(tmp_path)
    text = (tmp_path / "install.md").read_text(encoding="utf-8")
    assert "`git clone https://example.org/pgtoy`" in text
    assert make_site.SOURCE_MARK not in text
    for place in re.findall(r"<(downloads/.*?)>", text):
        assert (tmp_path / place).is_file()
    for page in tmp_path.glob("notebooks/[0-9]*.md"):
        lines = page.read_text(encoding="utf-8").split("\n# ", 1)[1].splitlines()
        assert f"<../downloads/{page.stem}.ipynb>" in lines[2]
        assert (tmp_path / f"downloads/{page.stem}.ipynb").is_file()


def test_pictures_of_diagrams_are_those_of_the_script() -> None:
    """`make pictures ONLY=diagrams` writes them."""
    folder = ROOT / "docs/pictures"
    kept = {path.stem: path.read_text("utf-8") for path in folder.glob("*.svg")}
    assert kept == {f"diagram-{name}": svg for name, svg in DIAGRAMS.items()}
