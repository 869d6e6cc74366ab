// One prompt with its questions: what every task makes and every subject answers.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "precis/eval.h"
#include "precis/text.h"

namespace precis {

/// Tokens of an answer in the context; recall asks whether their rows were selected.
struct SourceSpan {
  std::int64_t first = 0;  // from the first token of the context
  std::int64_t n_tokens = 0;
};

/// A reply that should have begun with a code and then hold one of several pieces.
struct Pieces {
  std::string code;
  std::vector<std::string> texts;
  std::vector<std::string> names;  // "2 of topic lamps", for reports
};

struct EvalQuestion {
  double depth = -1;  // percent; negative: none
  std::string text;
  std::string answer_prefix;  // of the raw form
  std::vector<std::string> references;
  std::vector<std::string> openings;  // what may stand before the reference in an exact answer
  std::int64_t allowance = 128;       // tokens of the answer
  SourceSpan source;
  Pieces pieces;  // of the i-th item task alone
};

/// The place after `n_before` tokens of the context, and the token that should come next.
struct TokenTarget {
  std::int64_t n_before = 0;
  TokenId token = 0;
};

struct EvalPrompt {
  std::string task;
  EvalMetric metric = EvalMetric::kExact;
  std::int64_t length = 0;
  int sample = 0;
  std::string context;  // empty where the task is in token numbers
  std::vector<TokenId> context_tokens;
  std::vector<EvalQuestion> questions;
  std::vector<TokenTarget> targets;  // kAccuracy and kNats: nothing is generated
  std::int64_t target_bytes = 0;     // of the targets' text
};

struct EvalReply {
  std::string text;
  std::vector<double> values;  // per target: 1 or 0 (kAccuracy), −log p (kNats)
  std::int64_t n_prompt_tokens = 0;
  std::int64_t n_tokens = 0;
  double seconds = 0;
  std::vector<SelectorRecall> recall;
};

/// Text and its tokens, put together piece by piece.
class PromptText {
 public:
  explicit PromptText(const Tokenizer& tokenizer) : tokenizer_(tokenizer) {}

  void add(std::string_view piece) {
    const std::vector<TokenId> tokens = tokenizer_.encode(piece, SpecialTokens::kAsText);
    add(piece, tokens);
  }
  void add(std::string_view piece, std::span<const TokenId> tokens) {
    text_ += piece;
    tokens_.insert(tokens_.end(), tokens.begin(), tokens.end());
  }

  std::int64_t n_tokens() const { return static_cast<std::int64_t>(tokens_.size()); }
  const std::string& text() const { return text_; }

  /// Moves the whole into `prompt`.
  void finish(EvalPrompt& prompt) {
    prompt.context = std::move(text_);
    prompt.context_tokens = std::move(tokens_);
  }

 private:
  const Tokenizer& tokenizer_;
  std::string text_;
  std::vector<TokenId> tokens_;
};

}  // namespace precis
