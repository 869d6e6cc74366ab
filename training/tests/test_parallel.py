"""Several processes train one network."""

import pathlib

import pytest
import torch
from torch.multiprocessing.spawn import spawn

from training.errors import TrainingError
from training.tests.small_run import small_batches, small_network, small_recipe, write_data
from training.train.log import LOG, read_log
from training.train.loop import Run, RunOptions
from training.train.parallel import Processes, join
from training.train.state import STATE, load_weights

N_STEPS = 3


def train(rank: int, data: pathlib.Path, out: pathlib.Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RANK", str(rank))
        patch.setenv("WORLD_SIZE", "2")
        patch.setenv("MASTER_ADDR", "localhost")
        patch.setenv("MASTER_PORT", "29533")
        torch.set_num_threads(1)
        options = RunOptions(out, 0, until_step=N_STEPS, log_every=1, processes=join())
        run = Run(small_network(), small_recipe(), small_batches(data), options)
        assert run.train() == N_STEPS
        torch.save(run.network.state_dict(), out / f"weights-{rank}.pt")


def test_all_processes_keep_the_same_weights(tmp_path: pathlib.Path) -> None:
    data, out, alone = tmp_path / "data", tmp_path / "out", tmp_path / "alone"
    for directory in (data, out, alone):
        directory.mkdir()
    write_data(data)
    spawn(train, (data, out), nprocs=2)
    saved = small_network(2)
    load_weights(out / STATE, saved)
    for rank in range(2):
        weights = torch.load(out / f"weights-{rank}.pt", weights_only=True)
        for name, tensor in saved.state_dict().items():
            assert torch.equal(tensor, weights[name]), name

    # One process that sees all sequences does nearly the same: means of shares are averaged.
    options = RunOptions(alone, 0, until_step=N_STEPS, log_every=1)
    Run(small_network(), small_recipe(), small_batches(data), options).train()
    together, single = ([one["text"] for one in read_log(at / LOG)] for at in (out, alone))
    assert len(together) == len(single) == N_STEPS
    assert abs(together[-1] - single[-1]) < 0.2 * single[-1]


def test_shares_make_up_the_batch(tmp_path: pathlib.Path) -> None:
    write_data(tmp_path)
    batch = small_batches(tmp_path)[0]
    parts = [Processes(rank, 2).share(batch) for rank in range(2)]
    assert torch.equal(torch.cat([part.token_ids for part in parts]), batch.token_ids)
    assert parts[0].spans + parts[1].spans == batch.spans
    with pytest.raises(TrainingError, match="a step has 2 sequences: want a number that 3 GPUs"):
        Processes(0, 3).share(batch)
