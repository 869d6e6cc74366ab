"""Small worlds: persons who move and carry things, told in order among other text.

The sentences and questions are the evaluation's; its persons, places and things are never used.
"""

import itertools

from training.data.tasks import forms
from training.data.tasks.draws import Draws
from training.data.tasks.facts import Family, Piece, Question
from training.data.wordings import Wordings


class _World:
    def __init__(self, draws: Draws, wordings: Wordings) -> None:
        self.draws = draws
        self.wordings = wordings
        self.persons: list[str] = draws.random.sample(forms.FIRST_NAMES, 6)
        self.places: list[str] = draws.random.sample(forms.WORLD_PLACES, 6)
        self.things: list[str] = draws.random.sample(forms.WORLD_OBJECTS, 4)
        self.place_of: dict[str, str] = {}
        self.carrier_of: dict[str, str] = {}
        self.history: dict[str, list[str]] = {thing: [] for thing in self.things}
        self.last_gift: dict[tuple[str, str], str] = {}
        self.facts: list[str] = []

    def tell(self, form: str, **values: str) -> None:
        self.facts.append(self.wordings[form][0].format(**values))

    def move(self, person: str) -> None:
        place = self.draws.pick([one for one in self.places if one != self.place_of.get(person)])
        self.place_of[person] = place
        self.tell("moves", p=person, l=place)
        for thing, carrier in self.carrier_of.items():
            if carrier == person:
                self._visit(thing)

    def _visit(self, thing: str) -> None:
        place = self.place_of[self.carrier_of[thing]]
        if self.history[thing][-1:] != [place]:
            self.history[thing].append(place)

    def happen(self) -> None:
        """One thing that may happen next."""
        person, thing = self.draws.pick(self.persons), self.draws.pick(self.things)
        here, carrier = self.place_of.get(person), self.carrier_of.get(thing)
        if carrier == person and self.draws.chance(0.3):
            del self.carrier_of[thing]
            self.tell("puts_down", p=person, o=thing)
        elif carrier == person and self.draws.chance(0.3):
            self._give(person, thing)
        elif here and carrier is None and self.history[thing][-1:] in ([], [here]):
            self.carrier_of[thing] = person
            self.tell("picks_up", p=person, o=thing)
            self._visit(thing)
        else:
            self.move(person)

    def _give(self, giver: str, thing: str) -> None:
        near = [one for one in self.persons if self.place_of.get(one) == self.place_of[giver]]
        taker = self.draws.pick([one for one in near if one != giver] or [giver])
        if taker != giver:
            self.carrier_of[thing] = taker
            self.last_gift[thing, taker] = giver
            self.tell("gives", p=giver, o=thing, q=taker)

    def questions(self) -> list[Question]:
        asked = []
        for person, place in self.place_of.items():
            asked.append(self._ask("where_is_person", place, p=person))
        for thing, places in self.history.items():
            if places:
                asked.append(self._ask("where_is_object", places[-1], o=thing))
            if len(places) > 1 and places.count(places[-1]) == 1:
                before = self._ask("where_was_object", places[-2], o=thing, l=places[-1])
                asked.append(before)
        for (thing, taker), giver in self.last_gift.items():
            asked.append(self._ask("who_gave", giver, o=thing, q=taker))
        return asked

    def _ask(self, form: str, answer: str, **values: str) -> Question:
        text = self.wordings[form][0].format(**values)
        text = self.wordings["one_word"][0].format(question=text)
        return Question(f"world_{form}", text, (Piece(answer, True),))


def world(draws: Draws, wordings: Wordings, n_facts: int) -> Family:
    told = _World(draws, wordings)
    while len(told.facts) < n_facts:
        told.happen()
    return Family([told.facts], told.questions())


def directions(draws: Draws, wordings: Wordings, n_facts: int) -> Family:
    """Places in a row from north to south, told in any order; at most as many as there are."""
    places: list[str] = draws.random.sample(
        forms.WORLD_PLACES, min(n_facts + 1, len(forms.WORLD_PLACES))
    )
    family = Family([], [])
    for north, south in itertools.pairwise(places):
        family.chains.append([wordings["lies_north"][0].format(l=north, m=south)])
        for form, asked, answer in (
            ("what_is_north", south, north),
            ("north_of_what", north, south),
        ):
            text = wordings["one_word"][0].format(question=wordings[form][0].format(l=asked))
            family.questions.append(Question(f"world_{form}", text, (Piece(answer, True),)))
    return family
