"""Nouns and adjectives of which keys and values are made while training.

Words of the text that WordNet knows, met often enough to be spelled well, and none of those that
the evaluation holds out.
"""

import collections
import re

from training.data.extract import PARTS_OF_SPEECH
from training.data.wordings import Wordings

LEAST_COUNT = 12
_FIRST_WORD = re.compile(r"([a-z]{3,9})(?:, [^:]*)?: ")


def count_words(documents: list[str]) -> collections.Counter[str]:
    counts: collections.Counter[str] = collections.Counter()
    for document in documents:
        counts.update(re.findall(r"\b[a-z]{3,9}\b", document))
    return counts


def key_words(
    glosses: list[str], counts: collections.Counter[str], wordings: Wordings
) -> dict[str, list[str]]:
    """{"nouns": …, "adjectives": …}, sorted."""
    held_out = {word for name in wordings if name.startswith("held_out") for word in wordings[name]}
    words: dict[str, set[str]] = {heading: set() for heading in PARTS_OF_SPEECH.values()}
    part = ""
    for line in "\n".join(glosses).splitlines():
        part = line if line in words else part
        found = _FIRST_WORD.match(line)
        if found and counts[found[1]] >= LEAST_COUNT and found[1] not in held_out:
            words[part].add(found[1])
    return {"nouns": sorted(words["Nouns"]), "adjectives": sorted(words["Adjectives"])}
