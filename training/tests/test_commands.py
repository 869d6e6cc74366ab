"""The commands: what they write, and that they name what is wrong."""

import itertools
import json
import pathlib
import tarfile

import pytest

from training.errors import TrainingError
from training.evaluate import Evaluation, Gate, length_of
from training.plot import draw
from training.run import unpacked
from training.tests.small_run import RECIPE
from training.train.log import LOG
from training.train.recipe import load_recipe

ANSWERS = {
    "cells": [{"task": "niah", "length": 4096, "score": 0.99, "questions": 100}],
    "selector_recall": [
        {"task": "niah", "right": True, "layers": [{"layer": 2, "hit": 99, "tokens": 100}]},
        {"task": "niah", "right": False, "layers": [{"layer": 2, "hit": 0, "tokens": 100}]},
        {"task": "niah", "right": True, "layers": [{"layer": 4, "hit": 200, "tokens": 200}]},
    ],
}


def program_that_prints(directory: pathlib.Path, text: str, code: int = 0) -> pathlib.Path:
    script = directory / "precis"
    script.write_text(f"#!/bin/sh\ncat <<'END'\n{text}\nEND\nexit {code}\n")
    script.chmod(0o755)
    return script


def test_gates_say_what_passed_what_missed_and_what_was_not_run(tmp_path: pathlib.Path) -> None:
    precis = program_that_prints(tmp_path, json.dumps(ANSWERS))
    evaluation = Evaluation(precis, tmp_path, tmp_path)
    evaluation.gate(Gate("niah", (4096, 131072), 1.0, 1), length_of("32K"))
    verdicts = [(what, verdict) for what, _, _, verdict in evaluation.rows]
    assert verdicts == [
        ("niah 4K", "MISSED"),
        ("niah 4K, answer row selected", "pass"),  # by layer 4
        ("niah 128K", ""),
    ]
    assert "| niah 4K | >= 100 % | 99.0 % of 100 | MISSED |" in evaluation.table()


def test_what_the_program_says_is_passed_on(tmp_path: pathlib.Path) -> None:
    precis = program_that_prints(tmp_path, "no such model", code=2)
    with pytest.raises(TrainingError, match=r"eval .*failed: no such model"):
        Evaluation(precis, tmp_path, tmp_path).ask("x", [])


def test_archive_is_unpacked_once_and_named_if_damaged(tmp_path: pathlib.Path) -> None:
    (tmp_path / "words.json").write_text("{}")
    archive = tmp_path / "archive.tar.xz"
    with tarfile.open(archive, "w:xz") as tar:
        tar.add(tmp_path / "words.json", arcname="words.json")
    out = tmp_path / "out"
    out.mkdir()
    assert (unpacked(archive, out) / "words.json").read_text() == "{}"
    archive.unlink()
    assert unpacked(archive, out) == out / "data"
    archive.write_bytes(b"not an archive")
    other = tmp_path / "other"
    other.mkdir()
    with pytest.raises(TrainingError, match=r"archive\.tar\.xz: want the archive of prepare"):
        unpacked(archive, other)


def test_recipe_names_what_is_unknown_or_impossible(tmp_path: pathlib.Path) -> None:
    text = RECIPE.read_text(encoding="utf-8")
    path = tmp_path / "recipe.toml"
    path.write_text(text.replace("jumps = 0.0", "jmups = 0.0", 1))
    with pytest.raises(TrainingError, match="a stage: jmups is unknown"):
        load_recipe(path)
    path.write_text(text.replace("sequence = 1024", "sequence = 1000"))
    with pytest.raises(TrainingError, match=r"stage form: want a sequence .* found 1000"):
        load_recipe(path)


def test_rates_are_continuous_and_fall_at_the_end() -> None:
    recipe = load_recipe(RECIPE)
    rates = [recipe.rate(step) for step in range(recipe.total_steps)]
    assert max(abs(a - b) for a, b in itertools.pairwise(rates)) < 0.011
    assert rates[0] < 0.02
    assert rates[-1] < 0.03


def test_curves_are_drawn(tmp_path: pathlib.Path) -> None:
    with pytest.raises(TrainingError, match="found no record"):
        draw(tmp_path, tmp_path / "curves.png")
    record = {"stage": "form", "tokens": 1e6, "text": 5.0, "answers": 4.0, "index": 0.1}
    record |= {"tokens_per_s": 1000, "answers_right": {"value": [1, 2]}}
    lines = [json.dumps({**record, "step": i, "tokens": 1e6 * i}) for i in range(3)]
    (tmp_path / LOG).write_text("\n".join(lines) + '\n{"step": 3, "te')  # cut off
    draw(tmp_path, tmp_path / "curves.png")
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")
