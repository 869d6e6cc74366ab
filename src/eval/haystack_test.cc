#include "eval/haystack.h"

#include <set>

#include <gtest/gtest.h>

#include "eval/eval_test_util.h"

namespace precis {
namespace {

std::string joined(const std::vector<Sentence>& sentences) {
  std::string text;
  for (const Sentence& sentence : sentences) text += sentence.text;
  return text;
}

TEST(GeneratedProse, FillsWithoutPassingAndRepeatsNothing) {
  const std::vector<Sentence> sentences = generated_prose(mini_tokenizer(), 1, 50000);
  std::int64_t n_tokens = 0;
  std::set<std::string> distinct;
  for (const Sentence& sentence : sentences) {
    n_tokens += std::ssize(sentence.tokens);
    const std::size_t first = sentence.text.find_first_not_of(" \n");
    distinct.insert(sentence.text.substr(first, sentence.text.find_last_not_of(" \n") + 1 - first));
  }
  EXPECT_LE(n_tokens, 50000);
  EXPECT_GT(n_tokens, 50000 - 100);
  EXPECT_EQ(distinct.size(), sentences.size());
}

TEST(GeneratedProse, PiecesTokenizeAsTheWhole) {
  const std::vector<Sentence> sentences = generated_prose(mini_tokenizer(), 3, 5000);
  std::vector<TokenId> tokens;
  for (const Sentence& sentence : sentences) {
    tokens.insert(tokens.end(), sentence.tokens.begin(), sentence.tokens.end());
  }
  EXPECT_EQ(tokens, mini_tokenizer().encode(joined(sentences), SpecialTokens::kAsText));
}

TEST(SplitSentences, CutsAfterMarksAndLineEndsAndLosesNothing) {
  const std::string text = "One. \"Two!\" he said? 3.14 is pi.\n\nA title\nLast";
  const std::vector<std::string_view> pieces = split_sentences(text);
  const std::vector<std::string_view> want = {
      "One.", " \"Two!\"", " he said?", " 3.14 is pi.\n\n", "A title\n", "Last"};
  EXPECT_EQ(pieces, want);
}

TEST(PlaceNeedles, PutsThemAtTheirDepthsAndFindsTheirValues) {
  const Tokenizer& tokenizer = mini_tokenizer();
  const std::vector<Sentence> haystack = generated_prose(tokenizer, 1, 20000);
  std::vector<Needle> needles;
  for (const double depth : {0.0, 0.25, 0.5, 1.0}) {
    needles.push_back(
        {.text = "The code is 12345.", .value = "12345", .depth = depth, .phase = -1});
  }
  PromptText text(tokenizer);
  text.add("Read this.\n");
  const std::int64_t start = text.n_tokens();
  const std::vector<Placed> placed = place_needles(tokenizer, haystack, needles, text);
  EvalPrompt prompt;
  text.finish(prompt);
  ASSERT_EQ(placed.size(), 4U);
  for (std::size_t i = 0; i < placed.size(); ++i) {
    EXPECT_NEAR(static_cast<double>(placed[i].first - start) / 20000, needles[i].depth, 0.01);
    const std::span<const TokenId> value =
        std::span(prompt.context_tokens)
            .subspan(static_cast<std::size_t>(placed[i].value.first),
                     static_cast<std::size_t>(placed[i].value.n_tokens));
    EXPECT_EQ(tokenizer.decode(value), "12345");
  }
  EXPECT_EQ(tokenizer.decode(prompt.context_tokens), prompt.context);
}

TEST(PlaceNeedles, ComesNearTheWantedPhase) {
  const Tokenizer& tokenizer = mini_tokenizer();
  const std::vector<Sentence> haystack = generated_prose(tokenizer, 1, 60000);
  for (const int phase : {0, 40, 100}) {
    PromptText text(tokenizer);
    const std::vector<Needle> needle = {
        {.text = "The code is 1.", .value = {}, .depth = 0.5, .phase = phase}};
    const std::vector<Placed> placed = place_needles(tokenizer, haystack, needle, text);
    const std::int64_t off = std::abs(placed[0].first % 128 - phase);
    EXPECT_LE(std::min(off, 128 - off), 8) << placed[0].first;
    EXPECT_NEAR(static_cast<double>(placed[0].first), 30000, 310);
  }
}

}  // namespace
}  // namespace precis
