"""Text around facts: passages of the corpus that begin and end with sentences, or noise."""

import dataclasses

import numpy as np

from training.data.corpus import Passages
from training.data.tasks.draws import Draws
from training.data.tokenizer import END, Encoder


@dataclasses.dataclass(frozen=True)
class Haystack:
    """Groups of passages, and how often each is drawn."""

    groups: dict[str, Passages]
    weights: dict[str, float]
    noise: list[int]  # tokens of one line

    def draw_group(self, draws: Draws) -> str:
        names = list(self.weights)
        return draws.random.choices(names, [self.weights[name] for name in names])[0]

    def sentences(self, draws: Draws, group: str, n_tokens: int) -> list[int]:
        """At most n tokens, whole sentences; may be none where the first is longer."""
        if group == "noise":
            return self.noise * (n_tokens // len(self.noise))
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
