#include "sampling/stop_text.h"

#include <string>
#include <vector>

#include <gtest/gtest.h>

namespace precis {
namespace {

// The text that gets out when `text` arrives in pieces of `n_bytes`.
std::string pass(const std::vector<std::string>& stops, const std::string& text,
                 std::size_t n_bytes) {
  StopText filter(stops);
  std::string out;
  for (std::size_t i = 0; i < text.size() && !filter.stopped(); i += n_bytes) {
    out += filter.feed(std::string_view(text).substr(i, n_bytes));
  }
  return out + filter.flush();
}

TEST(StopText, OutputDoesNotDependOnHowTheTextWasCut) {
  const std::vector<std::string> stops = {"abcd", "bc!", "END", "DONE"};
  const std::vector<std::string> texts = {"xxabcdyy",     "abc!rest", "EN EN END tail", "DONDONE",
                                          "nothing here", "ababc",    "ENDONE"};
  for (const std::string& text : texts) {
    const std::string whole = pass(stops, text, text.size());
    for (std::size_t n = 1; n < text.size(); ++n) EXPECT_EQ(pass(stops, text, n), whole) << text;
  }
  EXPECT_EQ(pass(stops, "xxabcdyy", 3), "xx");
  EXPECT_EQ(pass(stops, "DONDONE", 1), "DON");
  EXPECT_EQ(pass(stops, "ababc", 1), "ababc");
}

TEST(StopText, HoldsBackOnlyWhatCouldStillBecomeAStopString) {
  StopText filter({"###"});
  EXPECT_EQ(filter.feed("text #"), "text ");
  EXPECT_EQ(filter.feed("#x"), "##x");
  EXPECT_EQ(filter.feed("#"), "");
  EXPECT_EQ(filter.flush(), "#");
}

TEST(StopText, FirstCompleteStopStringWins) {
  EXPECT_EQ(pass({"abcd", "bc"}, "abcd", 4), "a");
  EXPECT_EQ(pass({"c", "abc"}, "xabc", 4), "x");
}

TEST(StopText, NothingComesOutAfterAStop) {
  StopText filter({"."});
  EXPECT_EQ(filter.feed("one. two"), "one");
  EXPECT_TRUE(filter.stopped());
  EXPECT_EQ(filter.feed("three"), "");
  EXPECT_EQ(filter.flush(), "");
}

TEST(StopText, WithoutStopStringsTextPassesUnchanged) {
  StopText filter({});
  EXPECT_EQ(filter.feed("anything"), "anything");
}

}  // namespace
}  // namespace precis
