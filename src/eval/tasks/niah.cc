// Needle in a haystack: one sentence with a value, one question for it, at every depth.
//
// With shared prefill all depths lie in one haystack, each with its own attribute and key; without,
// each prompt holds one needle.
#include <algorithm>

#include <fmt/format.h>

#include "eval/tasks/keys.h"
#include "eval/tasks/task.h"
#include "eval/wordings.h"

namespace precis {
namespace {

std::string with_capital(std::string text) {
  if (text.front() >= 'a' && text.front() <= 'z')
    text.front() = static_cast<char>(text.front() - 'a' + 'A');
  return text;
}

}  // namespace

EvalPrompt make_niah(const TaskInput& input) {
  namespace w = wordings;
  const bool held_out = input.task.ends_with("heldout");
  EvalPrompt prompt = input.prompt(EvalMetric::kExact);
  Draws draws = input.draws();
  std::vector<std::string_view> attributes(w::kAttributes.begin(), w::kAttributes.end());
  draws.shuffle(attributes);
  // Starts are spread evenly over the 128 phases: needles of a sample by equal steps, samples by the
  // golden ratio of them.
  const auto first_phase =
      static_cast<int>((draws.below(4) + 79 * static_cast<std::uint64_t>(input.sample)) % 128);

  std::unordered_set<std::string> keys;
  std::vector<Needle> needles;
  for (std::size_t i = 0; i < input.depths.size(); ++i) {
    const std::string_view attribute = attributes[i % attributes.size()];
    const std::string key = distinct(keys, draws, word_key);
    const std::string value = number_value(draws);
    const std::string_view statement =
        held_out ? draws.pick(w::kHeldOutStatements) : draws.pick(w::kStatements);
    const std::string_view question =
        held_out ? draws.pick(w::kHeldOutQuestions) : draws.pick(w::kQuestions);
    const auto step = static_cast<int>(128 * i / input.depths.size());
    needles.push_back(
        {.text = with_capital(filled(statement, {{"a", attribute}, {"k", key}, {"v", value}})),
         .value = value,
         .depth = input.depths[i] / 100,
         .phase = (first_phase + step) % 128});
    const std::string restated = fmt::format("The {} for {} is", attribute, key);
    prompt.questions.push_back(
        {.depth = input.depths[i],
         .text = filled(question, {{"a", attribute}, {"k", key}}),
         .answer_prefix = " " + restated,
         .references = {value},
         .openings = {restated, fmt::format("The {} of {} is", attribute, key)},
         .allowance = 32,
         .source = {},
         .pieces = {}});
  }

  PromptText text(input.tokenizer);
  text.add(w::kReadInstruction[0]);
  std::int64_t room = input.context_tokens(prompt.questions) - text.n_tokens();
  for (const Needle& needle : needles) {
    room -= most_tokens(input.tokenizer, needle.text);
  }
  const std::vector<Placed> placed =
      place_needles(input.tokenizer, input.haystack(room), needles, text);
  for (std::size_t i = 0; i < placed.size(); ++i) prompt.questions[i].source = placed[i].value;
  text.finish(prompt);
  return prompt;
}

}  // namespace precis
