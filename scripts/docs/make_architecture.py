#!/usr/bin/env python3
"""Write the measured part of docs/architecture.md: floors, rooms, sizes, import cycles.

Usage: python scripts/docs/make_architecture.py
"""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmarks.page_parts import write_part

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "src/moola"
PAGE = ROOT / "docs/architecture.md"
PART = "measured"


def floors() -> list[list[str]]:
    """Return the rooms of each floor, top to bottom, as import-linter's contract has them."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    return [re.split(r" [|:] ", layer) for contract in contracts for layer in contract.get("layers", [])]


def files_of(room: str) -> list[Path]:
    """Return the Python files of a room: a package, or one module."""
    folder = SOURCE / room
    return sorted(folder.rglob("*.py")) if folder.is_dir() else [SOURCE / f"{room}.py"]


def n_lines(path: Path) -> int:
    """Count the lines of a file."""
    return len(path.read_text().splitlines())


def functions(path: Path) -> list[tuple[int, str]]:
    """Return the length, its docstring left out, and the place of each function of a file."""
    found = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.FunctionDef)]
    place = path.relative_to(SOURCE).as_posix()
    return [(_body_lines(node), f"{place}: {node.name}") for node in found]


def _body_lines(node: ast.FunctionDef) -> int:
    return _height(node) - (_height(node.body[0]) if ast.get_docstring(node) is not None else 0)


def _height(node: ast.stmt) -> int:
    return (node.end_lineno or node.lineno) - node.lineno + 1


def imports() -> dict[str, set[str]]:
    """Return which modules of moola each module imports, wherever in its file."""
    modules = {_name(path): path for path in SOURCE.rglob("*.py")}
    found: dict[str, set[str]] = {}
    for name, path in modules.items():
        wanted = set()
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and node.module:
                wanted |= {f"{node.module}.{alias.name}" for alias in node.names} | {node.module}
            elif isinstance(node, ast.Import):
                wanted |= {alias.name for alias in node.names}
        found[name] = {one for one in wanted if one in modules and one != name and not name.startswith(f"{one}.")}
    return found


def _name(path: Path) -> str:
    return ".".join(("moola", *path.relative_to(SOURCE).with_suffix("").parts)).removesuffix(".__init__")


def in_circles(graph: dict[str, set[str]]) -> list[str]:
    """Return the modules that are part of an import cycle."""

    def reached(begin: str) -> set[str]:
        seen: set[str] = set()
        waiting = [*graph[begin]]
        while waiting:
            one = waiting.pop()
            if one not in seen:
                seen.add(one)
                waiting += graph[one]
        return seen

    return sorted(name for name in graph if name in reached(name))


def measured() -> str:
    """Return the measured part."""
    rows = ["| floor | room | files | lines |", "| ---: | --- | ---: | ---: |"]
    for number, rooms in enumerate(floors()):
        for room in rooms:
            paths = files_of(room)
            rows.append(f"| {len(floors()) - number} | `{room}` | {len(paths)} | {sum(map(n_lines, paths)):,} |")
    every = sorted(SOURCE.rglob("*.py"), key=n_lines)
    n_functions = sum(len(list(functions(path))) for path in every)
    return "\n".join(
        [
            *rows,
            "",
            f"In all {len(every)} files with {sum(map(n_lines, every)):,} lines and {n_functions:,} functions; half "
            f"of the files have {n_lines(every[len(every) // 2])} lines or more, the longest, "
            f"`{every[-1].relative_to(SOURCE).as_posix()}`, {n_lines(every[-1])}. "
            f"Import cycles: {', '.join(in_circles(imports())) or 'none'}.",
        ]
    )


def main() -> None:
    """Put the measured part between its marks."""
    write_part(PAGE, PART, measured())
    print(f"{PAGE.name} written")


if __name__ == "__main__":
    main()
