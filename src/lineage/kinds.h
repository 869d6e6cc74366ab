// What each kind of attention is: how it keeps a token, and what its cache takes.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

#include "precis/lineage.h"

#include "ops/cost.h"
#include "tensor/view.h"

namespace precis {

/// How the rows of one kind lie and are read; nothing about positions.
struct RowUse {
  KvRowFormat format;
  Channels key;
  Channels value;
  int n_kv_heads = 1;
};

/// V4: one row for all heads, key and value alike.
RowUse v4_rows();
/// V2 and V3 in absorbed form, and V3.2 with its packed row.
RowUse mla_rows();
RowUse v32_rows();
/// Keys and values of each of n_kv_heads heads in BF16.
RowUse split_rows(int n_kv_heads, int key_dim, int value_dim);

inline constexpr int kV4Window = 128;
inline constexpr int kSparseRatio = 4;
inline constexpr int kHeavyRatio = 128;
inline constexpr int kIndexHeads = 64;
inline constexpr int kV32Rows = 2048;  // that V3.2's indexer selects
inline constexpr int kLinformerRows = 256;
inline constexpr IndexRowFormat kV4Index{128, IndexStorage::kE2m1};
inline constexpr IndexRowFormat kV32Index{128, IndexStorage::kE4m3};

/// Bytes of one layer's cache: what every token adds, and what is there from the start.
struct CacheSize {
  double per_token = 0;
  double fixed = 0;

  double at(std::int64_t n_tokens) const {
    return fixed + per_token * static_cast<double>(n_tokens);
  }
};

/// Requires  `kind` is one of attention_kinds()
CacheSize cache_size(std::string_view kind, const AttentionShape& shape);

/// What a step of a kind that does not run takes by its formula.
///
/// Requires  `kind` is "performer" or "mamba"
/// Source    docs/lineage.md
Cost formula_cost(std::string_view kind, const AttentionShape& shape, std::int64_t n_tokens);

}  // namespace precis
