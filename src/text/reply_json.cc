// The strict reading of a complete reply (encoding_dsv4.py, parse_message_from_completion_text).
//
// What the official parser accepts is exactly what is accepted here, its oddities included: a
// reply may end behind "</｜DSML｜invoke" or without an end token behind the tool calls.
#include <algorithm>
#include <array>
#include <initializer_list>
#include <optional>

#include <fmt/format.h>

#include "precis/text.h"

#include "base/error.h"
#include "text/prompt_text.h"
#include "text/python_json.h"
#include "text/utf8.h"

namespace precis {
namespace {

using namespace prompt_text;

constexpr std::string_view kToolCallsStart = "\n\n<｜DSML｜tool_calls";
constexpr std::string_view kParameterEnd = "/｜DSML｜parameter";

struct ToolCall {
  std::string name;
  std::string arguments;  // JSON
};

struct Parameter {
  std::string_view name;
  std::string_view value;
  bool is_string;
};

struct Until {
  std::string_view text;  // up to the stop
  std::string_view stop;  // empty: the text ended first
};

// A position in the reply that moves from stop to stop.
class Reader {
 public:
  explicit Reader(std::string_view text) : rest_(text) {}

  Until read_until(std::initializer_list<std::string_view> stops) {
    std::size_t first = rest_.size();
    std::string_view stop;
    for (const std::string_view candidate : stops) {
      const std::size_t pos = rest_.find(candidate);
      if (pos < first) {
        first = pos;
        stop = candidate;
      }
    }
    const Until until{rest_.substr(0, first), stop};
    rest_.remove_prefix(first + stop.size());
    return until;
  }

  bool at_end() const { return rest_.empty(); }

