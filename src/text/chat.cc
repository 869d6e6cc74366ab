// Renders a conversation into the prompt, turn by turn (encoding_dsv4.py, render_message).
//
// The opening think tag of an answer is written by the turn before it, so each turn looks one
// ahead; everything that needs the whole conversation is decided in conversation.cc.
#include <optional>

#include <fmt/format.h>

#include "precis/text.h"

#include "base/error.h"
#include "text/conversation.h"
#include "text/prompt_text.h"
#include "text/python_json.h"

namespace precis {
namespace {

using namespace prompt_text;

constexpr std::pair<std::string_view, std::string_view> kTaskTokens[] = {
    {"action", "<｜action｜>"}, {"query", "<｜query｜>"}, {"authority", "<｜authority｜>"},
    {"domain", "<｜domain｜>"}, {"title", "<｜title｜>"}, {"read_url", "<｜read_url｜>"},
};

Result<std::string_view> effort_prefix(ReasoningEffort effort, EffortStyle style) {
  const bool is_0731 = style == EffortStyle::k0731;
  switch (effort) {
    case ReasoningEffort::kDefault: return std::string_view();
    case ReasoningEffort::kLow:
      if (!is_0731) return invalid("reasoning_effort: want null, 'high' or 'max', found 'low'");
      return std::string_view();
    case ReasoningEffort::kHigh: return is_0731 ? kAbsoluteMaximumEffort : std::string_view();
    case ReasoningEffort::kMax: return is_0731 ? kBeyondMaximumEffort : kAbsoluteMaximumEffort;
  }
  return invalid("reasoning_effort: want one of the levels, found another number");
}

// The text of a field; "" where Python's `field or ""` gives that.
Result<std::string> text_or_empty(const JsonValue* value) {
  return value == nullptr || !value->is_truthy() ? Result<std::string>(std::string())
                                                 : text_of(*value);
}

Result<const JsonValue*> require(const JsonValue& object, std::string_view key) {
  const JsonValue* value = object.find(key);
  if (value == nullptr) return invalid(fmt::format("want a field '{}', found none", key));
  return value;
}

// A list that may be absent or empty.
Result<const JsonArray*> optional_list(const JsonValue& message, std::string_view key) {
  static const JsonArray kNone;
  const JsonValue* list = message.find(key);
  if (list == nullptr || !list->is_truthy()) return &kNone;
  if (list->as_array() == nullptr) {
    return invalid(fmt::format("{}: want an array, found {}", key, list->kind_name()));
  }
  return list->as_array();
}

class Renderer {
 public:
  Renderer(const std::vector<Turn>& turns, ThinkingMode mode, DropThinking drop)
      : turns_(turns),
        thinks_(mode == ThinkingMode::kThinking),
        drops_(drop == DropThinking::kDrop),
        last_question_(last_question_idx(turns)) {}

  Result<void> append_turn(std::size_t idx, std::string& prompt) const {
    const Turn& turn = turns_[idx];
    Result<void> appended = append_body(idx, prompt);
    if (appended) appended = append_transition(idx, prompt);
    if (!appended) return std::move(appended).error().with_context(turn.where());
    return {};
  }

 private:
  Result<void> append_body(std::size_t idx, std::string& prompt) const {
    const Turn& turn = turns_[idx];
    switch (turn.role) {
      case Role::kSystem: {
        PRECIS_ASSIGN_OR_RETURN(const std::string text,
                                text_or_empty(turn.message->find("content")));
        prompt += text;
        return append_tools_and_format(*turn.message, prompt);
      }
      case Role::kDeveloper: {
        const JsonValue* content = turn.message->find("content");
        if (content == nullptr || !content->is_truthy()) {
          return invalid("content: want a text, found none");
        }
        if (content->as_string() == nullptr && content->as_array() == nullptr) {
          return invalid(fmt::format("content: want a string, found {}", content->kind_name()));
        }
        PRECIS_ASSIGN_OR_RETURN(const std::string text, text_of(*content));
        prompt += kUser;
        prompt += text;
        return append_tools_and_format(*turn.message, prompt);
      }
      case Role::kUser: append_user(turn, prompt); return {};
      case Role::kLatestReminder: {
        const JsonValue* content = turn.message->find("content");
        PRECIS_ASSIGN_OR_RETURN(const std::string text, text_of(content ? *content : JsonValue()));
        prompt += kLatestReminder;
        prompt += text;
        return {};
      }
      case Role::kAssistant: return append_assistant(idx, prompt);
    }
    return {};
  }

