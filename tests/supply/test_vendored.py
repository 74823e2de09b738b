"""What others made and lies in the source: known, unchanged, with its notice and licence, in the wheel too."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.supply.conftest import ROOT

# Files of ours that are no Python; one that is neither here nor vendored must come to one of the two lists.
OWN = {
    "label/static": "api.js app.js chart.html chart.js compare.js icon.svg index.html keys.js span_app.js span_keys.js "
    "span_page.css span_rest.js span_sheet.js span_state.js span_view.js state.js style.css theme.js turns.js view.js",
    "stages/platforms": "moola_check.mq5.j2 moola_events.mq5.j2 moola_strategy.py.j2",
    ".": "py.typed",
    "models": "base_encoder.pt base_encoder.NOTICE.txt base_head_prior.pt base_span_metric.pt",
    "reports": "similar.html.j2 style.css template.html.j2",
    "reports/overview": "app.js chart.js page.html.j2 style.css table.js unpack.js",
}
LICENCE_BEGINS = {"Apache-2.0": "Apache License", "MIT": "Permission is hereby granted, free of charge"}
SOURCE = ROOT / "src/moola"


def shipped() -> set[str]:
    """Files under the source that are no Python."""
    found = {path for path in SOURCE.rglob("*") if path.is_file() and path.suffix not in {".py", ".pyc"}}
    return {str(path.relative_to(ROOT)) for path in found}


def test_every_file_that_is_no_python_is_ours_or_listed_as_vendored(sbom):
    own = {str(Path("src/moola") / folder / name) for folder, names in OWN.items() for name in names.split()}
    vendored = {path for file in sbom.VENDORED for path in (file.path, file.notice, file.licence_text)}
    assert shipped() == own | vendored


def test_vendored_files_are_those_of_their_notices_with_their_licences(sbom):
    for file in sbom.VENDORED:
        notice = (ROOT / file.notice).read_text()
        assert hashlib.sha256((ROOT / file.path).read_bytes()).hexdigest() in notice
        assert f"{file.name} {file.version}" in notice
        assert LICENCE_BEGINS[file.licence] in (ROOT / file.licence_text).read_text()
        assert file.purl.endswith(f"{file.name}@{file.version}")


def test_the_notice_of_the_whole_leads_to_each(sbom):
    whole = (ROOT / "NOTICE").read_text()
    for file in sbom.VENDORED:
        assert file.notice in whole
        assert file.version in whole


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> set[str]:
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True, env=os.environ)
    (path,) = folder.iterdir()
    return set(zipfile.ZipFile(path).namelist())


@pytest.mark.slow
def test_the_wheel_holds_the_licence_and_the_notices(sbom, wheel):
    assert {name.split("/", 1)[1] for name in wheel if "/licenses/" in name} == {"licenses/LICENSE", "licenses/NOTICE"}
    for file in sbom.VENDORED:
        assert {path.removeprefix("src/") for path in (file.path, file.notice, file.licence_text)} <= wheel


def test_the_wheel_holds_every_file_of_the_source_and_no_other(wheel):
    ours = {str(path.relative_to(ROOT / "src")) for path in SOURCE.rglob("*.py")}
    ours |= {name.removeprefix("src/") for name in shipped()}
    assert {name for name in wheel if ".dist-info/" not in name} == ours
