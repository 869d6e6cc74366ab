// What a session of a given length takes, known before it starts.
#pragma once

#include <cstdint>
#include <string>

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

/// What lies where once a model is loaded on a device with memory of its own.
struct DevicePlan {
  std::string device;  // "cuda:0 (NVIDIA H100 80GB HBM3)"
  int n_layers = 0;
  int n_experts = 0;              // routed, of each layer
  int n_host_experts = 0;         // of those, in host memory
  std::int64_t weights = 0;       // on the device
  std::int64_t host_weights = 0;  // pinned in host memory
  std::int64_t expert_bytes = 0;  // of one routed expert of every layer
  std::int64_t max_tokens = 0;
  std::int64_t cache = 0;  // of one session of max_tokens
  std::int64_t steps = 0;  // activations and workspace
  std::int64_t free_bytes = 0;
  std::int64_t total_bytes = 0;

  std::int64_t needed() const { return weights + cache + steps; }
};

/// The same tokens under the attention that V4 came from, for comparison.
struct KvComparison {
  std::int64_t dense_mha_bf16 = 0;  // every head's own K and V, bf16, same heads and width
  std::int64_t v32_rows = 0;  // one MLA row (656 B) and one index key (132 B) a token and layer
};

}  // namespace precis
