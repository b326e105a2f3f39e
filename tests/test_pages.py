"""README and pages: every block runs as pasted, every link and picture exists."""

from __future__ import annotations

import importlib.util
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"
DOCS = ROOT / "docs"
PAGES = [README, ROOT / "CONTRIBUTING.md", *sorted(DOCS.rglob("*.md"))]
# Those that show code.
GUIDES = [
    page for page in PAGES[1:] if "\n```python\n" in page.read_text(encoding="utf-8")
]
# Without a screen, on a thread; the blocks import the packages of this checkout.
ENVIRONMENT = {
    **os.environ,
    "PYTHONPATH": str(ROOT),
    "SDL_VIDEODRIVER": "dummy",
    "OMP_NUM_THREADS": "1",
    "COLUMNS": "100",
}


def blocks(page: Path, language: str) -> list[str]:
    """Returns the code blocks of a page in a language."""
    text = page.read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def run(arguments: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    """Runs a program in a folder."""
    return subprocess.run(
        arguments,
        cwd=folder,
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )


def run_python(block: str, folder: Path) -> None:
    """Runs a block as a script of its own."""
    script = folder / "block.py"
    script.write_text(block, encoding="utf-8")
    done = run([sys.executable, str(script)], folder)
    assert done.returncode == 0, done.stderr


def commands(page: Path) -> list[str]:
    """Returns the shell commands of a page, without comments."""
    lines = "\n".join(blocks(page, "sh")).replace("\\\n", " ").splitlines()
    return [" ".join(shlex.split(line, comments=True)) for line in lines if line]


def pgtoy(arguments: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    """Runs `pgtoy`, in a folder that has the demos."""
    if not (folder / "demos").exists():
        shutil.copytree(ROOT / "demos", folder / "demos")
    return run([sys.executable, "-m", "pg_agents.cli.main", *arguments], folder)


def test_the_front_page_is_short() -> None:
    text = README.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 150
    assert len(text.split()) <= 1200


def test_the_ten_lines_of_the_front_page_run(tmp_path: Path) -> None:
    (block,) = blocks(README, "python")
    run_python(block, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("page", GUIDES, ids=lambda page: page.stem)
def test_python_blocks_of_the_guides_run(page: Path, tmp_path: Path) -> None:
    for block in blocks(page, "python"):
        run_python(block, tmp_path)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_make_targets_and_files_of_commands_exist(page: Path) -> None:
    lines = commands(page) + "\n".join(blocks(page, "text")).splitlines()
    for line in lines:
        if line.startswith("make "):
            target = next(word for word in line.split()[1:] if "=" not in word)
            makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
            assert re.search(rf"^{target}:", makefile, re.MULTILINE), line
        for name in re.findall(r"\b(?:demos|docs)[/\\]\w+\.\w+", line):
            assert (ROOT / name.replace("\\", "/")).is_file(), line


@pytest.mark.slow
def test_pgtoy_commands_of_the_front_page_run(tmp_path: Path) -> None:
    lines = [line for line in commands(README) if line.startswith("pgtoy ")]
    assert [line.split()[1] for line in lines] == ["recipes", "run", "watch", "record"]
    for line in lines:
        words = line.split()[1:]
        # Five games to their ends take minutes.
        is_show = words[0] in ("watch", "record")
        short = ["--episodes", "1", "--steps", "20"] if is_show else []
        done = pgtoy([*words, *short], tmp_path)
        if words[0] == "watch":
            # Tests have no screen, and the error names what works without one.
            assert done.returncode == 2
            assert f"`pgtoy record {words[1]} --to film.gif`" in done.stderr
        else:
            assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_the_report_of_the_front_page_is_what_the_command_prints(
    tmp_path: Path,
) -> None:
    """Line by line, where it does not leave lines out by three dots."""
    (block,) = [text for text in blocks(README, "text") if text.startswith("$ ")]
    command, report = block.split("\n", 1)
    done = pgtoy(command.removeprefix("$ pgtoy ").split(), tmp_path)
    # A gradient that is not right has the exit status 1.
    assert done.returncode == 1, done.stderr
    position = 0
    for passage in report.split("  ...\n"):
        position = done.stdout.find(passage, position)
        assert position >= 0, f"not printed, or not in this order: {passage}"


def test_pictures_and_links_have_addresses_on_a_package_index() -> None:
    """Built with PROJECT_URL: every relative one is a file of the released version."""
    spec = importlib.util.spec_from_file_location("setup_script", ROOT / "setup.py")
    assert spec is not None and spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    url = "https://example.org/someone/pgtoy"
    text = script.with_addresses(README.read_text(encoding="utf-8"), url, "1.2.3")
    kinds = {"raw": set[str](), "blob": set[str]()}
    for target in re.findall(r"\]\(([^)#]+)\)", text):
        assert target.startswith("https://"), target
        if target.startswith(url):
            kind, version, path = target.removeprefix(f"{url}/").split("/", 2)
            assert version == "v1.2.3" and (ROOT / path).is_file(), target
            kinds[kind].add(Path(path).suffix)
    assert kinds == {"raw": {".gif", ".png"}, "blob": {".md"}}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_links_and_pictures_of_a_page_exist(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", text):
        if not target.startswith("http"):
            assert (page.parent / target).exists(), target
