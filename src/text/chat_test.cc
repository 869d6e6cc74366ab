#include <gtest/gtest.h>

#include "precis/text.h"

#include "text/prompt_text.h"

namespace precis {
namespace {

std::string render(std::string_view request) {
  const auto prompt = render_chat(request);
  return prompt.ok() ? *prompt : "error: " + prompt.error().message;
}

// Expectations are the official encoder's; encoding_cases_test.cc has them in bulk, these say what
// each is about.
TEST(RenderChat, MessagesOfTheUserMergeButNeverIntoATask) {
  EXPECT_EQ(render(R"({"thinking_mode": "chat", "messages": [
                {"role": "user", "content": "a"}, {"role": "user", "content": "b"}]})"),
            "<｜begin▁of▁sentence｜><｜User｜>a\n\nb<｜Assistant｜></think>");
  EXPECT_EQ(render(R"({"thinking_mode": "chat", "messages": [
                {"role": "user", "content": "a", "task": "title"},
                {"role": "user", "content": "b"}]})"),
            "<｜begin▁of▁sentence｜><｜User｜>a<｜User｜>b<｜Assistant｜></think>");
}

TEST(RenderChat, ResultsFollowTheOrderOfTheCalls) {
  EXPECT_EQ(render(R"({"thinking_mode": "chat", "messages": [
                {"role": "assistant", "tool_calls": [
                  {"id": "x", "function": {"name": "f", "arguments": "{}"}},
                  {"id": "y", "function": {"name": "g", "arguments": "{\"n\": 1E5}"}}]},
                {"role": "tool", "tool_call_id": "y", "content": "of y"},
                {"role": "user", "content": "between"},
                {"role": "tool", "tool_call_id": "x", "content": [
                  {"type": "text", "text": "of"}, {"type": "text", "text": "x"}]}]})"),
            "<｜begin▁of▁sentence｜>\n\n<｜DSML｜tool_calls>\n<｜DSML｜invoke name=\"f\">\n\n"
            "</｜DSML｜invoke>\n<｜DSML｜invoke name=\"g\">\n<｜DSML｜parameter name=\"n\" "
            "string=\"false\">100000.0</｜DSML｜parameter>\n</｜DSML｜invoke>\n"
            "</｜DSML｜tool_calls><｜end▁of▁sentence｜><｜User｜><tool_result>of\n\nx</tool_result>"
            "\n\nbetween\n\n<tool_result>of y</tool_result><｜Assistant｜></think>");
}

TEST(RenderChat, ArgumentsThatAreNoJsonTextBecomeOneParameter) {
  const auto call = [](const char* arguments) {
    return render(std::string(R"({"thinking_mode": "chat", "messages": [{"role": "assistant",
        "tool_calls": [{"function": {"name": "f", "arguments": )") +
                  arguments + "}}]}]}");
  };
  EXPECT_NE(call(R"("{\"a\": ")").find("name=\"arguments\" string=\"true\">{\"a\": </"),
            std::string::npos);
  EXPECT_NE(call(R"({"a": 1})").find("name=\"arguments\" string=\"false\">{\"a\": 1}</"),
            std::string::npos);
  EXPECT_NE(call(R"("[1]")").find("error: messages[0] (role 'assistant'): tool_calls[0]"),
            std::string::npos);
}

TEST(RenderChat, EarlierThinkingIsDroppedUnlessThereAreTools) {
  const std::string turns = R"({"role": "user", "content": "q"},
      {"role": "assistant", "reasoning_content": "r", "content": "a"},
      {"role": "developer", "content": "d"}, {"role": "user", "content": "p"}]})";
  EXPECT_EQ(render(R"({"messages": [)" + turns),
            "<｜begin▁of▁sentence｜><｜User｜>q<｜Assistant｜></think>a<｜end▁of▁sentence｜>"
            "<｜User｜>p<｜Assistant｜><think>");
  const std::string with_tools = render(
      R"({"messages": [{"role": "system", "content": "s", "tools": [{"function": {}}]}, )" + turns);
  EXPECT_NE(with_tools.find("<think>r</think>a<｜end▁of▁sentence｜><｜User｜>d<｜User｜>p"),
            std::string::npos);
}

TEST(RenderChat, AnUnfinishedAnswerHasNoEndToken) {
  EXPECT_EQ(render(R"({"thinking_mode": "chat", "messages": [{"role": "user", "content": "q"},
                {"role": "assistant", "content": "a", "wo_eos": true}]})"),
            "<｜begin▁of▁sentence｜><｜User｜>q<｜Assistant｜></think>a");
}

