"""Text around facts: passages of the corpus that begin and end with sentences, or noise."""

import dataclasses
import re
from typing import Protocol

import numpy as np

from training.data.corpus import Passages
from training.data.tasks.draws import Draws
from training.data.tokenizer import END, Encoder

N_PIECES, PIECE_TOKENS = 128, 2048  # of the books, evenly, of which running words are taken
POOL_TOKENS = 48  # at most, of a passage that is met again and again


class Filler(Protocol):
    """What surrounds facts in one sequence."""

    @property
    def weight(self) -> float:
        """Of its tokens in the loss of the text."""

    def __call__(self, n_tokens: int) -> list[int]:
        """At most n tokens, whole sentences; may be none where the first is longer."""


@dataclasses.dataclass(frozen=True)
class Haystack:
    """Groups of passages, and how often each is drawn."""

    groups: dict[str, Passages]
    weights: dict[str, float]
    noise: list[int]  # tokens of one line

    def draw_group(self, draws: Draws) -> str:
        names = list(self.weights)
        return draws.random.choices(names, [self.weights[name] for name in names])[0]

    def filler(self, draws: Draws) -> Filler:
        if draws.chance(0.05):
            return _Noise(self.noise)
        group = self.draw_group(draws)
        if draws.chance(0.15):
            n_passages = draws.random.randint(6, 60)
            pool = [self.sentences(draws, group, POOL_TOKENS) for _ in range(n_passages)]
            return _Repeated(draws, [passage for passage in pool if passage] or [self.noise])
        return _Prose(self, draws, group)

    def sentences(self, draws: Draws, group: str, n_tokens: int) -> list[int]:
        """At most n tokens, whole sentences; may be none where the first is longer."""
        passages = self.groups[group]
        i = draws.random.randrange(len(passages.starts))
        begin = passages.starts[i]
        j = int(np.searchsorted(passages.starts, begin + n_tokens, side="right")) - 1
        piece = passages.tokens[begin : passages.starts[max(i, j)]]
        return piece[piece > END].tolist()

    def exactly(self, draws: Draws, group: str, n_tokens: int) -> list[int]:
        """Running text from the beginning of a sentence, begins and ends of documents included."""
        passages = self.groups[group]
        last = len(passages.tokens) - n_tokens
        n_starts = int(np.searchsorted(passages.starts, last))
        begin = passages.starts[draws.random.randrange(n_starts)]
        return passages.tokens[begin : begin + n_tokens].tolist()


def noise_line(encoder: Encoder, noise: str) -> list[int]:
    return encoder("\n" + noise)


@dataclasses.dataclass(frozen=True)
class _Prose:
    haystack: Haystack
    draws: Draws
    group: str
    weight: float = 1.0

    def __call__(self, n_tokens: int) -> list[int]:
        return self.haystack.sentences(self.draws, self.group, n_tokens)


@dataclasses.dataclass(frozen=True)
class _Noise:
    line: list[int]
    weight: float = 0.0

    def __call__(self, n_tokens: int) -> list[int]:
        return self.line * (n_tokens // len(self.line))


@dataclasses.dataclass(frozen=True)
class _Repeated:
    """A few passages again and again: what follows a common word can be copied from anywhere."""

    draws: Draws
    pool: list[list[int]]
    weight: float = 0.0

    def __call__(self, n_tokens: int) -> list[int]:
        out: list[int] = []
        while True:
            passage = self.draws.pick(self.pool)
            if len(out) + len(passage) > n_tokens:
                return out
            out += passage


def running_words(encoder: Encoder, passages: Passages) -> list[str]:
    """Words of pieces of all books: as they stand there, but small and without marks."""
    last = max(0, len(passages.tokens) - PIECE_TOKENS)
    words: list[str] = []
    for begin in np.linspace(0, last, N_PIECES, dtype=int):
        piece = passages.tokens[begin : begin + PIECE_TOKENS]
        text = encoder.decode(piece[piece > END].tolist())
        words += re.findall(r"\b[a-z]+\b", text.lower())[1:-1]  # the outer two may be parts
    return words
