#include "text/python_json.h"

#include <cmath>

#include <gtest/gtest.h>

namespace precis {
namespace {

// Expectations are CPython 3.11's json.dumps(json.loads(text), ensure_ascii=False).
TEST(PythonJson, PrintsAsPythonPrints) {
  const std::pair<std::string_view, std::string_view> cases[] = {
      {R"( {"b" : [1,2 , {}], "a":null} )", R"({"b": [1, 2, {}], "a": null})"},
      {R"({"k": 1, "l": 2, "k": 3})", R"({"k": 3, "l": 2})"},
      {"[1.0, 1.5, 1e-07, 1e16, 1E5, 0.0001, 0.00001]",
       "[1.0, 1.5, 1e-07, 1e+16, 100000.0, 0.0001, 1e-05]"},
      {"[123456789012345680.0, 9007199254740993.0, 5e-324, 1.7976931348623157e308]",
       "[1.2345678901234568e+17, 9007199254740992.0, 5e-324, 1.7976931348623157e+308]"},
      {"[-0, -0.0, 0e5, 1e999, -1e999, 1e-999]", "[0, -0.0, 0.0, Infinity, -Infinity, 0.0]"},
      {"[123456789012345678901234567890, -7]", "[123456789012345678901234567890, -7]"},
      {"[NaN, Infinity, -Infinity, true, false]", "[NaN, Infinity, -Infinity, true, false]"},
      {R"("\u0041\u00e9\ud83d\uddfc\u2028\/")", "\"Aé🗼\u2028/\""},
      {R"("\b\f\n\r\t\"\\\u0001\u001f\u007f")", "\"\\b\\f\\n\\r\\t\\\"\\\\\\u0001\\u001f\x7F\""},
      {R"("tab here")", R"("tab here")"},
  };
  for (const auto& [text, want] : cases) {
    const auto value = parse_json(text);
    ASSERT_TRUE(value.ok()) << text << ": " << value.error().message;
    EXPECT_EQ(dump_json(*value), want);
  }
}

TEST(PythonJson, RefusesWhatPythonRefuses) {
  for (const std::string_view text :
       {"",      "{",   "[1,]", "{\"a\":1,}",     "01",        "1.",          ".5",       "+1",
        "nul",   "'a'", "\"a",  "\"\\x\"",        "\"\\u12\"", "\"\\ud800\"", "\"a\nb\"", "{1: 2}",
        "[1] 2", "-",   "\"\\", "\xEF\xBB\xBF[]", "\"\xFF\""}) {
    EXPECT_FALSE(parse_json(text).ok()) << text;
  }
}

TEST(PythonJson, RefusesNestingBeyondTheLimitInsteadOfOverflowing) {
  EXPECT_TRUE(parse_json(std::string(400, '[') + std::string(400, ']')).ok());
  EXPECT_FALSE(parse_json(std::string(1000000, '[')).ok());
  EXPECT_TRUE(parse_json(std::string(4300, '7')).ok());
  EXPECT_FALSE(parse_json(std::string(4301, '7')).ok());
}

TEST(PythonJson, EqualityIgnoresTheOrderOfMembers) {
  EXPECT_EQ(*parse_json(R"({"a": 1, "b": [1]})"), *parse_json(R"({"b": [1], "a": 1})"));
  EXPECT_NE(*parse_json(R"({"a": 1})"), *parse_json(R"({"a": 2})"));
  EXPECT_NE(*parse_json(R"({"a": 1})"), *parse_json(R"({"a": 1, "b": 1})"));
  EXPECT_NE(*parse_json("[1, 2]"), *parse_json("[2, 1]"));
}

TEST(PythonJson, TruthIsPythons) {
  for (const std::string_view text : {"null", "false", "0", "-0", "0.0", "\"\"", "[]", "{}"}) {
    EXPECT_FALSE(parse_json(text)->is_truthy()) << text;
  }
  for (const std::string_view text : {"true", "1", "0.5", "\"0\"", "[0]", "{\"\": 0}", "NaN"}) {
    EXPECT_TRUE(parse_json(text)->is_truthy()) << text;
  }
}

}  // namespace
}  // namespace precis
