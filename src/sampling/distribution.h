// The next-token distribution: adjusted logits, the cuts, and the draw.
//
// Everything is f64 and summed in token order, so a choice is the same on every machine.  The cuts
// never reorder tokens: they end in a Cutoff, the last token kept in the order "most likely first,
// ties by lowest id", and later passes walk the tokens by id again.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "precis/sampling.h"

namespace precis {

/// Logits after bias and penalties; NaN becomes −inf.
///
/// Shapes    logits [V] · out [V]
/// Requires  tokens of the bias are in [0, V); other tokens outside are ignored
/// Errors    none
void adjust_logits(std::span<const float> logits, const SamplingOptions& options,
                   std::span<const TokenId> prompt, std::span<const TokenId> generated,
                   std::vector<float>& out);

/// exp((logit − largest) / temperature), so that the most likely token weighs exactly 1.
///
/// Requires  temperature > 0; no NaN
/// Ensures   an infinite largest logit shares the weight among its ties and leaves 0 to the others
/// Errors    none
std::vector<double> softmax_weights(std::span<const float> logits, double temperature);

/// The last token that is kept.
struct Cutoff {
  double weight = 0;
  std::size_t token = 0;

  bool keeps(double other_weight, std::size_t other_token) const {
    return other_weight > weight || (other_weight == weight && other_token <= token);
  }
};

/// Applies top-k, top-p and min-p in that order; each looks at what the one before has kept.
///
/// Ensures   the most likely token is kept
/// Errors    none
/// Cost      O(V), and O(log V) for each token that top-p keeps
Cutoff cut(std::span<const double> weights, const SamplingOptions& options);

/// The token at `unit` ∈ [0, 1) of the kept mass, tokens laid out by id.
///
/// Errors    none
std::size_t draw(std::span<const double> weights, const Cutoff& cutoff, double unit);

/// Log-probabilities of a distribution; NaN counts as −inf.
///
/// Ensures   where the largest logit is infinite, its ties share the probability evenly
class LogSoftmax {
 public:
  /// Requires  logits not empty
  explicit LogSoftmax(std::span<const float> logits);

  float of(float logit) const;

 private:
  double relative(float logit) const;  // logit − largest, 0 for the largest even if infinite

  float largest_;
  double log_sum_ = 0;  // log Σ exp(logit − largest)
};

}  // namespace precis
