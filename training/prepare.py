"""Prepares everything that training needs, as one archive that works without a network.

    python -m training.prepare DATA --precis build/precis

gathers the texts into DATA/text, trains the tokenizer, encodes, and writes DATA/archive.tar.xz.
Steps that are done are not repeated; delete a file to make it again.
"""

import argparse
import json
import pathlib
import sys
import tarfile

from training.data.corpus import capped, write_corpus
from training.data.sources import gather, load_sources
from training.data.tokenizer import load_tokenizer, train_tokenizer
from training.data.wordings import ask_program, load_wordings
from training.data.words import count_words, key_words
from training.errors import exit_code_of
from training.model.config import load_config

SHAPE = pathlib.Path(__file__).parent / "nano"
PACKED = ("tokenizer.json", "wordings.json", "words.json", "corpus")


def prepare(directory: pathlib.Path, precis: pathlib.Path) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    sources = load_sources()
    gather(sources, directory / "text")
    texts = capped({text: text.documents(directory / "text") for text in sources})
    training_text = [one for text, all_ in texts.items() if not text.held_out for one in all_]

    wordings_file = directory / "wordings.json"
    if not wordings_file.exists():
        wordings_file.write_text(json.dumps(ask_program(precis), indent=1), encoding="utf-8")
    glosses = [one for text, all_ in texts.items() if text.group == "glosses" for one in all_]
    words = key_words(glosses, count_words(training_text), load_wordings(wordings_file))
    (directory / "words.json").write_text(json.dumps(words), encoding="utf-8")
    print(f"key words: {len(words['nouns'])} nouns, {len(words['adjectives'])} adjectives")

    tokenizer_file = directory / "tokenizer.json"
    if not tokenizer_file.exists():
        vocab_size = load_config(SHAPE / "config.json").vocab_size
        train_tokenizer(training_text, vocab_size).save(str(tokenizer_file))
    record = write_corpus(directory / "corpus", texts, load_tokenizer(tokenizer_file))
    for group in dict.fromkeys(str(one["group"]) for one in record):
        n_tokens = sum(int(one["tokens"]) for one in record if one["group"] == group)
        n_characters = sum(int(one["characters"]) for one in record if one["group"] == group)
        print(f"{group}: {n_tokens:,} tokens, {n_characters / n_tokens:.2f} characters a token")

    archive = directory / "archive.tar.xz"
    with tarfile.open(archive, "w:xz") as tar:
        for name in PACKED:
            tar.add(directory / name, arcname=name)
    print(f"{archive}: {archive.stat().st_size / 2**20:.1f} MiB")


def main() -> int:
    parser = argparse.ArgumentParser(description="Prepares the data of a training run.")
    parser.add_argument("directory", type=pathlib.Path, help="where texts and the archive go")
    parser.add_argument("--precis", type=pathlib.Path, default=pathlib.Path("build/precis"))
    args = parser.parse_args()
    return exit_code_of("prepare", lambda: prepare(args.directory, args.precis))


if __name__ == "__main__":
    sys.exit(main())
