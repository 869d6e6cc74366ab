// RULER's eight needle tasks.  Strings and parameters are those of the public generator
// (NVIDIA/RULER, scripts/data/synthetic); a test compares them.
#include <algorithm>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "base/check.h"
#include "eval/tasks/keys.h"
#include "eval/tasks/lines.h"
#include "eval/wordings.h"

namespace precis {
namespace {

enum class Haystack : std::uint8_t { kNoise, kText, kNeedle };
enum class Kind : std::uint8_t { kNumber, kWord, kUuid };

struct Variant {
  std::string_view name;
  Haystack haystack;
  Kind key;
  Kind value;
  int n_keys;
  int n_values;
  int n_asked;
};

constexpr Variant kVariants[] = {
    {"niah_single_1", Haystack::kNoise, Kind::kWord, Kind::kNumber, 1, 1, 1},
    {"niah_single_2", Haystack::kText, Kind::kWord, Kind::kNumber, 1, 1, 1},
    {"niah_single_3", Haystack::kText, Kind::kWord, Kind::kUuid, 1, 1, 1},
    {"niah_multikey_1", Haystack::kText, Kind::kWord, Kind::kNumber, 4, 1, 1},
    {"niah_multikey_2", Haystack::kNeedle, Kind::kWord, Kind::kNumber, 1, 1, 1},
    {"niah_multikey_3", Haystack::kNeedle, Kind::kUuid, Kind::kUuid, 1, 1, 1},
    {"niah_multivalue", Haystack::kText, Kind::kWord, Kind::kNumber, 1, 4, 1},
    {"niah_multiquery", Haystack::kText, Kind::kWord, Kind::kNumber, 4, 1, 4},
};

constexpr int kDepths = 40;  // equally spaced, from 0 to 100 %

std::string make(Draws& draws, Kind kind) {
  switch (kind) {
    case Kind::kNumber: return number_value(draws);
    case Kind::kWord: return word_key(draws);
    case Kind::kUuid: return uuid_value(draws);
  }
  return {};
}

std::string_view plural(Kind kind) {
  return kind == Kind::kNumber ? "numbers" : kind == Kind::kWord ? "words" : "uuids";
}

std::string needle_line(Kind value_kind, std::string_view key, std::string_view value) {
  return filled(wordings::kMagicStatement[0],
                {{"kind", plural(value_kind)}, {"k", key}, {"v", value}});
}

// "a", "a, and b", "a, b, and c": as the public generator joins them.
std::string joined(const std::vector<std::string>& keys) {
  if (keys.size() == 1) return keys.front();
  return fmt::format("{}, and {}", fmt::join(keys.begin(), keys.end() - 1, ", "), keys.back());
}

struct Hidden {
  std::vector<Needle> needles;
  std::vector<std::string> asked;       // keys
  std::vector<std::string> references;  // their values
};

Hidden hide(const Variant& variant, Draws& draws, std::unordered_set<std::string>& keys) {
  Hidden hidden;
  const std::vector<std::size_t> asked = draws.choose(static_cast<std::size_t>(variant.n_asked),
                                                      static_cast<std::size_t>(variant.n_keys));
  for (int i = 0; i < variant.n_keys; ++i) {
    const std::string key = distinct(keys, draws, [&](Draws& d) { return make(d, variant.key); });
    const bool is_asked = std::ranges::find(asked, static_cast<std::size_t>(i)) != asked.end();
    if (is_asked) hidden.asked.push_back(key);
    for (int j = 0; j < variant.n_values; ++j) {
      const std::string value = make(draws, variant.value);
      hidden.needles.push_back({.text = needle_line(variant.value, key, value),
                                .value = is_asked ? value : std::string(),
                                .depth = 0,
                                .phase = -1});
      if (is_asked) hidden.references.push_back(value);
    }
  }
  draws.shuffle(hidden.needles);
  const std::vector<std::size_t> depths = draws.choose(hidden.needles.size(), kDepths);
  for (std::size_t i = 0; i < depths.size(); ++i) {
    hidden.needles[i].depth = static_cast<double>(depths[i]) / (kDepths - 1);
  }
  return hidden;
}

std::vector<Placed> place(const TaskInput& input, const Variant& variant, const Hidden& hidden,
                          Draws& draws, std::unordered_set<std::string>& keys, std::int64_t room,
                          PromptText& text) {
  if (variant.haystack == Haystack::kText) {
    for (const Needle& needle : hidden.needles) {
      room -= most_tokens(input.tokenizer, needle.text);
    }
    return place_needles(input.tokenizer, input.haystack(room), hidden.needles, text);
  }
  const auto next_line = [&]() -> std::string {
    if (variant.haystack == Haystack::kNoise) return std::string(wordings::kNoise[0]);
    const std::string key = distinct(keys, draws, [&](Draws& d) { return make(d, variant.key); });
    return needle_line(variant.value, key, make(draws, variant.value));
  };
  Draws places = Draws(stream_seed(draws.bits(), "places"));
  return place_in_lines(input.tokenizer, places, room, hidden.needles, next_line, text);
}

}  // namespace

EvalPrompt make_ruler_niah(const TaskInput& input) {
  namespace w = wordings;
  const auto* const variant = std::ranges::find(kVariants, input.task, &Variant::name);
  PRECIS_CHECK(variant != std::end(kVariants));
  EvalPrompt prompt = input.prompt(EvalMetric::kContains);
  Draws draws = input.draws();
  std::unordered_set<std::string> keys;
  const Hidden hidden = hide(*variant, draws, keys);

  const bool single = variant->n_asked * variant->n_values == 1;
  std::string_view kind = plural(variant->value);
  if (single) kind.remove_suffix(1);
  const std::string asked = joined(hidden.asked);
  EvalQuestion question;
  question.text = filled((single ? w::kMagicQuestionOfOne : w::kMagicQuestionOfMany)[0],
                         {{"kind", kind}, {"k", asked}});
  question.answer_prefix = filled((single ? w::kMagicAnswerOfOne : w::kMagicAnswerOfMany)[0],
                                  {{"kind", kind}, {"k", asked}});
  question.references = hidden.references;
  question.openings = {fmt::format("The special magic {} for {} is", kind, asked),
                       question.answer_prefix.substr(1)};
  question.allowance = input.allowance(128, question.answer_prefix);
  prompt.questions.push_back(std::move(question));

  PromptText text(input.tokenizer);
  text.add(filled((single ? w::kMagicInstructionOfOne : w::kMagicInstructionOfMany)[0],
                  {{"kind", kind}}));
  const std::int64_t room = input.context_tokens(prompt.questions) - text.n_tokens();
  const std::vector<Placed> placed = place(input, *variant, hidden, draws, keys, room, text);
  if (single) {
    const auto asked_needle = std::ranges::find_if(
        placed, [](const Placed& needle) { return needle.value.n_tokens > 0; });
    if (asked_needle != placed.end()) prompt.questions[0].source = asked_needle->value;
  }
  text.finish(prompt);
  return prompt;
}

}  // namespace precis
