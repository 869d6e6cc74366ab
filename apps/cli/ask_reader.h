// One document in the cache, and questions to it.
//
// Owns the order of tokens that the bundled model was trained on: the document and the question are
// one user turn of chat mode.  The document is read once; every question starts again from its end.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "precis/engine.h"
#include "precis/generate.h"

#include "cli/passages.h"
#include "cli/terminal.h"

namespace precis::cli {

struct Answer {
  std::string text;
  std::vector<SampledToken> tokens;
  FinishReason finish = FinishReason::kStop;
  std::vector<Passage> passages;     // where its values were read, most attention first
  std::int64_t n_prompt_tokens = 0;  // of the question alone
  double seconds = 0;                // question and answer together
};

/// Reads a document and answers questions about it.  The engine must outlive it.
class DocumentReader {
 public:
  /// Errors    kUnsupported — the tokenizer lacks a token of the chat format; as
  ///           Engine::new_session
  static Result<std::unique_ptr<DocumentReader>> create(Engine& engine, std::string text);

  /// Tokens that stand before every question: the start of the turn and the document.
  std::int64_t n_prefix_tokens() const { return static_cast<std::int64_t>(prefix_.size()); }
  const TokenizedDocument& document() const { return document_; }
  const Session& session() const { return *session_; }

  /// Puts the document into the cache.
  ///
  /// Errors    kBudget — it does not fit; kCancelled — Ctrl-C
  Result<void> read(ProgressOutput output);

  /// Answers from the document alone; earlier questions are not seen.
  ///
  /// Requires  read() succeeded
  /// Errors    kBudget — no room for the question; kCancelled — Ctrl-C before the answer
  Result<Answer> ask(std::string_view question, const GenerateOptions& options,
                     const std::function<void(std::string_view)>& on_text);

 private:
  DocumentReader(Engine& engine, std::unique_ptr<Session> session)
      : engine_(engine), session_(std::move(session)) {}

  Result<void> tokenize(std::string text);

  Engine& engine_;
  std::unique_ptr<Session> session_;
  TokenizedDocument document_;
  std::vector<TokenId> prefix_;
  std::vector<TokenId> answer_start_;  // what stands between a question and its answer
};

}  // namespace precis::cli
