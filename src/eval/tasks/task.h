// The list of tasks, and what each is given to make a prompt.
#pragma once

#include <string_view>

#include "eval/draws.h"
#include "eval/haystack.h"
#include "eval/prompt.h"

namespace precis {

/// One prompt to make.
struct TaskInput {
  const EvalOptions& options;
  const Tokenizer& tokenizer;
  std::string_view task;
  std::int64_t length = 0;
  int sample = 0;
  std::vector<double> depths;  // percent; for tasks that ask one question per depth

  /// The draws of this prompt, apart from those of every other.
  Draws draws() const {
    return Draws(stream_seed(stream_seed(options.seed, task, static_cast<std::uint64_t>(length)),
                             "sample", static_cast<std::uint64_t>(sample)));
  }
  /// An empty prompt with its names filled in.
  EvalPrompt prompt(EvalMetric metric) const;
  /// Tokens left for the context beside the longest of `questions`.  Samples differ by 0 to 3, so
  /// that prompts end at every place of a block of four.
  std::int64_t context_tokens(std::span<const EvalQuestion> questions) const;
  /// Tokens of an answer of `n_tokens` behind `opening`: the raw form's prompt ends with the opening,
  /// in a chat the model writes it.
  std::int64_t allowance(std::int64_t n_tokens, std::string_view opening) const;
  /// Sentences of at most `n_tokens`: of the user's haystack, or generated.
  std::vector<Sentence> haystack(std::int64_t n_tokens) const;
};

/// How a prompt is made.  Requires  a length of at least the task's min_length.
using MakePrompt = EvalPrompt (*)(const TaskInput& input);

struct Task {
  EvalTaskInfo info;
  MakePrompt make;
  bool per_depth = false;  // one question for every depth
  std::int64_t min_length = 1024;
};

/// Null for an unknown name.
const Task* find_task(std::string_view name);

EvalPrompt make_niah(const TaskInput& input);
EvalPrompt make_ruler_niah(const TaskInput& input);
EvalPrompt make_variable_tracking(const TaskInput& input);
EvalPrompt make_common_words(const TaskInput& input);
EvalPrompt make_frequent_words(const TaskInput& input);
EvalPrompt make_recall_pairs(const TaskInput& input);
EvalPrompt make_world(const TaskInput& input);
EvalPrompt make_items(const TaskInput& input);
EvalPrompt make_document_cloze(const TaskInput& input);
EvalPrompt make_logprob(const TaskInput& input);

}  // namespace precis
