// RULER's two counting tasks: the ten most common words of a list, and the three most frequent
// words of a coded text.
#include <algorithm>
#include <cmath>
#include <numbers>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "eval/tasks/keys.h"
#include "eval/tasks/task.h"

namespace precis {
namespace {

constexpr std::size_t kCommonWords = 10;

std::int64_t count_tokens(const Tokenizer& tokenizer, std::string_view text) {
  return static_cast<std::int64_t>(tokenizer.encode(text, SpecialTokens::kAsText).size());
}

// About the largest text that fits, where `make(n)` grows with n: each try interpolates between the
// last one that fitted and the last one that did not.
template <typename Make>
std::string largest_text(const Tokenizer& tokenizer, std::int64_t room, std::int64_t guess,
                         std::int64_t least, const Make& make) {
  constexpr int kTries = 6;
  std::string best;
  std::int64_t fits = 0;
  std::int64_t fits_tokens = 0;
  std::int64_t fails = 0;  // 0: none yet
  std::int64_t fails_tokens = 0;
  std::int64_t n = std::max(guess, least);
  for (int i = 0; i < kTries || best.empty(); ++i) {
    std::string text = make(n);
    const std::int64_t used = count_tokens(tokenizer, text);
    if (used <= room || n == least) {
      best = std::move(text);
      fits = n;
      fits_tokens = used;
      if (room - used < room / 100 || fails == 0 || fails - fits < 2) break;
    } else {
      fails = n;
      fails_tokens = used;
    }
    const double slope =
        static_cast<double>(fails - fits) / static_cast<double>(fails_tokens - fits_tokens);
    const auto step = static_cast<std::int64_t>(slope * static_cast<double>(room - fits_tokens));
    n = std::max(least, std::min(fits + step, fails - 1));
    if (!best.empty() && n == fits) break;
  }
  return best;
}

// Words in a random order without end: single ones first, then pairs.
class WordSource {
 public:
  explicit WordSource(Draws& draws) : draws_(draws) {
    for (const Words words : {key_nouns(), key_adjectives()}) {
      for (const std::string_view word : words) {
        if (seen_.insert(std::string(word)).second) words_.emplace_back(word);
      }
    }
    draws_.shuffle(words_);
  }

  const std::string& word(std::size_t i) {
    while (words_.size() <= i) words_.push_back(distinct(seen_, draws_, word_key));
    return words_[i];
  }

 private:
  using Words = std::span<const std::string_view>;
  Draws& draws_;
  std::unordered_set<std::string> seen_;
  std::vector<std::string> words_;
};

std::string numbered(const std::vector<std::string>& words) {
  std::string out;
  for (std::size_t i = 0; i < words.size(); ++i) {
    out += fmt::format("{}{}. {}", i == 0 ? "" : " ", i + 1, words[i]);
  }
  return out;
}

// `n_words` distinct words from word `first` of the source: ten of them often, the others seldom.
std::string word_list(WordSource& source, std::size_t first, std::size_t n_words, int n_common,
                      int n_other, std::uint64_t seed) {
  std::vector<std::string> list;
  for (std::size_t i = 0; i < n_words; ++i) {
    const int n = i < kCommonWords ? n_common : n_other;
    list.insert(list.end(), static_cast<std::size_t>(n), source.word(first + i));
  }
  Draws order(seed);
  order.shuffle(list);
  return numbered(list);
}

constexpr std::string_view kListInstruction =
    "Below is a numbered list of words. In these words, some appear more often than others. "
    "Memorize the ones that appear most often.\n";
constexpr std::string_view kListQuestion =
    "Question: What are the 10 most common words in the above list?";
constexpr std::string_view kListAnswer =
    " Answer: The top 10 words that appear most often in the list are:";

// A six-letter word of no language.
std::string coded_word(Draws& draws) {
  std::string word;
  for (int i = 0; i < 6; ++i) word += static_cast<char>('a' + draws.below(26));
  return word;
}

}  // namespace

EvalPrompt make_common_words(const TaskInput& input) {
  EvalPrompt prompt = input.prompt(EvalMetric::kContains);
  Draws draws = input.draws();
  WordSource source(draws);
  const bool is_short = input.length < 4096;
  const std::size_t n_example = is_short ? 20 : 40;

  EvalQuestion question;
  question.text = kListQuestion;
  question.answer_prefix = kListAnswer;
  question.allowance = input.allowance(120, question.answer_prefix);
  std::vector<std::string> example_words;
  for (std::size_t i = 0; i < kCommonWords; ++i) {
    example_words.push_back(source.word(i));
    question.references.push_back(source.word(n_example + i));
  }
  prompt.questions.push_back(std::move(question));

  PromptText text(input.tokenizer);
  const std::uint64_t seed = draws.bits();
  text.add(fmt::format("{}{}\n{}{} {}\n{}", kListInstruction,
                       word_list(source, 0, n_example, is_short ? 3 : 10, is_short ? 1 : 3, seed),
                       kListQuestion, kListAnswer, numbered(example_words), kListInstruction));
  const std::int64_t room = input.context_tokens(prompt.questions) - text.n_tokens();
  const int n_common = is_short ? 6 : 30;
  const int n_other = is_short ? 1 : 3;
  // An entry takes at least five tokens: number, period, word.
  text.add(
      largest_text(input.tokenizer, room, room / (5 * n_other), kCommonWords, [&](std::int64_t n) {
        return word_list(source, n_example, static_cast<std::size_t>(n), n_common, n_other,
                         seed + 1);
      }));
  text.finish(prompt);
  return prompt;
}

EvalPrompt make_frequent_words(const TaskInput& input) {
  constexpr double kZeta2 = std::numbers::pi * std::numbers::pi / 6;
  EvalPrompt prompt = input.prompt(EvalMetric::kContains);
  Draws draws = input.draws();
  EvalQuestion question;
  question.text =
      "Question: Do not provide any explanation. Please ignore the dots '....'. What are the three "
      "most frequently appeared words in the above coded text?";
  question.answer_prefix =
      " Answer: According to the coded text above, the three most frequently appeared words are:";
  question.allowance = input.allowance(50, question.answer_prefix);

  std::vector<std::string> words = {"..."};  // the most frequent one is noise
  std::unordered_set<std::string> seen;
  while (std::ssize(words) < std::max<std::int64_t>(input.length / 50, 4)) {
    words.push_back(distinct(seen, draws, coded_word));
  }
  question.references.assign(words.begin() + 1, words.begin() + 4);
  prompt.questions.push_back(std::move(question));

  PromptText text(input.tokenizer);
  text.add(
      "Read the following coded text and track the frequency of each coded word. Find the three "
      "most "
      "frequently appeared coded words. ");
  const std::int64_t room = input.context_tokens(prompt.questions) - text.n_tokens();
  const std::uint64_t seed = draws.bits();
  text.add(largest_text(input.tokenizer, room, room / 2, 16, [&](std::int64_t n_words) {
    std::vector<std::string_view> list;
    for (std::size_t rank = 1; rank <= words.size(); ++rank) {
      const double share = 1 / (kZeta2 * static_cast<double>(rank) * static_cast<double>(rank));
      list.insert(list.end(), static_cast<std::size_t>(static_cast<double>(n_words) * share),
                  words[rank - 1]);
    }
    Draws order(seed);
    order.shuffle(list);
    return fmt::format("{}", fmt::join(list, " "));
  }));
  text.finish(prompt);
  return prompt;
}

}  // namespace precis
