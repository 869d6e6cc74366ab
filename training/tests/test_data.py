"""Texts, tokenizer and corpus: markup goes, spelling stays, what is missing is named."""

import collections
import dataclasses
import pathlib

import numpy as np
import pytest

from training.data import sources
from training.data.corpus import capped, load_passages, write_corpus
from training.data.extract import book_documents, paragraphs, wordnet_documents
from training.data.sources import Text, gather, load_sources
from training.data.tokenizer import N_SPECIAL, SPECIAL, Encoder, load_tokenizer, train_tokenizer
from training.data.words import key_words
from training.errors import TrainingError
from training.tests.small_run import MINI

DOCUMENT = (MINI / "example" / "document.txt").read_text(encoding="utf-8")
N_ENTRIES = 600


def text(title: str, **changes: object) -> Text:
    plain = Text(title, "books", "standard-ebooks", "public domain", False, 1, 1.0)
    return dataclasses.replace(plain, **changes)  # type: ignore[arg-type]


def test_markup_goes_and_quotes_are_straight() -> None:
    markup = """<html><head><title>no</title></head><body><nav>no</nav>
      <div class="navheader"><div>no</div></div><h2>One</h2>
      <p>“It’s\n late,”⁠—she said.<a epub:type="noteref" href="#n">1</a></p>
      <pre>a  b\n  c</pre></body></html>"""
    assert paragraphs(markup).split("\n") == ["One", '"It\'s late,"--she said.', "a  b", "  c"]


def test_chapters_come_in_the_order_of_the_spine(tmp_path: pathlib.Path) -> None:
    folder = tmp_path / "src" / "epub"
    (folder / "text").mkdir(parents=True)
    names = ("titlepage", "chapter-2", "chapter-1")
    items = "".join(f'<item id="{n}" href="text/{n}.xhtml"/>' for n in sorted(names))
    spine = "".join(f'<itemref idref="{n}"/>' for n in names)
    (folder / "content.opf").write_text(
        f'<package xmlns="http://www.idpf.org/2007/opf">{items}<spine>{spine}</spine></package>'
    )
    for name in names:
        (folder / "text" / f"{name}.xhtml").write_text(f"<p>{name} {'x' * 300}</p>")
    assert [document.split()[0] for document in book_documents(tmp_path)] == list(names[1:])


def test_key_words_are_common_and_never_held_out(tmp_path: pathlib.Path) -> None:
    lines = {"noun": "dog|cat|emu", "verb": "run", "adj": "red|wan", "adv": "fast"}
    for part, line in lines.items():
        rows = [f"0 0 n 01 {word} 0 000 | a gloss" for word in line.split("|")]
        (tmp_path / f"data.{part}").write_text("  licence\n" + "\n".join(rows) + "\n")
    counts = collections.Counter({"dog": 50, "cat": 50, "emu": 1, "run": 50, "red": 50, "wan": 50})
    words = key_words(wordnet_documents(tmp_path), counts, {"held_out_nouns": ["cat"]})
    assert words == {"nouns": ["dog"], "adjectives": ["red", "wan"]}


def test_tokenizer_keeps_digits_apart_and_every_byte(tmp_path: pathlib.Path) -> None:
    train_tokenizer([DOCUMENT[:200_000], "1234567 " * 1000], N_ENTRIES).save(
        str(tmp_path / "tokenizer.json")
    )
    tokenizer = load_tokenizer(tmp_path / "tokenizer.json")
    assert [tokenizer.token_to_id(one) for one in SPECIAL] == list(range(N_SPECIAL))
    assert tokenizer.decode(list(range(N_SPECIAL))).split() == ["<think></think>"]
    encoder = Encoder(tokenizer)
    assert len(encoder("1234567")) == 7
    hard = "naïve – 東京 \x00 1,024 <｜User｜> don't\n\n  x"
    assert encoder.decode(encoder(hard)) == hard
    assert min(encoder("<｜User｜>")) >= N_SPECIAL  # plain text has no special tokens


def test_too_little_text_for_the_vocabulary_is_named() -> None:
    with pytest.raises(TrainingError, match="want 4096 entries"):
        train_tokenizer(["a few words"], 4096)


def test_corpus_keeps_groups_apart_and_finds_sentences(tmp_path: pathlib.Path) -> None:
    tokenizer = load_tokenizer(MINI / "tokenizer.json")
    texts = {text("a"): ["One. Two is longer. Three?"], text("b", held_out=True): ["Never."]}
    record = write_corpus(tmp_path, texts, tokenizer)
    assert [(one["title"], one["group"]) for one in record] == [("a", "books"), ("b", "held_out")]
    passages = load_passages(tmp_path, "books", tokenizer)
    encoder = Encoder(tokenizer)
    sentences = np.split(passages.tokens, passages.starts)
    assert encoder.decode(sentences[1].tolist()).strip() == "Two is longer."


def test_a_long_title_is_cut_to_its_share() -> None:
    texts = {text("long", share_at_most=0.5): ["x" * 10] * 9, text("short"): ["y" * 10]}
    kept = capped(texts)
    assert [len(documents) for documents in kept.values()] == [5, 1]


def test_what_cannot_be_gathered_is_named(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sources, "REPOSITORY", str(tmp_path / "no-such-place" / "{title}"))
    with pytest.raises(TrainingError, match=r"(?s)could not gather.*lost-book: git failed"):
        gather([text("lost-book")], tmp_path)
    with pytest.raises(TrainingError, match="want the text of lost-book"):
        text("lost-book").documents(tmp_path)


def test_every_source_has_a_licence() -> None:
    listed = load_sources()
    assert len({one.title for one in listed}) == len(listed) > 50
    assert all(one.licence for one in listed)
    assert sum(one.held_out for one in listed) >= 4
