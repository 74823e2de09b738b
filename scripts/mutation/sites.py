"""Every small change that a source file admits: the sites of its mutants, in the order of the file."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass

COMPARED: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
}
COUNTED: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult,
    ast.Mod: ast.Mult,
    ast.Pow: ast.Mult,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
    ast.MatMult: ast.Mult,
}
JOINED: dict[type[ast.boolop], type[ast.boolop]] = {ast.And: ast.Or, ast.Or: ast.And}


@dataclass(frozen=True)
class Mutant:
    """One changed file: the line that changed, before and after, and the whole source."""

    line: int
    before: str
    after: str
    source: str

    @property
    def change(self) -> str:
        """The text before and after, in one line."""
        return " ".join(f"{self.before} -> {self.after}".split())

    @property
    def line_after(self) -> str:
        """The line as it reads changed, which tells this change from the same one elsewhere in the file."""
        return self.source.splitlines()[self.line - 1].strip()


def mutants(source: str) -> list[Mutant]:
    """Return every mutant of a source; texts, docstrings, annotations and decorators stay as they are."""
    tree = ast.parse(source)
    skipped = {id(inner) for kept in _kept(tree) for inner in ast.walk(kept)}
    found = []
    for node in [node for node in ast.walk(tree) if id(node) not in skipped]:
        for changed in _changes(node):
            found.append(_mutant(source, node, changed))
    return sorted(found, key=lambda mutant: (mutant.line, mutant.before, mutant.after))


def _kept(tree: ast.AST) -> Iterator[ast.AST]:
    for node in ast.walk(tree):
        # `@dataclass(frozen=True)` states what a class is, and computes nothing.
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            yield from node.decorator_list
        if isinstance(node, ast.arg | ast.AnnAssign) and node.annotation is not None:
            yield node.annotation
        if isinstance(node, ast.FunctionDef) and node.returns is not None:
            yield node.returns
        # Type aliases are assignments, and nothing runs them.
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            name = node.targets[0].id
            if name.istitle() and not name.isupper():
                yield node.value
        if isinstance(node, ast.JoinedStr):
            yield node


def _changes(node: ast.AST) -> Iterator[ast.AST]:
    """Yield what may stand in a node's place."""
    if isinstance(node, ast.Compare):
        for place, operation in enumerate(node.ops):
            operations = [*node.ops]
            operations[place] = COMPARED[type(operation)]()
            yield ast.Compare(node.left, operations, node.comparators)
    elif isinstance(node, ast.BinOp) and type(node.op) in COUNTED:
        yield ast.BinOp(node.left, COUNTED[type(node.op)](), node.right)
    elif isinstance(node, ast.BoolOp):
        yield ast.BoolOp(JOINED[type(node.op)](), node.values)
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not | ast.USub | ast.Invert):
        yield node.operand
    elif isinstance(node, ast.Constant) and isinstance(node.value, bool):
        yield ast.Constant(not node.value)
    elif isinstance(node, ast.Constant) and isinstance(node.value, int | float):
        yield ast.Constant(node.value + 1)
    elif isinstance(node, ast.IfExp):
        yield ast.IfExp(ast.UnaryOp(ast.Not(), node.test), node.body, node.orelse)


def _mutant(source: str, node: ast.AST, changed: ast.AST) -> Mutant:
    # Bytes, since that is what ast counts columns in.
    lines = source.encode().splitlines(keepends=True)
    begin = sum(map(len, lines[: node.lineno - 1])) + node.col_offset
    end = sum(map(len, lines[: node.end_lineno - 1])) + node.end_col_offset
    data = source.encode()
    text = f"({ast.unparse(ast.fix_missing_locations(ast.copy_location(changed, node)))})"
    mutated = data[:begin] + text.encode() + data[end:]
    return Mutant(node.lineno, data[begin:end].decode(), text, mutated.decode())
