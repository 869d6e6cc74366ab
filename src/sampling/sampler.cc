// The public sampler: range checks of the options, the order of the steps, log-probabilities.
#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include <fmt/format.h>

#include "precis/sampling.h"

#include "base/check.h"
#include "base/rng.h"
#include "sampling/distribution.h"

namespace precis {
namespace {

constexpr int kMaxTopLogprobs = 20;

Result<void> require_range(const char* field, double value, double low, double high) {
  if (value >= low && value <= high) return {};
  return Error{ErrorCode::kInvalidArgument,
               fmt::format("{} must be between {} and {}, found {}", field, low, high, value)};
}

// The head of the vocabulary by probability, ties by lowest id.
std::vector<TokenLogprob> top_logprobs(std::span<const float> logits, const LogSoftmax& log_softmax,
                                       int n) {
  std::vector<float> logprobs(logits.size());
  std::ranges::transform(logits, logprobs.begin(), [&](float x) { return log_softmax.of(x); });
  std::vector<TokenId> order(logits.size());
  std::iota(order.begin(), order.end(), 0);
  const std::size_t n_top = std::min<std::size_t>(static_cast<std::size_t>(n), order.size());
  const auto more_likely = [&](TokenId a, TokenId b) {
    const float logprob_a = logprobs[static_cast<std::size_t>(a)];
    const float logprob_b = logprobs[static_cast<std::size_t>(b)];
    return logprob_a != logprob_b ? logprob_a > logprob_b : a < b;
  };
  std::partial_sort(order.begin(), order.begin() + static_cast<std::ptrdiff_t>(n_top), order.end(),
                    more_likely);
  std::vector<TokenLogprob> top(n_top);
  for (std::size_t i = 0; i < n_top; ++i) {
    top[i] = {order[i], logprobs[static_cast<std::size_t>(order[i])]};
  }
  return top;
}

}  // namespace

Result<void> validate(const SamplingOptions& options, int vocab_size) {
  const double unbounded = std::numeric_limits<double>::max();
  PRECIS_TRY(require_range("temperature", options.temperature, 0, unbounded));
  PRECIS_TRY(require_range("top_k", options.top_k, 0, std::numeric_limits<int>::max()));
  PRECIS_TRY(require_range("top_p", options.top_p, 0, 1));
  PRECIS_TRY(require_range("min_p", options.min_p, 0, 1));
  PRECIS_TRY(require_range("presence_penalty", options.presence_penalty, -2, 2));
  PRECIS_TRY(require_range("frequency_penalty", options.frequency_penalty, -2, 2));
  PRECIS_TRY(require_range("n_top_logprobs", options.n_top_logprobs, 0, kMaxTopLogprobs));
  if (!(options.repetition_penalty > 0 && std::isfinite(options.repetition_penalty))) {
    return Error{ErrorCode::kInvalidArgument,
                 fmt::format("repetition_penalty must be above 0 and finite, found {}",
                             options.repetition_penalty)};
  }
  for (const auto& [token, bias] : options.logit_bias) {
    if (token < 0 || token >= vocab_size) {
      return Error{ErrorCode::kInvalidArgument,
                   fmt::format("logit_bias: token must be between 0 and {}, found {}",
                               vocab_size - 1, token)};
    }
    if (std::isnan(bias) || bias == std::numeric_limits<float>::infinity()) {
      return Error{ErrorCode::kInvalidArgument,
                   fmt::format("logit_bias of token {}: want a finite number or -inf, found {}",
                               token, bias)};
    }
  }
  return {};
}

Sampler::Sampler(SamplingOptions options) : options_(std::move(options)) {}

SampledToken Sampler::sample(std::span<const float> logits, std::span<const TokenId> prompt,
                             std::span<const TokenId> generated) {
  PRECIS_CHECK(!logits.empty());
  adjust_logits(logits, options_, prompt, generated, scratch_);

  std::size_t token = 0;
  if (options_.temperature == 0) {
    token = static_cast<std::size_t>(std::ranges::max_element(scratch_) - scratch_.begin());
  } else {
    const std::vector<double> weights = softmax_weights(scratch_, options_.temperature);
    token = draw(weights, cut(weights, options_), random_unit(options_.seed, generated.size()));
  }

  const LogSoftmax log_softmax(logits);
  SampledToken sampled;
  sampled.token = static_cast<TokenId>(token);
  sampled.logprob = log_softmax.of(logits[token]);
  if (options_.n_top_logprobs > 0) {
    sampled.top = top_logprobs(logits, log_softmax, options_.n_top_logprobs);
  }
  return sampled;
}

}  // namespace precis
