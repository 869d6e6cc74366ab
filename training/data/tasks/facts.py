"""Families of facts: sentences to hide, and the questions that they answer.

The order of a chain is kept, everything else may be shuffled.  A two-hop answer writes the bridge:
one hop fits into a pass of the network, more need words.
"""

import dataclasses
import itertools

from training.data.tasks import composed, forms
from training.data.tasks.draws import Draws
from training.data.wordings import Wordings

COMPOSED_QUESTIONS = 0.25  # where statements are written; else three in four


@dataclasses.dataclass(frozen=True)
class Piece:
    """A part of an answer; what must be found weighs more than the words around it."""

    text: str
    is_value: bool


@dataclasses.dataclass(frozen=True)
class Question:
    task: str
    text: str
    answer: tuple[Piece, ...]


@dataclasses.dataclass
class Family:
    chains: list[list[str]]  # sentences, each chain in its order
    questions: list[Question]

    @property
    def n_facts(self) -> int:
        return sum(map(len, self.chains))


def capital(text: str) -> str:
    return text[0].upper() + text[1:]


def fill(form: str, **values: str) -> str:
    return form.format(**values)


def sentence(form: str, attribute: str, key: str, value: str) -> str:
    text = form.format(a=attribute, k=key, K=capital(key), v=value)
    # A value keeps its spelling: it is copied.
    return text if form.startswith("{v}") else capital(text)


def said(opening: str, value: str) -> tuple[Piece, ...]:
    return (Piece(opening, False), Piece(f" {value}", True), Piece(".", False))


def listed(opening: str, values: list[str]) -> tuple[Piece, ...]:
    """… are a, b, c." — whether a comma or the end follows is part of what is asked."""
    pieces = [Piece(opening, False)]
    for i, value in enumerate(values):
        pieces += [Piece(f" {value}", True), Piece("." if i + 1 == len(values) else ",", True)]
    return tuple(pieces)


@dataclasses.dataclass(frozen=True)
class Shapes:
    """Where a family's sentences come from: written forms, or composed ones."""

    draws: Draws
    written: list[str]  # statements
    composed: bool
    bookish: bool

    def statement(self) -> str:
        if self.composed:
            return composed.statement(self.draws, bookish=self.bookish)
        return self.draws.pick(self.written)

    def question(self) -> str:
        share = 1 - COMPOSED_QUESTIONS if self.composed else COMPOSED_QUESTIONS
        if self.draws.chance(share):
            return composed.question(self.draws, bookish=self.bookish)
        return self.draws.pick(forms.QUESTIONS)


def single_facts(draws: Draws, wordings: Wordings, n_facts: int) -> Family:
    """One value a key in written forms; some questions ask for several keys at once."""
    return _facts_of_keys(draws, wordings, n_facts, is_composed=False)


def composed_facts(draws: Draws, wordings: Wordings, n_facts: int) -> Family:
    """The same in forms of random shape, each its own."""
    return _facts_of_keys(draws, wordings, n_facts, is_composed=True)


