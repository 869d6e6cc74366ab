#include "lineage/kinds.h"

#include <fmt/format.h>

#include "base/check.h"
#include "lineage/nsa.h"

namespace precis {
namespace {

constexpr int kLatent = 512;
constexpr int kRope = 64;
constexpr double kF32 = 4;
constexpr double kPerformerFeatures = 256;  // m of FAVOR+
constexpr double kMambaStates = 16;         // N
constexpr double kMambaExpansion = 2;       // d_inner / d_model

double row_bytes(const RowUse& use) {
  return static_cast<double>(use.n_kv_heads) * use.format.row_bytes();
}

}  // namespace

RowUse v4_rows() {
  return {{448, kRope}, {0, kLatent}, {0, kLatent}, 1};
}

RowUse mla_rows() {
  return {{kLatent, kRope, RopeStorage::kBf16, NopeStorage::kBf16},
          {0, kLatent + kRope},
          {0, kLatent},
          1};
}

RowUse v32_rows() {
  RowUse use = mla_rows();
  use.format.nope_storage = NopeStorage::kE4m3Scales32;
  return use;
}

RowUse split_rows(int n_kv_heads, int key_dim, int value_dim) {
  return {{key_dim + value_dim, 0, RopeStorage::kBf16, NopeStorage::kBf16},
          {0, key_dim},
          {key_dim, value_dim},
          n_kv_heads};
}

Result<AttentionShape> attention_shape(std::string_view name) {
  AttentionShape shape;
  shape.name = name;
  if (name == "flash") return shape;
  if (name == "pro" || name == "v3.2") {
    shape.n_heads = 128;
    shape.n_groups = 16;
    shape.nsa_groups = 8;
    shape.model_dim = 7168;
    shape.csa_rows = 1024;
    shape.n_window_layers = 0;
    shape.n_sparse_layers = 30;
    shape.n_heavy_layers = 31;
    return shape;
  }
  return Error{ErrorCode::kInvalidArgument,
               fmt::format("shape: want flash, pro, v3.2 or custom, found \"{}\"", name)};
}

Result<AttentionShape> custom_attention_shape(int n_heads, int head_dim) {
  constexpr int kMax = 1024;
  if (n_heads < 1 || n_heads > kMax) {
    return Error{ErrorCode::kInvalidArgument,
                 fmt::format("heads: want 1 … {}, found {}", kMax, n_heads)};
  }
  if (head_dim < 16 || head_dim > kMax || head_dim % 16 != 0) {
    return Error{
        ErrorCode::kInvalidArgument,
        fmt::format("head dim: want a multiple of 16 in 16 … {}, found {}", kMax, head_dim)};
  }
  const auto groups_of = [&](int heads) { return n_heads % heads == 0 ? n_heads / heads : 1; };
  AttentionShape shape;
  shape.name = "custom";
  shape.n_heads = n_heads;
  shape.head_dim = head_dim;
  shape.nsa_key_dim = head_dim;
  shape.n_groups = groups_of(8);
  shape.nsa_groups = groups_of(16);
  shape.model_dim = n_heads * head_dim;
  return shape;
}

const std::vector<AttentionKind>& attention_kinds() {
  static const std::vector<AttentionKind> kinds = {
      {"dense-mha", "every head its own keys and values, bf16"},
      {"sparse-transformer", "dense-mha's rows, strided pattern"},
      {"longformer", "dense-mha's rows, window and global tokens"},
      {"bigbird", "dense-mha's rows, window, global and random blocks"},
      {"linformer", "256 projected rows a head"},
      {"performer", "linear attention, 256 random features a head", false},
      {"mamba", "selective state space, no rows", false},
      {"gqa", "heads share keys and values in groups, bf16"},
      {"mla", "V2, V3: one latent row for all heads, bf16"},
      {"nsa", "compressed and selected blocks and a window, gated"},
      {"dsa", "V3.2: FP8 latent rows, 2048 selected by an FP8 index"},
      {"swa", "V4: window of 128 rows"},
      {"csa", "V4: window and rows of ratio 4, selected by an FP4 index"},
      {"hca", "V4: window and all rows of ratio 128"},
      {"v4", "V4: mean of its layers"},
  };
  return kinds;
}

CacheSize cache_size(std::string_view kind, const AttentionShape& shape) {
  const double dense = row_bytes(split_rows(shape.n_heads, shape.head_dim, shape.head_dim));
  const double v4_row = v4_rows().format.row_bytes();
  const double window = kV4Window * v4_row;
  if (kind == "dense-mha" || kind == "sparse-transformer" || kind == "bigbird") return {dense, 0};
  if (kind == "longformer") return {0, dense * (512 + 16)};  // older rows are never read again
  if (kind == "linformer") return {0, dense * kLinformerRows};
  if (kind == "performer") {
    return {0, kF32 * shape.n_heads * kPerformerFeatures * (shape.head_dim + 1)};
  }
  if (kind == "mamba") return {0, kF32 * kMambaExpansion * shape.model_dim * kMambaStates};
  if (kind == "gqa")
    return {row_bytes(split_rows(shape.n_groups, shape.head_dim, shape.head_dim)), 0};
  if (kind == "mla") return {row_bytes(mla_rows()), 0};
  if (kind == "dsa") return {row_bytes(v32_rows()) + kV32Index.row_bytes(), 0};
  if (kind == "nsa") {
    const NsaParams params;
    const double row = row_bytes(split_rows(shape.nsa_groups, shape.nsa_key_dim, shape.head_dim));
    return {row * (1 + 1.0 / params.stride), row * params.window};
  }
  if (kind == "swa") return {0, window};
  if (kind == "csa") return {(v4_row + kV4Index.row_bytes()) / kSparseRatio, window};
  if (kind == "hca") return {v4_row / kHeavyRatio, window};
  PRECIS_CHECK(kind == "v4");
  const double n_layers = shape.n_window_layers + shape.n_sparse_layers + shape.n_heavy_layers;
  const double per_token = shape.n_sparse_layers * cache_size("csa", shape).per_token +
                           shape.n_heavy_layers * cache_size("hca", shape).per_token;
  return {per_token / n_layers, window};
}

Cost formula_cost(std::string_view kind, const AttentionShape& shape, std::int64_t n_tokens) {
  const auto n = static_cast<double>(n_tokens);
  const double state_bytes = cache_size(kind, shape).fixed;
  Cost cost;
  if (kind == "performer") {
    const double heads = shape.n_heads;
    const double features = 2 * 2 * kPerformerFeatures * shape.head_dim;     // of query and key
    const double state = 2 * 2 * kPerformerFeatures * (shape.head_dim + 1);  // written and read
    cost.flop.f32 = n * heads * (features + state);
    cost.bytes = 2 * state_bytes + kF32 * n * heads * 4 * shape.head_dim;
    return cost;
  }
  PRECIS_CHECK(kind == "mamba");
  // Δ·A, exp, Δ·B, ·x, a·h, +, C·h, + for each state of each channel.
  const double channels = kMambaExpansion * shape.model_dim;
  cost.flop.element = n * channels * kMambaStates * 8;
  cost.bytes = 2 * state_bytes + kF32 * n * (3 * channels + 2 * kMambaStates);
  return cost;
}

}  // namespace precis
