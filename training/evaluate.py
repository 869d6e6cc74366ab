"""Holds an exported checkpoint to the release gates, through precis: greedy, held-out words.

    python -m training.evaluate MODEL --precis build/precis --novel NOVEL.txt --up-to 32K

Answers stay in --out, so that a longer run asks only what is new.
"""

import argparse
import dataclasses
import json
import math
import pathlib
import subprocess
import sys
from typing import Any

from training.data.tokenizer import Encoder, load_tokenizer
from training.errors import TrainingError, exit_code_of

K = 1024


@dataclasses.dataclass(frozen=True)
class Gate:
    task: str
    lengths: tuple[int, ...]
    least: float
    n_samples: int  # haystacks; niah asks ten counted questions of each


GATES = (
    Gate("niah", (4 * K, 8 * K, 16 * K, 32 * K), 1.0, 10),
    Gate("niah", (128 * K,), 0.99, 10),
    Gate("niah", (256 * K, 512 * K, 1024 * K), 0.95, 4),
    Gate("niah_heldout", (4 * K, 8 * K, 16 * K, 32 * K), 1.0, 10),
    Gate("niah_heldout", (128 * K,), 0.99, 10),
    Gate("niah_multikey_1", (32 * K,), 0.95, 100),
    Gate("niah_multikey_2", (32 * K,), 0.95, 100),
    Gate("niah_multikey_2", (128 * K,), 0.85, 100),
    Gate("niah_multivalue", (32 * K,), 0.9, 100),
    Gate("niah_multiquery", (32 * K,), 0.9, 100),
    Gate("vt", (32 * K,), 0.9, 100),
)
MOST_BITS = 1.75  # a character of a novel that was never trained on
LEAST_SELECTOR_RECALL = 0.99
NOVEL_LENGTHS = (2 * K, 8 * K, 32 * K)


class Evaluation:
    def __init__(self, precis: pathlib.Path, model: pathlib.Path, out: pathlib.Path) -> None:
        self._precis, self._model, self._out = precis, model, out
        self.rows: list[tuple[str, str, str, str]] = []  # what, wanted, found, verdict

    def ask(self, name: str, arguments: list[str]) -> dict[str, Any]:
        command = [str(self._precis), "eval", "--model", str(self._model), "--json"]
        command += ["--out", str(self._out / name), *arguments]
        try:
            done = subprocess.run(command, check=True, capture_output=True, text=True)
        except (OSError, subprocess.CalledProcessError) as error:
            said = getattr(error, "stderr", "") or getattr(error, "stdout", "") or str(error)
            raise TrainingError(f"`{' '.join(command)}` failed: {said.strip()}") from error
        return dict(json.loads(done.stdout))

    def gate(self, gate: Gate, longest: int) -> None:
        lengths = [length for length in gate.lengths if length <= longest]
        for length in lengths:
            arguments = ["--tasks", gate.task, "--lengths", str(length)]
            result = self.ask(
                f"{gate.task}-{length}", [*arguments, "--samples", str(gate.n_samples)]
            )
            for cell in result["cells"]:
                found = f"{100 * cell['score']:.1f} % of {cell['questions']}"
                wanted = f">= {100 * gate.least:g} %"
                self._add(f"{gate.task} {length // K}K", wanted, found, cell["score"] >= gate.least)
            self._selector_recall(result, length)
        for length in gate.lengths[len(lengths) :]:
            self.rows.append((f"{gate.task} {length // K}K", f">= {gate.least:.0%}", "not run", ""))

    def _selector_recall(self, result: dict[str, Any], length: int) -> None:
        """Of the layer that finds most: the others need not look for the answer."""
        counts: dict[tuple[str, int], list[int]] = {}
        for cell in result["selector_recall"]:  # right and wrong answers apart
            for layer in cell["layers"]:
                sums = counts.setdefault((cell["task"], layer["layer"]), [0, 0])
                sums[0] += layer["hit"]
                sums[1] += layer["tokens"]
        for task in dict.fromkeys(task for task, _ in counts):
            share = max(hit / n for (one, _), (hit, n) in counts.items() if one == task and n)
            name = f"{task} {length // K}K, answer row selected"
            wanted = f">= {LEAST_SELECTOR_RECALL:.0%}"
            self._add(name, wanted, f"{share:.1%}", share >= LEAST_SELECTOR_RECALL)

    def novel(self, novel: pathlib.Path) -> None:
        text = novel.read_text(encoding="utf-8").replace("\0", "\n")
        tokens = Encoder(load_tokenizer(self._model / "tokenizer.json"))(text)
        lengths = [length for length in NOVEL_LENGTHS if length < len(tokens)]
        document = self._out / f"{novel.stem}.txt"
        document.write_text(text, encoding="utf-8")
        arguments = ["--tasks", "logprob", "--my-document", str(document)]
        arguments += ["--lengths", ",".join(map(str, lengths)), "--samples", "5"]
        for cell in self.ask(f"logprob-{novel.stem}", arguments)["cells"]:
            bits = cell["score"] / math.log(2) * len(tokens) / len(text)
            name = f"{novel.stem} {cell['length'] // K}K"
            found = f"{bits:.3f} bits a character"
            self._add(name, f"<= {MOST_BITS}", found, bits <= MOST_BITS)

    def _add(self, what: str, wanted: str, found: str, passed: bool) -> None:
        self.rows.append((what, wanted, found, "pass" if passed else "MISSED"))
        print("  ".join(self.rows[-1]), flush=True)

    def table(self) -> str:
        lines = ["| gate | wanted | found | |", "|---|---|---|---|"]
        return "\n".join([*lines, *(f"| {' | '.join(row)} |" for row in self.rows)]) + "\n"


def length_of(text: str) -> int:
    factor = {"K": K, "M": K * K}.get(text[-1:].upper())
    try:
        return int(text[:-1]) * factor if factor else int(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"want a length such as 32K, found {text}") from error


def evaluate(args: argparse.Namespace) -> None:
    args.out.mkdir(parents=True, exist_ok=True)
    evaluation = Evaluation(args.precis, args.model, args.out)
    for gate in GATES:
        evaluation.gate(gate, args.up_to)
    for novel in args.novel:
        evaluation.novel(novel)
    (args.out / "gates.md").write_text(evaluation.table(), encoding="utf-8")


def main() -> int:
    parser = argparse.ArgumentParser(description="Holds a checkpoint to the release gates.")
    parser.add_argument("model", type=pathlib.Path)
    parser.add_argument("--precis", type=pathlib.Path, default=pathlib.Path("build/precis"))
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("evaluation"))
    parser.add_argument("--novel", type=pathlib.Path, action="append", default=[])
    parser.add_argument("--up-to", type=length_of, default=32 * K, help="longest context")
    args = parser.parse_args()
    return exit_code_of("evaluate", lambda: evaluate(args))


if __name__ == "__main__":
    sys.exit(main())
