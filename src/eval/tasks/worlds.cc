// Questions about a small simulated world whose facts lie in order among other text (after bAbI
// qa1 … qa5): where somebody is, where a thing is, where it was before, what lies where, who gave
// what to whom.
#include <algorithm>
#include <array>
#include <optional>

#include "eval/tasks/task.h"
#include "eval/wordings.h"

namespace precis {
namespace {

using wordings::kObjects;
using wordings::kPersons;
using wordings::kPlaces;

struct World {
  std::vector<std::string> facts;
  std::string question;
  std::string answer;
};

// Persons who move, pick up and put down; everything that happened to each thing.
class Simulation {
 public:
  explicit Simulation(Draws& draws) : draws_(draws) {}

  void move(std::size_t person, std::size_t place) {
    place_of_[person] = place;
    facts_.push_back(filled(wordings::kMoves[0], {{"p", kPersons[person]}, {"l", kPlaces[place]}}));
    for (std::size_t object = 0; object < kObjects.size(); ++object) {
      if (carrier_of_[object] == person) visit(object, place);
    }
  }

  void pick_up(std::size_t person, std::size_t object) {
    carrier_of_[object] = person;
    facts_.push_back(
        filled(wordings::kPicksUp[0], {{"p", kPersons[person]}, {"o", kObjects[object]}}));
    visit(object, *place_of_[person]);
  }

  void put_down(std::size_t object) {
    facts_.push_back(filled(wordings::kPutsDown[0],
                            {{"p", kPersons[*carrier_of_[object]]}, {"o", kObjects[object]}}));
    carrier_of_[object].reset();
  }

  std::size_t other_place(std::size_t person) {
    for (;;) {
      const std::size_t place = draws_.below(kPlaces.size());
      if (place_of_[person] != place) return place;
    }
  }

  // One thing that may happen next.
  void happen() {
    const std::size_t person = draws_.below(kPersons.size());
    const std::size_t object = draws_.below(kObjects.size());
    if (carrier_of_[object] == person && draws_.below(2) == 0) {
      put_down(object);
    } else if (place_of_[person] && can_reach(person, object) && draws_.below(2) == 0) {
      pick_up(person, object);
    } else {
      move(person, other_place(person));
    }
  }

  bool can_reach(std::size_t person, std::size_t object) const {
    if (carrier_of_[object]) return false;
    return history_[object].empty() || history_[object].back() == place_of_[person];
  }
  std::optional<std::size_t> place_of(std::size_t person) const { return place_of_[person]; }
  std::optional<std::size_t> carrier_of(std::size_t object) const { return carrier_of_[object]; }
  const std::vector<std::size_t>& history(std::size_t object) const { return history_[object]; }
  const std::vector<std::string>& facts() const { return facts_; }

 private:
  void visit(std::size_t object, std::size_t place) {
    std::vector<std::size_t>& places = history_[object];
    if (places.empty() || places.back() != place) places.push_back(place);
  }

