"""Hooks of the site: pages from outside docs/, pages made from the code, and links that leave docs/."""

from __future__ import annotations

import posixpath
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[2]
# A page of the site for each of these, so that no text stands twice.
OUTSIDE = {
    "README.md": "index.md",
    "SECURITY.md": "security.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
}
MAINTAINERS = "For maintainers"
# Pages made from the code, by the script that prints them; they stand in the site alone.
GENERATED = {
    "options.md": "make_commands.py",
    "contracts.md": "make_contracts.py",
    "errors.md": "make_errors.py",
    "faults.md": "make_faults.py",
}
PYTHON = """# Python, name by name

What `import moola` gives, from its docstrings. Everything else in the package may change from one version to the next.
How the names are used together: [from Python](../python.md).

::: moola
    options:
      show_root_heading: false
      show_root_toc_entry: false
      heading_level: 2
      members_order: alphabetical
"""
LINK = re.compile(r"(!?\[(?:[^\[\]]|!?\[[^\]]*\]\([^)]*\))*\])\((?!\w+:|#)([^)#\s]+)(#[^)\s]*)?\)")


def on_config(config: Any) -> Any:
    """Put every decision under its heading, in order."""
    pages = sorted((ROOT / "docs/decisions").glob("*.md"))
    pages_of = next(section[MAINTAINERS] for section in config.nav if MAINTAINERS in section)
    pages_of.append({"Decisions": ["decisions/index.md", *(f"decisions/{page.name}" for page in pages)]})
    return config


def decisions_index() -> str:
    """Return the list of decisions by their titles."""
    pages = sorted((ROOT / "docs/decisions").glob("*.md"))
    titles = [page.read_text(encoding="utf-8").splitlines()[0].lstrip("# ") for page in pages]
    rows = "\n".join(f"- [{title}]({page.name})" for title, page in zip(titles, pages, strict=True))
    return f"# Decisions\n\nWhy things are as they are, one page a decision.\n\n{rows}\n"


def on_files(files: Files, config: Any) -> Files:
    """Add the pages outside docs/ and those made from the code to the site."""
    for source, target in OUTSIDE.items():
        files.append(File.generated(config, target, content=(ROOT / source).read_text(encoding="utf-8")))
    for target, script in GENERATED.items():
        files.append(File.generated(config, target, content=printed(script)))
    files.append(File.generated(config, "reference/python.md", content=PYTHON))
    files.append(File.generated(config, "decisions/index.md", content=decisions_index()))
    return files


def printed(script: str) -> str:
    """Return the page that a script of this folder prints."""
    command = [sys.executable, str(Path(__file__).parent / script)]
    return subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True).stdout


def on_page_markdown(markdown: str, page: Page, **_others: Any) -> str:
    """Turn links that leave docs/ into those of the site; what is no page of it stays as plain text."""
    place = {target: source for source, target in OUTSIDE.items()}.get(page.file.src_uri, f"docs/{page.file.src_uri}")
    return LINK.sub(lambda found: _link(found, posixpath.dirname(place), page.file.src_uri), markdown)


def _link(found: re.Match[str], folder: str, page: str) -> str:
    text, target, anchor = found[1], found[2], found[3] or ""
    if text.startswith("[!["):
        text = "[" + LINK.sub(lambda inner: _link(inner, folder, page), text[1:-1]) + "]"
    path = posixpath.normpath(posixpath.join(folder, target))
    if path in OUTSIDE:
        in_site = OUTSIDE[path]
    elif path == "docs/decisions":
        in_site = "decisions/index.md"
    elif path.startswith("docs/"):
        in_site = path.removeprefix("docs/")
    else:
        # A file of the repository: the words stay, the link has nowhere to go.
        assert (ROOT / path).exists(), f"{page} links to {target}, which is not there"
        return text[1:-1]
    return f"{text}({posixpath.relpath(in_site, posixpath.dirname(page) or '.')}{anchor})"
