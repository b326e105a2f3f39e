"""Gives the package's README the addresses that it needs outside the repository.

Everything else stands in pyproject.toml. On a package index relative links lead
nowhere: the release sets PROJECT_URL to the address of the repository, and pictures and
links of the README are then those of the released version. Without PROJECT_URL they
stay relative.
"""

import os
import re
from pathlib import Path

_LINK = re.compile(r"(?P<mark>!?)(?P<text>\[[^\[\]]*\])\((?P<target>[^)\s]+)\)")


def with_addresses(readme: str, url: str, version: str) -> str:
    """Returns a README whose relative links are addresses.

    Args:
        readme: in Markdown.
        url: of the repository on a host with `raw` and `blob` addresses, such as GitHub
            or Gitea.
        version: released as the tag `v` and this version.
    """

    def replace(match: re.Match[str]) -> str:
        target = match["target"]
        if target.startswith(("#", "http:", "https:")):
            return match[0]
        kind = "raw" if match["mark"] else "blob"
        address = f"{url.rstrip('/')}/{kind}/v{version}/{target}"
        return f"{match['mark']}{match['text']}({address})"

    return _LINK.sub(replace, readme)


def main() -> None:
    """Sets what pyproject.toml calls dynamic."""
    # Importing it changes `sys.path`.
    from setuptools import setup

    root = Path(__file__).parent
    readme = (root / "README.md").read_text(encoding="utf-8")
    url = os.environ.get("PROJECT_URL", "")
    if url:
        pyproject = (root / "pyproject.toml").read_text(encoding="utf-8")
        (version,) = re.findall(r'^version = "(.+)"$', pyproject, re.MULTILINE)
        readme = with_addresses(readme, url, version)
    setup(
        long_description=readme,
        long_description_content_type="text/markdown",
        project_urls={"Source": url} if url else {},
    )


if __name__ == "__main__":
    main()
