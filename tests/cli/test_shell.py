"""A new folder, and completion in the shells."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from moola.options.option_sources import COMMAND_OPTIONS, file_settings
from tests.docs.test_commands import parse


@pytest.fixture(autouse=True)
def _folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def test_a_new_folder_has_settings_that_change_nothing_and_the_next_commands_are_some(moola):
    answer = moola("new", "mine/").ends(0)
    lines = [line.removeprefix("Next: ") for line in answer.out.splitlines() if line.startswith("Next: ")]
    assert lines[0] == "cd mine"
    assert len(lines) == 4
    for line in lines[1:]:
        parse(line)
    settings = Path("mine/moola.toml")
    for command in COMMAND_OPTIONS:
        assert file_settings(command, settings) == {}
    assert moola("new", "other", "--json").json == {"folder": "other", "settings": "other/moola.toml"}


def test_each_setting_that_is_taken_out_of_its_comment_is_an_option(moola):
    moola("new", "mine")
    lines = Path("mine/moola.toml").read_text().splitlines()
    free = [line.removeprefix("# ") if " = " in line and line.startswith("# ") else line for line in lines]
    assert sum(one != other for one, other in zip(lines, free, strict=True)) >= 14
    Path("moola.toml").write_text("\n".join(free))
    assert file_settings("train")["pretrained_encoder"] == "base"
    assert file_settings("scan") == {
        **{"device": "auto", "threads": 1, "model": "latest", "stride": 5, "min_prob": 0.2},
        "on_event": "python3 notify.py",
    }
    assert file_settings("label")["classes"] == ["consolidation", "retracement"]
    # The values are of the kind that the options have.
    parse("moola train")
    parse("moola scan --follow bars.csv --output live.jsonl")
    parse("moola bars import --input a.csv --output b.parquet")
    parse("moola gate --run latest")
    parse("moola label --annotator ana")


def test_what_is_there_is_not_overwritten(moola):
    Path("mine").mkdir()
    Path("mine/own.txt").write_text("kept")
    assert moola("new", "mine").code == 0
    Path("mine/moola.toml").write_text("seed = 3\n")
    moola("new", "mine").ends(2, "mine/moola.toml is there already")
    assert Path("mine/moola.toml").read_text() == "seed = 3\n"
    assert Path("mine/own.txt").read_text() == "kept"
    Path("file").touch()
    assert moola("new", "file").code == 2
    Path("linked").mkdir()
    Path("linked/moola.toml").symlink_to("nowhere")
    assert moola("new", "linked").code == 2


def completions(script: str, typed: str) -> list[str]:
    """Return what bash offers for a line that ends where the cursor is."""
    words = typed.split(" ")
    line = f"COMP_WORDS=({' '.join(word or chr(39) * 2 for word in words)}); COMP_CWORD={len(words) - 1}"
    ask = f"{script}\n{line}\n_moola\nprintf '%s\\n' \"${{COMPREPLY[@]}}\""
    done = subprocess.run(["bash", "-c", ask], capture_output=True, text=True, check=True)
    return done.stdout.split()


@pytest.mark.slow
def test_bash_completes_commands_and_options(moola):
    script = moola("completion", "bash", "--json").json["script"]
    assert completions(script, "moola sca") == ["scan"]
    assert {"train", "tune"} <= set(completions(script, "moola t"))
    assert "--follow" in completions(script, "moola scan --fol")
    assert completions(script, "moola bars ch") == ["check"]
    assert {"bash", "zsh", "fish"} <= set(completions(script, "moola completion "))


@pytest.mark.slow
@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_other_shells_read_their_scripts(moola, shell):
    script = moola("completion", shell).out
    assert "pretrain-bilstm" in script
    assert "predict-pointers" in script or shell == "zsh"
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed: its script is looked at, not run")
    Path("script").write_text(script)
    subprocess.run([shell, "-n", "script"], check=True)


def test_another_shell_is_refused(moola):
    moola("completion", "powershell").ends(2, "bash")


def test_a_setting_that_is_called_as_a_command_is_read(moola):
    """`split` is an option of train and a command too."""
    for text in ('split = "no.json"\ndata = "no.parquet"\n', '[train]\nsplit = "no.json"\ndata = "no.parquet"\n'):
        Path("moola.toml").write_text(text)
        moola("train").ends(1, "no.parquet", "split = no.json")
    Path("moola.toml").write_text('["bars check"]\n')
    assert moola("bars", "check", "no.parquet").code == 2
    Path("moola.toml").write_text('["bars import"]\ninput = "no.csv"\noutput = "o.parquet"\n')
    assert "no.csv" in moola("bars", "import").err
