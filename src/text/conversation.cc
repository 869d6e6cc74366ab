// From messages to turns.  Where the official encoder is lenient or strict by accident of Python,
// this follows it: prompts are compared byte for byte (docs/prompt_encoding.md lists the cases).
#include "text/conversation.h"

#include <algorithm>
#include <map>
#include <optional>

#include <fmt/format.h>

#include "base/error.h"

namespace precis {
namespace {

constexpr std::pair<std::string_view, Role> kRoles[] = {
    {"system", Role::kSystem},       {"user", Role::kUser},
    {"developer", Role::kDeveloper}, {"latest_reminder", Role::kLatestReminder},
    {"assistant", Role::kAssistant},
};

const JsonValue* find_task(const JsonValue& message) {
  const JsonValue* task = message.find("task");
  return task == nullptr || task->is_null() ? nullptr : task;
}

std::string string_or_empty(const JsonValue* value) {
  return value != nullptr && value->as_string() != nullptr ? *value->as_string() : std::string();
}

// Only strings and parts have a text here: the official encoder joins the texts of a user turn,
// which fails for anything else, null included.
Result<std::string> user_text(const JsonValue& message) {
  const JsonValue* content = message.find("content");
  if (content == nullptr) return std::string();
  if (content->as_string() == nullptr && content->as_array() == nullptr) {
    return invalid(
        fmt::format("content: want a string or an array of parts, found {}", content->kind_name()));
  }
  return text_of(*content);
}

Result<std::string> tool_text(const JsonValue& message) {
  const JsonValue* content = message.find("content");
  return content == nullptr ? Result<std::string>(std::string()) : text_of(*content);
}

Result<std::string> parts_text(const JsonArray& parts) {
  std::string joined;
  for (std::size_t i = 0; i < parts.size(); ++i) {
    if (parts[i].as_object() == nullptr) {
      return invalid(fmt::format("part {}: want an object, found {}", i, parts[i].kind_name()));
    }
    if (i > 0) joined += "\n\n";
    const JsonValue* type = parts[i].find("type");
    if (type == nullptr || *type != JsonValue("text")) {
      PRECIS_ASSIGN_OR_RETURN(const std::string shown, text_of(type ? *type : JsonValue()));
      joined += fmt::format("[Unsupported {}]", shown);
      continue;
    }
    const JsonValue* text = parts[i].find("text");
    if (text == nullptr) continue;
    if (text->as_string() == nullptr) {
      return invalid(fmt::format("part {}: text: want a string, found {}", i, text->kind_name()));
    }
    joined += *text->as_string();
  }
  return joined;
}

void append_part(std::vector<Turn>& turns, UserPart part, const JsonValue& message,
                 std::size_t message_idx) {
  // A question with a task is asked to the end: only results may join it.
  const bool joins = !turns.empty() && turns.back().role == Role::kUser &&
                     (part.is_tool_result || turns.back().task == nullptr);
  if (!joins) {
    // A task belongs to the message that opens the turn; results carry none.
    const JsonValue* task = part.is_tool_result ? nullptr : find_task(message);
    turns.push_back({Role::kUser, message_idx, &message, {}, task});
  }
  turns.back().parts.push_back(std::move(part));
}

Result<Role> role_of(const JsonValue& message, std::size_t message_idx) {
  const std::string name = string_or_empty(message.find("role"));
  for (const auto& [role_name, role] : kRoles) {
    if (role_name == name) return role;
  }
  return invalid(fmt::format(
      "messages[{}]: role: want system, user, developer, latest_reminder, assistant or tool, "
      "found {}",
      message_idx, message.find("role") ? dump_json(*message.find("role")) : "none"));
}

using CallOrder = std::map<std::string, std::size_t>;

CallOrder call_order(const JsonArray& tool_calls) {
  CallOrder order;
  for (std::size_t i = 0; i < tool_calls.size(); ++i) {
    std::string id = string_or_empty(tool_calls[i].find("id"));
    if (const JsonValue* function = tool_calls[i].find("function"); id.empty() && function) {
      id = string_or_empty(function->find("id"));
    }
    if (!id.empty()) order[id] = i;
  }
  return order;
}

void sort_results(std::vector<UserPart>& parts, const CallOrder& order) {
  std::vector<UserPart> results;
  for (const UserPart& part : parts) {
    if (part.is_tool_result) results.push_back(part);
  }
  const auto place = [&](const UserPart& part) {
    const auto it = order.find(part.call_id);
    return it == order.end() ? 0 : it->second;  // a result of no call counts as of the first
  };
  std::stable_sort(results.begin(), results.end(),
                   [&](const UserPart& a, const UserPart& b) { return place(a) < place(b); });
  auto next = results.begin();
  for (UserPart& part : parts) {
    if (part.is_tool_result) part = std::move(*next++);
  }
}

void sort_tool_results(std::vector<Turn>& turns) {
  CallOrder order;
  for (Turn& turn : turns) {
    if (turn.role == Role::kAssistant) {
      const JsonValue* calls = turn.message->find("tool_calls");
      if (calls == nullptr || calls->as_array() == nullptr || calls->as_array()->empty()) continue;
      order = call_order(*calls->as_array());
    } else if (turn.role == Role::kUser && !order.empty()) {
      sort_results(turn.parts, order);
    }
  }
}

}  // namespace

std::string Turn::where() const {
  const auto it = std::find_if(std::begin(kRoles), std::end(kRoles),
                               [&](const auto& entry) { return entry.second == role; });
  return fmt::format("messages[{}] (role '{}')", message_idx, it->first);
}

Result<std::string> text_of(const JsonValue& value) {
  struct Text {
    Result<std::string> operator()(std::nullptr_t) const { return std::string("None"); }
    Result<std::string> operator()(bool flag) const { return std::string(flag ? "True" : "False"); }
    Result<std::string> operator()(const JsonInteger& integer) const { return integer.digits; }
    Result<std::string> operator()(double number) const { return python_float_repr(number); }
    Result<std::string> operator()(const std::string& text) const { return text; }
    Result<std::string> operator()(const JsonArray& parts) const { return parts_text(parts); }
    Result<std::string> operator()(const JsonObject&) const {
      return invalid("want a string or an array of parts, found an object");
    }
  };
  return std::visit(Text{}, value.storage());
}

Result<std::vector<Turn>> build_turns(const JsonArray& messages) {
  std::vector<Turn> turns;
  for (std::size_t i = 0; i < messages.size(); ++i) {
    const JsonValue& message = messages[i];
    if (message.as_object() == nullptr) {
      return invalid(fmt::format("messages[{}]: want an object, found {}", i, message.kind_name()));
    }
    const std::string role_name = string_or_empty(message.find("role"));
    if (role_name == "tool" || role_name == "user") {
      const bool is_tool_result = role_name == "tool";
      auto text = is_tool_result ? tool_text(message) : user_text(message);
      if (!text) {
        return std::move(text).error().with_context(
            fmt::format("messages[{}] (role '{}')", i, role_name));
      }
      UserPart part{std::move(text).value(), string_or_empty(message.find("tool_call_id")),
                    is_tool_result};
      append_part(turns, std::move(part), message, i);
      continue;
    }
    PRECIS_ASSIGN_OR_RETURN(const Role role, role_of(message, i));
    turns.push_back({role, i, &message, {}, find_task(message)});
  }
  sort_tool_results(turns);
  return turns;
}

bool declares_tools(const std::vector<Turn>& turns) {
  return std::any_of(turns.begin(), turns.end(), [](const Turn& turn) {
    // The official merge of user messages leaves their other fields behind.
    const JsonValue* tools = turn.role == Role::kUser ? nullptr : turn.message->find("tools");
    return tools != nullptr && tools->is_truthy();
  });
}

std::ptrdiff_t last_question_idx(const std::vector<Turn>& turns) {
  for (auto i = static_cast<std::ptrdiff_t>(turns.size()) - 1; i >= 0; --i) {
    if (turns[i].role == Role::kUser || turns[i].role == Role::kDeveloper) return i;
  }
  return -1;
}

void drop_earlier_developers(std::vector<Turn>& turns) {
  const std::ptrdiff_t last_question = last_question_idx(turns);
  std::ptrdiff_t idx = 0;
  std::erase_if(turns, [&](const Turn& turn) {
    return idx++ < last_question && turn.role == Role::kDeveloper;
  });
}

}  // namespace precis
