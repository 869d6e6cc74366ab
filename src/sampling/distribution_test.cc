#include "sampling/distribution.h"

#include <cmath>
#include <limits>
#include <vector>

#include <gtest/gtest.h>

namespace precis {
namespace {

constexpr float kInf = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

// Which tokens survive the cuts.
std::vector<std::size_t> kept(const std::vector<double>& weights, const SamplingOptions& options) {
  const Cutoff cutoff = cut(weights, options);
  std::vector<std::size_t> tokens;
  for (std::size_t i = 0; i < weights.size(); ++i) {
    if (cutoff.keeps(weights[i], i)) tokens.push_back(i);
  }
  return tokens;
}

using Tokens = std::vector<std::size_t>;

TEST(Softmax, LargestWeighsOneAndTemperatureDividesTheGap) {
  const std::vector<float> logits = {1, 3, 2};
  const std::vector<double> weights = softmax_weights(logits, 0.5);
  EXPECT_EQ(weights[1], 1.0);
  EXPECT_EQ(weights[0], std::exp(-4.0));
  EXPECT_EQ(weights[2], std::exp(-2.0));
}

TEST(Softmax, InfiniteLargestLogitsShareTheWeight) {
  EXPECT_EQ(softmax_weights(std::vector<float>{kInf, 5, kInf}, 1), (std::vector<double>{1, 0, 1}));
  EXPECT_EQ(softmax_weights(std::vector<float>{-kInf, -kInf}, 1), (std::vector<double>{1, 1}));
}

TEST(Cut, WithoutLimitsEveryTokenIsKeptEvenAtWeightZero) {
  EXPECT_EQ(kept({0.5, 0, 1}, {}), (Tokens{0, 1, 2}));
}

TEST(Cut, TopKKeepsTheLargestAndBreaksTiesByLowestId) {
  const std::vector<double> weights = {0.5, 1, 0.5, 0.5, 0.1};
  EXPECT_EQ(kept(weights, {.top_k = 1}), (Tokens{1}));
  EXPECT_EQ(kept(weights, {.top_k = 3}), (Tokens{0, 1, 2}));
  EXPECT_EQ(kept(weights, {.top_k = 4}), (Tokens{0, 1, 2, 3}));
}

TEST(Cut, TopKOfTheVocabularyAndBeyondKeepsAll) {
  const std::vector<double> weights = {0.5, 1, 0.25};
  EXPECT_EQ(kept(weights, {.top_k = 3}), (Tokens{0, 1, 2}));
  EXPECT_EQ(kept(weights, {.top_k = 1000}), (Tokens{0, 1, 2}));
}

TEST(Cut, TopPKeepsTheSmallestSetWithTheMass) {
  const std::vector<double> weights = {0.25, 1, 0.5, 0.25};  // masses 1/8, 1/2, 1/4, 1/8
  EXPECT_EQ(kept(weights, {.top_p = 0.0}), (Tokens{1}));
  EXPECT_EQ(kept(weights, {.top_p = 0.5}), (Tokens{1}));
  EXPECT_EQ(kept(weights, {.top_p = 0.51}), (Tokens{1, 2}));
  EXPECT_EQ(kept(weights, {.top_p = 0.875}), (Tokens{0, 1, 2}));
  EXPECT_EQ(kept(weights, {.top_p = 1.0}), (Tokens{0, 1, 2, 3}));
}

TEST(Cut, TopPMeasuresTheMassThatTopKHasLeft) {
  const std::vector<double> weights = {1, 1, 1, 1};
  // Half of what is left after top-k 2 is one token; of all four it would be two.
  EXPECT_EQ(kept(weights, {.top_k = 2, .top_p = 0.5}), (Tokens{0}));
  EXPECT_EQ(kept(weights, {.top_p = 0.5}), (Tokens{0, 1}));
}

TEST(Cut, MinPIsRelativeToTheLargestAndKeepsTiesAtTheBound) {
  const std::vector<double> weights = {0.5, 1, 0.5, 0.49, 1};
  EXPECT_EQ(kept(weights, {.min_p = 0.5}), (Tokens{0, 1, 2, 4}));
  EXPECT_EQ(kept(weights, {.min_p = 1.0}), (Tokens{1, 4}));
  EXPECT_EQ(kept(weights, {.min_p = 0.0}), (Tokens{0, 1, 2, 3, 4}));
}

TEST(Cut, MinPNeverBringsBackWhatTopKDropped) {
  EXPECT_EQ(kept({0.9, 1, 0.8}, {.top_k = 1, .min_p = 0.5}), (Tokens{1}));
}

TEST(Draw, LaysTokensOutByIdAndSkipsDroppedOnes) {
  const std::vector<double> weights = {0.5, 0.1, 1, 0.5};
  const Cutoff cutoff = cut(weights, {.top_k = 3});
  EXPECT_EQ(draw(weights, cutoff, 0.0), 0u);
  EXPECT_EQ(draw(weights, cutoff, 0.2499), 0u);
  EXPECT_EQ(draw(weights, cutoff, 0.25), 2u);
  EXPECT_EQ(draw(weights, cutoff, 0.7499), 2u);
  EXPECT_EQ(draw(weights, cutoff, 0.75), 3u);
}

TEST(Draw, LargestUnitFindsTheLastTokenThatHasWeight) {
  const double almost_one = 1.0 - 0x1p-53;
  const std::vector<double> weights = {1.0, 1e-3, 0.3, 0.0};
  EXPECT_EQ(draw(weights, cut(weights, {}), almost_one), 2u);
}

TEST(AdjustLogits, NanBecomesMinusInfinity) {
  std::vector<float> out;
  adjust_logits(std::vector<float>{kNan, 2}, {}, {}, {}, out);
  EXPECT_EQ(out, (std::vector<float>{-kInf, 2}));
}

TEST(AdjustLogits, RepetitionCountsEachSeenTokenOnceInPromptOrAnswer) {
  std::vector<float> out;
  const std::vector<TokenId> prompt = {0, 0, 1};
  const std::vector<TokenId> generated = {1, 2};
  adjust_logits(std::vector<float>{4, -4, 6, 8}, {.repetition_penalty = 2}, prompt, generated, out);
  EXPECT_EQ(out, (std::vector<float>{2, -8, 3, 8}));
}

TEST(AdjustLogits, PresenceAndFrequencyLookAtGeneratedTokensOnly) {
  std::vector<float> out;
  const std::vector<TokenId> prompt = {0};
  const std::vector<TokenId> generated = {1, 2, 2};
  adjust_logits(std::vector<float>{1, 1, 1}, {.presence_penalty = 0.5, .frequency_penalty = 0.25},
                prompt, generated, out);
  EXPECT_EQ(out, (std::vector<float>{1, 0.25, 0}));
}

TEST(AdjustLogits, BiasComesBeforePenalties) {
  std::vector<float> out;
  const std::vector<TokenId> generated = {0};
  adjust_logits(std::vector<float>{-1, 0}, {.repetition_penalty = 2, .logit_bias = {{0, 5.0f}}}, {},
                generated, out);
  // (−1 + 5) / 2; penalised first it would be −2 + 5.
  EXPECT_EQ(out, (std::vector<float>{2, 0}));
}

TEST(AdjustLogits, BanHoldsAgainstAnInfiniteLogit) {
  std::vector<float> out;
  adjust_logits(std::vector<float>{kInf, 0}, {.logit_bias = {{0, -kInf}}}, {}, {}, out);
  EXPECT_EQ(out, (std::vector<float>{-kInf, 0}));
}

TEST(LogSoftmax, SumsToOneAndSurvivesInfinities) {
  const std::vector<float> logits = {100, 101, kNan, -kInf};
  const LogSoftmax finite(logits);
  EXPECT_FLOAT_EQ(finite.of(101), static_cast<float>(-std::log1p(std::exp(-1.0))));
  EXPECT_EQ(finite.of(kNan), -kInf);
  EXPECT_EQ(finite.of(-kInf), -kInf);
  EXPECT_FLOAT_EQ(LogSoftmax(std::vector<float>{kInf, 0, kInf}).of(kInf), std::log(0.5f));
  EXPECT_FLOAT_EQ(LogSoftmax(std::vector<float>{-kInf, kNan}).of(-kInf), std::log(0.5f));
}

}  // namespace
}  // namespace precis
