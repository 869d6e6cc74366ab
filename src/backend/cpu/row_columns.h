// Packed KV rows to floats, transposed: a vector holds the same channel of as many rows as it has
// lanes.  Words of four codes, two bf16 or one float are transposed while they are packed, which
// moves a quarter of the bytes, and unpacked with a row in each lane.
//
// Included once per instruction set by foreach_target.h, hence the guard that toggles.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include <hwy/highway.h>

#include "backend/cpu/row_codec.h"
#include "backend/cpu/simd.h"
#include "base/integers.h"
#include "tensor/view.h"

#if defined(PRECIS_CPU_ROW_COLUMNS_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef PRECIS_CPU_ROW_COLUMNS_H_
#undef PRECIS_CPU_ROW_COLUMNS_H_
#else
#define PRECIS_CPU_ROW_COLUMNS_H_
#endif

HWY_BEFORE_NAMESPACE();
namespace precis {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

#if HWY_TARGET != HWY_SCALAR

// v[i] lane j becomes v[j] lane i.
HWY_INLINE void transpose_lanes(VU32 (&v)[kLanes]) {
  for (std::size_t i = 0; i < kLanes; i += 4) {
    transpose_in_blocks(v[i], v[i + 1], v[i + 2], v[i + 3]);
  }
  // Now word 4b + j of rows 4g … 4g + 3 is block b of v[4g + j]; blocks are transposed over g and b.
#if HWY_TARGET <= HWY_AVX2
  const DU32 d;
  for (std::size_t j = 0; j < 4; ++j) {
    if constexpr (kLanes == 8) {
      const VU32 low = hn::ConcatLowerLower(d, v[4 + j], v[j]);
      v[4 + j] = hn::ConcatUpperUpper(d, v[4 + j], v[j]);
      v[j] = low;
    } else {
      const VU32 even_01 = hn::OddEvenBlocks(hn::SwapAdjacentBlocks(v[4 + j]), v[j]);
      const VU32 odd_01 = hn::OddEvenBlocks(v[4 + j], hn::SwapAdjacentBlocks(v[j]));
      const VU32 even_23 = hn::OddEvenBlocks(hn::SwapAdjacentBlocks(v[12 + j]), v[8 + j]);
      const VU32 odd_23 = hn::OddEvenBlocks(v[12 + j], hn::SwapAdjacentBlocks(v[8 + j]));
      v[j] = hn::ConcatLowerLower(d, even_23, even_01);
      v[4 + j] = hn::ConcatLowerLower(d, odd_23, odd_01);
      v[8 + j] = hn::ConcatUpperUpper(d, even_23, even_01);
      v[12 + j] = hn::ConcatUpperUpper(d, odd_23, odd_01);
    }
  }
#endif
}

// Bytes begin … end − 1 of kLanes rows' data: use(w, words) for each word, the i-th row's in lane i.
// A last word that `end` cuts is filled with zeros.
template <class Use>
HWY_INLINE void for_transposed_words(const RowAddress* rows, int begin, int end, const Use& use) {
  const DU32 d;
  constexpr int kWordBytes = 4;
  constexpr int kChunkBytes = static_cast<int>(kLanes) * kWordBytes;
  for (int at = begin; at < end; at += kChunkBytes) {
    VU32 words[kLanes];
    const int n_bytes = std::min(kChunkBytes, end - at);
    if (n_bytes == kChunkBytes) {
      for (std::size_t i = 0; i < kLanes; ++i) {
        words[i] = hn::LoadU(d, reinterpret_cast<const std::uint32_t*>(rows[i].data + at));
      }
    } else {
      HWY_ALIGN std::uint32_t padded[kLanes] = {};
      for (std::size_t i = 0; i < kLanes; ++i) {
        std::memcpy(padded, rows[i].data + at, static_cast<std::size_t>(n_bytes));
        words[i] = hn::Load(d, padded);
      }
    }
    transpose_lanes(words);
    const int n_words = ceil_div(n_bytes, kWordBytes);
    for (int w = 0; w < n_words; ++w) use((at - begin) / kWordBytes + w, words[w]);
  }
}

// Where the channels of decoded rows go: channel c at columns + c · stride.
struct ColumnsOut {
  float* columns;
  int stride;

