#include <algorithm>

#include <gtest/gtest.h>

#include "precis/text.h"

#include "text/test_data.h"

namespace precis {
namespace {

void expect_all_pass(const std::string& file, std::size_t n_at_least) {
  const auto results = run_encoding_cases(read_test_file(PRECIS_TEST_DATA "/text/" + file));
  ASSERT_TRUE(results.ok()) << results.error().message;
  EXPECT_GE(results->size(), n_at_least);
  for (const EncodingCaseResult& result : *results) {
    EXPECT_TRUE(result.passed) << result.kind << " " << result.name << ": " << result.detail;
  }
}

TEST(EncodingCases, TheReleasesCasesPass) {
  expect_all_pass("encoding_cases.json", 29);
}

// Generated conversations over every branch, with what the official encoder made of them.
TEST(EncodingCases, TheGeneratedCasesPass) {
  expect_all_pass("encoding_more_cases.json", 380);
}

TEST(EncodingCases, AWrongPromptIsReportedWithItsPlace) {
  const auto results = run_encoding_cases(
      R"({"encode": [{"name": "n", "messages": [], "thinking_mode": "chat", "prompt": "<｜b"}]})");
  ASSERT_TRUE(results.ok());
  ASSERT_EQ(results->size(), 1u);
  EXPECT_FALSE((*results)[0].passed);
  EXPECT_NE((*results)[0].detail.find("byte 5"), std::string::npos) << (*results)[0].detail;
}

TEST(EncodingCases, AnExpectedErrorThatDoesNotComeFails) {
  const auto results = run_encoding_cases(
      R"({"parse": [{"name": "n", "text": "a<｜end▁of▁sentence｜>", "thinking_mode": "chat",
                     "error": "ValueError"}]})");
  ASSERT_TRUE(results.ok());
  EXPECT_FALSE(results->at(0).passed);
}

TEST(EncodingCases, AFileThatIsNoneIsRefused) {
  EXPECT_FALSE(run_encoding_cases("[]").ok());
  EXPECT_FALSE(run_encoding_cases("{\"encode\": 3}").ok());
  EXPECT_FALSE(run_encoding_cases("{").ok());
}

}  // namespace
}  // namespace precis