def _facts_of_keys(draws: Draws, wordings: Wordings, n_facts: int, *, is_composed: bool) -> Family:
    if draws.chance(0.65):
        attribute, value_kind = draws.pick(wordings["attributes"]), "number"
    else:
        attribute, value_kind = draws.pick(forms.WORD_ATTRIBUTES)
    key_kind = draws.pick(("noun", "hyphen", "hyphen", "the", "person"))
    if value_kind in ("colour", "town", "person"):
        key_kind = "person"
    keys = draws.keys(n_facts, key_kind)
    n_digits = draws.n_digits()
    values = [draws.value(value_kind, n_digits) for _ in keys]
    written = [*wordings["statements"], *forms.STATEMENTS]
    if draws.chance(0.5):
        written = [draws.pick(written)]
    shapes = Shapes(draws, written, is_composed, bookish=key_kind != "noun")
    if draws.chance(0.2):
        keys = keys[: max(1, n_facts // draws.pick((2, 3)))]
        return _several_values(draws, shapes.statement(), attribute, keys, values)
    family = Family([], [])
    for key, value in zip(keys, values, strict=True):
        family.chains.append([sentence(shapes.statement(), attribute, key, value)])
        family.questions.append(_single_question(wordings, shapes, attribute, key, value))
    if n_facts >= 4 and draws.chance(0.4):
        chosen = sorted(draws.random.sample(range(n_facts), draws.random.randint(2, 4)))
        pieces: list[Piece] = []
        for i in chosen:
            opening = fill(forms.ANSWER, a=attribute, k=keys[i])
            pieces += said(opening if not pieces else f" {opening}", values[i])
        asked = _joined([keys[i] for i in chosen])
        text = fill(forms.MANY_KEYS_QUESTION, a=attribute, k=asked)
        family.questions.insert(0, Question("multi_query", text, tuple(pieces)))
    return family


def _several_values(
    draws: Draws, form: str, attribute: str, keys: list[str], values: list[str]
) -> Family:
    """Every key has about as many of the values; a question asks for all of one, in their order."""
    family = Family([], [])
    for i, key in enumerate(keys):
        found = values[i :: len(keys)]
        family.chains.append([sentence(form, attribute, key, value) for value in found])
        opening = fill(forms.MANY_VALUES_ANSWER, a=attribute, k=key)
        text = fill(forms.MANY_VALUES_QUESTION, a=attribute, k=key)
        family.questions.append(Question("several_values", text, listed(opening, found)))
    draws.random.shuffle(family.questions)
    return family


def _single_question(
    wordings: Wordings, shapes: Shapes, attribute: str, key: str, value: str
) -> Question:
    draws = shapes.draws
    if draws.chance(0.4):
        text = shapes.question() + draws.pick(forms.VALUE_ONLY)
        if draws.chance(0.4):
            text = draws.pick(wordings["questions"])
        return Question("value", fill(text, a=attribute, k=key), (Piece(value, True),))
    text = fill(shapes.question(), a=attribute, k=key)
    return Question("sentence", text, said(fill(forms.ANSWER, a=attribute, k=key), value))


def magic_facts(draws: Draws, wordings: Wordings, n_facts: int) -> Family:
    """RULER's needle line, one or several values a key, questions for one or several keys."""
    kinds = {"numbers": "number", "words": "word", "uuids": "uuid"}
    kind = draws.pick(("numbers", "numbers", "numbers", "words", "uuids"))
    n_values = draws.random.randint(2, 6) if draws.chance(0.5) else 1
    key_kind = draws.pick(("hyphen", "hyphen", "hyphen", "noun", kinds[kind]))
    keys = draws.keys(max(1, n_facts // n_values), "hyphen" if key_kind == "word" else key_kind)
    values = {key: [draws.value(kinds[kind]) for _ in range(n_values)] for key in keys}
    line = wordings["magic_statement"][0]
    family = Family([], [])
    for key in keys:
        # In document order, so that the answer can be.
        family.chains.append([line.format(kind=kind, k=key, v=one) for one in values[key]])
    for key in keys:
        family.questions.append(_magic_question(wordings, kind, [key], values))
    if len(keys) >= 4 and draws.chance(0.5):
        asked = draws.random.sample(keys, 4)
        family.questions.insert(0, _magic_question(wordings, kind, asked, values))
    return family


def _magic_question(
    wordings: Wordings, kind: str, asked: list[str], values: dict[str, list[str]]
) -> Question:
    found = [value for key in asked for value in values[key]]
    many = "one" if len(found) == 1 else "many"
    kind = kind.removesuffix("s") if many == "one" else kind
    keys = _joined(asked)
    text = wordings[f"magic_question_of_{many}"][0].format(kind=kind, k=keys)
    opening = wordings[f"magic_answer_of_{many}"][0].format(kind=kind, k=keys).strip()
    if many == "one":
        return Question("magic", text, said(opening, found[0]))
    task = "multi_value" if len(asked) == 1 else "multi_query"
    return Question(task, text, listed(opening, found))


def _joined(keys: list[str]) -> str:
    return keys[0] if len(keys) == 1 else f"{', '.join(keys[:-1])}, and {keys[-1]}"


def variable_chains(draws: Draws, wordings: Wordings, n_facts: int) -> Family:
    """Assignments that pass a value on: which variables have it, or what one of them is worth."""
    family = Family([], [])
    bare = draws.chance(0.5)  # RULER's lines have no full stop
    first, following = forms.CHAIN_LINES
    if bare:
        first, following = wordings["chain_first"][0], wordings["chain_next"][0]
    n_letters = draws.pick((3, 5, 5))
    while family.n_facts < n_facts:
        names = draws.distinct(draws.random.randint(2, 5), lambda: draws.variable(n_letters))
        value = draws.number(5)
        chain = [fill(first, x=names[0], v=value)]
        chain += [fill(following, x=x, y=y) for y, x in itertools.pairwise(names)]
        family.chains.append(chain)
        family.questions.append(_names_question(wordings, names, value))
        if draws.chance(0.5):
            family.questions.append(_value_question(draws, names, value))
    return family


def _names_question(wordings: Wordings, names: list[str], value: str) -> Question:
    text = wordings["chain_question"][0].format(v=value)
    opening = fill(forms.CHAIN_ANSWER, v=value)
    pieces = [Piece(opening, False), *(Piece(f" {name}", True) for name in names)]
    return Question("chain_names", text, tuple(pieces))


def _value_question(draws: Draws, names: list[str], value: str) -> Question:
    """The answer walks back along the chain, a step a sentence."""
    last = draws.random.randrange(len(names))
    pieces: list[Piece] = []
    for i in range(last, -1, -1):
        opening = f"VAR {names[i]} ="
        found = f"VAR {names[i - 1]}" if i else value
        pieces += said(opening if not pieces else f" {opening}", found)
    text = fill(forms.CHAIN_VALUE_QUESTION, x=names[last])
    return Question("chain_value", text, tuple(pieces))


def two_hops(draws: Draws, wordings: Wordings, n_facts: int) -> Family:
    """A thing leads to a person, the person to a number."""
    n_pairs = min(max(1, n_facts // 2), 200)
    persons = draws.keys(n_pairs, "person")
    objects = draws.keys(n_pairs, draws.pick(("the", "hyphen", "noun")))
    attribute, relation = draws.pick(wordings["attributes"]), draws.pick(forms.RELATIONS)
    family = Family([], [])
    for person, thing in zip(persons, objects, strict=True):
        value = draws.number(draws.pick((4, 5, 7)))
        bridge = fill(draws.pick(forms.HOP_STATEMENTS), r=relation, o=thing, p=person)
        family.chains.append([capital(bridge)])
        family.chains.append([fill(forms.HOP_FACT, a=attribute, p=person, v=value)])
        first = said(fill(forms.HOP_ANSWER, r=relation, o=thing), person)
        if draws.chance(0.7):
            text = fill(forms.HOP_QUESTION, a=attribute, r=relation, o=thing)
            second = said(f" The {attribute} of {person} is", value)
            family.questions.append(Question("two_hops", text, first + second))
        else:
            text = fill(forms.HOP_FIRST_QUESTION, r=relation, o=thing)
            family.questions.append(Question("one_hop", text, first))
    return family


FAMILIES = {
    "single": single_facts,
    "composed": composed_facts,
    "magic": magic_facts,
    "chains": variable_chains,
    "hops": two_hops,
}
