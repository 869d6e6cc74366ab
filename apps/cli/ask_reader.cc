#include "cli/ask_reader.h"

#include <chrono>

#include <fmt/format.h>

#include "cli/format.h"

namespace precis::cli {
namespace {

// The wording that precedes a document in the bundled model's training.
constexpr std::string_view kInstruction = "Read the following text carefully.\n";
constexpr std::size_t kMaxPassages = 3;

Result<TokenId> chat_token(const Tokenizer& tokenizer, std::string_view text) {
  if (const auto token = tokenizer.token_id(text)) return *token;
  return Error{ErrorCode::kUnsupported,
               fmt::format("the tokenizer has no token {}, which the chat format needs", text)};
}

void append(std::vector<TokenId>& tokens, const std::vector<TokenId>& more) {
  tokens.insert(tokens.end(), more.begin(), more.end());
}

}  // namespace

Result<std::unique_ptr<DocumentReader>> DocumentReader::create(Engine& engine, std::string text) {
  PRECIS_ASSIGN_OR_RETURN(std::unique_ptr<Session> session, engine.new_session());
  session->observe_selection(Session::Observe::kOn);
  std::unique_ptr<DocumentReader> reader(new DocumentReader(engine, std::move(session)));
  PRECIS_TRY(reader->tokenize(std::move(text)));
  return reader;
}

Result<void> DocumentReader::tokenize(std::string text) {
  const Tokenizer& tokenizer = engine_.tokenizer();
  PRECIS_ASSIGN_OR_RETURN(const TokenId user, chat_token(tokenizer, "<｜User｜>"));
  PRECIS_ASSIGN_OR_RETURN(const TokenId assistant, chat_token(tokenizer, "<｜Assistant｜>"));
  PRECIS_ASSIGN_OR_RETURN(const TokenId think_end, chat_token(tokenizer, "</think>"));
  answer_start_ = {assistant, think_end};

  // Instruction, document and question are tokenized apart, so that the document's tokens are the
  // same whatever is asked.  As text: nothing in a document may act as a special token.
  prefix_ = {engine_.info().bos_token, user};
  append(prefix_, tokenizer.encode(kInstruction, SpecialTokens::kAsText));
  document_.first_token = static_cast<std::int64_t>(prefix_.size());
  const std::size_t text_end = text.find_last_not_of(" \t\r\n") + 1;
  const std::vector<TokenId> tokens =
      tokenizer.encode(std::string_view(text).substr(0, text_end), SpecialTokens::kAsText);
  append(prefix_, tokens);

  std::int64_t offset = 0;
  for (const TokenId token : tokens) {
    document_.token_bytes.push_back(offset);
    offset += static_cast<std::int64_t>(tokenizer.token_bytes(token).size());
  }
  document_.token_bytes.push_back(offset);
  document_.text = std::move(text);
  return {};
}

Result<void> DocumentReader::read(ProgressOutput output) {
  WorkProgress progress(output);
  return session_->sync(prefix_, progress.callback());
}

Result<Answer> DocumentReader::ask(std::string_view question, const GenerateOptions& options,
                                   const std::function<void(std::string_view)>& on_text) {
  const auto start = std::chrono::steady_clock::now();
  std::vector<TokenId> prompt = prefix_;
  append(prompt, engine_.tokenizer().encode(fmt::format("\n{}", question), SpecialTokens::kAsText));
  append(prompt, answer_start_);
  PRECIS_TRY(session_->sync(prompt, [](const Progress&) { return !interrupted(); }));

  std::vector<std::string> pieces;
  std::vector<RowMass> rows;  // read to choose each piece
  const int ratio = engine_.info().sparse_ratio;
  const TextFn on_token = [&](std::string_view text, const SampledToken& token) {
    pieces.emplace_back(token.token == engine_.info().eos_token
                            ? std::string_view()
                            : engine_.tokenizer().token_bytes(token.token));
    add_rows(session_->selected_rows(), ratio, rows.emplace_back());
    on_text(text);
    return !interrupted();
  };
  PRECIS_ASSIGN_OR_RETURN(Generated generated, generate(engine_, *session_, options, on_token));

  RowMass mass;
  const std::vector<bool> is_value = value_tokens(pieces, question);
  for (std::size_t i = 0; i < rows.size(); ++i) {
    if (!is_value[i]) continue;
    for (const auto& [row, row_mass] : rows[i]) mass[row] += row_mass;
  }
  Answer answer;
  answer.text = std::move(generated.text);
  answer.tokens = std::move(generated.tokens);
  answer.finish = generated.finish;
  answer.passages = find_passages(document_, mass, ratio, kMaxPassages);
  answer.n_prompt_tokens = static_cast<std::int64_t>(prompt.size() - prefix_.size());
  answer.seconds = seconds_since(start);
  return answer;
}

}  // namespace precis::cli
