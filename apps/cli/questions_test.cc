#include "cli/questions.h"

#include <gtest/gtest.h>

namespace precis::cli {
namespace {

TEST(ParseQuestions, ReadsObjectsStringsAndLines) {
  const auto list = parse_questions(R"( [{"question":"a?","answer":"1"}, "b?"])", "q.json");
  ASSERT_TRUE(list.ok());
  ASSERT_EQ(list->size(), 2u);
  EXPECT_EQ((*list)[0].text, "a?");
  EXPECT_EQ((*list)[0].expected, "1");
  EXPECT_EQ((*list)[1].expected, "");
  const auto lines = parse_questions("a?\r\n\n  b?\n", "q.txt");
  ASSERT_TRUE(lines.ok());
  ASSERT_EQ(lines->size(), 2u);
  EXPECT_EQ((*lines)[0].text, "a?");
}

TEST(ParseQuestions, RefusesListsOfOtherThingsAndNamesTheFile) {
  for (const char* text : {"[1]", "[{\"q\":\"a\"}]", "[{\"question\":1}]", "[", "", " \n", "[]",
                           "[{\"question\":\"a\",\"answer\":5}]"}) {
    const auto result = parse_questions(text, "q.json");
    ASSERT_FALSE(result.ok()) << text;
    EXPECT_EQ(result.error().message.find("q.json"), 0u) << result.error().message;
  }
}

TEST(AnswerHolds, WantsWholeWords) {
  EXPECT_TRUE(answer_holds("The password for the gate is Lantern.", "lantern"));
  EXPECT_TRUE(answer_holds("6154", "6154"));
  EXPECT_FALSE(answer_holds("The number is 961547.", "6154"));
  EXPECT_TRUE(answer_holds("961547, no: 6154.", "6154"));
  EXPECT_FALSE(answer_holds("", "6154"));
}

}  // namespace
}  // namespace precis::cli
