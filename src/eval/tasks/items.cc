// The i-th item (after MRCR): a long exchange in which somebody asks for short pieces; some requests
// are identical, and the last one asks for the i-th piece that answered them, after a code.
#include <algorithm>
#include <array>

#include <fmt/format.h>

#include "eval/tasks/keys.h"
#include "eval/tasks/task.h"
#include "eval/wordings.h"

namespace precis {
namespace {

using wordings::kItemForms;

struct Subject {
  std::size_t form = 0;
  std::size_t topic = 0;
  bool operator==(const Subject&) const = default;
};

std::string piece_about(Draws& draws, std::string_view topic) {
  const std::uint64_t seed = draws.bits();
  return filled(wordings::kItemPiece[0], {{"t", topic}, {"s", prose_sentence(seed, 0)}});
}

std::string request_for(const Subject& subject) {
  return filled(wordings::kItemRequest[0],
                {{"f", kItemForms[subject.form]}, {"t", key_nouns()[subject.topic]}});
}

// Another form of the topic, another topic in the form, or, most often, neither.
Subject other_subject(Draws& draws, const Subject& asked) {
  for (;;) {
    Subject other{draws.below(kItemForms.size()), draws.below(key_nouns().size())};
    switch (draws.below(8)) {
      case 0: other.topic = asked.topic; break;
      case 1: other.form = asked.form; break;
      default: break;
    }
    if (other != asked) return other;
  }
}

std::string code_of(Draws& draws) {
  constexpr std::string_view kLetters = "abcdefghijklmnopqrstuvwxyz0123456789";
  std::string code;
  for (int i = 0; i < 10; ++i) code += kLetters[draws.below(kLetters.size())];
  return code;
}

}  // namespace

EvalPrompt make_items(const TaskInput& input) {
  EvalPrompt prompt = input.prompt(EvalMetric::kRatio);
  Draws draws = input.draws();
  const auto n_items = static_cast<std::size_t>(input.task.back() - '0');
  const Subject asked{draws.below(kItemForms.size()), draws.below(key_nouns().size())};
  const std::string_view topic = key_nouns()[asked.topic];
  const std::size_t item = draws.below(n_items);

  EvalQuestion question;
  question.pieces.code = code_of(draws);
  for (std::size_t i = 0; i < n_items; ++i) {
    question.pieces.texts.push_back(piece_about(draws, topic));
    question.pieces.names.push_back(fmt::format("the {} item", wordings::kOrdinals[i]));
  }
  question.text = filled(wordings::kItemQuestion[0], {{"c", question.pieces.code},
                                                      {"i", wordings::kOrdinals[item]},
                                                      {"f", kItemForms[asked.form]},
                                                      {"t", topic}});
  question.answer_prefix = "\nAssistant:";
  question.references = {question.pieces.texts[item]};
  question.allowance = 96;
  const std::vector<std::string> pieces = question.pieces.texts;
  prompt.questions.push_back(std::move(question));

  const auto encode = [&](const std::string& text) {
    return input.tokenizer.encode(text, SpecialTokens::kAsText);
  };
  const auto turn = [&](const Subject& subject, const std::string& piece) {
    return fmt::format("{}Assistant: {}\n", request_for(subject), piece);
  };
  std::int64_t room = input.context_tokens(prompt.questions);
  for (const std::string& piece : pieces) room -= std::ssize(encode(turn(asked, piece)));
  std::vector<std::string> others;
  for (;;) {
    const Subject subject = other_subject(draws, asked);
    std::string other = turn(subject, piece_about(draws, key_nouns()[subject.topic]));
    room -= std::ssize(encode(other));
    if (room < 0) break;
    others.push_back(std::move(other));
  }

  const std::size_t n_turns = others.size() + n_items;
  const std::vector<std::size_t> at = draws.choose(n_items, n_turns);
  std::string text;
  std::size_t n_placed = 0;
  for (std::size_t i = 0; i < n_turns; ++i) {
    const bool is_item = n_placed < n_items && at[n_placed] == i;
    text += is_item ? turn(asked, pieces[n_placed]) : others[i - n_placed];
    n_placed += is_item ? 1 : 0;
  }
  text.pop_back();  // the question brings its own line break
  PromptText whole(input.tokenizer);
  whole.add(text);
  whole.finish(prompt);
  return prompt;
}

}  // namespace precis
