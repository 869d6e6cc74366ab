"""The batch of a step: a pure function of the recipe and the step's number.

So a run that resumes needs no state of the data, and the number of workers changes nothing.
"""

import json
import math
import os
import pathlib
from typing import NamedTuple

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from training.data.corpus import load_passages
from training.data.tasks.boosters import write_booster
from training.data.tasks.draws import Draws, Vocabulary
from training.data.tasks.haystack import Haystack, noise_line, running_words
from training.data.tasks.retrieval import RetrievalOptions, Writer, write_retrieval
from training.data.tasks.stories import write_stories
from training.data.tasks.written import Span, Written
from training.data.tokenizer import Encoder, load_tokenizer
from training.data.wordings import load_wordings
from training.errors import TrainingError
from training.model.config import HEAVY
from training.train.recipe import Recipe, Stage

MOST_POSITIONS = 2**20
MOST_HEAVY_COUNT = 128


class Batch(NamedTuple):
    token_ids: Tensor  # [B, T + 1]
    text_weight: Tensor  # [B, T] of the tokens that follow
    answer_weight: Tensor  # [B, T]
    positions: Tensor  # [B, T] of compressed attention
    log_count: Tensor  # [B] of heavily compressed rows
    distractors: bool  # whether heavily compressed rows of other sequences are seen
    n_best: int
    spans: list[list[Span]]


class Batches(Dataset[Batch]):
    """Batches by step.  Opens its files on first use, in the worker that reads them."""

    def __init__(self, recipe: Recipe, directory: pathlib.Path) -> None:
        self._recipe = recipe
        self._directory = directory
        self._writer: Writer | None = None
        self._vocabulary = Vocabulary([], [], [])

    def __len__(self) -> int:
        return self._recipe.total_steps

    def __getitem__(self, step: int) -> Batch:
        stage, _ = self._recipe.at(step)
        n_sequences = self._recipe.tokens_per_step // stage.sequence
        written = [self._sequence(step, i, stage) for i in range(n_sequences)]
        arrays = [one.arrays() for one in written]
        ids, text, answer = (
            torch.stack([torch.from_numpy(a[i]) for a in arrays]) for i in range(3)
        )
        draws = self._draws(step, "batch")
        jumping = draws.chance(stage.jumps)
        counts = [draws.random.random() * math.log(MOST_HEAVY_COUNT) for _ in range(n_sequences)]
        true = torch.arange(stage.sequence)
        positions = [
            true + jumps(draws, stage.sequence) if jumping else true for _ in range(n_sequences)
        ]
        return Batch(
            token_ids=ids,
            text_weight=text[:, 1:],
            answer_weight=answer[:, 1:],
            positions=torch.stack(positions),
            log_count=torch.tensor(counts) if jumping else torch.zeros(n_sequences),
            distractors=jumping and draws.chance(0.5),
            n_best=draws.pick(stage.n_best),
            spans=[one.spans for one in written],
        )

    def _draws(self, step: int, part: str) -> Draws:
        self._open()
        seed = f"{self._recipe.seed} {step} {part}"
        return Draws(seed, self._vocabulary)

    def _sequence(self, step: int, index: int, stage: Stage) -> Written:
        draws = self._draws(step, str(index))
        writer = self._open()
        n_tokens = stage.sequence + 1
        kind = draws.random.choices(list(stage.mix), list(stage.mix.values()))[0]
        if kind == "retrieval":
            least, most = stage.facts
            options = RetrievalOptions((least, most), stage.questions, stage.families)
            return write_retrieval(writer, draws, options, n_tokens)
        if kind == "booster":
            return write_booster(writer, draws, n_tokens)
        if kind == "story":
            return write_stories(writer, draws, n_tokens)
        out = Written()
        group = writer.haystack.draw_group(draws)
        out.add(writer.haystack.exactly(draws, group, n_tokens), text=1.0)
        return out

    def _open(self) -> Writer:
        if self._writer is None:
            self._writer = load_writer(self._directory, self._recipe.haystack)
            self._vocabulary = load_vocabulary(self._directory / "words.json", self._writer)
        return self._writer


def jumps(draws: Draws, n_tokens: int) -> Tensor:
    """What is added to each position: one to five steps up at multiples of 128, below 2²⁰."""
    added = torch.zeros(n_tokens, dtype=torch.long)
    room = MOST_POSITIONS - n_tokens
    for i in range(1 + draws.random.randint(1, 4)):
        size = HEAVY * int(math.exp(draws.random.random() * math.log(room // HEAVY)))
        size = min(size, room)
        room = max(HEAVY, room - size)
        first = 0 if i == 0 else HEAVY * draws.random.randrange(n_tokens // HEAVY)
        added[first:] += size // HEAVY * HEAVY
    return added.clamp(max=MOST_POSITIONS - n_tokens)


def load_writer(directory: pathlib.Path, weights: dict[str, float]) -> Writer:
    tokenizer = load_tokenizer(directory / "tokenizer.json")
    encoder = Encoder(tokenizer)
    wordings = load_wordings(directory / "wordings.json")
    groups = {group: load_passages(directory / "corpus", group, tokenizer) for group in weights}
    haystack = Haystack(groups, weights, noise_line(encoder, wordings["noise"][0]))
    return Writer(encoder, wordings, haystack)


def load_vocabulary(path: pathlib.Path, writer: Writer) -> Vocabulary:
    try:
        words = json.loads(path.read_text(encoding="utf-8"))
        nouns, adjectives = words["nouns"], words["adjectives"]
    except (OSError, ValueError, KeyError) as error:
        raise TrainingError(f"{path}: want the words of keys, found {error}") from error
    books = writer.haystack.groups["books"]
    return Vocabulary(nouns, adjectives, running_words(writer.encoder, books))


def batches_from(batches: Batches, first: int, last: int, n_workers: int) -> DataLoader[Batch]:
    """Batches of steps first … last − 1 in order, made ahead by workers."""
    os.environ["TOKENIZERS_PARALLELISM"] = "false"  # workers are the parallelism
    return DataLoader(
        batches,
        batch_size=None,
        sampler=range(first, last),
        num_workers=n_workers,
        prefetch_factor=4 if n_workers else None,
    )
