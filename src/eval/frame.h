// What stands around a context: how many tokens a form and a question add.
#pragma once

#include <string>

#include "eval/prompt.h"

namespace precis {

/// The text behind the context: a line break, the question, in the raw form the answer's start.
std::string question_text(PromptForm form, const EvalQuestion& question);

/// Tokens of the prompt besides the context: special tokens and the question.
std::int64_t frame_tokens(const Tokenizer& tokenizer, PromptForm form,
                          const EvalQuestion& question);

}  // namespace precis
