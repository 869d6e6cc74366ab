#include "sampling/distribution.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <numeric>

#include "base/check.h"

namespace precis {
namespace {

constexpr float kMinusInf = -std::numeric_limits<float>::infinity();

bool in_vocabulary(TokenId token, std::size_t vocab_size) {
  return token >= 0 && static_cast<std::size_t>(token) < vocab_size;
}

void penalise_repetition(std::span<const TokenId> tokens, double penalty,
                         std::vector<std::uint8_t>& done, std::vector<float>& out) {
  for (const TokenId token : tokens) {
    if (!in_vocabulary(token, out.size())) continue;
    const auto i = static_cast<std::size_t>(token);
    if (done[i]) continue;
    done[i] = 1;
    out[i] = static_cast<float>(out[i] > 0 ? out[i] / penalty : out[i] * penalty);
  }
}

// Orders token numbers by weight, heaviest first.
struct Heavier {
  std::span<const double> weights;
  bool operator()(std::size_t a, std::size_t b) const {
    return weights[a] != weights[b] ? weights[a] > weights[b] : a < b;
  }
};

double kept_mass(std::span<const double> weights, const Cutoff& cutoff) {
  double sum = 0;
  for (std::size_t i = 0; i < weights.size(); ++i) {
    if (cutoff.keeps(weights[i], i)) sum += weights[i];
  }
  return sum;
}

}  // namespace

void adjust_logits(std::span<const float> logits, const SamplingOptions& options,
                   std::span<const TokenId> prompt, std::span<const TokenId> generated,
                   std::vector<float>& out) {
  out.assign(logits.begin(), logits.end());
  for (float& logit : out) {
    if (std::isnan(logit)) logit = kMinusInf;
  }
  for (const auto& [token, bias] : options.logit_bias) {
    PRECIS_CHECK(in_vocabulary(token, out.size()));
    float& logit = out[static_cast<std::size_t>(token)];
    // A ban holds against an infinite logit too: +inf − inf would be NaN.
    logit = bias == kMinusInf ? kMinusInf : logit + bias;
  }
  if (options.repetition_penalty != 1.0) {
    std::vector<std::uint8_t> done(out.size(), 0);
    penalise_repetition(prompt, options.repetition_penalty, done, out);
    penalise_repetition(generated, options.repetition_penalty, done, out);
  }
  if (options.presence_penalty != 0.0 || options.frequency_penalty != 0.0) {
    std::vector<std::int32_t> n_times(out.size(), 0);
    for (const TokenId token : generated) {
      if (in_vocabulary(token, out.size())) ++n_times[static_cast<std::size_t>(token)];
    }
    for (std::size_t i = 0; i < out.size(); ++i) {
      if (n_times[i] == 0) continue;
      out[i] = static_cast<float>(out[i] - options.presence_penalty -
                                  options.frequency_penalty * n_times[i]);
    }
  }
}

std::vector<double> softmax_weights(std::span<const float> logits, double temperature) {
  const float largest = *std::ranges::max_element(logits);
  std::vector<double> weights(logits.size());
  for (std::size_t i = 0; i < logits.size(); ++i) {
    // The equal case is separate because inf − inf is NaN.
    weights[i] = logits[i] == largest
                     ? 1.0
                     : std::exp((static_cast<double>(logits[i]) - largest) / temperature);
  }
  return weights;
}

Cutoff cut(std::span<const double> weights, const SamplingOptions& options) {
  const std::size_t n = weights.size();
  Cutoff cutoff{.weight = 0, .token = n - 1};  // every token
  const Heavier heavier{weights};
  std::vector<std::size_t> order;

  const bool limit_count = options.top_k > 0 && static_cast<std::size_t>(options.top_k) < n;
  if (limit_count || options.top_p < 1.0) {
    order.resize(n);
    std::iota(order.begin(), order.end(), std::size_t{0});
  }
  if (limit_count) {
    const auto last = order.begin() + (options.top_k - 1);
    std::nth_element(order.begin(), last, order.end(), heavier);
    cutoff = {weights[*last], *last};
    order.erase(last + 1, order.end());
  }
  if (options.top_p < 1.0) {
    // A heap gives out the heaviest tokens one by one; usually a few reach the mass, and the rest
    // of the vocabulary is never sorted.
    const double wanted = options.top_p * kept_mass(weights, cutoff);
    const auto lighter = [&](std::size_t a, std::size_t b) { return heavier(b, a); };
    std::ranges::make_heap(order, lighter);
    double mass = 0;
    do {
      std::ranges::pop_heap(order, lighter);
      cutoff = {weights[order.back()], order.back()};
      order.pop_back();
      mass += cutoff.weight;
    } while (mass < wanted && !order.empty());
  }
  if (options.min_p > cutoff.weight) {
    // The largest weight is 1, so min_p is the bound itself; every tie at the bound stays.
    cutoff = {options.min_p, n - 1};
  }
  return cutoff;
}

std::size_t draw(std::span<const double> weights, const Cutoff& cutoff, double unit) {
  // unit <= 1 − 2⁻⁵³, so the product rounds below the total, and the same sums in the same order
  // pass it at the last kept token with weight.
  const double target = unit * kept_mass(weights, cutoff);
  double mass = 0;
  for (std::size_t i = 0;; ++i) {
    PRECIS_CHECK(i < weights.size());
    if (!cutoff.keeps(weights[i], i)) continue;
    mass += weights[i];
    if (mass > target) return i;
  }
}

LogSoftmax::LogSoftmax(std::span<const float> logits) : largest_(kMinusInf) {
  for (const float logit : logits) {
    if (logit > largest_) largest_ = logit;
  }
  double sum = 0;
  for (const float logit : logits) sum += std::exp(relative(logit));
  log_sum_ = std::log(sum);
}

float LogSoftmax::of(float logit) const {
  return static_cast<float>(relative(logit) - log_sum_);
}

double LogSoftmax::relative(float logit) const {
  if (std::isnan(logit)) logit = kMinusInf;
  return logit == largest_ ? 0.0 : static_cast<double>(logit) - largest_;
}

}  // namespace precis