 private:
  std::string_view rest_;
};

// Python's `$` also matches in front of a newline that ends the text.
bool ends_here(std::string_view rest) {
  return rest.empty() || rest == "\n";
}

// Python's str.isspace and `\s`.
bool is_python_space(char32_t c) {
  return (c >= 0x09 && c <= 0x0D) || (c >= 0x1C && c <= 0x20) || c == 0x85 || c == 0xA0 ||
         c == 0x1680 || (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 || c == 0x202F ||
         c == 0x205F || c == 0x3000;
}

bool take(std::string_view& text, std::string_view prefix) {
  if (!text.starts_with(prefix)) return false;
  text.remove_prefix(prefix.size());
  return true;
}

// ^\s*name="(.*?)">\n$
std::optional<std::string_view> match_tool_name(std::string_view text) {
  while (!text.empty()) {
    const utf8::Step step = utf8::next(text);
    if (!is_python_space(step.code_point)) break;
    text.remove_prefix(step.n_bytes);
  }
  if (!take(text, "name=\"")) return std::nullopt;
  constexpr std::string_view kEnd = "\">\n";
  for (std::size_t pos = text.find(kEnd); pos != text.npos; pos = text.find(kEnd, pos + 1)) {
    if (ends_here(text.substr(pos + kEnd.size()))) return text.substr(0, pos);
  }
  return std::nullopt;
}

// ^ name="(.*?)" string="(true|false)">(.*?)<$
std::optional<Parameter> match_parameter(std::string_view text) {
  if (!take(text, " name=\"")) return std::nullopt;
  constexpr std::string_view kTrue = "\" string=\"true\">";
  constexpr std::string_view kFalse = "\" string=\"false\">";
  const std::size_t name_end = std::min(text.find(kTrue), text.find(kFalse));
  if (name_end == text.npos) return std::nullopt;
  Parameter parameter;
  parameter.name = text.substr(0, name_end);
  text.remove_prefix(name_end);
  parameter.is_string = take(text, kTrue);
  if (!parameter.is_string) take(text, kFalse);
  for (std::size_t pos = text.find('<'); pos != text.npos; pos = text.find('<', pos + 1)) {
    if (!ends_here(text.substr(pos + 1))) continue;
    parameter.value = text.substr(0, pos);
    return parameter;
  }
  return std::nullopt;
}

Result<void> expect_tag_end(std::string_view found) {
  if (found == ">\n") return {};
  return invalid(
      fmt::format("reply: want '>' and a newline behind a tag, found {}", dump_json_string(found)));
}

Result<std::string> read_arguments(Reader& reader, std::string_view stop) {
  std::string arguments = "{";
  std::vector<std::string_view> names;
  while (stop == kParameterOpen) {
    const Until inside = reader.read_until({kParameterEnd});
    const std::optional<Parameter> parameter = match_parameter(inside.text);
    if (!parameter) {
      return invalid(
          fmt::format("reply: want a parameter with name and string=\"true|false\", "
                      "found {}",
                      dump_json_string(inside.text)));
    }
    if (std::find(names.begin(), names.end(), parameter->name) != names.end()) {
      return invalid(
          fmt::format("reply: want every parameter once, found '{}' twice", parameter->name));
    }
    if (!names.empty()) arguments += ", ";
    names.push_back(parameter->name);
    arguments += dump_json_string(parameter->name) + ": ";
    arguments +=
        parameter->is_string ? dump_json_string(parameter->value) : std::string(parameter->value);
    const Until behind = reader.read_until({kParameterOpen, kInvokeClose});
    PRECIS_TRY(expect_tag_end(behind.text));
    stop = behind.stop;
  }
  return arguments + "}";
}

Result<std::vector<ToolCall>> read_tool_calls(Reader& reader) {
  std::vector<ToolCall> calls;
  while (!reader.at_end()) {
    const Until before = reader.read_until({kInvokeOpen, kToolCallsClose});
    PRECIS_TRY(expect_tag_end(before.text));
    if (before.stop == kToolCallsClose) break;
    if (before.stop.empty()) {
      return invalid("reply: want the end of the tool calls, found the end of the text");
    }
    const Until head = reader.read_until({kParameterOpen, kInvokeClose});
    const std::optional<std::string_view> name = match_tool_name(head.text);
    if (!name) {
      return invalid(
          fmt::format("reply: want the name of a tool, found {}", dump_json_string(head.text)));
    }
    PRECIS_ASSIGN_OR_RETURN(std::string arguments, read_arguments(reader, head.stop));
    calls.push_back({std::string(*name), std::move(arguments)});
  }
  return calls;
}

Result<void> check_no_special_token(std::string_view part) {
  for (const std::string_view token :
       {kBeginOfSentence, kEndOfSentence, kThinkStart, kThinkEnd, kDsml}) {
    if (part.find(token) != part.npos) {
      return invalid(fmt::format("reply: want no special token in the text, found '{}'", token));
    }
  }
  return {};
}

std::string message_json(std::string_view content, std::string_view reasoning,
                         const std::vector<ToolCall>& calls) {
  JsonArray tool_calls;
  for (const ToolCall& call : calls) {
    const JsonObject function{{"name", call.name}, {"arguments", call.arguments}};
    tool_calls.push_back(JsonValue::Storage(
        JsonObject{{"type", "function"}, {"function", JsonValue::Storage(function)}}));
  }
  return dump_json(
      JsonValue::Storage(JsonObject{{"role", "assistant"},
                                    {"content", std::string(content)},
                                    {"reasoning_content", std::string(reasoning)},
                                    {"tool_calls", JsonValue::Storage(std::move(tool_calls))}}));
}

}  // namespace

Result<std::string> parse_reply_json(std::string_view reply, ThinkingMode mode) {
  if (!utf8::is_valid(reply)) return invalid("reply: want UTF-8, found bytes that are not");
  Reader reader(reply);
  std::string_view reasoning;
  if (mode == ThinkingMode::kThinking) {
    const Until until = reader.read_until({kThinkEnd, kToolCallsStart});
    if (until.stop != kThinkEnd) return invalid("reply: want '</think>', found none");
    reasoning = until.text;
  }
  const Until content = reader.read_until({kEndOfSentence, kToolCallsStart});
  std::vector<ToolCall> calls;
  if (content.stop == kToolCallsStart) {
    PRECIS_ASSIGN_OR_RETURN(calls, read_tool_calls(reader));
    const Until rest = reader.read_until({kEndOfSentence});
    if (!rest.text.empty()) {
      return invalid(fmt::format("reply: want nothing behind the tool calls, found {}",
                                 dump_json_string(rest.text)));
    }
  } else if (content.stop != kEndOfSentence) {
    return invalid(fmt::format("reply: want '{}' at the end, found none", kEndOfSentence));
  }
  if (!reader.at_end()) {
    return invalid(fmt::format("reply: want nothing behind '{}', found more text", kEndOfSentence));
  }
  PRECIS_TRY(check_no_special_token(content.text));
  PRECIS_TRY(check_no_special_token(reasoning));
  return message_json(content.text, reasoning, calls);
}

}  // namespace precis
