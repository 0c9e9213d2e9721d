"""What a run is asked for: groups, their options by name, and files of older versions."""

import json
from pathlib import Path
from typing import Any

import pytest

import ocnet.run
from ocnet.run import Config, Course, Descent, Execution, RunFolder, Validation


OLD = {
    "problem": "problems.images:Digits", "settings": ["depth=2", "gamma=0.1"], "solver": "rk4",
    "gradient": "checkpoint", "steps": 7, "epochs": 3, "iterations": None, "batch_size": 16,
    "optimizer": "sgd", "lr": 0.5, "weight_decay": 1e-4, "schedule": "cosine", "warmup": 5,
    "gamma_schedule": "step", "gamma_warmup": 2, "clip": 1.0, "ema": 0.9, "patience": 4,
    "evaluate_every": 11, "checkpoint_every": 2.5, "device": "cpu", "precision": "bf16",
    "compile": True, "accumulate": 2, "sync_norms": True, "sharded": False, "capture": False,
    "channels_last": None, "seed": 9, "tensorboard": True,
}  # fmt: skip
"""A configuration as it was saved before there were groups, with no value as it is by default."""


def test_a_configuration_without_groups_still_loads(tmp_path: Path) -> None:
    config = Config.from_json(json.dumps(OLD))
    assert config.options() == OLD
    assert config.descent == Descent("sgd", 0.5, 1e-4, 1.0, Course("cosine", 5))
    assert config.gamma == Course("step", 2) and config.validation == Validation(0.9, 4, 11)
    assert config.length.epochs == 3 and config.discretisation.steps == 7
    (tmp_path / "config.json").write_text(json.dumps(OLD))
    assert RunFolder(tmp_path).config() == config


def test_what_is_saved_is_loaded_and_is_in_groups() -> None:
    config = Config.of(**OLD)
    assert Config.from_json(config.to_json()) == config
    saved = json.loads(config.to_json())
    assert len(saved) == 10
    assert saved["descent"]["course"] == {"schedule": "cosine", "warmup": 5}
    assert saved["gamma"] == {"schedule": "step", "warmup": 2}
    part: dict[str, Any] = {"problem": "a:B", "descent": {"lr": 0.25}}
    assert Config.from_json(json.dumps(part)) == Config.of("a:B", lr=0.25)


@pytest.mark.parametrize(
    "values, line",
    [
        ({**OLD, "colour": 3}, "it asks for 'colour', unknown to this version"),
        ({"problem": "a:B", "descent": {"speed": 3}}, "it asks for 'descent.speed'"),
        ({"problem": "a:B", "gamma": {"lr": 3}}, "it asks for 'gamma.lr'"),
        ({"problem": "a:B", "descent": {"course": {"length": 3}}}, "'descent.course.length'"),
    ],
)
def test_a_saved_option_that_is_not_known_is_named(values: dict[str, Any], line: str) -> None:
    with pytest.raises(ValueError, match=line):
        Config.from_json(json.dumps(values))


def test_an_option_that_is_not_known_is_named() -> None:
    with pytest.raises(TypeError, match="no option 'learning_rate', only: seed, .*lr"):
        Config.of("a:B", learning_rate=0.1)


@pytest.mark.parametrize(
    "options, line",
    [
        ({"gamma_warmup": -1}, "gamma_warmup >= 0, but got gamma_warmup=-1"),
        ({"warmup": -1}, "^Must have warmup >= 0"),
        ({"gamma_schedule": "linear"}, "gamma_schedule must be one of .*'linear'"),
        ({"schedule": "linear"}, "^schedule must be one of"),
        ({"capture": True, "gamma_warmup": 3}, "keeps gamma as it was recorded"),
        ({"sharded": True, "optimizer": "lbfgs"}, "L-BFGS needs whole parameters"),
    ],
)
def test_options_that_do_not_fit_are_named(options: dict[str, Any], line: str) -> None:
    with pytest.raises(ValueError, match=line):
        Config.of("a:B", **options)
    with pytest.raises(ValueError, match="Must have accumulate >= 1"):
        Config("a:B", execution=Execution(accumulate=0))


def test_each_option_changes_alone() -> None:
    plain = Config.of("a:B").options()
    for name, value in OLD.items():
        if name in ("problem", "iterations", "capture", "sharded", "channels_last"):
            continue
        found = Config.of("a:B").changed(**{name: value}).options()
        assert found == {**plain, name: value}


def test_runs_know_no_residual_networks() -> None:
    """What a residual network needs of a run, it says itself."""
    folder = Path(ocnet.run.__file__).parent
    for path in folder.glob("*.py"):
        text = path.read_text("utf-8")
        assert "networks" not in text.lower() and "Residual" not in text, path.name
