"""Generated sequences: every answer stands in its text, nothing held out is trained on."""

import pathlib

import pytest

from training.data.batches import MOST_POSITIONS, Batch, jumps, load_writer
from training.data.tasks import composed, forms
from training.data.tasks.draws import Draws, Vocabulary
from training.data.tasks.facts import FAMILIES, Family
from training.data.tasks.retrieval import RetrievalOptions, Writer, write_retrieval
from training.data.tasks.stories import write_story
from training.data.tasks.worlds import directions, world
from training.data.tokenizer import ASSISTANT, BEGIN, END, THINK_END, USER
from training.data.wordings import ask_program
from training.tests.small_run import program, small_batches, small_recipe, write_data

NOUNS = [f"noun{i}" for i in range(500)]
ADJECTIVES = [f"adjective{i}" for i in range(500)]
RUNNING = [f"word{i}" for i in range(500)]
VOCABULARY = Vocabulary(NOUNS, ADJECTIVES, RUNNING)
MAKERS = {**FAMILIES, "world": world, "directions": directions}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    directory = tmp_path_factory.mktemp("data")
    write_data(directory)
    return directory


@pytest.fixture(scope="module")
def writer(data: pathlib.Path) -> Writer:
    return load_writer(data, small_recipe().haystack)


def make(name: str, seed: int, n_facts: int) -> Family:
    draws = Draws(f"{name} {seed}", VOCABULARY)
    return MAKERS[name](draws, ask_program(program()), n_facts)


@pytest.mark.parametrize("name", MAKERS)
def test_every_value_of_an_answer_stands_in_the_facts(name: str) -> None:
    for seed in range(10):
        family = make(name, seed, 12)
        text = "\n".join(sentence for chain in family.chains for sentence in chain)
        assert family.questions
        for question in family.questions:
            values = [piece.text.strip(" .") for piece in question.answer if piece.is_value]
            assert any(values)
            for value in values:
                assert value.strip(",") in text, (question, value)


@pytest.mark.parametrize("name", MAKERS)
def test_families_have_about_as_many_facts_as_asked(name: str) -> None:
    assert 6 <= make(name, 1, 12).n_facts <= 18


def test_nothing_held_out_is_trained_on() -> None:
    wordings = ask_program(program())
    assert len(forms.STATEMENTS) + len(forms.QUESTIONS) + len(wordings["statements"]) >= 30
    trained = {*forms.STATEMENTS, *forms.QUESTIONS, *wordings["statements"], *wordings["questions"]}
    assert trained.isdisjoint(wordings["held_out_statements"])
    assert trained.isdisjoint(wordings["held_out_questions"])
    assert set(forms.FIRST_NAMES).isdisjoint(wordings["held_out_persons"])
    assert set(forms.WORLD_PLACES).isdisjoint(wordings["held_out_places"])
    assert set(forms.WORLD_OBJECTS).isdisjoint(wordings["held_out_objects"])


def test_composed_forms_differ_and_have_every_slot_once() -> None:
    draws = Draws("composed", VOCABULARY)
    made = {composed.statement(draws, bookish=i % 2 == 0) for i in range(500)}
    assert len(made) > 490
    assert any("word" in one for one in made)
    for slots, form in (
        *((("{a}", "{k}", "{v}"), one) for one in made),
        *((("{a}", "{k}"), composed.question(draws, bookish=i % 2 == 0)) for i in range(500)),
    ):
        assert all(form.count(slot) == 1 for slot in slots), form
        assert form.count("{") == len(slots)
    wordings = ask_program(program())
    assert made.isdisjoint(wordings["held_out_statements"])


def test_sequences_are_chats_whose_answers_can_be_found(writer: Writer) -> None:
    options = RetrievalOptions((4, 12), 0.35, {"single": 1.0})
    for seed in range(20):
        draws = Draws(str(seed), VOCABULARY)
        written = write_retrieval(writer, draws, options, 1025)
        assert len(written) == 1025
        assert written.tokens[:2] == [BEGIN, USER]
        assert written.spans
        context = writer.encoder.decode(written.tokens[: written.spans[0].first])
        for span in written.spans:
            assert written.tokens[span.first - 2 : span.first] == [ASSISTANT, THINK_END]
            assert written.tokens[span.last - 1] == END
            ids = written.tokens[span.first : span.last]
            weights = written.answer_weight[span.first : span.last]
            assert max(weights) == 1.0
            if span.task == "value":
                assert writer.encoder.decode(ids[:-1]).strip() in context
        assert sum(written.answer_weight[: written.spans[0].first]) == 0


def test_stories_hold_what_is_asked_about_them() -> None:
    for seed in range(100):
        story, questions = write_story(Draws(str(seed), VOCABULARY))
        assert 60 < len(story.split()) < 400
        assert "{" not in story
        for question in questions:
            assert question.answer[0].text.split()[-1] in story


def test_a_batch_depends_on_its_step_alone(data: pathlib.Path) -> None:
    forward, backward = small_batches(data), small_batches(data)
    ahead = [forward[step] for step in range(len(forward))]
    behind = [backward[step] for step in reversed(range(len(backward)))]
    for one, other in zip(ahead, reversed(behind), strict=True):
        for name in Batch._fields:
            assert str(getattr(one, name)) == str(getattr(other, name)), name
    assert str(ahead[0].token_ids) != str(ahead[1].token_ids)


def test_positions_jump_at_blocks_and_stay_below_the_end() -> None:
    for seed in range(50):
        added = jumps(Draws(str(seed), VOCABULARY), 4096)
        assert added[-1] + 4096 <= MOST_POSITIONS
        assert (added.diff() >= 0).all()
        assert (added.view(-1, 128) == added[::128, None]).all()
        assert (added % 128 == 0).all()
