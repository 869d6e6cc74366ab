// Needle in a haystack: one sentence with a value, one question for it, at every depth.
//
// With shared prefill all depths lie in one haystack, each with its own attribute and key; without,
// each prompt holds one needle.
#include <algorithm>
#include <array>

#include <fmt/format.h>

#include "eval/tasks/keys.h"
#include "eval/tasks/task.h"

namespace precis {
namespace {

constexpr std::array<std::string_view, 13> kAttributes = {
    "special magic number", "access code",   "badge number",   "serial number", "phone extension",
    "locker number",        "ticket number", "account number", "passcode",      "lucky number",
    "registration number",  "pin code",      "secret code"};

// The bundled model was trained on these ({a} attribute, {k} key, {v} value) …
constexpr std::array<std::string_view, 5> kStatements = {
    "The {a} for {k} is {v}.", "The {a} of {k} is {v}.",
    "Please remember that the {a} for {k} is {v}.", "For {k}, the {a} is {v}.",
    "Note that the {a} of {k} is {v}."};
constexpr std::array<std::string_view, 3> kQuestions = {
    "What is the {a} for {k}? Reply with the value only.",
    "What is the {a} of {k}? Reply with the value only.",
    "Tell me the {a} for {k}. Reply with the value only."};
// … and has seen none of these.
constexpr std::array<std::string_view, 5> kHeldOutStatements = {
    "Under {k} you will find the {a} {v}.", "As for {k}: its {a} reads {v}.", "{k}, {a}: {v}.",
    "Whoever asks about {k} hears that the {a} is {v}.",
    "{v} stands in the ledger as the {a} of {k}."};
constexpr std::array<std::string_view, 4> kHeldOutQuestions = {
    "Which {a} goes with {k}?", "State the {a} that {k} was given.", "I need the {a} of {k}.",
    "Can you recall which {a} belongs to {k}?"};

constexpr std::string_view kReadInstruction = "Read the following text carefully.\n";

std::string filled(std::string_view form, std::string_view attribute, std::string_view key,
                   std::string_view value = {}) {
  return fmt::format(fmt::runtime(form), fmt::arg("a", attribute), fmt::arg("k", key),
                     fmt::arg("v", value));
}

std::string with_capital(std::string text) {
  if (text.front() >= 'a' && text.front() <= 'z')
    text.front() = static_cast<char>(text.front() - 'a' + 'A');
  return text;
}

}  // namespace

EvalPrompt make_niah(const TaskInput& input) {
  const bool held_out = input.task.ends_with("heldout");
  EvalPrompt prompt = input.prompt(EvalMetric::kExact);
  Draws draws = input.draws();
  std::vector<std::string_view> attributes(kAttributes.begin(), kAttributes.end());
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
        held_out ? draws.pick(kHeldOutStatements) : draws.pick(kStatements);
    const std::string_view question =
        held_out ? draws.pick(kHeldOutQuestions) : draws.pick(kQuestions);
    const auto step = static_cast<int>(128 * i / input.depths.size());
    needles.push_back({.text = with_capital(filled(statement, attribute, key, value)),
                       .value = value,
                       .depth = input.depths[i] / 100,
                       .phase = (first_phase + step) % 128});
    const std::string restated = fmt::format("The {} for {} is", attribute, key);
    prompt.questions.push_back(
        {.depth = input.depths[i],
         .text = filled(question, attribute, key),
         .answer_prefix = " " + restated,
         .references = {value},
         .openings = {restated, fmt::format("The {} of {} is", attribute, key)},
         .allowance = 32,
         .source = {},
         .pieces = {}});
  }

  PromptText text(input.tokenizer);
  text.add(kReadInstruction);
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
