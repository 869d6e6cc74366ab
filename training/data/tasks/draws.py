"""Random keys and values, a pure function of a seed: any worker makes the same ones."""

import dataclasses
import random
import uuid
from collections.abc import Callable, Sequence
from typing import TypeVar

from training.data.tasks import forms

T = TypeVar("T")


@dataclasses.dataclass(frozen=True)
class Vocabulary:
    """Words that are drawn from."""

    nouns: list[str]
    adjectives: list[str]
    running: list[str]  # as they follow each other in books, without marks


class Draws:
    def __init__(self, seed: str, vocabulary: Vocabulary) -> None:
        self.random = random.Random(seed)
        self.nouns = vocabulary.nouns
        self.adjectives = vocabulary.adjectives
        self.running = vocabulary.running

    def pick(self, items: Sequence[T]) -> T:
        return self.random.choice(items)

    def chance(self, probability: float) -> bool:
        return self.random.random() < probability

    def number(self, n_digits: int) -> str:
        first = self.random.randint(1, 9)
        return str(first) + "".join(str(self.random.randint(0, 9)) for _ in range(n_digits - 1))

    def n_digits(self) -> int:
        return 7 if self.chance(0.6) else self.random.randint(3, 9)

    def uuid(self) -> str:
        return str(uuid.UUID(int=self.random.getrandbits(128), version=4))

    def running_words(self, n_words: int) -> list[str]:
        first = self.random.randrange(len(self.running) - n_words)
        return self.running[first : first + n_words]

    def variable(self, n_letters: int) -> str:
        return "".join(chr(ord("A") + self.random.randrange(26)) for _ in range(n_letters))

    def value(self, kind: str, n_digits: int = 7) -> str:
        match kind:
            case "number":
                return self.number(n_digits)
            case "uuid":
                return self.uuid()
            case "colour":
                return self.pick(forms.COLOURS)
            case "town":
                return self.pick(forms.TOWNS)
            case "person":
                return f"{self.pick(forms.FIRST_NAMES)} {self.pick(forms.LAST_NAMES)}"
            case _:
                noun = self.pick(self.nouns)
                return noun if self.chance(0.7) else f"{self.pick(self.adjectives)} {noun}"

    def distinct(self, n_wanted: int, make: Callable[[], str]) -> list[str]:
        """n different ones; `make` must be able to give that many."""
        seen: dict[str, None] = {}
        while len(seen) < n_wanted:
            seen[make()] = None
        return list(seen)

    def keys(self, n_keys: int, kind: str) -> list[str]:
        """Different keys that share their parts: about √n words of each kind make n keys."""
        if kind == "number":
            return self.distinct(n_keys, lambda: self.number(self.pick((5, 7))))
        if kind == "uuid":
            return self.distinct(n_keys, self.uuid)
        if kind == "noun":
            return self.random.sample(self.nouns, n_keys)
        n_parts = int((2 * n_keys) ** 0.5) + 3
        if kind == "person":
            firsts: list[str] = list(forms.FIRST_NAMES)
            lasts: list[str] = list(forms.LAST_NAMES)
            self.random.shuffle(firsts)
            self.random.shuffle(lasts)
            firsts, lasts = firsts[:n_parts], lasts[:n_parts]
            if n_keys > len(firsts) * len(lasts) // 2:
                return self.keys(n_keys, "hyphen")
            return self.distinct(n_keys, lambda: f"{self.pick(firsts)} {self.pick(lasts)}")
        adjectives = self.random.sample(self.adjectives, n_parts)
        nouns = self.random.sample(self.nouns, n_parts)
        form = "{}-{}" if kind == "hyphen" else "the {} {}"
        return self.distinct(n_keys, lambda: form.format(self.pick(adjectives), self.pick(nouns)))
