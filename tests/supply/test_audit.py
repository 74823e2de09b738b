"""The audit: what it asks, and that it says whether anything was judged."""

from __future__ import annotations

import os
import subprocess

import pytest

from tests.supply.conftest import ROOT

# Stands for `python -m venv FOLDER`: an environment whose pip and pip-audit do as a case says.
PYTHON = """#!/bin/sh
mkdir -p "$3/bin" && cd "$3/bin"
printf '#!/bin/sh\\n%s\\n' '{pip}' >pip
printf '#!/bin/sh\\nwhile [ "$1" != --requirement ]; do shift; done; cp "$2" {asked}\\n%s\\n' '{audit}' >pip-audit
chmod +x pip pip-audit
"""
CASES = {
    "clean": ("exit 0", "echo none >&2; exit 0", 0, "none with a known vulnerability"),
    "vulnerable": ("exit 0", "echo numpy 2.4.6 PYSEC-1; exit 1", 1, "must have no known vulnerability"),
    "unreached": ("exit 0", "echo no route >&2; exit 1", 1, "Run it where pypi.org can be reached"),
    "not installed": ("echo no route >&2; exit 1", "exit 0", 1, "pip-audit could not be installed"),
}


@pytest.mark.parametrize(("pip", "audit", "code", "said"), CASES.values(), ids=CASES)
def test_the_audit_says_what_it_found_or_that_it_judged_nothing(tmp_path, pip, audit, code, said):
    python, asked = tmp_path / "python", tmp_path / "asked"
    python.write_text(PYTHON.format(pip=pip, audit=audit, asked=asked))
    python.chmod(0o755)
    done = subprocess.run(
        [ROOT / "scripts/supply/audit.sh"],
        env=os.environ | {"PYTHON": str(python)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == code, done.stderr
    assert said in done.stdout + done.stderr
    assert ("PYSEC-1" in done.stdout) == ("PYSEC-1" in audit)
    if asked.exists():
        versions = asked.read_text().split()
        # torch by its plain version, and each name once.
        assert "torch==2.13.0" in versions
        assert len({line.lower().split("==")[0] for line in versions}) == len(versions) > 100
    else:
        assert "no route" in done.stderr
