"""Arms: every option by its name and type, and an error that names what is wrong."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import pytest

from moola.errors import WrongUsage
from moola.options.training_options import PretrainOptions, TrainOptions
from moola.stages.benchmark_networks import OURS, Arm, read_arms, require_known


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "arms.toml"
    path.write_text(text)
    return path


def test_scratch_is_built_in_and_can_be_replaced(tmp_path):
    assert read_arms(None) == {"scratch": Arm("scratch")}
    assert read_arms(written(tmp_path, "[scratch.train]\nepochs = 3"))["scratch"].train == {"epochs": 3}


def test_values_become_what_the_options_hold(tmp_path):
    text = """
    [moves]
    pretrain = { mask-ratio = 0.4, learning_rate = 1, mask_strategy = "block" }
    train = { freeze_encoder = true, mirror_classes = ["a:b", "c"], dropout = 0, hidden_dim = 8 }
    [other.train]
    pretrained_encoder = "{bars}"
    """
    arms = read_arms(written(tmp_path, text))
    assert arms["moves"].pretrain == {"mask_ratio": 0.4, "learning_rate": 1.0, "mask_strategy": "block"}
    assert arms["moves"].train["mirror_classes"] == ("a:b", "c")
    assert type(arms["moves"].train["dropout"]) is float
    assert arms["moves"].needs_bars
    assert arms["other"].needs_bars
    assert not arms["scratch"].needs_bars


def test_a_path_means_the_file_it_is_from_here_and_an_encoder_of_its_own_may_stand_beside_another(
    tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    text = '[one.train]\npretrained_encoder = "base"\n[one.pretrain]\n[two.train]\npretrained_encoder = ["base", "x"]\n'
    arms = read_arms(written(tmp_path, text + '[a.train]\npretrained_encoder = "x/e.pt"'))
    assert arms["a"].train["pretrained_encoder"] == tmp_path / "x/e.pt"
    assert arms["one"].train["pretrained_encoder"] == Path("base")
    assert arms["one"].pretrain == {}
    assert arms["two"].train["pretrained_encoder"] == (Path("base"), Path("x").absolute())


def test_what_is_wrong_is_named(tmp_path):
    for text, said in (
        ("[a.train]\nepoch = 1", "Did you mean epochs?"),
        ("[a.pretrain]\nstrides = 1", "Did you mean stride?"),
        ("[a.trian]\nepochs = 1", "Did you mean train?"),
        ("[a.train]\nseed = 1", "leave data, split, seed"),
        ("[a.train]\nepochs = 1.5", "epochs of [a.train] must be int"),
        ("[a.train]\nepochs = true", "epochs of [a.train] must be int"),
        ('[a.train]\nmirror_classes = "same"', "mirror_classes"),
        ('[a.pretrain]\nmask_strategy = "bloc"', "'random' or 'block' or 'patch' or 'edge'"),
        ("[a.train]\naugment_data = 1", "must be bool"),
        ("[quant.train]\nepochs = 1", "name of its own"),
        ("['../a'.train]\nepochs = 1", "the name of a configuration"),
        ("a = 1", "every configuration must be a table"),
        ("[a]\ntrain = 1", "must be a table of options"),
        ('[a.train]\npretrained_encoder = ["x", "y"]\n[a.pretrain]', "at most two encoders"),
        ("[a", "must be TOML"),
    ):
        with pytest.raises(WrongUsage) as error:
            read_arms(written(tmp_path, text))
        assert said in str(error.value)
    with pytest.raises(WrongUsage, match="No such file"):
        read_arms(tmp_path / "none.toml")
    for stage, options in (("pretrain", PretrainOptions), ("train", TrainOptions)):
        assert set(OURS[stage]) <= {field.name for field in fields(options)}


def test_models_are_known_and_named_once():
    arms = read_arms(None)
    require_known(("prevalence", "quant", "scratch"), arms)
    with pytest.raises(WrongUsage, match=r"Did you mean logistic\?"):
        require_known(("logistics",), arms)
    for names in ((), ("scratch", "scratch")):
        with pytest.raises(WrongUsage, match="each model once"):
            require_known(names, arms)
