"""The tokenizer: byte-level BPE with DeepSeek's pre-tokeniser, special tokens and file format.

Digits never merge: ten well-trained rows instead of a thousand.  The patterns in the file are those
of the release, which isolate runs of up to three digits; training isolates every digit, so that no
merge inside such a run is learned.
"""

import collections
import json
import pathlib
from collections.abc import Iterable, Iterator

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, processors
from tokenizers.trainers import BpeTrainer

from training.errors import TrainingError

SPECIAL = (
    "<｜begin▁of▁sentence｜>",
    "<｜end▁of▁sentence｜>",
    "<｜▁pad▁｜>",
    "<｜User｜>",
    "<｜Assistant｜>",
    "<think>",
    "</think>",
    "｜DSML｜",
    "<｜latest_reminder｜>",
    "<｜action｜>",
    "<｜query｜>",
    "<｜authority｜>",
    "<｜domain｜>",
    "<｜title｜>",
    "<｜read_url｜>",
    "<｜extracted_url｜>",
)
BEGIN, END, PAD, USER, ASSISTANT, THINK, THINK_END = range(7)
N_SPECIAL = len(SPECIAL)

DIGITS = r"\p{N}{1,3}"
ONE_DIGIT = r"\p{N}"
IDEOGRAPHS = "[一-龥぀-ゟ゠-ヿ]+"
WORDS = (
    r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+|"
    r" ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def _pre_tokenizer(digits: str) -> pre_tokenizers.PreTokenizer:
    splits = [pre_tokenizers.Split(Regex(one), "isolated") for one in (digits, IDEOGRAPHS, WORDS)]
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    return pre_tokenizers.Sequence([*splits, byte_level])


def train_tokenizer(documents: Iterable[str], vocab_size: int) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = _pre_tokenizer(ONE_DIGIT)
    trainer = BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[AddedToken(text, normalized=False, special=True) for text in SPECIAL],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_lines(documents), trainer)
    if tokenizer.get_vocab_size() != vocab_size:
        found = tokenizer.get_vocab_size()
        raise TrainingError(f"tokenizer: want {vocab_size} entries, found text for {found}")
    tokenizer.pre_tokenizer = _pre_tokenizer(DIGITS)
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    tokenizer.decoder = decoders.ByteLevel()
    return _with_plain_thinking(tokenizer)


def _with_plain_thinking(tokenizer: Tokenizer) -> Tokenizer:
    """As released: the trainer makes every token special, but these two are text to a reader."""
    described = json.loads(tokenizer.to_str())
    for added in described["added_tokens"]:
        added["special"] = added["content"] not in ("<think>", "</think>")
    return Tokenizer.from_str(json.dumps(described))


def _lines(documents: Iterable[str]) -> Iterator[str]:
    for document in documents:
        yield from document.splitlines(keepends=True)


def load_tokenizer(path: pathlib.Path) -> Tokenizer:
    try:
        return Tokenizer.from_file(str(path))
    except Exception as error:  # the package raises nothing narrower
        raise TrainingError(f"{path}: want a tokenizer.json, found {error}") from error


class Encoder:
    """Text to tokens, special tokens as plain text; remembers short pieces, which come often."""

    N_REMEMBERED = 50_000

    def __init__(self, tokenizer: Tokenizer) -> None:
        plain = Tokenizer(tokenizer.model)
        plain.pre_tokenizer = tokenizer.pre_tokenizer
        plain.decoder = tokenizer.decoder
        self.vocab_size = tokenizer.get_vocab_size()
        self._tokenizer = plain
        self._known: collections.OrderedDict[str, list[int]] = collections.OrderedDict()

    def __call__(self, text: str) -> list[int]:
        known = self._known.get(text)
        if known is None:
            known = self._tokenizer.encode(text, add_special_tokens=False).ids
            if len(self._known) >= self.N_REMEMBERED:
                self._known.popitem(last=False)
            self._known[text] = known
        return known

    def batch(self, texts: list[str]) -> list[list[int]]:
        return [
            one.ids for one in self._tokenizer.encode_batch_fast(texts, add_special_tokens=False)
        ]

    def decode(self, ids: list[int]) -> str:
        return self._tokenizer.decode(ids, skip_special_tokens=False)
