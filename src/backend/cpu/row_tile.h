// Packed KV rows decoded for attention: row by row for the values, transposed for the scores.
//
// Included once per instruction set by foreach_target.h, hence the guard that toggles.
#include <algorithm>
#include <cstdint>

#include <hwy/highway.h>

#include "backend/cpu/row_codec.h"
#include "backend/cpu/simd.h"
#include "backend/cpu/slices.h"
#include "ops/attend.h"

#if defined(PRECIS_CPU_ROW_TILE_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef PRECIS_CPU_ROW_TILE_H_
#undef PRECIS_CPU_ROW_TILE_H_
#else
#define PRECIS_CPU_ROW_TILE_H_
#endif

HWY_BEFORE_NAMESPACE();
namespace precis {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// Two AVX-512 registers of rows: 8 chains of 4 heads, which hide the latency of the multiply-add.
inline constexpr int kKvTileRows = 32;
inline constexpr int kChannelPad = 16;

inline std::int64_t padded_width(std::int64_t width) {
  return (width + kChannelPad - 1) / kChannelPad * kChannelPad;
}

struct RowTile {
  RowTile(Slices& slices, const AttendArgs& a)
      : format(a.format),
        key(a.key_channels()),
        value(a.value_channels()),
        width(padded_width(format.width())),
        // Values are added in whole vectors from where they begin, which may pass the last row.
        rows(slices.take<float>(kKvTileRows * width + kChannelPad)),
        columns(slices.take<float>(kKvTileRows * width)) {}

  KvRowFormat format;
  Channels key;
  Channels value;
  std::int64_t width;  // a multiple of kChannelPad; channels beyond the format's are zero
  float* rows;         // [kKvTileRows][width]
  float* columns;      // [width][kKvTileRows]
};

enum class Pass : std::uint8_t { kScores, kValues };

// Row `row` of the pool as row `index` of the tile: the channels that the pass reads.
template <Pass kPass>
HWY_INLINE void load_tile_row(const RowPool& pool, std::int64_t row, int index,
                              const RowTile& tile) {
  float* out = tile.rows + index * tile.width;
  decode_kv_row(tile.format, pool, row, kPass == Pass::kScores ? tile.key : tile.value, out);
  std::fill(out + tile.format.width(), out + tile.width, 0.0f);
}

// Transposes the keys of the first n rows, rounded up to four both ways; what that reads beyond may
// be any value and stays in its own lanes and columns.
HWY_INLINE void transpose_tile(const RowTile& tile, int n) {
#if HWY_TARGET == HWY_SCALAR
  for (int r = 0; r < n; ++r) {
    for (int c = tile.key.begin; c < tile.key.end(); ++c) {
      tile.columns[c * kKvTileRows + r] = tile.rows[r * tile.width + c];
    }
  }
#else
  const hn::FixedTag<float, 4> d;
  const hn::FixedTag<double, 2> d_pair;
  const auto low_pairs = [&](auto a, auto b) HWY_ATTR {
    return hn::BitCast(d,
                       hn::InterleaveLower(d_pair, hn::BitCast(d_pair, a), hn::BitCast(d_pair, b)));
  };
  const auto high_pairs = [&](auto a, auto b) HWY_ATTR {
    return hn::BitCast(d,
                       hn::InterleaveUpper(d_pair, hn::BitCast(d_pair, a), hn::BitCast(d_pair, b)));
  };
  for (int r = 0; r < n; r += 4) {
    const float* in = tile.rows + r * tile.width;
    for (std::int64_t c = tile.key.begin / 4 * 4; c < tile.key.end(); c += 4) {
      const auto a = hn::Load(d, in + c);
      const auto b = hn::Load(d, in + tile.width + c);
      const auto e = hn::Load(d, in + 2 * tile.width + c);
      const auto f = hn::Load(d, in + 3 * tile.width + c);
      const auto ab_low = hn::InterleaveLower(d, a, b);
      const auto ab_high = hn::InterleaveUpper(d, a, b);
      const auto ef_low = hn::InterleaveLower(d, e, f);
      const auto ef_high = hn::InterleaveUpper(d, e, f);
      float* out = tile.columns + c * kKvTileRows + r;
      hn::Store(low_pairs(ab_low, ef_low), d, out);
      hn::Store(high_pairs(ab_low, ef_low), d, out + kKvTileRows);
      hn::Store(low_pairs(ab_high, ef_high), d, out + 2 * kKvTileRows);
      hn::Store(high_pairs(ab_high, ef_high), d, out + 3 * kKvTileRows);
    }
  }
#endif
}

}  // namespace HWY_NAMESPACE
}  // namespace precis
HWY_AFTER_NAMESPACE();

#endif
