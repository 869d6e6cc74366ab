// Associative recall over token numbers (Zoology's MQAR): pairs of a key and a value first, later
// each key again; the token after it should be its value.
//
// Up to 512 tokens in the public form; beyond, the pairs stand in front of prose and the keys come
// again at its end.
#include <algorithm>
#include <charconv>
#include <cmath>

#include "base/check.h"
#include "eval/tasks/task.h"

namespace precis {
namespace {

constexpr std::int64_t kPublicTokens = 512;
constexpr double kPower = 0.01;  // gaps i with p ∝ i^(kPower − 1)

// Ordinary tokens in two halves.
struct Vocabulary {
  std::vector<TokenId> keys;
  std::vector<TokenId> values;
};

Vocabulary vocabulary_of(const Tokenizer& tokenizer) {
  std::vector<TokenId> ordinary;
  for (TokenId id = 0; id < tokenizer.vocab_size(); ++id) {
    if (!tokenizer.is_special(id) && !tokenizer.token_bytes(id).empty()) ordinary.push_back(id);
  }
  const auto half = ordinary.begin() + static_cast<std::ptrdiff_t>(ordinary.size() / 2);
  return {{ordinary.begin(), half}, {half, ordinary.end()}};
}

// `n` distinct gaps of 0 … n_of − 1, gap i with weight (i + 1)^(kPower − 1): the smallest of
// exponential waiting times with these rates.
std::vector<std::size_t> draw_gaps(Draws& draws, std::size_t n, std::size_t n_of) {
  std::vector<std::pair<double, std::size_t>> waits;
  for (std::size_t i = 0; i < n_of; ++i) {
    const double weight = std::pow(static_cast<double>(i + 1), kPower - 1);
    waits.emplace_back(-std::log1p(-draws.unit()) / weight, i);
  }
  std::ranges::sort(waits);
  std::vector<std::size_t> gaps;
  for (std::size_t i = 0; i < n; ++i) gaps.push_back(waits[i].second);
  return gaps;
}

// "mqar_64" → 64
std::size_t n_pairs_of(std::string_view task) {
  std::size_t n = 0;
  const std::string_view digits = task.substr(task.find('_') + 1);
  const auto [end, status] = std::from_chars(digits.data(), digits.data() + digits.size(), n);
  PRECIS_CHECK(status == std::errc());
  return n;
}

}  // namespace

EvalPrompt make_recall_pairs(const TaskInput& input) {
  EvalPrompt prompt = input.prompt(EvalMetric::kAccuracy);
  Draws draws = input.draws();
  Vocabulary vocabulary = vocabulary_of(input.tokenizer);
  const std::size_t n_pairs = std::min(n_pairs_of(input.task), vocabulary.keys.size());
  draws.shuffle(vocabulary.keys);

  std::vector<TokenId>& tokens = prompt.context_tokens;
  std::vector<TokenId> values;
  for (std::size_t i = 0; i < n_pairs; ++i) {
    values.push_back(draws.pick(vocabulary.values));
    tokens.push_back(vocabulary.keys[i]);
    tokens.push_back(values.back());
  }
  const auto any_value = [&] { return draws.pick(vocabulary.values); };
  const std::int64_t n_tokens = input.length - 1;  // the first is the begin of sentence
  const std::size_t pairs_end = tokens.size();
  std::vector<std::size_t> key_at(n_pairs);  // places of the keys that come again
  if (input.length <= kPublicTokens) {
    const std::size_t n_slots = (static_cast<std::size_t>(n_tokens) - pairs_end) / 2;
    const std::vector<std::size_t> gaps = draw_gaps(draws, n_pairs, n_slots);
    for (std::size_t i = 0; i < n_pairs; ++i) key_at[i] = pairs_end + 2 * gaps[i];
  } else {
    for (const Sentence& sentence :
         input.haystack(n_tokens - static_cast<std::int64_t>(2 * pairs_end))) {
      tokens.insert(tokens.end(), sentence.tokens.begin(), sentence.tokens.end());
    }
    for (std::size_t i = 0; i < n_pairs; ++i) key_at[i] = tokens.size() + 2 * i;
    draws.shuffle(key_at);
  }
  const std::size_t end = *std::ranges::max_element(key_at) + 1;
  while (tokens.size() < end) tokens.push_back(any_value());
  for (std::size_t i = 0; i < n_pairs; ++i) {
    tokens[key_at[i]] = vocabulary.keys[i];
    prompt.targets.push_back({static_cast<std::int64_t>(key_at[i]) + 1, values[i]});
  }
  std::ranges::sort(prompt.targets, {}, &TokenTarget::n_before);
  prompt.questions.emplace_back();
  return prompt;
}

}  // namespace precis
