// A conversation made ready for rendering: roles known, tool results inside user turns, dropped
// turns gone.  What each turn looks like as text is chat.cc's.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "precis/status.h"

#include "text/python_json.h"

namespace precis {

enum class Role : std::uint8_t { kSystem, kUser, kDeveloper, kLatestReminder, kAssistant };

/// A piece of a user turn.
struct UserPart {
  std::string text;
  std::string call_id;  // of a tool result
  bool is_tool_result;
};

struct Turn {
  Role role;
  std::size_t message_idx;      // in the request, of the first message of the turn
  const JsonValue* message;     // never null; lives in the request
  std::vector<UserPart> parts;  // for kUser
  const JsonValue* task;        // null without one

  /// "messages[3] (role 'user')", for errors.
  std::string where() const;
};

/// The turns of `messages`: user and tool messages merged, tool results in the order of the calls.
///
/// Requires  messages outlives the turns
/// Errors    kInvalidArgument — an unknown role, content of a kind that has no text
/// Source    encoding_dsv4.py, merge_tool_messages and sort_tool_results_by_call_order
Result<std::vector<Turn>> build_turns(const JsonArray& messages);

/// Whether any turn declares tools, which keeps all reasoning in place.
bool declares_tools(const std::vector<Turn>& turns);

/// The last user or developer turn; -1 without one.
std::ptrdiff_t last_question_idx(const std::vector<Turn>& turns);

/// Removes the developer turns before the last question, as dropping earlier thinking does.
///
/// Source    encoding_dsv4.py, _drop_thinking_messages
void drop_earlier_developers(std::vector<Turn>& turns);

/// The text of a message field as the official encoder formats it: a string as it is, parts joined
/// by blank lines, other values as Python prints them (None, True, 1.0).
///
/// Errors    kInvalidArgument — an object, or a part of a wrong form; without the place
Result<std::string> text_of(const JsonValue& value);

}  // namespace precis
