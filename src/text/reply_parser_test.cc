#include <gtest/gtest.h>

#include "precis/text.h"

namespace precis {
namespace {

using Kind = ReplyEvent::Kind;

const std::string kOpen = "\n\n<｜DSML｜tool_calls>\n";
const std::string kInvoke = "<｜DSML｜invoke name=\"f\">\n";
const std::string kParam =
    "<｜DSML｜parameter name=\"s\" string=\"true\">a \"b\"</｜DSML｜parameter>\n";
const std::string kClose = "</｜DSML｜invoke>\n</｜DSML｜tool_calls>";
const std::string kEnd = "<｜end▁of▁sentence｜>";

// Joins neighbouring stretches of one kind: pieces may end anywhere.
std::vector<ReplyEvent> joined(std::vector<ReplyEvent> events) {
  std::vector<ReplyEvent> out;
  for (ReplyEvent& event : events) {
    const bool is_stretch = event.kind == Kind::kReasoning || event.kind == Kind::kContent ||
                            event.kind == Kind::kToolArguments;
    if (is_stretch && !out.empty() && out.back().kind == event.kind &&
        out.back().tool_call_idx == event.tool_call_idx) {
      out.back().text += event.text;
    } else {
      out.push_back(std::move(event));
    }
  }
  return out;
}

std::vector<ReplyEvent> parse(const std::vector<std::string_view>& pieces, ThinkingMode mode,
                              ToolMarkup tools) {
  ReplyParser parser(mode, tools);
  std::vector<ReplyEvent> all;
  for (const std::string_view piece : pieces) {
    for (ReplyEvent& event : parser.feed(piece)) all.push_back(std::move(event));
  }
  for (ReplyEvent& event : parser.finish()) all.push_back(std::move(event));
  return joined(std::move(all));
}

// A short form: r(…) c(…) begin(…) args(…) end, warnings as "!".
std::string summary(std::string_view reply, ThinkingMode mode = ThinkingMode::kChat,
                    ToolMarkup tools = ToolMarkup::kRecognise) {
  std::string out;
  for (const ReplyEvent& event : parse({reply}, mode, tools)) {
    switch (event.kind) {
      case Kind::kReasoning: out += "r(" + event.text + ")"; break;
      case Kind::kContent: out += "c(" + event.text + ")"; break;
      case Kind::kToolCallBegin: out += "begin(" + event.text + ")"; break;
      case Kind::kToolArguments: out += "args(" + event.text + ")"; break;
      case Kind::kToolCallEnd: out += "end"; break;
      case Kind::kWarning: out += "!"; break;
    }
  }
  return out;
}

TEST(ReplyParser, AWellFormedReplyHasNoWarnings) {
  EXPECT_EQ(
      summary("why</think>so" + kOpen + kInvoke + kParam +
                  "<｜DSML｜parameter name=\"n\" string=\"false\">[1, 2]</｜DSML｜parameter>\n"
                  "</｜DSML｜invoke>\n<｜DSML｜invoke name=\"g\">\n\n" +
                  kClose + kEnd,
              ThinkingMode::kThinking),
      "r(why)c(so)begin(f)args({\"s\": \"a \\\"b\\\"\", \"n\": [1, 2]})end"
      "begin(g)args({})end");
}

TEST(ReplyParser, NewlinesBelongToTheContentUnlessCallsFollow) {
  EXPECT_EQ(summary("a\n\n\nb\n\n" + kEnd), "c(a\n\n\nb\n\n)");
  EXPECT_EQ(summary("a\n" + kOpen + kInvoke + kClose), "c(a\n)begin(f)args({})end");
  EXPECT_EQ(summary("a\n<b"), "c(a\n<b)");
}

TEST(ReplyParser, WithoutToolsMarkupIsText) {
  const std::string reply = "x" + kOpen + kInvoke + kParam + kClose;
  EXPECT_EQ(summary(reply + kEnd, ThinkingMode::kChat, ToolMarkup::kPlainText), "c(" + reply + ")");
}

TEST(ReplyParser, MarkupInReasoningIsTextButWholeCallsAreRecovered) {
  const std::string block = kOpen + kInvoke + kParam + kClose;
  EXPECT_EQ(summary("t" + block + "u</think>v" + kEnd, ThinkingMode::kThinking),
            "r(t" + block + "u)c(v)");
  EXPECT_EQ(summary("t" + block + kEnd, ThinkingMode::kThinking),
            "r(t" + block + ")!begin(f)args({\"s\": \"a \\\"b\\\"\"})end");
  EXPECT_EQ(summary("t" + kOpen + kInvoke + kParam, ThinkingMode::kThinking),
            "r(t" + kOpen + kInvoke + kParam + ")");
}

TEST(ReplyParser, MalformedMarkupIsForgiven) {
  const std::string good = "begin(f)args({\"s\": \"a \\\"b\\\"\"})end";
  const std::string body = kInvoke + kParam + "</｜DSML｜invoke>\n";
  EXPECT_EQ(summary("<｜DSML｜function_calls>\n" + body + "</｜DSML｜function_calls>"),
            "!" + good + "!");
  EXPECT_EQ(summary("<｜｜DSML｜｜tool_calls>" + body + "</｜DSML｜tool_calls>"), "!" + good);
  EXPECT_EQ(summary("< |DSML| tool_calls >" + body + "<｜DSML｜/tool_calls>"), "!" + good + "!");
  EXPECT_EQ(summary(body + "</｜DSML｜tool_calls>"), "!" + good);
  EXPECT_EQ(summary(kOpen + body), good + "!");
  EXPECT_EQ(summary(kOpen + kInvoke + kParam), "begin(f)args({\"s\": \"a \\\"b\\\"\"})end!");
  EXPECT_EQ(summary(kOpen + kInvoke + kParam + "</｜DSML｜tool_calls>" + kEnd),
            "begin(f)args({\"s\": \"a \\\"b\\\"\")!args(})end");
}

TEST(ReplyParser, ACutReplyClosesItsCall) {
  EXPECT_EQ(summary(kOpen + kInvoke + "<｜DSML｜parameter name=\"s\" string=\"true\">ab"),
            "begin(f)args({\"s\": \"ab\"})end!");
  EXPECT_EQ(
      summary(kOpen + kInvoke + "<｜DSML｜parameter name=\"s\" string=\"true\">ab</｜DSML｜par"),
      "begin(f)args({\"s\": \"ab)!args(\"})end!");
  EXPECT_EQ(summary(kOpen + kInvoke + "<｜DSML｜parameter name=\"n\" string=\"false\">[1, "),
            "begin(f)args({\"n\": )!args(\"[1, \"})end!");
}

TEST(ReplyParser, ValuesFollowTheirKind) {
  const auto value = [](std::string_view is_string, std::string_view text) {
    return summary(kOpen + kInvoke + "<｜DSML｜parameter name=\"v\" string=\"" +
                   std::string(is_string) + "\">" + std::string(text) + "</｜DSML｜parameter>\n" +
                   kClose);
  };
  EXPECT_EQ(value("true", "a<b\n<｜x</｜"), "begin(f)args({\"v\": \"a<b\\n<｜x</｜\"})end");
  EXPECT_EQ(value("false", "{\"k\": null}"), "begin(f)args({\"v\": {\"k\": null}})end");
  EXPECT_EQ(value("false", "plain"), "begin(f)args({\"v\": )!args(\"plain\"})end");
  EXPECT_EQ(value("false", "NaN"), "begin(f)args({\"v\": )!args(\"NaN\"})end");
}

TEST(ReplyParser, ARepeatedParameterCountsOnce) {
  EXPECT_EQ(summary(kOpen + kInvoke + kParam + kParam + kClose),
            "begin(f)args({\"s\": \"a \\\"b\\\"\")!args(})end");
}

TEST(ReplyParser, TextBehindTheCallsIsDroppedAndCounted) {
  const auto events = parse({kOpen + kInvoke + kClose + "tail " + kEnd + "x"}, ThinkingMode::kChat,
                            ToolMarkup::kRecognise);
  ASSERT_FALSE(events.empty());
  EXPECT_EQ(events.back().kind, Kind::kWarning);
  EXPECT_TRUE(events.back().text.starts_with("5 bytes")) << events.back().text;
}

TEST(ReplyParser, EventsDoNotDependOnTheCuts) {
  const std::string body = kInvoke + kParam + "x</｜DSML｜invoke>\n";
  const std::pair<std::string, ThinkingMode> replies[] = {
      {"<think>w 東🗼y</think>s\n\n\no" + kOpen + body + kClose + kEnd + "z",
       ThinkingMode::kThinking},
      {"never closed" + kOpen + body + "</｜DSML｜tool_calls>" + kEnd, ThinkingMode::kThinking},
      {"a <b> <｜c｜> <｜DSML x\n\n<｜DSML｜parameter name=\"p\">" + kEnd, ThinkingMode::kChat},
      {"\n\n\n<｜｜DSML||calls>\n" + body +
           "<｜DSML｜parameter name=\"n\" string=\"false\">{\"a\": 1}"
           "</｜DSML｜invoke> <｜DSML｜invoke name=\"g\"><｜DSML｜parameter name=\"q\" "
           "string=\"true\">v</｜DS",
       ThinkingMode::kChat},
      {"bad \xF0\x9F bytes \xFF\n" + kOpen + "\xE6\x9D", ThinkingMode::kChat},
  };
  for (const auto& [reply, mode] : replies) {
    const std::string_view text = reply;
    const auto whole = parse({text}, mode, ToolMarkup::kRecognise);
    std::vector<std::string_view> bytes;
    for (std::size_t i = 0; i < text.size(); ++i) bytes.push_back(text.substr(i, 1));
    EXPECT_EQ(parse(bytes, mode, ToolMarkup::kRecognise), whole);
    for (std::size_t i = 0; i <= text.size(); ++i) {
      for (std::size_t j = i; j <= text.size(); j += 7) {
        ASSERT_EQ(parse({text.substr(0, i), text.substr(i, j - i), text.substr(j)}, mode,
                        ToolMarkup::kRecognise),
                  whole)
            << "cuts at " << i << " and " << j << " of " << reply;
      }
    }
  }
}

TEST(ReplyParser, ATagThatNeverEndsIsNotWaitedForForever) {
  ReplyParser parser(ThinkingMode::kChat, ToolMarkup::kRecognise);
  std::size_t n_out = 0;
  for (const ReplyEvent& event : parser.feed("<｜DSML｜invoke name=\"" + std::string(5000, 'x'))) {
    n_out += event.text.size();
  }
  EXPECT_GT(n_out, 4000u);
}

}  // namespace
}  // namespace precis
