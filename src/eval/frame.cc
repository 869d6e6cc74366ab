#include "eval/frame.h"

#include <fmt/format.h>

namespace precis {

std::string_view prompt_form_name(PromptForm form) {
  return form == PromptForm::kChat ? "chat" : "raw";
}

std::string question_text(PromptForm form, const EvalQuestion& question) {
  if (form == PromptForm::kChat) return "\n" + question.text;
  return fmt::format("\n{}{}", question.text, question.answer_prefix);
}

std::int64_t frame_tokens(const Tokenizer& tokenizer, PromptForm form,
                          const EvalQuestion& question) {
  // Begin of sentence; in chat also the user's turn, the assistant's, and the end of thinking.
  const std::int64_t n_special = form == PromptForm::kChat ? 4 : 1;
  const std::vector<TokenId> tokens =
      tokenizer.encode(question_text(form, question), SpecialTokens::kAsText);
  return n_special + static_cast<std::int64_t>(tokens.size());
}

}  // namespace precis
