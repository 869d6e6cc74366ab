"""Draws the curves of a run: losses, whole answers right, speed.

python -m training.plot OUT curves.png
"""

import argparse
import itertools
import pathlib
import sys

import matplotlib.pyplot as plt
from matplotlib.axes import Axes

from training.errors import TrainingError, exit_code_of
from training.train.log import LOG, read_log

LOSSES = {"text": "text", "answers": "answers", "index": "indexers", "mtp": "MTP block"}


def draw(run: pathlib.Path, picture: pathlib.Path) -> None:
    path = run / LOG
    records = read_log(path) if path.exists() else []
    if not records:
        raise TrainingError(f"{path}: want the log of a run, found no record")
    figure, axes = plt.subplots(3, 1, figsize=(9, 11), sharex=True, constrained_layout=True)
    tokens = [record["tokens"] / 1e6 for record in records]
    for name, label in LOSSES.items():
        values = [record.get(name, float("nan")) for record in records]
        axes[0].plot(tokens, values, label=label)
    axes[0].set(ylabel="nats", title="Losses")
    for task in sorted({task for record in records for task in record["answers_right"]}):
        counts = [record["answers_right"].get(task, [0, 0]) for record in records]
        points = [(x, 100 * a / n) for x, (a, n) in zip(tokens, counts, strict=True) if n]
        axes[1].plot(*zip(*points, strict=True), label=task.replace("_", " "))
    axes[1].set(ylabel="%", title="Whole answers right", ylim=(0, 101))
    axes[2].plot(tokens, [record["tokens_per_s"] / 1e3 for record in records])
    axes[2].set(xlabel="million tokens", ylabel="thousand tokens / s", title="Speed")
    _mark_stages(axes, records, tokens)
    for axis in axes[:2]:
        axis.legend(fontsize="small", ncols=3)
    figure.savefig(picture, dpi=120)


def _mark_stages(axes: list[Axes], records: list[dict], tokens: list[float]) -> None:  # type: ignore[type-arg]
    for (before, after), x in zip(itertools.pairwise(records), tokens[1:], strict=True):
        if before["stage"] != after["stage"]:
            for axis in axes:
                axis.axvline(x, color="grey", linewidth=0.8)


def main() -> int:
    parser = argparse.ArgumentParser(description="Draws the curves of a run.")
    parser.add_argument("run", type=pathlib.Path)
    parser.add_argument("picture", type=pathlib.Path, help="name ending in .png or .svg")
    args = parser.parse_args()
    return exit_code_of("plot", lambda: draw(args.run, args.picture))


if __name__ == "__main__":
    sys.exit(main())
