"""A run that a CPU does in seconds: a small network, a few steps, the example document as text."""

import dataclasses
import json
import os
import pathlib
import shutil

import numpy as np
import pytest
import torch

from training.data.batches import Batches
from training.data.tokenizer import Encoder, load_tokenizer
from training.data.wordings import ask_program
from training.model.config import load_config
from training.model.initial import initialise
from training.model.network import Network
from training.tests.golden import GOLDEN, ROOT
from training.train.recipe import Recipe, load_recipe

RECIPE = ROOT / "training" / "recipe.toml"
MINI = ROOT / "models" / "mini"


def program() -> pathlib.Path:
    if "PRECIS" not in os.environ:
        pytest.skip("PRECIS does not name the program, which has the wordings")
    return pathlib.Path(os.environ["PRECIS"])


def write_data(directory: pathlib.Path) -> None:
    """What prepare.py leaves, from files of the repository."""
    shutil.copyfile(MINI / "tokenizer.json", directory / "tokenizer.json")
    (directory / "wordings.json").write_text(json.dumps(ask_program(program())))
    letters = "abcdefghijklmnopqrstuvwxyz"
    words = {part: [f"{part[:-1]}{a}{b}" for a in letters for b in letters] for part in PARTS}
    (directory / "words.json").write_text(json.dumps(words))
    tokens = Encoder(load_tokenizer(MINI / "tokenizer.json"))(
        (MINI / "example" / "document.txt").read_text(encoding="utf-8")
    )
    (directory / "corpus").mkdir()
    for group in ("books", "glosses", "manuals"):
        np.save(directory / "corpus" / f"{group}.npy", np.array(tokens, dtype=np.uint16))


PARTS = ("nouns", "adjectives")


def small_recipe() -> Recipe:
    """Every stage, two steps of two short sequences each."""
    recipe = load_recipe(RECIPE)
    stages = [
        dataclasses.replace(stage, tokens=2 * 512, sequence=256, facts=[2, 6])
        for stage in recipe.stages
    ]
    return dataclasses.replace(recipe, tokens_per_step=512, warm_up_steps=4, stages=stages)


def small_network(seed: int = 1) -> Network:
    config = dataclasses.replace(load_config(GOLDEN / "flash_fp8" / "config.json"), vocab_size=4096)
    network = Network(config)
    initialise(network, torch.ones(config.vocab_size), seed)
    return network


def small_batches(directory: pathlib.Path) -> Batches:
    return Batches(small_recipe(), directory)
