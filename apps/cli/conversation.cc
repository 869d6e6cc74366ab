#include "cli/conversation.h"

#include <utility>

#include "cli/input.h"
#include "cli/json.h"

namespace precis::cli {
namespace {

std::filesystem::path messages_path(const std::filesystem::path& path) {
  return path.string() + ".json";
}

Result<std::vector<ChatMessage>> parse_messages(std::string_view text, std::string_view source) {
  PRECIS_ASSIGN_OR_RETURN(const Json list, parse_json(text, source));
  std::vector<ChatMessage> messages;
  for (const Json& item : list) {
    ChatMessage message;
    PRECIS_ASSIGN_OR_RETURN(message.role, string_field(item, "role", source));
    PRECIS_ASSIGN_OR_RETURN(message.content, string_field(item, "content", source));
    PRECIS_ASSIGN_OR_RETURN(message.reasoning_content,
                            string_field(item, "reasoning_content", source));
    messages.push_back(std::move(message));
  }
  return messages;
}

}  // namespace

Result<std::unique_ptr<Conversation>> Conversation::create(Engine& engine,
                                                           GenerateOptions options) {
  PRECIS_TRY(validate(options.sampling, engine.info().vocab_size));
  PRECIS_ASSIGN_OR_RETURN(std::unique_ptr<Session> session, engine.new_session());
  // The reply parser tells reasoning from answer by the special tokens.
  options.special = SpecialOutput::kKeep;
  return std::unique_ptr<Conversation>(
      new Conversation(engine, std::move(session), std::move(options)));
}

Result<std::vector<TokenId>> Conversation::prompt() const {
  const ChatOptions options{.thinking_mode = mode_};
  PRECIS_ASSIGN_OR_RETURN(const std::string text,
                          render_chat(std::span<const ChatMessage>(messages_), options));
  return engine_.tokenizer().encode(text, SpecialTokens::kParse);
}

Result<FinishReason> Conversation::say(std::string message, const ProgressFn& progress,
                                       const PartFn& on_part) {
  messages_.push_back({.role = "user", .content = std::move(message), .reasoning_content = {}});
  Result<FinishReason> finish = answer(progress, on_part);
  if (!finish) messages_.pop_back();
  return finish;
}

Result<FinishReason> Conversation::answer(const ProgressFn& progress, const PartFn& on_part) {
  PRECIS_ASSIGN_OR_RETURN(const std::vector<TokenId> tokens, prompt());
  PRECIS_TRY(session_->sync(tokens, progress));

  ChatMessage reply{.role = "assistant", .content = {}, .reasoning_content = {}};
  ReplyParser parser(mode_, ToolMarkup::kPlainText);
  const auto take = [&](const std::vector<ReplyEvent>& events) {
    bool go_on = true;
    for (const ReplyEvent& event : events) {
      if (event.kind == ReplyEvent::Kind::kReasoning) {
        reply.reasoning_content += event.text;
        go_on = on_part(Part::kReasoning, event.text) && go_on;
      } else if (event.kind == ReplyEvent::Kind::kContent) {
        reply.content += event.text;
        go_on = on_part(Part::kAnswer, event.text) && go_on;
      }
    }
    return go_on;
  };
  const TextFn on_text = [&](std::string_view text, const SampledToken&) {
    const bool go_on = take(parser.feed(text));
    // An empty piece asks whether to stop while nothing can be shown.
    return go_on && on_part(Part::kAnswer, "");
  };
  PRECIS_ASSIGN_OR_RETURN(const Generated generated,
                          generate(engine_, *session_, options_, on_text));
  take(parser.finish());
  messages_.push_back(std::move(reply));
  return generated.finish;
}

Result<void> Conversation::save(const std::filesystem::path& path) const {
  if (messages_.empty()) {
    return Error{ErrorCode::kInvalidArgument, "nothing to save: nothing was said yet"};
  }
  PRECIS_TRY(session_->save(path));
  Json list = Json::array();
  for (const ChatMessage& message : messages_) {
    list.push_back({{"role", message.role},
                    {"content", message.content},
                    {"reasoning_content", message.reasoning_content}});
  }
  return write_file(messages_path(path), list.dump(1, ' ', false, Json::error_handler_t::replace));
}

Result<void> Conversation::load(const std::filesystem::path& path) {
  const std::filesystem::path source = messages_path(path);
  PRECIS_ASSIGN_OR_RETURN(const std::string text, read_file(source));
  PRECIS_ASSIGN_OR_RETURN(std::vector<ChatMessage> messages, parse_messages(text, source.string()));
  PRECIS_TRY(session_->load(path));
  messages_ = std::move(messages);
  return {};
}

}  // namespace precis::cli
