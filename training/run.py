"""Trains: one command, no network, one GPU or several.

    python -m training.run archive.tar.xz OUT
    torchrun --nproc-per-node 2 -m training.run archive.tar.xz OUT

goes on where OUT's last state ends, stops after --minutes if asked, and writes the released
checkpoint to OUT/model when the recipe is done.  Without a GPU it runs in f32 on the CPU, which is
for trying it out.
"""

import argparse
import math
import os
import pathlib
import sys
import tarfile

import numpy as np
import torch
from torch import Tensor

from training.data.batches import Batches
from training.errors import TrainingError, exit_code_of
from training.export import export
from training.model.config import ModelConfig, load_config
from training.model.initial import initialise
from training.model.network import Network
from training.train.loop import Run, RunOptions
from training.train.parallel import join
from training.train.recipe import load_recipe
from training.train.state import load_weights

HERE = pathlib.Path(__file__).parent
MOST_GRAPHS = 64  # one a kind of block, sequence length and set of roundings


def unpacked(data: pathlib.Path, out: pathlib.Path) -> pathlib.Path:
    """The data directory; an archive is unpacked beside the run, once."""
    if data.is_dir():
        return data
    directory = out / "data"
    if not directory.exists():
        try:
            with tarfile.open(data) as tar:
                tar.extractall(directory.with_suffix(".part"), filter="data")
        except (OSError, tarfile.TarError, EOFError) as error:
            raise TrainingError(f"{data}: want the archive of prepare, found {error}") from error
        directory.with_suffix(".part").rename(directory)
    return directory


def count_tokens(corpus: pathlib.Path, groups: list[str], vocab_size: int) -> Tensor:
    counts = np.zeros(vocab_size, dtype=np.int64)
    for group in groups:
        tokens = np.load(corpus / f"{group}.npy", mmap_mode="r")
        counts += np.bincount(tokens, minlength=vocab_size)
    return torch.from_numpy(counts).float()


def started_network(
    config: ModelConfig, counts: Tensor, seed: int, device: torch.device
) -> Network:
    network = Network(config)
    initialise(network, counts, seed)
    network.to(device)
    if device.type == "cuda":
        torch.set_float32_matmul_precision("high")  # TF32 holds BF16 operands exactly
        torch._dynamo.config.recompile_limit = MOST_GRAPHS
        torch._dynamo.config.accumulated_recompile_limit = 8 * MOST_GRAPHS
        for i in range(config.num_hidden_layers):
            network.block(i).compile(fullgraph=True, dynamic=False)
        for mtp in network.mtp_blocks():
            mtp.block.compile(fullgraph=True, dynamic=False)
    return network


def train(args: argparse.Namespace) -> None:
    args.out.mkdir(parents=True, exist_ok=True)
    processes = join()
    recipe, config = load_recipe(args.recipe), load_config(args.shape / "config.json")
    if processes.is_first:
        unpacked(args.data, args.out)
    processes.wait()
    data = unpacked(args.data, args.out)
    batches = Batches(recipe, data)
    batches[0]  # names what is missing before anything is compiled
    counts = count_tokens(data / "corpus", list(recipe.haystack), config.vocab_size)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    network = started_network(config, counts, recipe.seed, device)
    if args.weights:
        load_weights(args.weights, network)
    n_workers = max(1, args.workers // processes.count)
    options = RunOptions(args.out, n_workers, args.steps, args.minutes, processes=processes)
    run = Run(network, recipe, batches, options)
    if processes.is_first:
        n = f"{processes.count} processes, " if processes.count > 1 else ""
        print(f"{n}{device}: step {run.first_step} of {recipe.total_steps}", flush=True)
    step = run.train()
    if not processes.is_first:
        return
    if step < recipe.total_steps:
        print(f"stopped at step {step} of {recipe.total_steps}; the same command goes on")
        return
    export(args.out, data, args.shape, args.out / "model")
    print(f"done: {args.out / 'model'}")


def main() -> int:
    parser = argparse.ArgumentParser(description="Trains the bundled model.")
    parser.add_argument("data", type=pathlib.Path, help="archive.tar.xz of prepare, or its folder")
    parser.add_argument("out", type=pathlib.Path, help="states, log and checkpoint")
    parser.add_argument("--recipe", type=pathlib.Path, default=HERE / "recipe.toml")
    parser.add_argument("--shape", type=pathlib.Path, default=HERE / "nano", help="config.json")
    parser.add_argument("--weights", type=pathlib.Path, help="start from the weights of this state")
    parser.add_argument("--minutes", type=float, default=math.inf, help="stop, saved, after these")
    parser.add_argument("--steps", type=int, help="stop, saved, before this step")
    parser.add_argument("--workers", type=int, default=max(1, (os.cpu_count() or 2) - 2))
    return exit_code_of("run", lambda: train(parser.parse_args()))


if __name__ == "__main__":
    os.environ.setdefault("PYTORCH_CUDA_ALLOC_CONF", "expandable_segments:True")
    sys.exit(main())
