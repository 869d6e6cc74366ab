// The same tokens in the caches that V4 came from.
#pragma once

#include "precis/plan.h"

#include "model/config.h"

namespace precis {

/// Cache bytes of dense multi-head attention with this model's heads, and of V3.2's rows in as many
/// layers.
///
/// Source    docs/model.md §8: an MLA row of 656 bytes and an FP8 index key of 132, token and layer
inline KvComparison compare_kv(const ModelConfig& config, std::int64_t n_tokens) {
  constexpr std::int64_t kMlaRowBytes = 656;
  constexpr std::int64_t kIndexKeyBytes = 132;
  const std::int64_t layers = config.n_layers();
  KvComparison comparison;
  comparison.dense_mha_bf16 = n_tokens * layers * 2 * 2 * config.n_heads * config.head_dim;
  comparison.v32_rows = n_tokens * layers * (kMlaRowBytes + kIndexKeyBytes);
  return comparison;
}

}  // namespace precis
