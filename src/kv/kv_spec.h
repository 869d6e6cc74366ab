// The shape of a KV cache in bytes, before any of it exists: what a page holds, what a session
// holds besides its pages, and so the exact a + b·n of n tokens.
#pragma once

#include <cstdint>
#include <vector>

#include "precis/plan.h"

#include "tensor/view.h"

namespace precis {

/// Positions that one page covers in every layer: a multiple of every ratio, so that no row
/// straddles two pages, and the unit in which prefixes can be shared.
inline constexpr int kPagePositions = 128;

/// What one layer keeps.
struct LayerKvSpec {
  int ratio = 0;         // tokens per compressed row; 0 = window only
  bool overlap = false;  // the compressor also holds the previous block
  bool indexed = false;  // an index row beside every compressed row
};

/// A cache of these layers with these row formats.
struct KvSpec {
  int window = 0;
  KvRowFormat kv;
  IndexRowFormat index;
  std::vector<LayerKvSpec> layers;

  int n_layers() const { return static_cast<int>(layers.size()); }
};

/// The bytes of a page that belong to one layer's rows, or to its index rows.
struct PagePart {
  std::int64_t offset = 0;  // from the start of the page
  std::int64_t n_bytes = 0;
};

/// Where one layer's bytes are; −1 where it has none.
struct LayerKvLayout {
  int rows = -1;               // which part of a page: compressed rows
  int index_rows = -1;         // which part of a page: index rows
  std::int64_t ring = -1;      // byte offset in the fixed part: window rows
  std::int64_t state_kv = -1;  // in the fixed part: compressor state, f32
  std::int64_t state_score = -1;
  std::int64_t index_state_kv = -1;
  std::int64_t index_state_score = -1;
  int rows_per_page = 0;
  int state_rows = 0;  // ratio · (1 + overlap)
  int state_cols = 0;  // width · (1 + overlap)
  int index_state_cols = 0;
};

struct KvLayout {
  std::vector<LayerKvLayout> layers;
  std::vector<PagePart> page_parts;  // layer by layer, rows before index rows
  std::int64_t page_bytes = 0;
  std::int64_t ring_bytes = 0;   // the fixed part begins with all rings …
  std::int64_t state_bytes = 0;  // … and ends with all states

  std::int64_t fixed_bytes() const { return ring_bytes + state_bytes; }
};

/// Places every part of a cache.
///
/// Requires  every ratio divides kPagePositions
/// Source    docs/kv_layout.md
KvLayout make_kv_layout(const KvSpec& spec);

/// Bytes of a session of `n_tokens`: rows of whole pages, and the fixed part.
KvBytes kv_bytes(const KvSpec& spec, std::int64_t n_tokens);

/// Bytes that each further token adds, as an average over a page.
double kv_bytes_per_token(const KvSpec& spec);

}  // namespace precis
