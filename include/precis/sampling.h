// From logits to a token.
#pragma once

#include <cstdint>
#include <span>
#include <utility>
#include <vector>

#include "precis/status.h"
#include "precis/text.h"

namespace precis {

/// How the next token is chosen.  The order is: logit bias, penalties, temperature, top-k, top-p,
/// min-p, draw.  Temperature 0 takes the largest logit (ties: lowest id) and skips the rest.
struct SamplingOptions {
  double temperature = 1.0;
  int top_k = 0;       // 0 = all
  double top_p = 1.0;  // smallest set of most likely tokens with at least this mass
  double min_p = 0.0;  // drop tokens below min_p × the largest probability
  double repetition_penalty =
      1.0;  // logits of seen tokens: positive ones divided, negative ones multiplied
  double presence_penalty = 0.0;   // subtracted once from tokens generated before
  double frequency_penalty = 0.0;  // subtracted per occurrence among generated tokens
  std::uint64_t seed = 0;
  std::vector<std::pair<TokenId, float>> logit_bias = {};
  int n_top_logprobs = 0;  // 0 … 20 most likely tokens reported with each choice
};

/// kInvalidArgument naming the field, its range and the value found; none when all are in range.
Result<void> validate(const SamplingOptions& options, int vocab_size);

struct TokenLogprob {
  TokenId token = 0;
  float logprob = 0;
};

struct SampledToken {
  TokenId token = 0;
  float logprob = 0;              // of the model's own distribution (before bias, penalties, cuts)
  std::vector<TokenLogprob> top;  // most likely first, of the same distribution
};

/// Chooses tokens; the draw for output position i depends on (seed, i) alone.
///
/// Threads   distinct samplers are independent
class Sampler {
 public:
  explicit Sampler(SamplingOptions options);

  /// `prompt` and `generated` are what the penalties look at (repetition: both; presence and
  /// frequency: generated only).  The draw's index is generated.size().
  ///
  /// Requires  logits not empty; NaN logits count as −inf
  /// Cost      O(V) without top-p, O(V log V) at worst with it
  SampledToken sample(std::span<const float> logits, std::span<const TokenId> prompt,
                      std::span<const TokenId> generated);

 private:
  SamplingOptions options_;
  std::vector<float> scratch_;
};

}  // namespace precis
