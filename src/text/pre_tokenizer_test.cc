#include "text/pre_tokenizer.h"

#include <string>

#include <gtest/gtest.h>

namespace precis {
namespace {

std::vector<std::string> split(const char* regex, SplitBehavior behavior, std::string_view text,
                               bool inverted = false) {
  auto pattern = Pattern::compile(regex);
  EXPECT_TRUE(pattern.ok()) << pattern.error().message;
  MatchScratch scratch;
  Pieces pieces;
  split_text({{std::move(pattern).value(), behavior, inverted}}, text, scratch, pieces);
  return {pieces.begin(), pieces.end()};
}

using Strings = std::vector<std::string>;

// The examples of the `tokenizers` documentation of SplitDelimiterBehavior.
TEST(PreTokenizer, BehavioursAreThoseOfTheLibrary) {
  const char* text = "the-final--countdown";
  EXPECT_EQ(split("-", SplitBehavior::kRemoved, text), (Strings{"the", "final", "countdown"}));
  EXPECT_EQ(split("-", SplitBehavior::kIsolated, text),
            (Strings{"the", "-", "final", "-", "-", "countdown"}));
  EXPECT_EQ(split("-", SplitBehavior::kMergedWithPrevious, text),
            (Strings{"the-", "final-", "-", "countdown"}));
  EXPECT_EQ(split("-", SplitBehavior::kMergedWithNext, text),
            (Strings{"the", "-final", "-", "-countdown"}));
  EXPECT_EQ(split("-", SplitBehavior::kContiguous, text),
            (Strings{"the", "-", "final", "--", "countdown"}));
  EXPECT_EQ(split("[a-z]+", SplitBehavior::kRemoved, text, true),
            (Strings{"the", "final", "countdown"}));
}

TEST(PreTokenizer, RulesApplyWithinThePiecesOfTheOneBefore) {
  MatchScratch scratch;
  Pieces pieces;
  const std::vector<SplitRule> rules{
      {*Pattern::compile("\\p{N}{1,3}"), SplitBehavior::kIsolated, false},
      {*Pattern::compile("\\s+(?!\\S)|\\s+"), SplitBehavior::kIsolated, false}};
  split_text(rules, "12345  x", scratch, pieces);
  EXPECT_EQ(Strings(pieces.begin(), pieces.end()), (Strings{"123", "45", " ", " ", "x"}));
  split_text(rules, "", scratch, pieces);
  EXPECT_TRUE(pieces.empty());
}

TEST(Pattern, SpaceIsOnigurumas) {
  for (const char* space : {"\t", "\v", "\x85", "\u00a0", "\u2003", "\u2028", "\u3000"}) {
    const std::string text = std::string(space) == "\x85" ? "\u0085" : space;
    EXPECT_EQ(split("\\s", SplitBehavior::kRemoved, text), Strings{}) << text;
    EXPECT_EQ(split("[x\\s]", SplitBehavior::kRemoved, text), Strings{}) << text;
    EXPECT_EQ(split("\\S", SplitBehavior::kRemoved, text), Strings{text});
  }
  for (const char* other : {"\u180e", "\u200b", "\ufeff", "\x1c"}) {
    EXPECT_EQ(split("\\s", SplitBehavior::kRemoved, other), Strings{other});
  }
}

TEST(Pattern, ConstructsThatEnginesReadDifferentlyAreRefused) {
  for (const char* regex : {"\\h", "\\w", "\\K", "[[:alpha:]]", "[a&&b]", "[^\\S]", "(", "a\\",
                            "\\p{NoSuchProperty}", "\\C"}) {
    const auto pattern = Pattern::compile(regex);
    ASSERT_FALSE(pattern.ok()) << regex;
    EXPECT_EQ(pattern.error().code, ErrorCode::kUnsupported);
  }
}

TEST(Pattern, EmptyMatchesEndTheSearchInsteadOfRepeating) {
  EXPECT_EQ(split("x*", SplitBehavior::kIsolated, "東xxa"), (Strings{"東", "xx", "a"}));
}

}  // namespace
}  // namespace precis
