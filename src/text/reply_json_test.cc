#include <gtest/gtest.h>

#include "precis/text.h"

namespace precis {
namespace {

TEST(ParseReplyJson, AWellFormedReplyBecomesAMessage) {
  const auto message = parse_reply_json(
      "why</think>text\n\n<｜DSML｜tool_calls>\n<｜DSML｜invoke name=\"f\">\n"
      "<｜DSML｜parameter name=\"s\" string=\"true\">a \"b\"\n</｜DSML｜parameter>\n"
      "<｜DSML｜parameter name=\"n\" string=\"false\">1e5</｜DSML｜parameter>\n"
      "</｜DSML｜invoke>\n</｜DSML｜tool_calls><｜end▁of▁sentence｜>",
      ThinkingMode::kThinking);
  ASSERT_TRUE(message.ok()) << message.error().message;
  EXPECT_EQ(*message,
            R"({"role": "assistant", "content": "text", "reasoning_content": "why", "tool_calls": )"
            R"([{"type": "function", "function": {"name": "f", "arguments": )"
            R"("{\"s\": \"a \\\"b\\\"\\n\", \"n\": 1e5}"}}]})");
}

TEST(ParseReplyJson, EachDefectIsRefusedByName) {
  const std::string eos = "<｜end▁of▁sentence｜>";
  const std::string open = "\n\n<｜DSML｜tool_calls>\n";
  const std::string param = "<｜DSML｜parameter name=\"a\" string=\"true\">1</｜DSML｜parameter>\n";
  const std::string invoke = "<｜DSML｜invoke name=\"f\">\n";
  const std::string close = "</｜DSML｜invoke>\n</｜DSML｜tool_calls>";
  const std::pair<std::string, const char*> cases[] = {
      {"text", "want '<｜end▁of▁sentence｜>'"},
      {"text" + eos + "more", "want nothing behind '<｜end"},
      {"a</think>b" + eos, "no special token"},
      {open + invoke + param + param + close + eos, "found 'a' twice"},
      {open + invoke + param + close + "tail" + eos, "want nothing behind the tool calls"},
      {open + "<｜DSML｜invoke f>\n" + close + eos, "want the name of a tool"},
      {open + invoke + "<｜DSML｜parameter name=\"a\">1</｜DSML｜parameter>\n" + close + eos,
       "want a parameter"},
      {open + invoke + param + "stray" + close + eos, "want '>' and a newline"},
      {"\xFF" + eos, "want UTF-8"},
  };
  for (const auto& [reply, want] : cases) {
    const auto message = parse_reply_json(reply, ThinkingMode::kChat);
    ASSERT_FALSE(message.ok()) << reply;
    EXPECT_NE(message.error().message.find(want), std::string::npos) << message.error().message;
  }
  EXPECT_FALSE(parse_reply_json("no end of thinking" + eos, ThinkingMode::kThinking).ok());
}

}  // namespace
}  // namespace precis
