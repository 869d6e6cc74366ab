"""A sequence while it is written: tokens, what each weighs in the losses, where answers lie."""

import dataclasses
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class Span(NamedTuple):
    """Tokens first … last − 1 of a sequence are the answer to a question of `task`."""

    first: int
    last: int
    task: str


@dataclasses.dataclass
class Written:
    tokens: list[int] = dataclasses.field(default_factory=list)
    text_weight: list[float] = dataclasses.field(default_factory=list)
    answer_weight: list[float] = dataclasses.field(default_factory=list)
    spans: list[Span] = dataclasses.field(default_factory=list)

    def __len__(self) -> int:
        return len(self.tokens)

    def add(self, tokens: list[int], *, text: float = 0.0, answer: float = 0.0) -> None:
        self.tokens += tokens
        self.text_weight += [text] * len(tokens)
        self.answer_weight += [answer] * len(tokens)

    def cut(self, n_tokens: int) -> "Written":
        """The first n tokens; an answer that is cut is no answer."""
        for span in self.spans:
            if span.last > n_tokens:
                self.answer_weight[span.first :] = [0.0] * (len(self) - span.first)
        return Written(
            self.tokens[:n_tokens],
            self.text_weight[:n_tokens],
            self.answer_weight[:n_tokens],
            [span for span in self.spans if span.last <= n_tokens],
        )

    def arrays(self) -> tuple[NDArray[np.int64], NDArray[np.float32], NDArray[np.float32]]:
        return (
            np.array(self.tokens, dtype=np.int64),
            np.array(self.text_weight, dtype=np.float32),
            np.array(self.answer_weight, dtype=np.float32),
        )
