"""Sequences that form the copying circuits early: lists asked back, passages repeated."""

from training.data.tasks.draws import Draws
from training.data.tasks.retrieval import Writer
from training.data.tasks.written import Span, Written
from training.data.tokenizer import BEGIN, N_SPECIAL

N_BYTES = 256  # rows of the vocabulary behind the special ones: parts of characters
N_GIVEN = 4  # tokens of a repeated passage that say which one it is
JOINS = (":", " =", " -", " ->")


def write_booster(writer: Writer, draws: Draws, n_tokens: int) -> Written:
    out = Written()
    out.add([BEGIN])
    if draws.chance(0.5):
        _add_list(writer, draws, n_tokens, out)
    else:
        _add_repeats(writer, draws, n_tokens, out)
    if len(out) < n_tokens:
        out.add(writer.haystack.exactly(draws, "books", n_tokens - len(out)), text=1.0)
    return out.cut(n_tokens)


def _add_list(writer: Writer, draws: Draws, n_tokens: int, out: Written) -> None:
    """Keys with values, then all keys again in another order, or all values."""
    n_pairs = draws.random.randint(3, max(4, min(60, n_tokens // 40)))
    keys = draws.keys(n_pairs, draws.pick(("noun", "hyphen", "person", "number")))
    kind, join = draws.pick(("number", "number", "word", "colour", "person")), draws.pick(JOINS)
    n_digits = draws.random.randint(2, 7)
    pairs = [(key, draws.value(kind, n_digits)) for key in keys]
    newline = writer.encoder("\n")
    n_listed = sum(
        len(writer.encoder(key + join)) + len(writer.encoder(f" {value}")) + 1
        for key, value in pairs
    )
    gap = max(0, n_tokens - 2 * n_listed - 8)
    before = int(gap * draws.random.random())
    out.add(writer.haystack.sentences(draws, "books", before), text=1.0)
    for key, value in pairs:
        out.add(newline + writer.encoder(key + join) + writer.encoder(f" {value}"), text=0.1)
    out.add(newline)
    out.add(writer.haystack.sentences(draws, "books", gap - before), text=1.0)
    draws.random.shuffle(pairs)
    # What stands before a value is harder to find than what follows a key.
    task = "list_back" if draws.chance(0.5) else "list"
    for key, value in pairs:
        given, wanted = (value, key) if task == "list_back" else (key, value)
        out.add(newline + writer.encoder(given + join), text=0.1)
        first = len(out)
        out.add(writer.encoder(f" {wanted}"), answer=1.0)
        out.spans.append(Span(first, len(out), task))


def _add_repeats(writer: Writer, draws: Draws, n_tokens: int, out: Written) -> None:
    """Passages of random tokens or of text, then the same in another order."""
    length = draws.random.randint(12, max(13, min(100, n_tokens // 8)))
    n_passages = draws.random.randint(1, max(1, min(12, n_tokens // (3 * length))))
    is_random = draws.chance(0.4)
    passages = []
    for _ in range(n_passages):
        if is_random:
            vocabulary = range(N_SPECIAL + N_BYTES, writer.encoder.vocab_size)
            passages.append(draws.random.choices(vocabulary, k=length))
        else:
            passages.append(writer.haystack.exactly(draws, "books", length))
    gap = max(0, n_tokens - 2 * n_passages * length - 4) // (n_passages + 1)
    for passage in passages:
        out.add(writer.haystack.sentences(draws, "books", gap), text=1.0)
        out.add(passage, text=0.0 if is_random else 1.0)
    out.add(writer.haystack.sentences(draws, "books", gap), text=1.0)
    draws.random.shuffle(passages)
    task = "copy_random" if is_random else "copy_text"
    for passage in passages:
        out.add(passage[:N_GIVEN])
        first = len(out)
        out.add(passage[N_GIVEN:], answer=1.0)
        out.spans.append(Span(first, len(out), task))