  static Result<void> append_tools_and_format(const JsonValue& message, std::string& prompt) {
    PRECIS_ASSIGN_OR_RETURN(const JsonArray* tools, optional_list(message, "tools"));
    if (!tools->empty()) {
      prompt += "\n\n";
      prompt += kToolsBegin;
      for (std::size_t i = 0; i < tools->size(); ++i) {
        auto function = require((*tools)[i], "function");
        if (!function) return std::move(function).error().with_context(fmt::format("tools[{}]", i));
        if (i > 0) prompt += '\n';
        prompt += dump_json(**function);
      }
      prompt += kToolsEnd;
    }
    const JsonValue* format = message.find("response_format");
    if (format != nullptr && format->is_truthy()) {
      prompt += "\n\n";
      prompt += kResponseFormat;
      prompt += dump_json(*format);
    }
    return {};
  }

  static void append_user(const Turn& turn, std::string& prompt) {
    prompt += kUser;
    for (std::size_t i = 0; i < turn.parts.size(); ++i) {
      if (i > 0) prompt += "\n\n";
      const UserPart& part = turn.parts[i];
      prompt += part.is_tool_result ? "<tool_result>" + part.text + "</tool_result>" : part.text;
    }
  }

  Result<void> append_assistant(std::size_t idx, std::string& prompt) const {
    const Turn& turn = turns_[idx];
    const bool answers_task = idx > 0 && turns_[idx - 1].task != nullptr;
    if (thinks_ && !answers_task && !loses_thinking(idx)) {
      PRECIS_ASSIGN_OR_RETURN(const std::string reasoning,
                              text_or_empty(turn.message->find("reasoning_content")));
      prompt += reasoning;
      prompt += kThinkEnd;
    }
    PRECIS_ASSIGN_OR_RETURN(const std::string content,
                            text_or_empty(turn.message->find("content")));
    prompt += content;
    PRECIS_ASSIGN_OR_RETURN(const JsonArray* calls, optional_list(*turn.message, "tool_calls"));
    if (!calls->empty()) PRECIS_TRY(append_tool_calls(*calls, prompt));
    const JsonValue* without_end = turn.message->find("wo_eos");
    if (without_end == nullptr || !without_end->is_truthy()) prompt += kEndOfSentence;
    return {};
  }

  static Result<void> append_tool_calls(const JsonArray& calls, std::string& prompt) {
    prompt += "\n\n";
    prompt += kToolCallsOpen;
    prompt += ">\n";
    for (std::size_t i = 0; i < calls.size(); ++i) {
      Result<void> appended = append_tool_call(calls[i], prompt);
      if (!appended) {
        return std::move(appended).error().with_context(fmt::format("tool_calls[{}]", i));
      }
    }
    prompt += kToolCallsClose;
    return {};
  }

  static Result<void> append_tool_call(const JsonValue& call, std::string& prompt) {
    PRECIS_ASSIGN_OR_RETURN(const JsonValue* function, require(call, "function"));
    PRECIS_ASSIGN_OR_RETURN(const JsonValue* name, require(*function, "name"));
    PRECIS_ASSIGN_OR_RETURN(const JsonValue* arguments, require(*function, "arguments"));
    PRECIS_ASSIGN_OR_RETURN(const std::string name_text, text_of(*name));
    PRECIS_ASSIGN_OR_RETURN(const JsonObject parameters, parameters_of(*arguments));
    prompt += fmt::format("{} name=\"{}\">\n", kInvokeOpen, name_text);
    for (std::size_t i = 0; i < parameters.size(); ++i) {
      const auto& [key, value] = parameters[i];
      const std::string* text = value.as_string();
      if (i > 0) prompt += '\n';
      prompt +=
          fmt::format("{} name=\"{}\" string=\"{}\">{}{}", kParameterOpen, key, text != nullptr,
                      text != nullptr ? *text : dump_json(value), kParameterClose);
    }
    prompt += fmt::format("\n{}>\n", kInvokeClose);
    return {};
  }

  // Arguments that are no JSON text (or no text at all) become one parameter "arguments", so that
  // the model sees what it once wrote.
  static Result<JsonObject> parameters_of(const JsonValue& arguments) {
    if (arguments.as_string() == nullptr) return JsonObject{{"arguments", arguments}};
    Result<JsonValue> parsed = parse_json(*arguments.as_string());
    if (!parsed) return JsonObject{{"arguments", arguments}};
    if (parsed->as_object() == nullptr) {
      return invalid(
          fmt::format("function.arguments: want a JSON object, found {}", parsed->kind_name()));
    }
    return *parsed->as_object();
  }

