// A chat with history over one session; knows nothing of the terminal.
#pragma once

#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "precis/engine.h"
#include "precis/generate.h"

namespace precis::cli {

/// Turns of user and assistant.  The engine must outlive it.
class Conversation {
 public:
  enum class Part : std::uint8_t { kReasoning, kAnswer };
  using PartFn = std::function<bool(Part part, std::string_view text)>;

  static Result<std::unique_ptr<Conversation>> create(Engine& engine, GenerateOptions options);

  void set_thinking(ThinkingMode mode) { mode_ = mode; }
  ThinkingMode thinking() const { return mode_; }
  const std::vector<ChatMessage>& messages() const { return messages_; }
  const Session& session() const { return *session_; }

  /// Adds the user's message and the model's answer, which goes to `on_part` while it is made.
  ///
  /// Ensures   on error the conversation is as before; an answer cut short by on_part stays
  /// Errors    as Session::sync and generate
  Result<FinishReason> say(std::string message, const ProgressFn& progress, const PartFn& on_part);

  /// Forgets every turn.  The cache keeps what the next conversation may share.
  void reset() { messages_.clear(); }

  /// Writes the cache to `path` and the messages to `path`.json.
  ///
  /// Errors    kInvalidArgument — nothing was said yet; kIo
  Result<void> save(const std::filesystem::path& path) const;

  /// Errors    kNotFound, kInvalidArgument — no such files, or not written by save(); as
  ///           Session::load.  The conversation is unchanged.
  Result<void> load(const std::filesystem::path& path);

 private:
  Conversation(Engine& engine, std::unique_ptr<Session> session, GenerateOptions options)
      : engine_(engine), session_(std::move(session)), options_(std::move(options)) {}

  Result<std::vector<TokenId>> prompt() const;
  Result<FinishReason> answer(const ProgressFn& progress, const PartFn& on_part);

  Engine& engine_;
  std::unique_ptr<Session> session_;
  GenerateOptions options_;
  ThinkingMode mode_ = ThinkingMode::kChat;
  std::vector<ChatMessage> messages_;
};

}  // namespace precis::cli
