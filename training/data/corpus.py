"""The tokens of all texts, in flat files that every worker maps.

Documents lie end to end, each between a begin and an end of sentence.  Beside the tokens lies where
sentences begin, so that passages are cut where prose may be cut.
"""

import dataclasses
import json
import pathlib
import re

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from training.data.sources import Text
from training.data.tokenizer import BEGIN, END, N_SPECIAL, Encoder
from training.errors import TrainingError

HELD_OUT = "held_out"
Tokens = NDArray[np.uint16]
_SENTENCE_END = re.compile(r'[.!?]["\')]?\s*$')


@dataclasses.dataclass(frozen=True)
class Passages:
    """Tokens of one group of texts and the places where sentences begin."""

    tokens: Tokens
    starts: NDArray[np.int64]


def capped(texts: dict[Text, list[str]]) -> dict[Text, list[str]]:
    """Cuts titles that would be more than their share of their group, from the end."""
    totals: dict[str, int] = {}
    for text, documents in texts.items():
        totals[text.group] = totals.get(text.group, 0) + sum(map(len, documents))
    kept: dict[Text, list[str]] = {}
    for text, documents in texts.items():
        room = int(text.share_at_most * totals[text.group])
        kept[text] = []
        for document in documents:
            room -= len(document)
            if room < 0 and kept[text]:
                break
            kept[text].append(document)
    return kept


def write_corpus(
    directory: pathlib.Path, texts: dict[Text, list[str]], tokenizer: Tokenizer
) -> list[dict[str, str | int]]:
    """One file a group and one of what is held out; returns what each text came to."""
    directory.mkdir(parents=True, exist_ok=True)
    encoder = Encoder(tokenizer)
    groups: dict[str, list[Tokens]] = {}
    record: list[dict[str, str | int]] = []
    for text, documents in texts.items():
        group = HELD_OUT if text.held_out else text.group
        encoded = [
            np.array([BEGIN, *ids, END], dtype=np.uint16) for ids in encoder.batch(documents)
        ]
        groups.setdefault(group, []).extend(encoded)
        record.append(
            {
                "title": text.title,
                "group": group,
                "licence": text.licence,
                "characters": sum(map(len, documents)),
                "tokens": sum(map(len, encoded)),
            }
        )
    for group, arrays in groups.items():
        np.save(directory / f"{group}.npy", np.concatenate(arrays))
    (directory / "sources.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    return record


def load_passages(directory: pathlib.Path, group: str, tokenizer: Tokenizer) -> Passages:
    path = directory / f"{group}.npy"
    try:
        tokens = np.load(path, mmap_mode="r")
    except FileNotFoundError as error:
        raise TrainingError(f"{path} does not exist: unpack the data archive there") from error
    except ValueError as error:
        raise TrainingError(f"{path} is damaged: want token numbers, found {error}") from error
    if tokens.dtype != np.uint16 or tokens.ndim != 1 or tokens.max() >= tokenizer.get_vocab_size():
        raise TrainingError(f"{path} is damaged: want 16-bit numbers below the vocabulary's size")
    ends = np.zeros(tokenizer.get_vocab_size(), dtype=bool)
    ends[END] = True
    for token in range(N_SPECIAL, len(ends)):
        ends[token] = bool(_SENTENCE_END.search(tokenizer.decode([token])))
    starts = np.nonzero(ends[tokens])[0] + 1
    return Passages(tokens, starts[starts < len(tokens)])
