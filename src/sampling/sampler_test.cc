#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "precis/sampling.h"

namespace precis {
namespace {

constexpr float kInf = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr int kVocab = 100;

TokenId sample(const SamplingOptions& options, const std::vector<float>& logits) {
  return Sampler(options).sample(logits, {}, {}).token;
}

TEST(Sampler, TemperatureZeroTakesTheLowestIdAmongTies) {
  EXPECT_EQ(sample({.temperature = 0}, {1, 7, 7, 3}), 1);
}

TEST(Sampler, TemperatureZeroStillAppliesBias) {
  EXPECT_EQ(sample({.temperature = 0, .logit_bias = {{3, 10.0f}}}, {1, 7, 7, 3}), 3);
}

TEST(Sampler, OnlyFiniteLogitIsAlwaysChosen) {
  for (std::uint64_t seed = 0; seed < 200; ++seed) {
    EXPECT_EQ(sample({.seed = seed}, {-kInf, -kInf, -50, -kInf}), 2);
  }
}

TEST(Sampler, NanLogitsAreNeverChosen) {
  for (std::uint64_t seed = 0; seed < 200; ++seed) {
    EXPECT_EQ(sample({.seed = seed}, {kNan, 0, kNan}), 1);
  }
  EXPECT_EQ(sample({.temperature = 0}, {kNan, -3, kNan}), 1);
}

TEST(Sampler, TopKOneIsGreedyForEverySeed) {
  for (std::uint64_t seed = 0; seed < 200; ++seed) {
    EXPECT_EQ(sample({.top_k = 1, .seed = seed}, {1, 1.5, 1.5, 1.4f}), 1);
  }
}

TEST(Sampler, DrawDependsOnSeedAndOutputPositionAlone) {
  const std::vector<float> logits(kVocab, 0.0f);
  const std::vector<TokenId> three = {5, 6, 7};
  const std::vector<TokenId> other_three = {9, 9, 9};
  Sampler fresh({.seed = 11});
  Sampler used({.seed = 11});
  for (int i = 0; i < 10; ++i) used.sample(logits, {}, {});
  EXPECT_EQ(fresh.sample(logits, {}, three).token, used.sample(logits, three, other_three).token);
}

TEST(Sampler, FrequenciesFollowTheSoftmax) {
  const std::vector<float> logits = {0, 1, -1, 2, 0.5f, -2, 1.5f, 0};
  constexpr double kTemperature = 0.8;
  constexpr int kDraws = 200000;
  double total = 0;
  for (const float logit : logits) total += std::exp(logit / kTemperature);

  Sampler sampler({.temperature = kTemperature, .seed = 3});
  std::vector<int> n_times(logits.size(), 0);
  std::vector<TokenId> generated;
  for (int i = 0; i < kDraws; ++i) {
    const TokenId token = sampler.sample(logits, {}, generated).token;
    ++n_times[static_cast<std::size_t>(token)];
    generated.push_back(token);
  }
  double chi_square = 0;
  for (std::size_t i = 0; i < logits.size(); ++i) {
    const double expected = kDraws * std::exp(logits[i] / kTemperature) / total;
    chi_square += (n_times[i] - expected) * (n_times[i] - expected) / expected;
  }
  // 7 degrees of freedom: mean 7, variance 14; 29.9 is the 99.99th percentile.  A temperature off
  // by 2 % would give about 0.02² · kDraws · Var(logit / T) ≈ 100.
  EXPECT_LT(chi_square, 29.9);
}

TEST(Sampler, LogprobsAreTheModelsOwnWhateverIsCutOrBiased) {
  const std::vector<float> logits = {0, 1, 2, kNan};
  const double log_sum = std::log(1 + std::exp(1.0) + std::exp(2.0));
  Sampler sampler(
      {.temperature = 0.5, .top_k = 1, .logit_bias = {{0, 50.0f}}, .n_top_logprobs = 20});
  const SampledToken sampled = sampler.sample(logits, {}, {});
  EXPECT_EQ(sampled.token, 0);
  EXPECT_FLOAT_EQ(sampled.logprob, static_cast<float>(-log_sum));
  ASSERT_EQ(sampled.top.size(), 4u);  // no more than the vocabulary
  EXPECT_EQ(sampled.top[0].token, 2);
  EXPECT_FLOAT_EQ(sampled.top[0].logprob, static_cast<float>(2 - log_sum));
  EXPECT_EQ(sampled.top[3].token, 3);
  EXPECT_EQ(sampled.top[3].logprob, -kInf);
}

TEST(Sampler, TopLogprobsBreakTiesByLowestId) {
  Sampler sampler({.temperature = 0, .n_top_logprobs = 2});
  const SampledToken sampled = sampler.sample(std::vector<float>{0, 3, 3, 3}, {}, {});
  ASSERT_EQ(sampled.top.size(), 2u);
  EXPECT_EQ(sampled.top[0].token, 1);
  EXPECT_EQ(sampled.top[1].token, 2);
}

TEST(Validate, AcceptsTheEdgesOfEveryRange) {
  EXPECT_TRUE(validate({}, kVocab).ok());
  EXPECT_TRUE(validate({.temperature = 0, .top_k = 1 << 30, .top_p = 0, .min_p = 1}, kVocab).ok());
  EXPECT_TRUE(
      validate({.presence_penalty = -2, .frequency_penalty = 2, .n_top_logprobs = 20}, kVocab)
          .ok());
  EXPECT_TRUE(validate({.logit_bias = {{0, -kInf}, {kVocab - 1, 100.0f}}}, kVocab).ok());
}

TEST(Validate, NamesTheFieldAndTheValue) {
  const auto message = [](const SamplingOptions& options) {
    const Result<void> result = validate(options, kVocab);
    return result.ok() ? std::string("accepted") : result.error().message;
  };
  EXPECT_EQ(message({.top_p = 1.5}), "top_p must be between 0 and 1, found 1.5");
  EXPECT_EQ(message({.top_k = -1}).substr(0, 5), "top_k");
  EXPECT_EQ(message({.temperature = -0.1}).substr(0, 11), "temperature");
  EXPECT_EQ(message({.temperature = kInf}).substr(0, 11), "temperature");
  EXPECT_EQ(message({.temperature = kNan}).substr(0, 11), "temperature");
  EXPECT_EQ(message({.min_p = -1}).substr(0, 5), "min_p");
  EXPECT_EQ(message({.repetition_penalty = 0}).substr(0, 18), "repetition_penalty");
  EXPECT_EQ(message({.presence_penalty = 3}).substr(0, 16), "presence_penalty");
  EXPECT_EQ(message({.frequency_penalty = -3}).substr(0, 17), "frequency_penalty");
  EXPECT_EQ(message({.n_top_logprobs = 21}), "n_top_logprobs must be between 0 and 20, found 21");
  EXPECT_EQ(message({.logit_bias = {{kVocab, 0.0f}}}),
            "logit_bias: token must be between 0 and 99, found 100");
  EXPECT_EQ(message({.logit_bias = {{1, kInf}}}),
            "logit_bias of token 1: want a finite number or -inf, found inf");
}

}  // namespace
}  // namespace precis
