"""Builds the site: gathers its pages, makes those of environments and API, runs Sphinx.

    python docs/make_site.py [--out out/site] [--builder html|linkcheck]

PROJECT_URL in the environment is the address of the repository, for those who clone it.

Pages are those of docs/ and notebooks/, and CONTRIBUTING.md and CHANGELOG.md. They are
copied into out/site-source, where links between them are those of the site; nothing is
written beside them. Notebooks are executed, and again only after they or the packages
have changed. A warning is an error.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib
import inspect
import os
import pydoc
import re
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path, PurePosixPath

ROOT = Path(__file__).parent.parent
sys.path[:0] = [str(ROOT)]

from docs import environment_pages, make_pictures
from pg_envs.rendering.themes import DARK

SOURCE = ROOT / "out/site-source"
DOCTREES = ROOT / "out/site-doctrees"
CACHE = ROOT / "out/site-notebooks"
# Where install.md on the site says how to get the source.
SOURCE_MARK = "<!-- source -->"

# The menu: captions, and pages as they are called on the site.
MENU = {
    "Start": ["install", "check-your-script", "notebooks/index", "exercises"],
    "Environments": ["environments", "your-environment"],
    "Agents": ["agents", "estimators", "pitfalls", "sb3"],
    "Use": ["recipes", "live", "scale", "resume"],
    "Measured": ["results", "ablation", "speed", "gpu", "checker", "notebooks"],
    "Reference": ["api/index", "design", "contributing", "changelog"],
}
ENVIRONMENTS = [f"environments/{page.name}" for page in environment_pages.PAGES]
AGENTS = ["agents/reinforce", "agents/actor-critic", "agents/random-agent"]
# Packages whose `__all__` is the API.
PACKAGES = (
    "pg_envs",
    "pg_envs.oracle",
    "pg_envs.rendering",
    "pg_agents",
    "pg_agents.callbacks",
    "pg_agents.learners",
    "pg_agents.checker",
    "pg_agents.exercises",
    "pg_agents.live",
    "pg_agents.analysis",
    "pg_agents.analysis.plots",
    "pg_agents.experiments",
    "pg_agents.sweeps",
    "pg_agents.zoo",
)
# Base classes of public ones, by the package that shows them too.
BASES = {
    "pg_envs": ("pg_envs.rendering.env.RenderedEnv", "pg_envs.vector.base.BatchedEnv"),
    "pg_agents": ("pg_agents.algorithms.base.PolicyGradientAlgorithm",),
}


def site_path(path: str) -> str:
    """Returns where a file of the repository stands in the site's source.

    Pages of docs/ stand at its root; README.md of a folder is its index.
    """
    place = PurePosixPath(path)
    if place.parts[0] == "docs":
        place = place.relative_to("docs")
    if place.name == "README.md":
        place = place.with_name("index.md")
    return str(place.with_name(place.name.lower()) if place.suffix == ".md" else place)


def relinked(text: str, path: str) -> tuple[str, set[str]]:
    """Rewrites the links of a page to files of the repository.

    Args:
        text: Markdown.
        path: of the page, from the root of the repository.

    Returns:
        The text with links as `site_path` places the files, and the files linked to.

    Raises:
        FileNotFoundError: if there is no such file; names page and link.
    """
    files = set()

    def new(match: re.Match[str]) -> str:
        target, anchor = match[2], match[3] or ""
        if not target or re.match(r"[a-z]+:", target):
            return match[0]
        file = os.path.normpath(ROOT / Path(path).parent / target)
        if not os.path.isfile(file):
            raise FileNotFoundError(f"{path} links to {target}, which is no file")
        name = Path(file).relative_to(ROOT).as_posix()
        files.add(name)
        start = os.path.dirname(site_path(path)) or "."
        # Where the name of the file is its text, Sphinx puts in the page's title.
        words = "" if re.fullmatch(r"[\w-]+\.md", match[1]) else match[1]
        return f"[{words}]({os.path.relpath(site_path(name), start)}{anchor})"

    code = r"^```(?!\{(?!code)).*?^```|`[^`\n]+`"
    link = r"\[([^\[\]]*)\]\(([^()\s#]+)(#[^()\s]*)?\)"
    return re.sub(f"{code}|{link}", new, text, flags=re.M | re.S), files


def gather(source: Path) -> None:
    """Writes the sources of all pages into an empty folder."""
    paths = [*ROOT.glob("docs/*.md"), *ROOT.glob("docs/*/*.md")]
    paths += [*ROOT.glob("notebooks/*.md"), ROOT / "CONTRIBUTING.md"]
    paths += [ROOT / "CHANGELOG.md"]
    texts, files = {}, set()
    for path in paths:
        name = path.relative_to(ROOT).as_posix()
        texts[site_path(name)], linked = relinked(path.read_text("utf-8"), name)
        files |= linked
    for name, text in texts.items():
        files_of_page = source / name
        files_of_page.parent.mkdir(parents=True, exist_ok=True)
        files_of_page.write_text(text, encoding="utf-8")
    shutil.copytree(ROOT / "docs/pictures", source / "pictures")
    for name in files:
        place = source / site_path(name)
        if not place.exists():
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, place)


def write_downloads(source: Path) -> None:
    """Writes what the site offers as downloads, and links to it.

    These are each notebook for Jupyter, and the files that Git tracks as one archive;
    there is no archive without a clone.
    """
    import jupytext  # of the extra `site`

    folder = source / "downloads"
    folder.mkdir()
    for path in sorted(ROOT.glob("notebooks/[0-9]*.md")):
        notebook = jupytext.read(path)
        for cell in notebook.cells:
            if cell.cell_type == "markdown":
                # Alone, a notebook has no neighbours to link to.
                link = r"\[([^\[\]]*)\]\((?![a-z]+:)[^()\s]+\)"
                cell.source = re.sub(link, r"\1", cell.source)
        jupytext.write(notebook, folder / f"{path.stem}.ipynb")
        page = source / "notebooks" / path.name
        link = f"{{download}}`Jupyter notebook <../downloads/{path.stem}.ipynb>`"
        download = f"*Download this page as a {link}; it needs [pgtoy](../install.md).*"
        text = page.read_text(encoding="utf-8")
        # Below the title.
        text = re.sub(
            r"^# .*$", rf"\g<0>\n\n{download}", text, count=1, flags=re.MULTILINE
        )
        page.write_text(text, encoding="utf-8")
    ways = []
    if (ROOT / ".git").exists():
        name = f"pgtoy-{version('pgtoy')}"
        command = ["git", "-C", str(ROOT), "ls-files", "-z"]
        listed = subprocess.run(command, check=True, capture_output=True, text=True)
        with tarfile.open(folder / f"{name}.tar.gz", "w:gz") as archive:
            for file in filter(None, listed.stdout.split("\0")):
                if (ROOT / file).exists():
                    archive.add(ROOT / file, f"{name}/{file}")
        ways.append(
            f"download {{download}}`{name}.tar.gz <downloads/{name}.tar.gz>`, of the "
            f"version that this site describes, and unpack it: `tar xf {name}.tar.gz`"
        )
    if url := os.environ.get("PROJECT_URL"):
        ways.append(f"clone the repository: `git clone {url}`")
    if ways:
        page = source / "install.md"
        text = page.read_text(encoding="utf-8")
        how = f"To get the source, {'; or '.join(ways)}."
        page.write_text(text.replace(SOURCE_MARK, how), encoding="utf-8")


def write_environments(source: Path) -> None:
    """Writes the pages of the environments, and their pictures."""
    folder = source / "environments"
    folder.mkdir(exist_ok=True)
    for page in environment_pages.PAGES:
        text = environment_pages.markdown(page)
        (folder / f"{page.name}.md").write_text(text, encoding="utf-8")
        environment_pages.write_pictures(page, folder)


def write_api(source: Path) -> None:
    """Writes a page for each package, with all its public names."""
    folder = source / "api"
    folder.mkdir()
    written: dict[int, str] = {}
    for package in PACKAGES:
        text = "\n".join(_api(package, written))
        (folder / f"{package}.rst").write_text(text, encoding="utf-8")
    title = "# API reference\n\nThe public names of the packages.\n"
    (folder / "index.md").write_text(title + toctree(list(PACKAGES)), encoding="utf-8")


def _api(package: str, written: dict[int, str]) -> Iterator[str]:
    """Yields the parts of a package's page, and enters its objects into `written`."""
    module = importlib.import_module(package)
    yield f"{package}\n{'=' * len(package)}\n"
    yield f".. automodule:: {package}\n   :no-members:\n"
    names = [f"{package}.{name}" for name in public_names(module)]
    for name in [*names, *BASES.get(package, ())]:
        value = pydoc.locate(name)
        if id(value) in written:
            yield f"``{name}`` is :py:obj:`{written[id(value)]}`.\n"
            continue
        written[id(value)] = name
        if inspect.isclass(value):
            yield f".. autoclass:: {name}\n   :members:\n   :show-inheritance:\n"
        elif inspect.isroutine(value):
            yield f".. autofunction:: {name}\n"
        else:
            yield f".. py:data:: {name}\n   :type: {type(value).__name__}\n"


