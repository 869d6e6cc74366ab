// Scores of e4m3 index rows (V3.2's indexer) in f32: products of codes are exact, their sum is one
// chain of multiply-adds over the channels, and heads are added in ascending order.
//
// A tile of keys is decoded and transposed once and scored by every query of a query tile; lanes
// are key rows.
#include <algorithm>
#include <cstdint>
#include <cstring>

#include "backend/cpu/select_kernel.h"
#include "backend/cpu/slices.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "backend/cpu/select_e4m3.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "backend/cpu/row_codec.h"
#include "backend/cpu/row_math.h"
#include "backend/cpu/score_order.h"
#include "backend/cpu/simd.h"

HWY_BEFORE_NAMESPACE();
namespace precis {
namespace HWY_NAMESPACE {
namespace {

constexpr int kTileRows = 32;  // 16 KiB of keys at width 128: stays in L1
constexpr int kHeadBlock = 4;
constexpr int kRowVecs = 2;

// The codes of a row as floats, without the row's scale, which is returned.
HWY_INLINE float decode_codes(const RowPool& pool, std::int64_t row, int width, float* out) {
  const RowAddress address = locate_row(pool, row);
  const auto* codes = reinterpret_cast<const std::uint8_t*>(address.data);
  decode_e4m3_groups(
      codes, width, width, Channels{0, width}, [](int) { return 1.0f; }, out);
  float scale;
  std::memcpy(&scale, address.scales, sizeof(scale));
  return scale;
}

struct KeyTile {
  KeyTile(Slices& slices, int row_width)
      : width(row_width),
        row(slices.take<float>(row_width)),
        columns(slices.take<float>(kTileRows * row_width)),
        scales(slices.take<float>(kTileRows)) {}

  int width;
  float* row;      // [width], one row while it is transposed
  float* columns;  // [width][kTileRows]
  float* scales;   // [kTileRows]
};

struct QueryTile {
  QueryTile(Slices& slices, const SelectArgs& a, int n)
      : codes(slices.take<float>(n * a.weights.cols * a.format.width)),
        scales(slices.take<float>(n * a.weights.cols)),
        weights(slices.take<float>(n * a.weights.cols)) {}

  float* codes;    // [n · Hi][width]
  float* scales;   // [n · Hi]
  float* weights;  // [n · Hi]
};

void load_keys(const SelectArgs& a, std::int64_t begin, int n, const KeyTile& tile) {
  for (int r = 0; r < n; ++r) {
    tile.scales[r] = decode_codes(a.keys, begin + r, tile.width, tile.row);
    for (int c = 0; c < tile.width; ++c) tile.columns[c * kTileRows + r] = tile.row[c];
  }
}

void load_queries(const SelectArgs& a, std::int64_t first_token, int n, const QueryTile& tile) {
  const std::int64_t n_heads = a.weights.cols;
  for (std::int64_t r = 0; r < n * n_heads; ++r) {
    tile.scales[r] = decode_codes(a.queries, first_token * n_heads + r, a.format.width,
                                  tile.codes + r * a.format.width);
    tile.weights[r] = a.weights(first_token + r / n_heads, r % n_heads) * a.weight_scale;
  }
  round_row(tile.weights, n * n_heads, a.rounding);
}

// Adds kHeads heads of one query, from `head` on, to the scores of 2 vectors of rows.
template <int kHeads>
HWY_INLINE void add_heads(const KeyTile& keys, int row, const QueryTile& queries, std::int64_t head,
                          VF32* scores) {
  const DF32 d;
  constexpr int kRows = static_cast<int>(kLanes);
  VF32 dots[kHeads][kRowVecs];
  for (auto& dot : dots) dot[0] = dot[1] = hn::Zero(d);
  for (int c = 0; c < keys.width; ++c) {
    const auto keys_0 = hn::Load(d, keys.columns + c * kTileRows + row);
    const auto keys_1 = hn::Load(d, keys.columns + c * kTileRows + row + kRows);
    for (int h = 0; h < kHeads; ++h) {
      const auto query = hn::Set(d, queries.codes[(head + h) * keys.width + c]);
      dots[h][0] = hn::MulAdd(query, keys_0, dots[h][0]);
      dots[h][1] = hn::MulAdd(query, keys_1, dots[h][1]);
    }
  }
  for (int h = 0; h < kHeads; ++h) {
    for (int v = 0; v < kRowVecs; ++v) {
      const auto scale =
          hn::Mul(hn::Set(d, queries.scales[head + h]), hn::Load(d, keys.scales + row + v * kRows));
      const auto dot = hn::Mul(dots[h][v], scale);
      const auto is_negative = hn::Lt(dot, hn::Zero(d));
      const auto relu = hn::IfThenElse(is_negative, hn::Zero(d), dot);  // NaN stays visible
      scores[v] = hn::MulAdd(hn::Set(d, queries.weights[head + h]), relu, scores[v]);
    }
  }
}

// Scores the first n rows of the tile, rows tile_begin …, for the query whose first head is `head`.
void score_token(const SelectArgs& a, const KeyTile& keys, std::int64_t tile_begin, int n,
                 const QueryTile& queries, std::int64_t head, TopRows& best) {
  const DF32 d;
  constexpr int kRows = static_cast<int>(kLanes);
  const std::int64_t end = head + a.weights.cols;
  HWY_ALIGN float tile_scores[kTileRows];
  for (int row = 0; row < n; row += kRowVecs * kRows) {
    VF32 scores[kRowVecs] = {hn::Zero(d), hn::Zero(d)};
    std::int64_t h = head;
    for (; h + kHeadBlock <= end; h += kHeadBlock) {
      add_heads<kHeadBlock>(keys, row, queries, h, scores);
    }
    for (; h < end; ++h) add_heads<1>(keys, row, queries, h, scores);
    for (int v = 0; v < kRowVecs; ++v) hn::Store(scores[v], d, tile_scores + row + v * kRows);
  }
  offer(tile_scores, n, a.rounding, static_cast<std::int32_t>(tile_begin), best);
}

}  // namespace

void select_e4m3_task(const SelectArgs& a, std::int64_t first, int n, std::int64_t begin,
                      std::int64_t end, std::byte* scratch, TopRows* best) {
  Slices slices(scratch);
  const KeyTile keys(slices, a.format.width);
  const QueryTile queries(slices, a, n);
  load_queries(a, first, n, queries);
  for (std::int64_t row = begin; row < end; row += kTileRows) {
    const auto n_rows = static_cast<int>(std::min<std::int64_t>(kTileRows, end - row));
    load_keys(a, row, n_rows, keys);
    for (int i = 0; i < n; ++i) {
      const std::int64_t n_visible = std::min<std::int64_t>(n_rows, a.n_visible[first + i] - row);
      if (n_visible <= 0) continue;
      score_token(a, keys, row, static_cast<int>(n_visible), queries, i * a.weights.cols, best[i]);
    }
  }
}

std::size_t select_e4m3_scratch_bytes(const SelectArgs& a, int n_tokens) {
  Slices slices(nullptr);
  const KeyTile keys(slices, a.format.width);
  const QueryTile queries(slices, a, n_tokens);
  return slices.n_bytes();
}

}  // namespace HWY_NAMESPACE
}  // namespace precis
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace precis {

SelectKernel e4m3_select_kernel(Isa isa) {
  return {PRECIS_CPU_ENTRY(isa, select_e4m3_task),
          PRECIS_CPU_ENTRY(isa, select_e4m3_scratch_bytes)};
}

}  // namespace precis
#endif