TEST(RenderChat, AnActionTaskOpensTheAnswerOthersDoNot) {
  const auto task = [](std::string_view name) {
    return render(R"({"messages": [{"role": "user", "content": "q", "task": ")" +
                  std::string(name) + R"("}, {"role": "assistant", "content": "a"}]})");
  };
  EXPECT_EQ(task("action"),
            "<｜begin▁of▁sentence｜><｜User｜>q<｜Assistant｜><think><｜action｜>a"
            "<｜end▁of▁sentence｜>");
  EXPECT_EQ(task("domain"), "<｜begin▁of▁sentence｜><｜User｜>q<｜domain｜>a<｜end▁of▁sentence｜>");
  EXPECT_NE(task("extracted_url").find("error: messages[0] (role 'user'): task"),
            std::string::npos);
}

TEST(RenderChat, EffortIsAPrefixOfThinkingPromptsOnly) {
  const ChatMessage hello{"user", "Hello", ""};
  const auto start = [&](ReasoningEffort effort, EffortStyle style, ThinkingMode mode) {
    ChatOptions options;
    options.reasoning_effort = effort;
    options.effort_style = style;
    options.thinking_mode = mode;
    const auto prompt = render_chat({&hello, 1}, options);
    return prompt.ok() ? *prompt : "error: " + prompt.error().message;
  };
  const std::string bos(prompt_text::kBeginOfSentence);
  const std::string absolute =
      bos + std::string(prompt_text::kAbsoluteMaximumEffort) + "<｜User｜>";
  const std::string beyond = bos + std::string(prompt_text::kBeyondMaximumEffort) + "<｜User｜>";
  using Effort = ReasoningEffort;
  const auto thinking = ThinkingMode::kThinking;
  EXPECT_TRUE(start(Effort::kMax, EffortStyle::kPreview, thinking).starts_with(absolute));
  EXPECT_TRUE(start(Effort::kHigh, EffortStyle::k0731, thinking).starts_with(absolute));
  EXPECT_TRUE(start(Effort::kMax, EffortStyle::k0731, thinking).starts_with(beyond));
  const std::string none = bos + "<｜User｜>Hello<｜Assistant｜><think>";
  EXPECT_EQ(start(Effort::kHigh, EffortStyle::kPreview, thinking), none);
  EXPECT_EQ(start(Effort::kLow, EffortStyle::k0731, thinking), none);
  EXPECT_EQ(start(Effort::kMax, EffortStyle::kPreview, ThinkingMode::kChat),
            bos + "<｜User｜>Hello<｜Assistant｜></think>");
  EXPECT_TRUE(start(Effort::kLow, EffortStyle::kPreview, thinking).starts_with("error: reasoning"));
}

TEST(RenderChat, TypedMessagesRenderAsTheirJson) {
  const std::vector<ChatMessage> messages{
      {"system", "s", ""}, {"user", "q", ""}, {"assistant", "a", "r"}, {"user", "p", ""}};
  ChatOptions options;
  options.drop_thinking = DropThinking::kKeep;
  EXPECT_EQ(render_chat(messages, options).value(), render(R"({"drop_thinking": false, "messages": [
                {"role": "system", "content": "s"}, {"role": "user", "content": "q"},
                {"role": "assistant", "content": "a", "reasoning_content": "r"},
                {"role": "user", "content": "p"}]})"));
}

TEST(RenderChat, WhatCannotBeRenderedIsNamed) {
  const std::pair<const char*, const char*> cases[] = {
      {R"({"messages": [{"role": "user", "content": "a"}, {"role": "boss", "content": "b"}]})",
       "messages[1]: role: want"},
      {R"({"messages": [{"content": "b"}]})", "messages[0]: role: want"},
      {R"({"messages": [3]})", "messages[0]: want an object, found a number"},
      {R"({"messages": [{"role": "user", "content": null}]})",
       "messages[0] (role 'user'): content"},
      {R"({"messages": [{"role": "developer"}]})", "messages[0] (role 'developer'): content"},
      {R"({"messages": [{"role": "system", "tools": [{"name": "f"}]}]})", "tools[0]"},
      {R"({"messages": [{"role": "assistant", "tool_calls": [{"function": {"name": "f"}}]}]})",
       "'arguments'"},
      {R"({"messages": [], "thinking_mode": "deep"})", "thinking_mode"},
      {R"({"messages": [], "drop_thinking": 1})", "drop_thinking"},
      {R"({"messages": [], "reasoning_effort": "ultra"})", "reasoning_effort"},
      {R"({"messages": {}})", "messages: want an array, found an object"},
      {"[]", "messages: want an array, found none"},
      {"{", "JSON at byte 1"},
  };
  for (const auto& [request, want] : cases) {
    const auto prompt = render_chat(request);
    ASSERT_FALSE(prompt.ok()) << request;
    EXPECT_EQ(prompt.error().code, ErrorCode::kInvalidArgument);
    EXPECT_NE(prompt.error().message.find(want), std::string::npos) << prompt.error().message;
  }
}

TEST(RenderChat, NoMessagesAreJustTheBeginning) {
  EXPECT_EQ(render(R"({"messages": [], "reasoning_effort": "max"})"), "<｜begin▁of▁sentence｜>");
}

}  // namespace
}  // namespace precis
