#include "kv/kv_spec.h"

#include "base/check.h"
#include "base/integers.h"

namespace precis {
namespace {

int rows_per_page(const LayerKvSpec& layer) {
  return layer.ratio == 0 ? 0 : kPagePositions / layer.ratio;
}

}  // namespace

KvLayout make_kv_layout(const KvSpec& spec) {
  KvLayout layout;
  std::int64_t fixed = 0;
  auto take = [&](std::int64_t n_bytes) {
    const std::int64_t at = fixed;
    fixed += n_bytes;
    return at;
  };
  auto add_part = [&](std::int64_t n_bytes) {
    PRECIS_CHECK_EQ(layout.page_bytes % 8, 0);  // KV rows are read as 8-byte words
    layout.page_parts.push_back({layout.page_bytes, n_bytes});
    layout.page_bytes += n_bytes;
    return static_cast<int>(layout.page_parts.size()) - 1;
  };
  for (const LayerKvSpec& layer : spec.layers) {
    LayerKvLayout at;
    at.ring = take(std::int64_t{spec.window} * spec.kv.row_bytes());
    if (layer.ratio > 0) {
      PRECIS_CHECK_EQ(kPagePositions % layer.ratio, 0);
      at.rows_per_page = rows_per_page(layer);
      at.rows = add_part(std::int64_t{at.rows_per_page} * spec.kv.row_bytes());
      if (layer.indexed) {
        at.index_rows = add_part(std::int64_t{at.rows_per_page} * spec.index.row_bytes());
      }
    }
    layout.layers.push_back(at);
  }
  layout.ring_bytes = fixed;
  for (std::size_t n = 0; n < spec.layers.size(); ++n) {
    const LayerKvSpec& layer = spec.layers[n];
    if (layer.ratio == 0) continue;
    LayerKvLayout& at = layout.layers[n];
    const int blocks = layer.overlap ? 2 : 1;
    at.state_rows = layer.ratio * blocks;
    at.state_cols = spec.kv.width() * blocks;
    const std::int64_t n_bytes = std::int64_t{4} * at.state_rows * at.state_cols;
    at.state_kv = take(n_bytes);
    at.state_score = take(n_bytes);
    if (layer.indexed) {
      at.index_state_cols = spec.index.width * blocks;
      const std::int64_t index_bytes = std::int64_t{4} * at.state_rows * at.index_state_cols;
      at.index_state_kv = take(index_bytes);
      at.index_state_score = take(index_bytes);
    }
  }
  layout.state_bytes = fixed - layout.ring_bytes;
  return layout;
}

KvBytes kv_bytes(const KvSpec& spec, std::int64_t n_tokens) {
  const KvLayout layout = make_kv_layout(spec);
  const std::int64_t n_pages = ceil_div(n_tokens, kPagePositions);
  KvBytes bytes;
  bytes.window = layout.ring_bytes;
  bytes.state = layout.state_bytes;
  for (const LayerKvSpec& layer : spec.layers) {
    const std::int64_t n_rows = n_pages * rows_per_page(layer);
    if (layer.indexed) {
      bytes.sparse_rows += n_rows * spec.kv.row_bytes();
      bytes.index_rows += n_rows * spec.index.row_bytes();
    } else {
      bytes.heavy_rows += n_rows * spec.kv.row_bytes();
    }
  }
  return bytes;
}

double kv_bytes_per_token(const KvSpec& spec) {
  return static_cast<double>(kv_bytes(spec, kPagePositions).growing()) / kPagePositions;
}

}  // namespace precis
