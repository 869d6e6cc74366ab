#include "model/scratch.h"

#include <algorithm>
#include <vector>

namespace precis {

Scratch::Scratch(const ModelConfig& config, Backend& backend, std::int64_t max_tokens)
    : Scratch(
          config, [&](std::int64_t n) { return backend.allocate(static_cast<std::size_t>(n)); },
          max_tokens) {
  if (index_q_table.data() == nullptr) return;
  const std::int64_t page_bytes = config.index_heads * config.index_format().row_bytes();
  std::vector<std::byte*> pages;
  for (std::int64_t t = 0; t < max_tokens; ++t) {
    pages.push_back(index_q_rows.data() + t * page_bytes);
  }
  backend.copy_in(index_q_table.data(), std::as_bytes(std::span(pages)));
}

std::int64_t Scratch::n_bytes_for(const ModelConfig& config, std::int64_t max_tokens) {
  return Scratch(
             config, [](std::int64_t) { return Buffer(); }, max_tokens)
      .n_bytes();
}

Scratch::Scratch(const ModelConfig& c, const Allocate& allocate, std::int64_t max_tokens)
    : max_tokens_(max_tokens) {
  auto bytes = [&](std::int64_t n) {
    n_bytes_ += n;
    return allocate(n);
  };
  auto words = [&](std::int64_t n) { return bytes(4 * n); };
  const std::int64_t t = max_tokens;
  const std::int64_t d = c.hidden_size;
  const std::int64_t m = c.n_streams;
  const std::int64_t q_width = std::int64_t{c.n_heads} * c.head_dim;

  streams = words(t * m * d);
  x = words(t * d);
  y = words(t * d);
  post = words(t * m);
  comb = words(t * m * m);

  q_latent = words(t * c.q_lora_rank);
  q = words(t * q_width);
  kv = words(t * c.head_dim);
  attended = words(t * q_width);
  o_latent = words(t * c.o_groups * c.o_lora_rank);
  if (c.n_layers_of(LayerKind::kWindow) < c.n_layers()) {
    compress_kv = words(t * 2 * c.head_dim);
    compress_score = words(t * 2 * c.head_dim);
  }
  if (c.n_layers_of(LayerKind::kSparse) > 0) {
    index_kv = words(t * 2 * c.index_dim);
    index_score = words(t * 2 * c.index_dim);
    index_q = words(t * c.index_heads * c.index_dim);
    index_q_rows = bytes(t * c.index_heads * c.index_format().row_bytes());
    index_q_table = bytes(t * static_cast<std::int64_t>(sizeof(std::byte*)));
    index_weight = words(t * c.index_heads);
    selected = words(t * c.index_topk);
    mass = words(t * c.index_topk);
  }

  expert_idx = words(t * c.n_active_experts);
  expert_weight = words(t * c.n_active_experts);

  head_x = words(kMaxLogitRows * d);
  logits = words(kMaxLogitRows * c.vocab_size);

  if (!c.mtp.empty()) {
    mtp_embed = words(t * d);
    mtp_streams = words(t * m * d);
  }
}

}  // namespace precis
