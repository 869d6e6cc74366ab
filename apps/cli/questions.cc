#include "cli/questions.h"

#include <algorithm>
#include <cctype>
#include <sstream>

#include <fmt/format.h>

#include "cli/json.h"

namespace precis::cli {
namespace {

bool is_alphanumeric(char c) {
  return std::isalnum(static_cast<unsigned char>(c)) != 0;
}

std::string lower(std::string_view text) {
  std::string out(text);
  std::ranges::transform(out, out.begin(), [](char c) {
    return static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  });
  return out;
}

Result<std::vector<Question>> parse_question_list(const Json& list, std::string_view source) {
  std::vector<Question> questions;
  for (const Json& item : list) {
    Question question;
    if (item.is_string()) {
      question.text = item.get<std::string>();
    } else {
      PRECIS_ASSIGN_OR_RETURN(question.text, string_field(item, "question", source));
      if (item.contains("answer")) {
        PRECIS_ASSIGN_OR_RETURN(question.expected, string_field(item, "answer", source));
      }
    }
    questions.push_back(std::move(question));
  }
  return questions;
}

std::vector<Question> parse_question_lines(std::string_view text) {
  std::vector<Question> questions;
  std::istringstream lines{std::string(text)};
  for (std::string line; std::getline(lines, line);) {
    line.erase(line.find_last_not_of(" \t\r") + 1);
    if (!line.empty()) questions.push_back({.text = line, .expected = {}});
  }
  return questions;
}

}  // namespace

Result<std::vector<Question>> parse_questions(std::string_view text, std::string_view source) {
  std::vector<Question> questions;
  const std::size_t first = text.find_first_not_of(" \t\r\n");
  if (first != std::string_view::npos && text[first] == '[') {
    PRECIS_ASSIGN_OR_RETURN(const Json list, parse_json(text, source));
    PRECIS_ASSIGN_OR_RETURN(questions, parse_question_list(list, source));
  } else {
    questions = parse_question_lines(text);
  }
  if (questions.empty()) {
    return Error{ErrorCode::kInvalidArgument, fmt::format("{} holds no question", source)};
  }
  return questions;
}

bool answer_holds(std::string_view answer, std::string_view expected) {
  const std::string text = lower(answer);
  const std::string wanted = lower(expected);
  for (std::size_t i = text.find(wanted); i != std::string::npos; i = text.find(wanted, i + 1)) {
    const std::size_t end = i + wanted.size();
    const bool starts_word = i == 0 || !is_alphanumeric(text[i - 1]);
    const bool ends_word = end == text.size() || !is_alphanumeric(text[end]);
    if (starts_word && ends_word) return true;
  }
  return false;
}

}  // namespace precis::cli
