"""What the product must never call: code that a file or a string names, shells, and other machines."""

from __future__ import annotations

import ast
from collections.abc import Iterator

# Names as a file imports them; a call of them, or of anything under them, is banned.
CALLS = {
    "eval": "runs text as code",
    "exec": "runs text as code",
    "compile": "turns text into code",
    "__import__": "imports by a name that may come from a file",
    "os.system": "runs a shell",
    "os.popen": "runs a shell",
    "subprocess.getoutput": "runs a shell",
    "subprocess.getstatusoutput": "runs a shell",
    "tempfile.mktemp": "names a file that another may make first",
    "numpy.fromregex": "reads tables outside the contracts",
    "yaml.load": "builds any object",
    "yaml.unsafe_load": "builds any object",
    "torch.hub": "fetches and runs code",
    "torch.jit.load": "runs what a file holds",
    "torch.package": "runs what a file holds",
}
MODULES = {
    "pickle": "builds any object",
    "cPickle": "builds any object",
    "dill": "builds any object",
    "cloudpickle": "builds any object",
    "joblib": "unpickles what it loads",
    "marshal": "reads code",
    "shelve": "unpickles",
    "code": "runs text as code",
    "runpy": "runs a file",
    "requests": "reaches a network",
    "httpx": "reaches a network",
    "aiohttp": "reaches a network",
    "urllib.request": "reaches a network",
    "urllib3": "reaches a network",
    "http.client": "reaches a network",
    "ftplib": "reaches a network",
    "smtplib": "reaches a network",
    "telnetlib": "reaches a network",
}
# A call of the name with this keyword at this value; False of weights_only also where it is left out.
KEYWORDS = {"shell": True, "allow_pickle": True, "weights_only": False}
# Its `shell` is the name of one, of which it writes a script and runs nothing.
NAMES_A_SHELL = "app.generate_completion"


def banned_calls(source: str) -> list[tuple[int, str]]:
    """Return line and reason of everything banned in a source, whatever name it was imported under."""
    nodes = list(ast.walk(ast.parse(source)))
    names = dict(_imported(nodes))
    found = [(line, f"{name} {MODULES[module]}") for line, name in _modules(nodes) if (module := _under(name, MODULES))]
    for node in nodes:
        if isinstance(node, ast.Call):
            found += [(node.lineno, reason) for reason in _broken(node, names)]
    return sorted(found)


def _imported(nodes: list[ast.AST]) -> Iterator[tuple[str, str]]:
    """Yield each local name with the whole name it stands for."""
    for node in nodes:
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield (alias.asname, alias.name) if alias.asname else (alias.name.split(".")[0],) * 2
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                yield alias.asname or alias.name, f"{node.module}.{alias.name}"


def _modules(nodes: list[ast.AST]) -> Iterator[tuple[int, str]]:
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from ((node.lineno, f"{node.module}.{alias.name}") for alias in node.names)


def _under(name: str, banned: dict[str, str]) -> str | None:
    return next((one for one in banned if name == one or name.startswith(f"{one}.")), None)


def _whole_name(called: ast.expr, names: dict[str, str]) -> str:
    if isinstance(called, ast.Attribute):
        return f"{_whole_name(called.value, names)}.{called.attr}"
    if isinstance(called, ast.Name):
        return names.get(called.id, called.id)
    return "?"


def _broken(call: ast.Call, names: dict[str, str]) -> Iterator[str]:
    name = _whole_name(call.func, names).removeprefix("builtins.")
    if banned := _under(name, CALLS):
        yield f"{name} {CALLS[banned]}"
    said = {keyword.arg: keyword.value for keyword in call.keywords}
    for keyword, value in KEYWORDS.items():
        if keyword == "shell" and name == NAMES_A_SHELL:
            continue
        # What is no plain value could be either.
        if keyword in said and not (isinstance(said[keyword], ast.Constant) and said[keyword].value is not value):
            yield f"{keyword} must not be {value}"
    if name == "torch.load" and "weights_only" not in said:
        yield "torch.load must say weights_only=True"
    if name.endswith("load_state_dict") and isinstance(said.get("strict"), ast.Constant) and not said["strict"].value:
        yield "load_state_dict takes all or nothing"
    if name == "importlib.import_module" and not (call.args and isinstance(call.args[0], ast.Constant)):
        yield "import_module takes a name that stands in the source"
