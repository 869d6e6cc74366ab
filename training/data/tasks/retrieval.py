"""A text with facts hidden in it, and questions about them in the chat encoding.

BOS <User> instruction, text with facts, "\\n" question <Assistant></think> answer EOS
    <User> question <Assistant></think> answer EOS …
"""

import dataclasses

import numpy as np

from training.data.tasks import forms
from training.data.tasks.draws import Draws
from training.data.tasks.facts import FAMILIES, Family, Question
from training.data.tasks.haystack import Haystack
from training.data.tasks.worlds import directions, world
from training.data.tasks.written import Span, Written
from training.data.tokenizer import ASSISTANT, BEGIN, END, THINK_END, USER, Encoder
from training.data.wordings import Wordings

FACT_WEIGHT = 0.2  # hidden sentences cannot be foreseen: they weigh little
QUESTION_WEIGHT = 0.1
VALUE_WEIGHT = 1.0
WORDS_WEIGHT = 0.5  # of an answer around its values: the key is among them
MOST_WORLD_FACTS = 60
TURN_TOKENS = 4  # user or line break, assistant, end of thinking, end of sentence


@dataclasses.dataclass(frozen=True)
class RetrievalOptions:
    facts: tuple[int, int]  # least and most, drawn log-uniformly
    questions_share: float  # of the sequence's tokens, at most
    families: dict[str, float]  # weights


@dataclasses.dataclass(frozen=True)
class Writer:
    """What every sequence is written with."""

    encoder: Encoder
    wordings: Wordings
    haystack: Haystack

    def families(self, draws: Draws, options: RetrievalOptions, n_facts: int) -> list[Family]:
        n_families = 1 if n_facts < 6 else draws.random.randint(1, 3)
        names = list(options.families)
        weights = [options.families[name] for name in names]
        made = []
        for name in draws.random.choices(names, weights, k=n_families):
            n = max(2, n_facts // n_families)
            match name:
                case "world":
                    made.append(world(draws, self.wordings, min(n, MOST_WORLD_FACTS)))
                case "directions":
                    made.append(directions(draws, self.wordings, n))
                case _:
                    made.append(FAMILIES[name](draws, self.wordings, n))
        return made

    def turn_tokens(self, question: Question) -> int:
        """Tokens of the question, its answer, and what stands around them."""
        texts = [question.text, *(piece.text for piece in question.answer)]
        return sum(len(self.encoder(text)) for text in texts) + TURN_TOKENS

    def that_fit(self, questions: list[Question], most_tokens: int) -> list[Question]:
        """The first questions, as many as fit, at least one."""
        used = 0
        for i, question in enumerate(questions):
            used += self.turn_tokens(question)
            if i > 0 and used > most_tokens:
                return questions[:i]
        return questions

    def add_answer(self, out: Written, question: Question) -> None:
        first = len(out)
        for piece in question.answer:
            weight = VALUE_WEIGHT if piece.is_value else WORDS_WEIGHT
            out.add(self.encoder(piece.text), answer=weight)
        out.add([END], answer=WORDS_WEIGHT)
        out.spans.append(Span(first, len(out), question.task))


def in_order(draws: Draws, chains: list[list[str]]) -> list[str]:
    """All sentences in a random order that keeps each chain's."""
    turns = [i for i, chain in enumerate(chains) for _ in chain]
    draws.random.shuffle(turns)
    following = [iter(chain) for chain in chains]
    return [next(following[i]) for i in turns]


def instruction(draws: Draws, wordings: Wordings) -> str:
    if draws.chance(0.4):
        return ""
    if draws.chance(0.3):
        form = draws.pick(("magic_instruction_of_one", "magic_instruction_of_many"))
        kind = draws.pick(("number", "word", "uuid"))
        return wordings[form][0].format(kind=kind if form.endswith("one") else f"{kind}s")
    if draws.chance(0.15):
        return wordings["chain_instruction"][0]
    return draws.pick((wordings["read_instruction"][0], *forms.INSTRUCTIONS))


def write_retrieval(
    writer: Writer, draws: Draws, options: RetrievalOptions, n_tokens: int
) -> Written:
    """Exactly n_tokens; with fewer facts than drawn where they do not fit."""
    least, most = options.facts
    n_facts = round(least * (most / least) ** draws.random.random())
    while True:
        written = _try_retrieval(writer, draws, options, n_facts, n_tokens)
        if written is not None:
            return written
        n_facts = max(2, n_facts // 2)


def _try_retrieval(
    writer: Writer, draws: Draws, options: RetrievalOptions, n_facts: int, n_tokens: int
) -> Written | None:
    families = writer.families(draws, options, n_facts)
    questions = [question for family in families for question in family.questions]
    draws.random.shuffle(questions)
    questions = writer.that_fit(questions, int(n_tokens * options.questions_share))
    sentences = in_order(draws, [chain for family in families for chain in family.chains])
    separator = draws.pick((" ", " ", " ", "\n"))
    facts = [writer.encoder(separator + one) for one in sentences]
    opening = [BEGIN, USER, *writer.encoder(instruction(draws, writer.wordings))]
    n_asked = sum(map(writer.turn_tokens, questions))
    room = n_tokens - len(opening) - n_asked - sum(map(len, facts))
    if room < 0 and n_facts > 2:
        return None

    out = Written()
    out.add(opening)
    _add_facts(writer, draws, facts, max(room, 0), out)
    newline = writer.encoder("\n")
    for i, question in enumerate(questions):
        out.add(newline if i == 0 else [USER], text=QUESTION_WEIGHT)
        out.add(writer.encoder(question.text), text=QUESTION_WEIGHT)
        out.add([ASSISTANT, THINK_END])
        writer.add_answer(out, question)
    if len(out) < n_tokens:
        out.add(writer.haystack.exactly(draws, "books", n_tokens - len(out)), text=1.0)
    return out.cut(n_tokens)


def _add_facts(
    writer: Writer, draws: Draws, facts: list[list[int]], room: int, out: Written
) -> None:
    """Facts at random depths of a text of about `room` tokens."""
    filler = writer.haystack.filler(draws)
    power = draws.pick((1.0, 1.0, 1.0, 1.0, 0.3, 3.0))  # now and then early or late
    depths = np.sort([draws.random.random() ** power for _ in facts])
    gaps = np.diff(np.concatenate(([0.0], depths, [1.0]))) * room
    owed = 0.0
    for i, gap in enumerate(gaps):
        wanted = int(gap + owed)
        text = filler(wanted) if wanted > 0 else []
        owed += gap - len(text)
        out.add(text, text=filler.weight)
        if i < len(facts):
            out.add(facts[i], text=FACT_WEIGHT)
