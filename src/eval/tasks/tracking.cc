// RULER's variable tracking: one chain of assignments in noise; name every variable that ends up
// with the value.  A short worked example stands in front, as in the public generator.
#include "eval/tasks/keys.h"
#include "eval/tasks/lines.h"
#include "eval/wordings.h"

namespace precis {
namespace {

namespace w = wordings;

constexpr int kHops = 4;
constexpr std::int64_t kExampleTokens = 400;  // of its noise; about 500 with its frame

struct Chain {
  std::string value;
  std::vector<std::string> names;
  std::vector<Needle> lines;
};

Chain make_chain(Draws& draws, int n_letters) {
  Chain chain;
  chain.value = number_value(draws, 5);
  std::unordered_set<std::string> seen;
  for (int i = 0; i <= kHops; ++i) {
    chain.names.push_back(distinct(seen, draws, [&](Draws& d) {
      std::string name;
      for (int j = 0; j < n_letters; ++j) name += static_cast<char>('A' + d.below(26));
      return name;
    }));
    const std::string& name = chain.names.back();
    const std::string text =
        i == 0
            ? filled(w::kChainFirst[0], {{"x", name}, {"v", chain.value}})
            : filled(w::kChainNext[0], {{"x", name}, {"y", chain.names[chain.names.size() - 2]}});
    chain.lines.push_back({.text = text, .value = {}, .depth = 0, .phase = -1});
  }
  return chain;
}

EvalQuestion question_of(const TaskInput& input, const Chain& chain) {
  EvalQuestion question;
  question.text = filled(w::kChainQuestion[0], {{"v", chain.value}});
  question.answer_prefix =
      filled(w::kChainAnswer[0], {{"n", std::to_string(kHops + 1)}, {"v", chain.value}});
  question.references = chain.names;
  question.allowance = input.allowance(30, question.answer_prefix);
  return question;
}

void add_noise(const TaskInput& input, Draws& draws, const Chain& chain, std::int64_t n_tokens,
               PromptText& text) {
  text.add(w::kChainInstruction[0]);
  place_in_lines(
      input.tokenizer, draws, n_tokens, chain.lines, [] { return std::string(w::kNoise[0]); },
      text);
}

}  // namespace

EvalPrompt make_variable_tracking(const TaskInput& input) {
  EvalPrompt prompt = input.prompt(EvalMetric::kContains);
  Draws draws = input.draws();
  PromptText text(input.tokenizer);

  const Chain example = make_chain(draws, 3);
  add_noise(input, draws, example, kExampleTokens, text);
  const EvalQuestion solved = question_of(input, example);
  text.add("\n" + solved.text + solved.answer_prefix);
  for (const std::string& name : example.names) text.add(" " + name);
  text.add("\n\n");

  const Chain chain = make_chain(draws, 5);
  prompt.questions.push_back(question_of(input, chain));
  const auto n_instruction = static_cast<std::int64_t>(
      input.tokenizer.encode(w::kChainInstruction[0], SpecialTokens::kAsText).size());
  const std::int64_t room =
      input.context_tokens(prompt.questions) - text.n_tokens() - n_instruction;
  add_noise(input, draws, chain, room, text);
  text.finish(prompt);
  return prompt;
}

}  // namespace precis