  Draws& draws_;
  std::array<std::optional<std::size_t>, kPersons.size()> place_of_;
  std::array<std::optional<std::size_t>, kObjects.size()> carrier_of_;
  std::array<std::vector<std::size_t>, kObjects.size()> history_;
  std::vector<std::string> facts_;
};

World where_is_person(Draws& draws) {
  Simulation simulation(draws);
  const std::size_t asked = draws.below(kPersons.size());
  const std::int64_t n_facts = draws.between(3, 10);
  // The asked person moves twice, and somebody else goes somewhere else last.
  simulation.move(asked, simulation.other_place(asked));
  for (std::int64_t i = 3; i < n_facts; ++i) {
    const std::size_t person = draws.below(kPersons.size());
    simulation.move(person, simulation.other_place(person));
  }
  simulation.move(asked, simulation.other_place(asked));
  const std::size_t other = (asked + 1) % kPersons.size();
  simulation.move(other, (*simulation.place_of(asked) + 1) % kPlaces.size());
  return {simulation.facts(), filled(wordings::kWhereIsPerson[0], {{"p", kPersons[asked]}}),
          std::string(kPlaces[*simulation.place_of(asked)])};
}

// A world in which `asked` was carried to at least `n_places` places and then left.
Simulation carried_object(Draws& draws, std::size_t asked, std::size_t n_places,
                          std::int64_t n_facts) {
  Simulation simulation(draws);
  while (std::ssize(simulation.facts()) < n_facts) simulation.happen();
  std::size_t person = simulation.carrier_of(asked).value_or(draws.below(kPersons.size()));
  if (!simulation.carrier_of(asked)) {
    const std::vector<std::size_t>& history = simulation.history(asked);
    const std::size_t at = history.empty() ? simulation.other_place(person) : history.back();
    if (simulation.place_of(person) != at) simulation.move(person, at);
    simulation.pick_up(person, asked);
  }
  while (simulation.history(asked).size() < n_places) {
    simulation.move(person, simulation.other_place(person));
  }
  simulation.put_down(asked);
  simulation.move(person, simulation.other_place(person));
  return simulation;
}

World where_is_object(Draws& draws, std::int64_t most_facts) {
  const std::size_t asked = draws.below(kObjects.size());
  const Simulation simulation =
      carried_object(draws, asked, 2, draws.between(2, std::min<std::int64_t>(60, most_facts)));
  return {simulation.facts(), filled(wordings::kWhereIsObject[0], {{"o", kObjects[asked]}}),
          std::string(kPlaces[simulation.history(asked).back()])};
}

World where_was_object(Draws& draws) {
  for (;;) {
    const std::size_t asked = draws.below(kObjects.size());
    const Simulation simulation = carried_object(draws, asked, 3, draws.between(4, 24));
    const std::vector<std::size_t>& history = simulation.history(asked);
    // A place that the thing came to twice has two answers.
    if (std::ranges::count(history, history.back()) != 1) continue;
    return {simulation.facts(),
            filled(wordings::kWhereWasObject[0],
                   {{"o", kObjects[asked]}, {"l", kPlaces[history.back()]}}),
            std::string(kPlaces[history[history.size() - 2]])};
  }
}

World directions(Draws& draws) {
  std::vector<std::string_view> places(kPlaces.begin(), kPlaces.end());
  draws.shuffle(places);
  std::vector<std::string> facts = {
      filled(wordings::kLiesNorth[0], {{"l", places[0]}, {"m", places[1]}}),
      filled(wordings::kLiesNorth[0], {{"l", places[1]}, {"m", places[2]}})};
  draws.shuffle(facts);
  if (draws.below(2) == 0) {
    return {facts, filled(wordings::kWhatIsNorth[0], {{"l", places[1]}}), std::string(places[0])};
  }
  return {facts, filled(wordings::kNorthOfWhat[0], {{"l", places[1]}}), std::string(places[2])};
}

World who_gave(Draws& draws, std::int64_t most_facts) {
  struct Gift {
    std::size_t giver, object, taker;
  };
  std::vector<Gift> gifts;
  std::vector<std::string> facts;
  std::array<std::size_t, kObjects.size()> owner{};
  for (std::size_t& one : owner) one = draws.below(kPersons.size());
  const std::int64_t n_facts = draws.between(2, std::min<std::int64_t>(126, most_facts));
  for (std::int64_t i = 0; i < n_facts; ++i) {
    const std::size_t object = draws.below(kObjects.size());
    const std::size_t giver = owner[object];
    const std::size_t taker = (giver + 1 + draws.below(kPersons.size() - 1)) % kPersons.size();
    owner[object] = taker;
    gifts.push_back({giver, object, taker});
    facts.push_back(
        filled(wordings::kGives[0],
               {{"p", kPersons[giver]}, {"o", kObjects[object]}, {"q", kPersons[taker]}}));
  }
  // The last gift of this thing to this person, as anybody would understand the question.
  const Gift& gift = gifts[draws.below(gifts.size())];
  const auto last = std::ranges::find_if(gifts.rbegin(), gifts.rend(), [&](const Gift& one) {
    return one.object == gift.object && one.taker == gift.taker;
  });
  return {
      facts,
      filled(wordings::kWhoGave[0], {{"o", kObjects[gift.object]}, {"q", kPersons[gift.taker]}}),
      std::string(kPersons[last->giver])};
}

World make(std::string_view task, Draws& draws, std::int64_t length) {
  // Facts take about eleven tokens; short contexts keep half of theirs for other text.
  const std::int64_t most_facts = length / 24;
  switch (task.back()) {
    case '1': return where_is_person(draws);
    case '2': return where_is_object(draws, most_facts);
    case '3': return where_was_object(draws);
    case '4': return directions(draws);
    default: return who_gave(draws, most_facts);
  }
}

}  // namespace

EvalPrompt make_world(const TaskInput& input) {
  EvalPrompt prompt = input.prompt(EvalMetric::kExact);
  Draws draws = input.draws();
  const World world = make(input.task, draws, input.length);
  EvalQuestion question;
  question.text = filled(wordings::kOneWord[0], {{"question", world.question}});
  question.answer_prefix = " Answer:";
  question.references = {world.answer};
  question.openings = {"The ", "the ", "In the ", "in the "};
  question.allowance = 16;
  prompt.questions.push_back(std::move(question));

  std::vector<double> depths;
  for (std::size_t i = 0; i < world.facts.size(); ++i) depths.push_back(draws.unit());
  std::ranges::sort(depths);
  PromptText text(input.tokenizer);
  text.add("Read the following text carefully.\n");
  std::int64_t room = input.context_tokens(prompt.questions) - text.n_tokens();
  std::vector<Needle> needles;
  for (std::size_t i = 0; i < world.facts.size(); ++i) {
    needles.push_back({.text = world.facts[i], .value = {}, .depth = depths[i], .phase = -1});
    room -= most_tokens(input.tokenizer, world.facts[i]);
  }
  place_needles(input.tokenizer, input.haystack(std::max<std::int64_t>(room, 0)), needles, text);
  text.finish(prompt);
  return prompt;
}

}  // namespace precis
