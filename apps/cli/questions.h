// Questions to ask, and whether an answer holds what was expected.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "precis/status.h"

namespace precis::cli {

struct Question {
  std::string text;
  std::string expected;  // empty: not known
};

/// Reads a JSON list of strings or of {"question", "answer"}, or else text with one question a
/// line.
///
/// Errors    kInvalidArgument — a list with anything else in it, or no question at all; the message
///           names `source`
Result<std::vector<Question>> parse_questions(std::string_view text, std::string_view source);

/// Whether `expected` occurs in `answer` as whole words, letter case aside.
bool answer_holds(std::string_view answer, std::string_view expected);

}  // namespace precis::cli