  HWY_INLINE void store(int channel, VF32 values) const {
    hn::StoreU(values, DF32(), columns + channel * stride);
  }
};

// Four channels from `channel` on, each times the rows' scales.
HWY_INLINE void unpack_e4m3(VU32 words, VF32 scales, int channel, const ColumnsOut& out) {
  decode_e4m3_words(
      words, [&](int i, VF32 values) HWY_ATTR { out.store(channel + i, hn::Mul(values, scales)); });
}

struct Bf16Pair {
  VF32 even;
  VF32 odd;
};

// Words of two bf16.
HWY_INLINE Bf16Pair decode_bf16_words(VU32 words) {
  const DF32 d;
  return {hn::BitCast(d, hn::ShiftLeft<16>(words)),
          hn::BitCast(d, hn::And(words, hn::Set(DU32(), 0xffff0000u)))};
}

// Two channels from `channel` on.
HWY_INLINE void unpack_bf16(VU32 words, int channel, const ColumnsOut& out) {
  const Bf16Pair pair = decode_bf16_words(words);
  out.store(channel, pair.even);
  out.store(channel + 1, pair.odd);
}

// Scales of kLanes rows for one group of channels.
template <class ScaleOf>
HWY_INLINE VF32 gather_scales(const RowAddress* rows, int group, const ScaleOf& scale_of) {
  HWY_ALIGN float scales[kLanes];
  for (std::size_t i = 0; i < kLanes; ++i) scales[i] = scale_of(rows[i], group);
  return hn::Load(DF32(), scales);
}

// e4m3 channels of the groups that `key` touches; scale_of(row, group) is a float.
template <class ScaleOf>
HWY_INLINE void decode_e4m3_columns(const RowAddress* rows, int n, int group, const Channels& key,
                                    const ScaleOf& scale_of, const ColumnsOut& out) {
  const int end = std::min(key.end(), n);
  for (int begin = key.begin / group * group; begin < end; begin += group) {
    const VF32 row_scales = gather_scales(rows, begin / group, scale_of);
    for_transposed_words(rows, begin, std::min(begin + group, end),
                         [&](int w, VU32 words)
                             HWY_ATTR { unpack_e4m3(words, row_scales, begin + 4 * w, out); });
  }
}

// kLanes rows as columns of floats.  Of each row at least the channels `key` are written, and nothing
// beyond the format's width rounded up to 4.
HWY_INLINE void decode_kv_columns(const KvRowFormat& format, const RowAddress* rows,
                                  const Channels& key, int stride, float* columns) {
  const ColumnsOut out{columns, stride};
  const int nope_end = std::min(key.end(), format.nope);
  if (format.nope_storage == NopeStorage::kE4m3Scales8) {
    decode_e4m3_columns(rows, format.nope, KvRowFormat::kGroup, key, e8m0_scale, out);
  } else if (format.nope_storage == NopeStorage::kE4m3Scales32) {
    const auto scale_of = [&](const RowAddress& row, int g) {
      float scale;
      std::memcpy(&scale, row.data + format.nope + sizeof(scale) * static_cast<std::size_t>(g),
                  sizeof(scale));
      return scale;
    };
    decode_e4m3_columns(rows, format.nope, format.group(), key, scale_of, out);
  } else {
    const int first = key.begin / 2 * 2;
    for_transposed_words(rows, 2 * first, 2 * nope_end, [&](int w, VU32 words) HWY_ATTR {
      unpack_bf16(words, first + 2 * w, out);
    });
  }
  if (key.end() <= format.nope) return;
  const int rotated = format.nope_bytes();
  if (format.rope_storage == RopeStorage::kBf16) {
    for_transposed_words(rows, rotated, rotated + 2 * format.rope, [&](int w, VU32 words) HWY_ATTR {
      unpack_bf16(words, format.nope + 2 * w, out);
    });
  } else {
    for_transposed_words(rows, rotated, rotated + 4 * format.rope, [&](int w, VU32 words) HWY_ATTR {
      out.store(format.nope + w, hn::BitCast(DF32(), words));
    });
  }
}

#endif

}  // namespace HWY_NAMESPACE
}  // namespace precis
HWY_AFTER_NAMESPACE();

#endif
