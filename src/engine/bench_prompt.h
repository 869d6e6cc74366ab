// What the benches of a whole model share: their prompt, and the checks of their sizes.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "precis/status.h"
#include "precis/text.h"

namespace precis {

/// `n_tokens` ids, uniform over the vocabulary: a pure function of the seed, on every machine.
std::vector<TokenId> random_prompt(std::uint64_t seed, std::int64_t n_tokens, int vocab_size);

/// Errors    kInvalidArgument — `n_tokens` below kMinFrontierTokens or beyond `max_positions`; the
///           message begins with `name`
Result<void> check_bench_context(std::string_view name, std::int64_t n_tokens,
                                 std::int64_t max_positions);

/// Errors    kInvalidArgument — either is below 1
Result<void> check_bench_counts(int decode_steps, int prefill_chunks);

}  // namespace precis
