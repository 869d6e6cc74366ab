"""Statements and questions of random shape: what stands between key, attribute and value is noise.

A few written forms teach a network to know a fact by its sentence; with forms without end it has to
find the key in whatever sentence there is.  Noise is common words in any order or, where the key is
not a single word that they could be taken for, words that follow each other in a book.
"""

from training.data.tasks.draws import Draws

WORDS = (
    "a", "about", "above", "after", "again", "all", "also", "always", "among", "an", "and", "any",
    "are", "at", "be", "because", "before", "being", "below", "beside", "between", "both", "but",
    "by", "came", "can", "carries", "clearly", "come", "could", "did", "does", "each", "even",
    "ever", "found", "from", "gives", "has", "have", "he", "her", "here", "his", "how", "if", "in",
    "into", "is", "it", "its", "just", "keeps", "later", "let", "like", "made", "may", "more",
    "must", "my", "named", "no", "not", "now", "of", "off", "often", "on", "once", "one", "only",
    "or", "other", "our", "over", "people", "quite", "said", "same", "says", "see", "seems", "she",
    "should", "shows", "since", "so", "some", "still", "such", "takes", "than", "that", "the",
    "their", "them", "then", "there", "these", "they", "this", "those", "through", "to", "today",
    "too", "under", "until", "up", "us", "very", "was", "we", "well", "went", "were", "what",
    "when", "where", "which", "while", "who", "whose", "why", "will", "with", "within", "without",
    "would", "yes", "yet", "you", "your",
)  # fmt: skip
MARKS = ("", "", "", "", ",", ":", ";", " -")
MOST_WORDS = 5  # in one place


def statement(draws: Draws, *, bookish: bool) -> str:
    """{a}, {k} and {v} in any order."""
    return _compose(draws, ["{a}", "{k}", "{v}"], ".", bookish)


def question(draws: Draws, *, bookish: bool) -> str:
    """{a} and {k} in any order."""
    return _compose(draws, ["{a}", "{k}"], draws.pick(("?", "?", ".")), bookish)


def _compose(draws: Draws, slots: list[str], end: str, bookish: bool) -> str:
    draws.random.shuffle(slots)
    parts = [_noise(draws, 0, bookish)]
    for i, slot in enumerate(slots):
        parts += [slot + (draws.pick(MARKS) if i + 1 < len(slots) else "")]
        parts += [_noise(draws, 0 if i + 1 == len(slots) else 1, bookish)]
    text = " ".join(part for part in parts if part) + end
    return text if text.startswith("{") else text[0].upper() + text[1:]


def _noise(draws: Draws, least: int, bookish: bool) -> str:
    n_words = draws.random.randint(least, MOST_WORDS)
    if bookish and draws.chance(0.5):
        return " ".join(draws.running_words(n_words))
    return " ".join(draws.random.choices(WORDS, k=n_words))
