#include "cli/passages.h"

#include <gtest/gtest.h>

namespace precis::cli {
namespace {

// Every byte of `text` is a token; the first one stands at session position `first_token`.
TokenizedDocument one_byte_tokens(std::string text, std::int64_t first_token) {
  TokenizedDocument document{
      .text = std::move(text), .first_token = first_token, .token_bytes = {}};
  for (std::size_t i = 0; i <= document.text.size(); ++i) {
    document.token_bytes.push_back(static_cast<std::int64_t>(i));
  }
  return document;
}

std::string text_of(const TokenizedDocument& document, const Passage& passage) {
  return document.text.substr(static_cast<std::size_t>(passage.begin),
                              static_cast<std::size_t>(passage.end - passage.begin));
}

TEST(FindPassages, RowPoolsItsBlockAndTheOneBefore) {
  const TokenizedDocument document = one_byte_tokens("abcdefghijklmnopqrstuvwxyz", 0);
  const auto passages = find_passages(document, {{2, 1.0}}, 4, 3);
  ASSERT_EQ(passages.size(), 1u);
  EXPECT_EQ(text_of(document, passages[0]), "efghijkl");  // tokens 4 … 11
  EXPECT_EQ(passages[0].attention_share, 1.0);
}

TEST(FindPassages, PositionsCountFromTheStartOfTheDocument) {
  const TokenizedDocument document = one_byte_tokens("abcdefghijklmnopqrstuvwxyz", 3);
  const auto passages = find_passages(document, {{2, 1.0}}, 4, 3);
  ASSERT_EQ(passages.size(), 1u);
  EXPECT_EQ(text_of(document, passages[0]), "bcdefghi");
}

TEST(FindPassages, RowsAreClippedToTheDocumentAndIgnoredOutsideIt) {
  const TokenizedDocument document = one_byte_tokens("abcdefgh", 6);  // positions 6 … 13
  const auto passages = find_passages(document, {{1, 1.0}, {4, 9.0}, {3, 2.0}, {0, 5.0}}, 4, 3);
  // Row 0 pools positions up to 3, row 4 from 12; rows 1, 3 and 4 are near enough to be one.
  ASSERT_EQ(passages.size(), 1u);
  EXPECT_EQ(text_of(document, passages[0]), "abcdefgh");
  EXPECT_TRUE(find_passages(document, {{0, 5.0}, {5, 1.0}}, 4, 3).empty());
}

TEST(FindPassages, NeighboursMergeAndTheMostAttendedComesFirst) {
  const TokenizedDocument document = one_byte_tokens(std::string(400, 'x'), 0);
  const auto passages = find_passages(document, {{10, 0.2}, {50, 0.5}, {53, 0.4}, {57, 0.3}}, 4, 3);
  ASSERT_EQ(passages.size(), 3u);
  EXPECT_EQ(passages[0].begin, 49 * 4);
  EXPECT_EQ(passages[0].end, 54 * 4);
  EXPECT_DOUBLE_EQ(passages[0].attention_share, 0.9 / 1.4);
  EXPECT_EQ(passages[1].begin, 56 * 4);
  EXPECT_EQ(passages[2].begin, 9 * 4);
  EXPECT_EQ(find_passages(document, {{10, 0.2}, {50, 0.5}}, 4, 1).size(), 1u);
}

TEST(FindPassages, WeakRowsNeitherCountNorStretchAPassage) {
  const TokenizedDocument document = one_byte_tokens(std::string(400, 'x'), 0);
  const auto passages = find_passages(document, {{20, 0.01}, {22, 1.0}, {60, 0.04}}, 4, 3);
  ASSERT_EQ(passages.size(), 1u);
  EXPECT_EQ(passages[0].begin, 21 * 4);
}

TEST(FindPassages, CountsLinesAndKeepsCharactersWhole) {
  TokenizedDocument document = one_byte_tokens("one\ntwo\nth\xC3\xA9\xC3\xA9\xC3\xA9\xC3\xA9", 0);
  // Row 4 pools tokens 12 … 19; byte 11 and 12 ... are halves of two-byte characters.
  const auto passages = find_passages(document, {{4, 1.0}}, 4, 3);
  ASSERT_EQ(passages.size(), 1u);
  EXPECT_EQ(passages[0].line, 3);
  EXPECT_NE(static_cast<unsigned char>(text_of(document, passages[0])[0]) & 0xC0, 0x80);
}

TEST(AddRows, SumsOverLayersOfTheRatioOnly) {
  const std::vector<SelectedRows> selected = {
      {.layer = 2, .ratio = 4, .rows = {7, 9}, .mass = {0.5f, 0.25f}},
      {.layer = 4, .ratio = 4, .rows = {9}, .mass = {1.0f}},
      {.layer = 5, .ratio = 8, .rows = {9}, .mass = {4.0f}}};
  RowMass mass;
  add_rows(selected, 4, mass);
  EXPECT_EQ(mass, (RowMass{{7, 0.5}, {9, 1.25}}));
}

TEST(ValueTokens, AreThoseWhoseWordsTheQuestionDoesNotHave) {
  const std::vector<std::string> pieces = {"The", " badge", " number", " for", " Pe",
                                           "ter", " is",    " 4",      "8",    "."};
  EXPECT_EQ(
      value_tokens(pieces, "What is the badge number of Peter?"),
      (std::vector<bool>{false, false, false, false, false, false, false, true, true, false}));
}

TEST(ValueTokens, AreAllWhereTheAnswerOnlyRepeats) {
  const std::vector<std::string> pieces = {"The", " gate"};
  EXPECT_EQ(value_tokens(pieces, "Which gate?"), (std::vector<bool>{true, true}));
}

TEST(Excerpt, CutsAtSpacesAndMarksWhatIsLeftOut) {
  const std::string text = "alpha beta gamma\ndelta epsilon zeta eta";
  Passage passage;
  passage.begin = 17;
  passage.end = 22;  // delta
  const Excerpt cut = excerpt(text, passage, 8);
  EXPECT_EQ(cut.before, "… gamma ");
  EXPECT_EQ(cut.passage, "delta");
  EXPECT_EQ(cut.after, " epsilon …");
  const Excerpt whole = excerpt(text, passage, 100);
  EXPECT_EQ(whole.before + whole.passage + whole.after, "alpha beta gamma delta epsilon zeta eta");
}

}  // namespace
}  // namespace precis::cli