def public_names(module: object) -> list[str]:
    """Returns `__all__`, or the public functions and classes that a module defines."""
    names = getattr(module, "__all__", None)
    if names is not None:
        return list(names)
    return [
        name
        for name, value in vars(module).items()
        if not name.startswith("_")
        and (inspect.isclass(value) or inspect.isfunction(value))
        and value.__module__ == getattr(module, "__name__", None)
    ]


def toctree(pages: list[str], caption: str = "", is_hidden: bool = False) -> str:
    """Returns a list of pages for Sphinx's menu."""
    options = [":maxdepth: 1"]
    options += [f":caption: {caption}"] if caption else []
    options += [":hidden:"] if is_hidden else []
    return "\n".join(["\n```{toctree}", *options, "", *pages, "```\n"])


def write_menu(source: Path) -> None:
    """Appends the lists of pages to the pages that are above them."""

    def append(page: str, text: str) -> None:
        with open(source / f"{page}.md", "a", encoding="utf-8") as file:
            file.write(text)

    for caption, pages in MENU.items():
        # Some pages are written by measurements that not everyone can make.
        there = [page for page in pages if (source / f"{page}.md").exists()]
        append("index", toctree(there, caption, is_hidden=True))
    append("environments", "\n## A page for each\n" + toctree(ENVIRONMENTS))
    append("agents", "\n## A page for each\n" + toctree(AGENTS))
    notebooks = sorted(path.stem for path in source.glob("notebooks/[0-9]*.md"))
    if notebooks:
        append("notebooks/index", toctree(notebooks, is_hidden=True))


