// Runs conformance cases against the renderer and the strict parser.
#include <algorithm>
#include <optional>

#include <fmt/format.h>

#include "precis/text.h"

#include "text/python_json.h"

namespace precis {
namespace {

constexpr std::size_t kShownBytes = 60;

// Where two texts part, with what stands there.
std::string first_difference(std::string_view want, std::string_view got) {
  const auto [w, g] = std::mismatch(want.begin(), want.end(), got.begin(), got.end());
  const auto at = static_cast<std::size_t>(w - want.begin());
  return fmt::format("byte {}: want {}, got {}", at, dump_json_string(want.substr(at, kShownBytes)),
                     dump_json_string(got.substr(at, kShownBytes)));
}

// The failure of a case, or nothing.
std::string judge(const JsonValue& test_case, const char* want_key,
                  const Result<std::string>& got) {
  if (test_case.find("error") != nullptr) {
    return got.ok() ? "want an error, got " + dump_json_string(got.value().substr(0, kShownBytes))
                    : "";
  }
  if (!got.ok()) return got.error().message;
  const JsonValue* want = test_case.find(want_key);
  if (want == nullptr) return fmt::format("the case has neither '{}' nor 'error'", want_key);
  if (const std::string* text = want->as_string()) {
    return *text == got.value() ? "" : first_difference(*text, got.value());
  }
  const Result<JsonValue> got_value = parse_json(got.value());
  if (got_value.ok() && *got_value == *want) return "";
  return first_difference(dump_json(*want), got.value());
}

std::string string_field(const JsonValue& object, const char* key) {
  const JsonValue* value = object.find(key);
  return value != nullptr && value->as_string() != nullptr ? *value->as_string() : "";
}

Result<std::string> run_parse(const JsonValue& test_case) {
  const bool is_chat = string_field(test_case, "thinking_mode") == "chat";
  return parse_reply_json(string_field(test_case, "text"),
                          is_chat ? ThinkingMode::kChat : ThinkingMode::kThinking);
}

}  // namespace

Result<std::vector<EncodingCaseResult>> run_encoding_cases(std::string_view cases_json) {
  PRECIS_ASSIGN_OR_RETURN(const JsonValue file, parse_json(cases_json));
  if (file.as_object() == nullptr) {
    return Error{ErrorCode::kInvalidArgument,
                 fmt::format("cases: want an object, found {}", file.kind_name())};
  }
  std::vector<EncodingCaseResult> results;
  for (const char* kind : {"encode", "parse"}) {
    const JsonValue* cases = file.find(kind);
    if (cases == nullptr) continue;
    if (cases->as_array() == nullptr) {
      return Error{ErrorCode::kInvalidArgument,
                   fmt::format("cases: {}: want an array, found {}", kind, cases->kind_name())};
    }
    const bool is_encode = std::string_view(kind) == "encode";
    for (const JsonValue& test_case : *cases->as_array()) {
      const Result<std::string> got =
          is_encode ? render_chat(dump_json(test_case)) : run_parse(test_case);
      const std::string failure = judge(test_case, is_encode ? "prompt" : "message", got);
      results.push_back({kind, string_field(test_case, "name"), failure.empty(), failure});
    }
  }
  return results;
}

}  // namespace precis
