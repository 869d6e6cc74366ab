"""A run that is stopped anywhere goes on as if it had not; what is damaged is named."""

import pathlib
from typing import Any

import pytest
import torch

from training.data.batches import Batches
from training.errors import TrainingError
from training.tests.small_run import small_batches, small_network, small_recipe, write_data
from training.train.log import LOG, read_log
from training.train.loop import Run, RunOptions
from training.train.state import STATE, load_weights


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    directory = tmp_path_factory.mktemp("data")
    write_data(directory)
    return directory


def train(out: pathlib.Path, batches: Batches, until: int | None = None) -> int:
    out.mkdir(exist_ok=True)
    options = RunOptions(out, n_workers=0, until_step=until, log_every=1)
    return Run(small_network(), small_recipe(), batches, options).train()


def losses(out: pathlib.Path) -> list[dict[str, Any]]:
    """Everything that the log says but for the clock."""
    records = read_log(out / LOG)
    return [{name: one[name] for name in one if name != "tokens_per_s"} for one in records]


@pytest.fixture(scope="module")
def whole(data: pathlib.Path, tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """A run that was never stopped."""
    out = tmp_path_factory.mktemp("whole")
    assert train(out, small_batches(data)) == small_recipe().total_steps
    return out


def test_stopping_anywhere_changes_no_bit(
    data: pathlib.Path, whole: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    batches = small_batches(data)
    for until in (1, 4, 7, None):  # inside stages and between them
        train(tmp_path, batches, until)
    assert len(losses(whole)) == small_recipe().total_steps
    assert losses(tmp_path) == losses(whole)
    networks = [small_network(), small_network(2)]
    load_weights(whole / STATE, networks[0])
    load_weights(tmp_path / STATE, networks[1])
    other = networks[1].state_dict()
    for name, tensor in networks[0].state_dict().items():
        assert torch.equal(tensor, other[name]), name


def test_steps_after_the_last_state_are_forgotten(
    data: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    batches = small_batches(data)
    train(tmp_path, batches, until=2)
    state = (tmp_path / STATE).read_bytes()
    train(tmp_path, batches, until=4)
    (tmp_path / STATE).write_bytes(state)  # as if the run had been killed after step 3
    train(tmp_path, batches, until=3)
    assert [record["step"] for record in read_log(tmp_path / LOG)] == [0, 1, 2]


def test_loss_falls(whole: pathlib.Path) -> None:
    text = [record["text"] for record in losses(whole)]
    assert text[-1] < text[0] - 0.1


def test_a_gradient_that_is_not_finite_stops_with_its_name(
    data: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    network = small_network()
    run = Run(network, small_recipe(), small_batches(data), RunOptions(tmp_path, n_workers=0))
    with torch.no_grad():
        network.block(3).attn.wkv.weight[0, 0] = torch.nan
    before = network.block(0).attn.wq_a.weight.clone()
    with pytest.raises(TrainingError, match=r"step 0: the gradient of .* is not finite"):
        run.train()
    assert torch.equal(network.block(0).attn.wq_a.weight, before)


def test_a_damaged_state_is_named(data: pathlib.Path, tmp_path: pathlib.Path) -> None:
    train(tmp_path, small_batches(data), until=1)
    whole = (tmp_path / STATE).read_bytes()
    (tmp_path / STATE).write_bytes(whole[: len(whole) // 2])
    with pytest.raises(TrainingError, match=r"state\.pt is damaged"):
        train(tmp_path, small_batches(data))


def test_damaged_data_is_named(tmp_path: pathlib.Path) -> None:
    write_data(tmp_path)
    file = tmp_path / "corpus" / "books.npy"
    file.write_bytes(file.read_bytes()[:1000])
    with pytest.raises(TrainingError, match=r"books\.npy is damaged"):
        small_batches(tmp_path)[0]
    file.unlink()
    with pytest.raises(TrainingError, match=r"books\.npy does not exist"):
        small_batches(tmp_path)[0]
