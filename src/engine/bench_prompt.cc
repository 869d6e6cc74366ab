#include "engine/bench_prompt.h"

#include <fmt/format.h>

#include "precis/bench.h"

#include "base/rng.h"

namespace precis {

std::vector<TokenId> random_prompt(std::uint64_t seed, std::int64_t n_tokens, int vocab_size) {
  std::vector<TokenId> prompt(static_cast<std::size_t>(n_tokens));
  for (std::size_t i = 0; i < prompt.size(); ++i) {
    prompt[i] = static_cast<TokenId>(random_unit(seed, i) * vocab_size);
  }
  return prompt;
}

Result<void> check_bench_context(std::string_view name, std::int64_t n_tokens,
                                 std::int64_t max_positions) {
  if (n_tokens >= kMinFrontierTokens && n_tokens <= max_positions) return {};
  return Error{ErrorCode::kInvalidArgument,
               fmt::format("{}: want {} … {} tokens (max_position_embeddings), found {}", name,
                           kMinFrontierTokens, max_positions, n_tokens)};
}

Result<void> check_bench_counts(int decode_steps, int prefill_chunks) {
  if (decode_steps < 1) {
    return Error{ErrorCode::kInvalidArgument,
                 fmt::format("decode steps: want at least 1, found {}", decode_steps)};
  }
  if (prefill_chunks < 1) {
    return Error{ErrorCode::kInvalidArgument,
                 fmt::format("prefill chunks: want at least 1, found {}", prefill_chunks)};
  }
  return {};
}

}  // namespace precis
