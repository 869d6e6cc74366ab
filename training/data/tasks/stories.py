"""Own stories: simple, whole, and long enough to have to remember who wanted what.

Ten beats follow each other, each told in one of several ways; who, what and where are drawn once
and stay.  Simple text makes small networks fluent (TinyStories, arXiv 2305.07759); the questions at
the end ask for what was said at the beginning.
"""

import re

from training.data.tasks import forms
from training.data.tasks.draws import Draws
from training.data.tasks.facts import Piece, Question, capital
from training.data.tasks.retrieval import QUESTION_WEIGHT, Writer
from training.data.tasks.written import Written
from training.data.tokenizer import ASSISTANT, BEGIN, END, THINK_END, USER

# {h} hero, {f} friend, {t} a thing, {p} home, {q} a far place, {k} kin, {w} weather, {c} a creature
BEATS = (
    (
        "Once there was a {k} called {h}, who lived near the {p}.",
        "{h} lived with {h}'s {k} in a small house by the {p}.",
        "In a house behind the {p} lived {h}, together with an old {k}.",
        "Every morning {h} walked past the {p} to see what was new.",
        "There was nobody at the {p} who did not know {h} and the {k}.",
    ),
    (
        "One day {h} could not find the {t} anywhere.",
        "More than anything in the world {h} wanted a {t}.",
        "{h} had lost a {t}, and without it nothing went well.",
        "The {k} had asked {h} to bring home a {t} before dark.",
        "{h} had promised to mend the {t}, but a part of it was missing.",
    ),
    (
        "It was {w}, and so {h} sat by the window and thought about the {t}.",
        "The day was {w}, but {h} put on a coat and went out.",
        'The morning was {w}. "Never mind," said {h}, and opened the door.',
        "{h} asked everybody at the {p}, but nobody had seen a {t}.",
        "{h} looked under the bed, behind the door and in the cupboard, and found only dust.",
    ),
    (
        'Then {h} met {f}. "Why do you look so sad?" asked {f}.',
        "On the road {h} met {f}, who was carrying a heavy bag.",
        '"Come with me," said {f}. "I saw a {t} at the {q} yesterday."',
        "{f} came by and listened to the whole story without a word.",
        "After a while there was a knock. It was {f}, who had heard the news.",
    ),
    (
        "So {h} and {f} set out for the {q}.",
        "Together they went down the long road to the {q}.",
        "{f} knew the way to the {q}, and {h} followed.",
        "The {q} was far away, and it was evening when {h} and {f} came there.",
        '"Let us try the {q}," said {f}, and off they went.',
    ),
    (
        "At the gate of the {q} sat a {c} that would not let them pass.",
        "There they heard a strange noise. It was a {c}, and it was afraid.",
        "The door of the {q} was locked, and a {c} slept in front of it.",
        "A {c} ran across the path and {h} almost fell.",
        "In the dark they saw two bright eyes: a {c} was looking at them.",
    ),
    (
        "{h} gave the {c} a piece of bread, and at once it became friendly.",
        "{f} sang a quiet song until the {c} was calm.",
        '"Do not be afraid," said {h} to the {c}, and it came nearer.',
        "They waited and waited. At last the {c} got up and walked away.",
        "{f} had an idea and clapped twice, and the {c} moved aside.",
    ),
    (
        "And there, behind a stone, lay the {t}.",
        "Under the bench by the wall {h} found the {t}.",
        "The {c} had been sitting on the {t} all the time.",
        "{f} pointed to a corner, and there was the {t}, as good as new.",
        "On a shelf of the {q} stood a {t}, and the owner gave it to them gladly.",
    ),
    (
        '"Thank you, {f}," said {h}. "Without you I would have gone home with nothing."',
        "{h} was so glad that they danced all the way home to the {p}.",
        "When they came back to the {p}, the {k} had made soup for everybody.",
        "{h} put the {t} on the table, and the {k} could hardly believe it.",
        "The {k} smiled and said that the {q} was not so far away after all.",
    ),
    (
        "From that day on {h} and {f} were the best of friends.",
        "And whenever {h} saw a {c}, {h} thought of that day at the {q}.",
        "That night {h} fell asleep with the {t} in both hands.",
        "The {t} is still in the house by the {p}, and anybody may look at it.",
        "They often went to the {q} again, and the {c} always knew them.",
    ),
)  # fmt: skip
ASIDES = (
    "The birds were singing in the trees.",
    "Nobody said anything for a long time.",
    "Somewhere a bell rang.",
    "It was the best day that {h} could remember.",
    '"How strange," said {f}.',
    "The sun was going down behind the {p}.",
    "{h} counted to ten and took a deep breath.",
    "They shared an apple and some cheese.",
    "Far away a dog was barking.",
    "A little later it began to grow dark.",
)
KIN = ("grandmother", "uncle", "aunt", "brother", "sister", "baker", "shepherd", "painter")
WEATHERS = ("cold", "grey and still", "bright", "warm", "wet", "windy", "white with snow", "clear")
CREATURES = ("dog", "cat", "goat", "fox", "goose", "pony", "owl", "donkey", "hare", "bear")


def write_story(draws: Draws) -> tuple[str, list[Question]]:
    hero, friend = draws.random.sample(forms.FIRST_NAMES, 2)
    near, far = draws.random.sample(forms.WORLD_PLACES, 2)
    told = {
        "h": hero,
        "f": friend,
        "t": draws.pick(forms.WORLD_OBJECTS),
        "p": near,
        "q": far,
        "k": draws.pick(KIN),
        "w": draws.pick(WEATHERS),
        "c": draws.pick(CREATURES),
    }
    sentences = []
    for ways in BEATS:
        sentences.append(_told(draws.pick(ways), told))
        if draws.chance(0.4):
            sentences.append(_told(draws.pick(ASIDES), told))
    questions = [
        _asked(f"Who helped {hero}?", friend),
        _asked(f"What did {hero} find?", f"A {told['t']}"),
        _asked(f"Near which place did {hero} live?", f"The {near}"),
        _asked(f"Where did {hero} and {friend} go?", f"To the {far}"),
        _asked("Which animal did they meet?", f"A {told['c']}"),
    ]
    return " ".join(sentences), questions


def _told(form: str, told: dict[str, str]) -> str:
    return capital(re.sub(r"\b([Aa]) (?=[aeiou])", r"\1n ", form.format(**told)))


def _asked(text: str, answer: str) -> Question:
    return Question("story", text, (Piece(_told(answer, {}), True), Piece(".", False)))


def write_stories(writer: Writer, draws: Draws, n_tokens: int) -> Written:
    """Stories until n_tokens are full, a third of them with a question behind."""
    out = Written()
    while len(out) < n_tokens:
        text, questions = write_story(draws)
        asks = draws.chance(0.35)
        out.add([BEGIN, USER] if asks else [BEGIN], text=1.0)
        out.add(writer.encoder(text), text=1.0)
        if not asks:
            out.add([END], text=1.0)
            continue
        question = draws.pick(questions)
        out.add(writer.encoder("\n" + question.text), text=QUESTION_WEIGHT)
        out.add([ASSISTANT, THINK_END])
        writer.add_answer(out, question)
    return out.cut(n_tokens)
