// Tiles of packed KV rows decoded for attention: row by row for the values, transposed for the scores.
//
// Included once per instruction set by foreach_target.h, hence the guard that toggles.
#include <algorithm>
#include <cstdint>

#include <hwy/highway.h>

#include "backend/cpu/row_codec.h"
#include "backend/cpu/row_columns.h"
#include "backend/cpu/simd.h"
#include "backend/cpu/slices.h"
#include "base/integers.h"
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
  return round_up(width, kChannelPad);
}

struct RowTile {
  RowTile(Slices& slices, const AttendArgs& a, bool reads_packed)
      : format(a.format),
        is_packed(reads_packed),
        key(a.key_channels()),
        value(a.value_channels()),
        width(padded_width(format.width())),
        addresses(slices.take<RowAddress>(kKvTileRows)),
        // Values are added in whole vectors from where they begin, which may pass the last row.
        rows(slices.take<float>(kKvTileRows * width + kChannelPad)),
        columns(slices.take<float>(kKvTileRows * width)) {}

  KvRowFormat format;
  bool is_packed;  // the addresses are all that is used
  Channels key;
  Channels value;
  std::int64_t width;     // a multiple of kChannelPad; channels beyond the format's are zero
  RowAddress* addresses;  // [kKvTileRows]
  float* rows;            // [kKvTileRows][width]
  float* columns;         // [width][kKvTileRows]
};

enum class Pass : std::uint8_t { kScores, kValues };

// The channels that the values are added from, row by row.
HWY_INLINE void load_value_rows(int n, const RowTile& tile) {
  for (int r = 0; r < n; ++r) {
    float* out = tile.rows + r * tile.width;
    decode_kv_row(tile.format, tile.addresses[r], tile.value, out);
    std::fill(out + tile.format.width(), out + tile.width, 0.0f);
  }
}

// The keys of the first n rows, transposed; n is rounded up to whole vectors of rows, of which those
// beyond may be any value.
HWY_INLINE void load_key_columns(int n, const RowTile& tile) {
#if HWY_TARGET == HWY_SCALAR
  for (int r = 0; r < n; ++r) {
    decode_kv_row(tile.format, tile.addresses[r], tile.key, tile.rows);
    for (int c = tile.key.begin; c < tile.key.end(); ++c) {
      tile.columns[c * kKvTileRows + r] = tile.rows[c];
    }
  }
#else
  for (int r = 0; r < n; r += static_cast<int>(kLanes)) {
    decode_kv_columns(tile.format, tile.addresses + r, tile.key, kKvTileRows, tile.columns + r);
  }
#endif
}

// The first n addresses are those of the tile's rows.
template <Pass kPass>
HWY_INLINE void load_tile(int n, const RowTile& tile) {
  // Whole vectors of rows are read.
  std::fill(tile.addresses + n, tile.addresses + kKvTileRows, tile.addresses[n - 1]);
  if (tile.is_packed) return;
  if (kPass == Pass::kScores) {
    load_key_columns(n, tile);
  } else {
    load_value_rows(n, tile);
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace precis
HWY_AFTER_NAMESPACE();

#endif
