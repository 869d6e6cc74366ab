// Tasks from the user's own text: which words follow, and how surprising the next token is.
// (Needles in it are the NIAH task with the text as haystack.)
#include <algorithm>
#include <cctype>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "eval/tasks/task.h"

namespace precis {
namespace {

constexpr std::size_t kGivenWords = 8;
constexpr std::size_t kAskedWords = 4;
constexpr std::int64_t kScoredTokens = 256;  // the last ones before the length

std::vector<std::string> words_of(std::string_view text) {
  std::vector<std::string> words;
  bool inside = false;
  for (const char c : text) {
    const bool is_space = std::isspace(static_cast<unsigned char>(c)) != 0;
    if (!is_space && !inside) words.emplace_back();
    if (!is_space) words.back() += c;
    inside = !is_space;
  }
  return words;
}

std::string joined(const std::vector<std::string>& words, std::size_t first, std::size_t n) {
  const auto begin = words.begin() + static_cast<std::ptrdiff_t>(first);
  return fmt::format("{}", fmt::join(begin, begin + static_cast<std::ptrdiff_t>(n), " "));
}

// The sentence nearest to `at` that has enough words.
std::size_t long_sentence(const std::vector<Sentence>& sentences, std::size_t at) {
  for (std::size_t off = 0; off < sentences.size(); ++off) {
    for (const std::size_t i : {at + off, at - off}) {
      if (i < sentences.size() && words_of(sentences[i].text).size() >= kGivenWords + kAskedWords) {
        return i;
      }
    }
  }
  return at;
}

EvalQuestion cloze(const Sentence& sentence, double depth) {
  const std::vector<std::string> words = words_of(sentence.text);
  const std::size_t n_given = std::min(kGivenWords, words.size() / 2);
  const std::size_t n_asked = std::min(kAskedWords, words.size() - n_given);
  const std::string given = joined(words, 0, n_given);
  EvalQuestion question;
  question.depth = depth;
  question.text = fmt::format("Which {} words follow \"{}\" in the text?", n_asked, given);
  question.answer_prefix = "\n" + given;
  question.references = {joined(words, n_given, n_asked)};
  question.allowance = 32;
  return question;
}

}  // namespace

EvalPrompt make_document_cloze(const TaskInput& input) {
  // Room for questions is set aside before the sentences are known: eight words and the frame.
  constexpr std::int64_t kReservedTokens = 160;
  EvalPrompt prompt = input.prompt(EvalMetric::kContains);
  PromptText text(input.tokenizer);
  text.add("Read the following text carefully.\n");
  const double start = static_cast<double>(input.sample) / input.options.n_samples;
  const std::vector<Sentence> sentences =
      sentences_of(input.tokenizer, input.options.document, start,
                   input.length - kReservedTokens - text.n_tokens());
  for (const Sentence& sentence : sentences) text.add(sentence.text, sentence.tokens);
  for (const double depth : input.depths) {
    const auto at =
        static_cast<std::size_t>(depth / 100 * static_cast<double>(sentences.size() - 1));
    prompt.questions.push_back(cloze(sentences[long_sentence(sentences, at)], depth));
  }
  text.finish(prompt);
  return prompt;
}

EvalPrompt make_logprob(const TaskInput& input) {
  EvalPrompt prompt = input.prompt(EvalMetric::kNats);
  const std::vector<TokenId> tokens =
      input.tokenizer.encode(input.options.document, SpecialTokens::kAsText);
  // One token of the length is the begin of sentence.
  const std::int64_t n = std::min(std::ssize(tokens), input.length - 1);
  const std::int64_t first = (std::ssize(tokens) - n) * input.sample / input.options.n_samples;
  prompt.context_tokens.assign(tokens.begin() + first, tokens.begin() + first + n);
  for (std::int64_t i = std::max<std::int64_t>(n - kScoredTokens, 0); i < n; ++i) {
    const TokenId token = prompt.context_tokens[static_cast<std::size_t>(i)];
    prompt.targets.push_back({i, token});
    prompt.target_bytes += static_cast<std::int64_t>(input.tokenizer.token_bytes(token).size());
  }
  prompt.questions.emplace_back();
  return prompt;
}

}  // namespace precis
