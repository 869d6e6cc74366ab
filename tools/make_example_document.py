#!/usr/bin/env python3
"""Writes the long example document of models/mini and the questions about it.

usage: make_example_document.py BOOK OUT_DIR

BOOK     "The Adventures of Sherlock Holmes" by Arthur Conan Doyle (1892, public domain everywhere),
         from the Standard Ebooks production (its edits are CC0), as `python -m training.prepare DATA`
         leaves it in DATA/text: one paragraph a line, a NUL between stories, the title as first line.
OUT_DIR  receives document.txt and questions.json.

The document is eight whole stories in the order of the book, which the bundled model was not trained
on.  Facts about nothing in the book are added at the ends of narrative paragraphs, at stated depths;
their wordings and those of the questions are among those it was trained on, the names and values
were chosen for this file.  The same book gives the same bytes.
"""
import hashlib
import json
import pathlib
import sys

BOOK_SHA256 = "deed1a3232fd1e0c66d4629a92c2245fdc0babc4f15c5c3231415aca75e6676f"

STORIES = [
    "A Scandal in Bohemia",
    "The Redheaded League",
    "A Case of Identity",
    "The Boscombe Valley Mystery",
    "The Five Orange Pips",
    "The Man with the Twisted Lip",
    "The Adventure of the Blue Carbuncle",
    "The Adventure of the Speckled Band",
]

# (depth in the document, sentence)
FACTS = [
    (0.05, "One of the special magic numbers for wooden-trumpet is: 7183094."),
    (0.10, "One of the special magic numbers for copper-lantern is: 4418207."),
    (0.14, "The badge number of Peter Marsh is 482130."),
    (0.24, "The owner of the golden whistle is Clara Fisher."),
    (0.33, "The access code for the silver ladder is 40718."),
    (0.42, "The special magic word for the purple gate is lantern."),
    (0.52, "One of the special magic numbers for copper-lantern is: 9035561."),
    (0.61, "The locker number for the crooked umbrella is 52907."),
    (0.70, "The phone extension of Clara Fisher is 6154."),
    (0.79, "The home town of Nora Wells is Lisbon."),
    (0.84, "One of the special magic numbers for copper-lantern is: 1672849."),
    (0.88, "The badge number of Peter Wells is 917350."),
    (0.95, "One of the special magic numbers for wooden-kettle is: 2950467."),
]

# `answer` must occur in the reply word for word.
QUESTIONS = [
    ("What is the special magic number for wooden-trumpet mentioned in the provided text?", "7183094"),
    ("What is the badge number of Peter Marsh?", "482130"),
    ("What is the special magic word for the purple gate?", "lantern"),
    ("What is the phone extension of the owner of the golden whistle?", "6154"),
    ("What is the access code for the silver ladder?", "40718"),
    ("What is the locker number for the crooked umbrella?", "52907"),
    ("What is the home town of Nora Wells?", "Lisbon"),
    ("What are all the special magic numbers for copper-lantern mentioned in the provided text?",
     "4418207, 9035561, 1672849"),
    ("What is the special magic number for wooden-kettle? Reply with the value only.", "2950467"),
]


def read_stories(path):
    data = path.read_bytes()
    found = hashlib.sha256(data).hexdigest()
    if found != BOOK_SHA256:
        sys.exit(f"{path}: want the text with SHA-256 {BOOK_SHA256}, found {found}")
    by_title = {}
    for story in data.decode("utf-8").split("\0"):
        lines = [line.strip() for line in story.splitlines() if line.strip()]
        if lines:
            by_title[lines[0]] = lines
    return [by_title[title] for title in STORIES]


def place_facts(paragraphs):
    """Appends each fact to the first narrative paragraph at or after its depth."""
    n_chars = sum(len(p) + 1 for p in paragraphs)
    out = list(paragraphs)
    pending = list(FACTS)
    position = 0
    for i, paragraph in enumerate(paragraphs):
        narrative = len(paragraph) > 150 and '"' not in paragraph and paragraph.endswith(".")
        if pending and narrative and position >= pending[0][0] * n_chars:
            out[i] += " " + pending.pop(0)[1]
        position += len(paragraph) + 1
    if pending:
        sys.exit(f"no narrative paragraph left for: {pending[0][1]}")
    return out


def check_keys(text):
    """A question is fair only if the book itself says nothing about its key or value."""
    for word in ["wooden-", "copper-", "Marsh", "purple gate", "golden whistle", "crooked umbrella", "Fisher",
                 "Nora", "Lisbon", "silver ladder"] + [answer for _, answer in QUESTIONS if answer.isdigit()]:
        if word in text:
            sys.exit(f"the book contains {word!r}")


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    book, out_dir = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])
    paragraphs = [line for story in read_stories(book) for line in story]
    check_keys("\n".join(paragraphs))
    out_dir.mkdir(parents=True, exist_ok=True)
    text = "\n".join(place_facts(paragraphs)) + "\n"
    (out_dir / "document.txt").write_text(text, encoding="utf-8")
    questions = [{"question": q, "answer": a} for q, a in QUESTIONS]
    (out_dir / "questions.json").write_text(json.dumps(questions, indent=1) + "\n", encoding="utf-8")
    print(f"{len(text.encode())} bytes, {len(FACTS)} facts, {len(QUESTIONS)} questions")


if __name__ == "__main__":
    main()
