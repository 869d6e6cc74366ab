// Every activation buffer of a step, sized once from the configuration and the largest step.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "model/config.h"
#include "ops/backend.h"
#include "tensor/buffer.h"
#include "tensor/view.h"

namespace precis {

/// Rows of logits that one head product makes; more are made in turns.
inline constexpr std::int64_t kMaxLogitRows = 16;

/// Activations of one layer at a time, and the streams that go through all of them.
///
/// Units     T = max_tokens of a step; every buffer is f32 unless said
class Scratch {
 public:
  Scratch(const ModelConfig& config, Backend& backend, std::int64_t max_tokens);

  static std::int64_t n_bytes_for(const ModelConfig& config, std::int64_t max_tokens);

  std::int64_t max_tokens() const { return max_tokens_; }
  std::int64_t n_bytes() const { return n_bytes_; }

  Buffer streams;  // [T, M, D]
  Buffer x;        // [T, D] input of a sub-layer, then normalised in place
  Buffer y;        // [T, D] output of a sub-layer
  Buffer post;     // [T, M]
  Buffer comb;     // [T, M·M]

  Buffer q_latent;        // [T, Lq]
  Buffer q;               // [T, H·Dh]
  Buffer kv;              // [T, Dh]
  Buffer attended;        // [T, H·Dh]
  Buffer o_latent;        // [T, G·Lo]
  Buffer compress_kv;     // [T, 2·Dh]
  Buffer compress_score;  // [T, 2·Dh]
  Buffer index_kv;        // [T, 2·Di]
  Buffer index_score;     // [T, 2·Di]
  Buffer index_q;         // [T, Hi·Di]
  Buffer index_q_rows;    // packed FP4 rows [T·Hi]
  Buffer index_q_table;   // [T] its page table: a token's rows are a page
  Buffer index_weight;    // [T, Hi]
  Buffer selected;        // i32 [T, K]
  Buffer mass;            // [T, K]

  Buffer expert_idx;     // i32 [T, A]
  Buffer expert_weight;  // [T, A]

  Buffer head_x;  // [kMaxLogitRows, D]
  Buffer logits;  // [kMaxLogitRows, V]

  Buffer mtp_embed;    // [T, D]
  Buffer mtp_streams;  // [T, M, D]

 private:
  using Allocate = std::function<Buffer(std::int64_t n_bytes)>;
  Scratch(const ModelConfig& config, const Allocate& allocate, std::int64_t max_tokens);

  std::int64_t max_tokens_;
  std::int64_t n_bytes_ = 0;
};

}  // namespace precis
