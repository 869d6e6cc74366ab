// What a session of a given length takes, known before it starts.
#pragma once

#include <cstdint>

namespace precis {

/// Bytes of the KV cache of one session at some length, by part.
struct KvBytes {
  std::int64_t sparse_rows = 0;  // compressed rows of the CSA layers (ratio 4)
  std::int64_t index_rows = 0;   // their FP4 index rows
  std::int64_t heavy_rows = 0;   // compressed rows of the HCA layers (ratio 128)
  std::int64_t window = 0;       // sliding-window rings of all layers, fixed
  std::int64_t state = 0;        // compressor states, fixed

  std::int64_t growing() const { return sparse_rows + index_rows + heavy_rows; }
  std::int64_t fixed() const { return window + state; }
  std::int64_t total() const { return growing() + fixed(); }
};

/// What a session of a given length takes, known before it starts.
struct MemoryPlan {
  std::int64_t n_tokens = 0;
  std::int64_t weights = 0;       // in the backend's layout
  std::int64_t host_weights = 0;  // of those, experts kept in host memory
  std::int64_t scratch = 0;       // activations of one step
  std::int64_t frontiers = 0;     // at most: saved states to go back to
  KvBytes kv;

  std::int64_t total() const { return weights + scratch + frontiers + kv.total(); }
};

/// The same tokens under the attention that V4 came from, for comparison.
struct KvComparison {
  std::int64_t dense_mha_bf16 = 0;  // every head's own K and V, bf16, same heads and width
  std::int64_t v32_rows = 0;  // one MLA row (656 B) and one index key (132 B) a token and layer
};

}  // namespace precis
