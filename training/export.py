"""Writes the last state of a run as a released checkpoint.

python -m training.export OUT DATA MODEL
"""

import argparse
import pathlib
import sys

import numpy as np
import torch

from training.checkpoint.export import write_release
from training.data.corpus import HELD_OUT
from training.errors import exit_code_of
from training.model.config import load_config
from training.model.network import Network
from training.train.state import STATE, load_weights

HERE = pathlib.Path(__file__).parent
PROMPT_TOKENS = 200  # of the expected values beside the model


def export(
    run: pathlib.Path, data: pathlib.Path, shape: pathlib.Path, directory: pathlib.Path
) -> None:
    network = Network(load_config(shape / "config.json"))
    load_weights(run / STATE, network)
    held_out = np.load(data / "corpus" / f"{HELD_OUT}.npy", mmap_mode="r")
    prompt = torch.from_numpy(held_out[:PROMPT_TOKENS].astype(np.int64))
    write_release(network, [shape, data], directory, prompt)


def main() -> int:
    parser = argparse.ArgumentParser(description="Writes a run's network as a checkpoint.")
    parser.add_argument("run", type=pathlib.Path, help="folder of the run")
    parser.add_argument("data", type=pathlib.Path, help="folder with tokenizer.json and corpus")
    parser.add_argument("model", type=pathlib.Path, help="folder to write")
    parser.add_argument("--shape", type=pathlib.Path, default=HERE / "nano", help="config.json")
    args = parser.parse_args()
    return exit_code_of("export", lambda: export(args.run, args.data, args.shape, args.model))


if __name__ == "__main__":
    sys.exit(main())