  // What follows a turn that hands over to the assistant: the task's token, or the opening of the
  // answer.
  Result<void> append_transition(std::size_t idx, std::string& prompt) const {
    if (idx + 1 < turns_.size() && turns_[idx + 1].role != Role::kAssistant &&
        turns_[idx + 1].role != Role::kLatestReminder) {
      return {};
    }
    const Turn& turn = turns_[idx];
    if (turn.task != nullptr) return append_task(*turn.task, prompt);
    if (turn.role != Role::kUser && turn.role != Role::kDeveloper) return {};
    prompt += kAssistant;
    prompt += thinks_ && !loses_thinking(idx) ? kThinkStart : kThinkEnd;
    return {};
  }

  bool loses_thinking(std::size_t idx) const {
    return drops_ && static_cast<std::ptrdiff_t>(idx) < last_question_;
  }

  Result<void> append_task(const JsonValue& task, std::string& prompt) const {
    for (const auto& [name, token] : kTaskTokens) {
      if (task != JsonValue(std::string(name))) continue;
      if (name == "action") {
        prompt += kAssistant;
        prompt += thinks_ ? kThinkStart : kThinkEnd;
      }
      prompt += token;
      return {};
    }
    return invalid(
        fmt::format("task: want action, query, authority, domain, title or read_url, found {}",
                    dump_json(task)));
  }

  const std::vector<Turn>& turns_;
  bool thinks_;
  bool drops_;
  std::ptrdiff_t last_question_;
};

Result<std::string> render_messages(const JsonArray& messages, const ChatOptions& options) {
  PRECIS_ASSIGN_OR_RETURN(const std::string_view effort,
                          effort_prefix(options.reasoning_effort, options.effort_style));
  PRECIS_ASSIGN_OR_RETURN(std::vector<Turn> turns, build_turns(messages));
  const DropThinking drop = declares_tools(turns) ? DropThinking::kKeep : options.drop_thinking;
  const bool thinks = options.thinking_mode == ThinkingMode::kThinking;
  if (thinks && drop == DropThinking::kDrop) drop_earlier_developers(turns);

  std::string prompt(kBeginOfSentence);
  if (thinks && !turns.empty()) prompt += effort;
  const Renderer renderer(turns, options.thinking_mode, drop);
  for (std::size_t i = 0; i < turns.size(); ++i) PRECIS_TRY(renderer.append_turn(i, prompt));
  return prompt;
}

Result<ChatOptions> read_options(const JsonValue& request) {
  ChatOptions options;
  if (const JsonValue* mode = request.find("thinking_mode")) {
    if (*mode == JsonValue("chat")) {
      options.thinking_mode = ThinkingMode::kChat;
    } else if (*mode != JsonValue("thinking")) {
      return invalid("thinking_mode: want 'chat' or 'thinking', found " + dump_json(*mode));
    }
  }
  if (const JsonValue* drop = request.find("drop_thinking")) {
    if (drop->as_bool() == nullptr) {
      return invalid("drop_thinking: want true or false, found " + dump_json(*drop));
    }
    options.drop_thinking = *drop->as_bool() ? DropThinking::kDrop : DropThinking::kKeep;
  }
  const JsonValue* effort = request.find("reasoning_effort");
  if (effort == nullptr || effort->is_null()) return options;
  constexpr std::pair<const char*, ReasoningEffort> kEfforts[] = {
      {"low", ReasoningEffort::kLow},
      {"high", ReasoningEffort::kHigh},
      {"max", ReasoningEffort::kMax},
  };
  for (const auto& [name, level] : kEfforts) {
    if (*effort != JsonValue(name)) continue;
    options.reasoning_effort = level;
    return options;
  }
  return invalid("reasoning_effort: want null, 'low', 'high' or 'max', found " +
                 dump_json(*effort));
}

}  // namespace

Result<std::string> render_chat(std::span<const ChatMessage> messages, const ChatOptions& options) {
  JsonArray list;
  for (const ChatMessage& message : messages) {
    list.push_back(
        JsonValue::Storage(JsonObject{{"role", message.role},
                                      {"content", message.content},
                                      {"reasoning_content", message.reasoning_content}}));
  }
  return render_messages(list, options);
}

Result<std::string> render_chat(std::string_view request_json, EffortStyle effort_style) {
  PRECIS_ASSIGN_OR_RETURN(const JsonValue request, parse_json(request_json));
  const JsonValue* messages = request.find("messages");
  if (messages == nullptr || messages->as_array() == nullptr) {
    return invalid(fmt::format("messages: want an array, found {}",
                               messages == nullptr ? "none" : messages->kind_name()));
  }
  PRECIS_ASSIGN_OR_RETURN(ChatOptions options, read_options(request));
  options.effort_style = effort_style;
  return render_messages(*messages->as_array(), options);
}

}  // namespace precis
