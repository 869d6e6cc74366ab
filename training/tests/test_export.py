"""A network written in the released format is the network that was trained, here and in precis."""

import json
import os
import pathlib
import subprocess

import pytest
import torch

from training.checkpoint.expected import expected_values
from training.checkpoint.export import READ_BACK, TRAINED, write_release
from training.checkpoint.load import load_network
from training.checkpoint.names import Format, format_of, to_released
from training.checkpoint.released import decoded, encoded, read_tensors, write_tensors
from training.errors import TrainingError
from training.model.config import load_config
from training.model.initial import hash_table, initialise, soft_slots
from training.model.network import Network
from training.tests.golden import GOLDEN

SHAPE = GOLDEN / "flash_fp8"  # window, sparse and heavy layers, hashed and scored experts


def random_network(seed: int = 1) -> Network:
    network = Network(load_config(SHAPE / "config.json"))
    initialise(network, torch.ones(network.config.vocab_size), seed)
    return network


def prompt(n_tokens: int) -> torch.Tensor:
    return torch.randint(256, (n_tokens,), generator=torch.Generator().manual_seed(n_tokens))


def test_file_has_the_released_tensors() -> None:
    want = read_tensors(SHAPE / "model.safetensors")
    got = encoded(to_released(random_network().state_dict()))
    assert {name: (t.dtype, t.shape) for name, t in got.items()} == {
        name: (t.dtype, t.shape) for name, t in want.items()
    }


def test_decoding_undoes_encoding_of_released_values() -> None:
    file = read_tensors(SHAPE / "model.safetensors")
    values = decoded(file)
    again = decoded(encoded(values))
    # A block whose largest code does not need its scale is given a smaller one: the values stay.
    for name, tensor in values.items():
        assert torch.equal(again[name], tensor), name


def test_every_weight_of_the_file_is_what_training_computes_with() -> None:
    released = to_released(random_network().state_dict())
    values = decoded(encoded(released))
    rounding = {
        Format.FP8: TRAINED.fp8_weight,
        Format.FP4: TRAINED.fp4_weight,
        Format.BF16: TRAINED.bf16_weight,
    }
    for name, tensor in released.items():
        rounded = rounding.get(format_of(name), lambda x: x)(tensor)
        assert torch.equal(values[name], rounded), name


def test_written_checkpoint_gives_the_trained_logits(tmp_path: pathlib.Path) -> None:
    network = random_network()
    write_release(network, [SHAPE], tmp_path, prompt(200))
    ids = prompt(130)
    want = expected_values(network, ids, TRAINED)
    got = expected_values(load_network(tmp_path), ids, READ_BACK)
    for name, tensor in want.items():
        assert torch.equal(got[name], tensor), name


def test_precis_agrees_layer_by_layer(tmp_path: pathlib.Path) -> None:
    precis = os.environ.get("PRECIS")
    if precis is None:
        pytest.skip("PRECIS does not name the program")
    write_release(random_network(), [SHAPE], tmp_path, prompt(300))
    command = [precis, "verify", "-m", str(tmp_path), "--per-layer", "--json"]
    command += ["--expected", str(tmp_path / "expected.safetensors")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    report = json.loads(done.stdout or "{}")
    assert report.get("pass"), done.stdout + done.stderr
    assert len(report["per_layer"]) == 5


def test_a_missing_tensor_is_named(tmp_path: pathlib.Path) -> None:
    network = random_network()
    write_release(network, [SHAPE], tmp_path, prompt(64))
    tensors = read_tensors(tmp_path / "model.safetensors")
    del tensors["layers.2.attn.wkv.scale"]
    write_tensors(tmp_path / "model.safetensors", tensors)
    with pytest.raises(TrainingError, match=r"layers\.2\.attn\.wkv\.scale"):
        load_network(tmp_path)


def test_a_damaged_file_is_named(tmp_path: pathlib.Path) -> None:
    (tmp_path / "config.json").write_bytes((SHAPE / "config.json").read_bytes())
    (tmp_path / "model.safetensors").write_bytes(b"\x10\0\0\0\0\0\0\0 short")
    with pytest.raises(TrainingError, match=r"model\.safetensors is damaged"):
        load_network(tmp_path)


def test_soft_slots_prefer_each_token_in_its_channels() -> None:
    ape = soft_slots(192, 64)
    before, own = ape.split(192, 1)
    assert own[:, :128].sum(0).eq(1.5).all()
    assert before[:, :128].sum(0).eq(1.0).all()
    assert ape[:, 128:192].eq(0).all()
    assert own[2, 64:96].eq(1.5).all()


def test_hash_table_spreads_tokens_evenly() -> None:
    counts = torch.arange(1, 513).float()
    table = hash_table(counts, 16, 2, torch.Generator().manual_seed(1))
    mass = torch.zeros(16).index_add(0, table.flatten(), counts.repeat_interleave(2))
    assert (mass.max() / mass.mean()).item() < 1.01
    assert (table[:, 0] != table[:, 1]).all()