def source_digest() -> str:
    """Returns a digest of the packages' source: what notebooks run."""
    digest = hashlib.sha256()
    for top in ("pg_envs", "pg_agents"):
        for path in sorted((ROOT / top).rglob("*.py")):
            digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def build(out: Path, builder: str = "html") -> int:
    """Builds the site.

    Args:
        out: folder of the result, which is replaced.
        builder: `"html"`, or `"linkcheck"`, which asks external links, too.

    Returns:
        The exit status of Sphinx.
    """
    for folder in (SOURCE, DOCTREES, out):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
    gather(SOURCE)
    write_downloads(SOURCE)
    write_environments(SOURCE)
    make_pictures.film(SOURCE / "pictures/learning-dark.gif", DARK)
    write_api(SOURCE)
    write_menu(SOURCE)
    cache = CACHE / source_digest()
    for old in CACHE.glob("*"):
        if old != cache:
            shutil.rmtree(old)
    command = [sys.executable, "-m", "sphinx", "-b", builder, "-W", "--keep-going"]
    command += ["-q", "-c", str(ROOT / "docs")]
    command += ["-D", f"nb_execution_cache_path={cache}"]
    path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = {"SDL_VIDEODRIVER": "dummy", **os.environ, "PYTHONPATH": path}
    return subprocess.run(
        [*command, "-d", str(DOCTREES), str(SOURCE), str(out)],
        env=environment,
        check=False,
    ).returncode


def main() -> None:
    """Builds the site into a folder."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=ROOT / "out/site")
    parser.add_argument("--builder", choices=["html", "linkcheck"], default="html")
    options = parser.parse_args()
    if status := build(options.out, options.builder):
        sys.exit(status)
    print(f"The site is in {options.out}; open index.html there.")


if __name__ == "__main__":
    main()
