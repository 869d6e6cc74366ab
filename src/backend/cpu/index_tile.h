// Index keys and queries as small integers, ready for exact dot products.
//
// Twice an e2m1 value is one of 0, ±1, ±2, ±3, ±4, ±6, ±8, ±12.  A group of 32 products then fits
// 16 bits even with the keys shifted by +12 to make them unsigned (32·24·12 = 9216), which is what
// the unsigned-by-signed byte product of x86 wants; the shift is taken off again by starting each
// group's sum at −12·Σ q.  One such product and one addition serve 64 terms of an AVX-512 register,
// as many as the dedicated dot product instruction gives per cycle on Zen 4, and the sums need no
// widening until the group ends.
//
// Included once per instruction set by foreach_target.h, hence the guard that toggles.
#include <array>
#include <cstdint>
#include <cstring>

#include <hwy/highway.h>

#include "backend/cpu/simd.h"
#include "backend/cpu/slices.h"
#include "tensor/float8.h"
#include "tensor/view.h"

#if defined(PRECIS_CPU_INDEX_TILE_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef PRECIS_CPU_INDEX_TILE_H_
#undef PRECIS_CPU_INDEX_TILE_H_
#else
#define PRECIS_CPU_INDEX_TILE_H_
#endif

HWY_BEFORE_NAMESPACE();
namespace precis {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

inline constexpr int kIndexTileRows = 128;  // 8 KiB of keys at width 64, 16 KiB at 128: stays in L1
inline constexpr int kKeyShift = 12;
inline constexpr int kGroupWords = IndexRowFormat::kGroup / 4;
// Keys and queries both carry a factor 2.
inline constexpr float kHalf = 0.5f;

alignas(16) inline constexpr std::int8_t kDoubledE2m1[16] = {0, 1,  2,  3,  4,  6,  8,  12,
                                                             0, -1, -2, -3, -4, -6, -8, -12};
alignas(16) inline constexpr std::uint8_t kShiftedE2m1[16] = {12, 13, 14, 15, 16, 18, 20, 24,
                                                              12, 11, 10, 9,  8,  6,  4,  0};

// A word holds four channels as bytes: of each eight channels first the even, then the odd ones,
// as the nibbles of four packed bytes fall out.  Keys and queries agree, so the order is free.
struct IndexTile {
  IndexTile(Slices& slices, const IndexRowFormat& format)
      : n_groups(format.n_groups()),
        packed(slices.take<std::uint32_t>(kIndexTileRows * format.width / 8)),
        words(slices.take<std::uint32_t>(kIndexTileRows * format.width / 4)),
        scale_bytes(slices.take<std::uint8_t>(kIndexTileRows * format.n_groups())),
        scales(slices.take<float>(kIndexTileRows * format.n_groups())) {}

  int n_groups;
  std::uint32_t* packed;      // [width / 8][kIndexTileRows]
  std::uint32_t* words;       // [width / 4][kIndexTileRows]
  std::uint8_t* scale_bytes;  // [n_groups][kIndexTileRows]
  float* scales;              // [n_groups][kIndexTileRows]
};

struct IndexQueries {
  IndexQueries(Slices& slices, std::int64_t n_rows, const IndexRowFormat& format)
      : words(slices.take<std::int32_t>(n_rows * format.width / 4)),
        shifts(slices.take<std::int32_t>(n_rows * format.n_groups())),
        scales(slices.take<float>(n_rows * format.n_groups())) {}

  std::int32_t* words;   // [n_rows][width / 4]
  std::int32_t* shifts;  // [n_rows][n_groups]: −kKeyShift·Σ q
  float* scales;         // [n_rows][n_groups]
};

HWY_INLINE void load_index_query(const IndexRowFormat& format, const std::byte* data,
                                 const std::byte* scale_bytes, std::int64_t row,
                                 const IndexQueries& out) {
  const int n_groups = format.n_groups();
  std::int8_t* bytes = reinterpret_cast<std::int8_t*>(out.words + row * format.width / 4);
  for (int g = 0; g < n_groups; ++g) {
    int sum = 0;
    for (int i = g * IndexRowFormat::kGroup / 2; i < (g + 1) * IndexRowFormat::kGroup / 2; ++i) {
      const auto pair = static_cast<std::uint8_t>(data[i]);
      std::int8_t* word = bytes + i / 4 * 8 + i % 4;
      word[0] = kDoubledE2m1[pair & 0xf];
      word[4] = kDoubledE2m1[pair >> 4];
      sum += word[0] + word[4];
    }
    out.shifts[row * n_groups + g] = -kKeyShift * sum;
    out.scales[row * n_groups + g] = kHalf * decode_e8m0(static_cast<std::uint8_t>(scale_bytes[g]));
  }
}

// Nibble codes of packed words as shifted bytes: low nibbles to `even`, high ones to `odd`.
HWY_INLINE void unpack_keys(const std::uint32_t* packed, std::uint32_t* even, std::uint32_t* odd) {
#if HWY_TARGET == HWY_SCALAR
  for (int r = 0; r < kIndexTileRows; ++r) {
    even[r] = odd[r] = 0;
    for (int shift = 0; shift < 32; shift += 8) {
      const std::uint32_t pair = packed[r] >> shift;
      even[r] |= std::uint32_t{kShiftedE2m1[pair & 0xf]} << shift;
      odd[r] |= std::uint32_t{kShiftedE2m1[pair >> 4 & 0xf]} << shift;
    }
  }
#else
  const DU32 d;
  const hn::Repartition<std::uint8_t, decltype(d)> d_u8;
  const auto table = hn::LoadDup128(d_u8, kShiftedE2m1);
  const auto nibble = hn::Set(d, 0x0f0f0f0fu);
  for (int r = 0; r < kIndexTileRows; r += static_cast<int>(kLanes)) {
    const auto pairs = hn::Load(d, packed + r);
    const auto low = hn::BitCast(d_u8, hn::And(pairs, nibble));
    const auto high = hn::BitCast(d_u8, hn::And(hn::ShiftRight<4>(pairs), nibble));
    hn::Store(hn::BitCast(d, hn::TableLookupBytes(table, low)), d, even + r);
    hn::Store(hn::BitCast(d, hn::TableLookupBytes(table, high)), d, odd + r);
  }
#endif
}

// Half of each e8m0 scale, as decode_e8m0() reads it.
HWY_INLINE void decode_half_scales(const std::uint8_t* bytes, float* out) {
  const DF32 d;
  const DU32 d_u32;
  const hn::Rebind<std::uint8_t, DF32> d_u8;
  for (int r = 0; r < kIndexTileRows; r += static_cast<int>(kLanes)) {
    const auto byte = hn::PromoteTo(d_u32, hn::LoadU(d_u8, bytes + r));
    // Byte 0 is 2^-127, a subnormal; byte 255 is NaN, where the shift alone gives infinity.
    auto bits = hn::ShiftLeft<23>(byte);
    bits = hn::IfThenElse(hn::Eq(byte, hn::Zero(d_u32)), hn::Set(d_u32, 0x00400000u), bits);
    bits =
        hn::IfThenElse(hn::Eq(byte, hn::Set(d_u32, kE8m0Nan)), hn::Set(d_u32, 0x7fc00000u), bits);
    hn::Store(hn::Mul(hn::BitCast(d, bits), hn::Set(d, kHalf)), d, out + r);
  }
}

// Loads rows begin … begin + n − 1 of the pool, n <= kIndexTileRows.  What is left of the tile
// keeps any value.
HWY_INLINE void load_index_tile(const RowPool& pool, const IndexRowFormat& format,
                                std::int64_t begin, int n, const IndexTile& tile) {
  const int n_packed = format.width / 8;
  for (int r = 0; r < n;) {
    // One division per page, not per row.
    const std::int64_t in_page = (begin + r) % pool.rows_per_page;
    const int run = static_cast<int>(std::min<std::int64_t>(n - r, pool.rows_per_page - in_page));
    const std::byte* data = pool.data(begin + r);
    const std::byte* scales = pool.scales(begin + r);
    for (int i = 0; i < run; ++i, ++r, data += pool.data_bytes, scales += pool.scale_bytes) {
      for (int w = 0; w < n_packed; ++w) {
        std::memcpy(&tile.packed[w * kIndexTileRows + r], data + 4 * w, sizeof(std::uint32_t));
      }
      for (int g = 0; g < tile.n_groups; ++g) {
        tile.scale_bytes[g * kIndexTileRows + r] = static_cast<std::uint8_t>(scales[g]);
      }
    }
  }
  for (int w = 0; w < n_packed; ++w) {
    std::uint32_t* words = tile.words + 2 * w * kIndexTileRows;
    unpack_keys(tile.packed + w * kIndexTileRows, words, words + kIndexTileRows);
  }
  for (int g = 0; g < tile.n_groups; ++g) {
    decode_half_scales(tile.scale_bytes + g * kIndexTileRows, tile.scales + g * kIndexTileRows);
  }
}

// Sums of byte products, one i32 lane per key row.
#if HWY_TARGET == HWY_AVX3_DL
using DotSum = VI32;

HWY_INLINE DotSum start_dot(DI32 d, std::int32_t shift) {
  return hn::Set(d, shift);
}
HWY_INLINE DotSum add_dot(DotSum sum, VI32 keys, VI32 query) {
  // Highway's target list names the VEX form of VNNI only, so the compiler refuses the intrinsic;
  // this target is chosen on processors that have the EVEX form.
  asm("vpdpbusd %2, %1, %0" : "+v"(sum.raw) : "v"(keys.raw), "v"(query.raw));
  return sum;
}
HWY_INLINE VI32 finish_dot(DI32, DotSum sum) {
  return sum;
}
#elif HWY_TARGET == HWY_AVX2
// Two 16-bit sums lie in each lane until the group ends.
using DotSum = hn::Vec<hn::Repartition<std::int16_t, DI32> >;

HWY_INLINE DotSum start_dot(DI32 d, std::int32_t shift) {
  const hn::Repartition<std::int16_t, DI32> d_i16;
  return hn::BitCast(d_i16, hn::Set(d, shift & 0xffff));
}
HWY_INLINE DotSum add_dot(DotSum sum, VI32 keys, VI32 query) {
  return hn::Add(sum, DotSum{_mm256_maddubs_epi16(keys.raw, query.raw)});
}
HWY_INLINE VI32 finish_dot(DI32 d, DotSum sum) {
  const hn::Repartition<std::int16_t, DI32> d_i16;
  VI32 unused = hn::Zero(d);
  return hn::ReorderWidenMulAccumulate(d, sum, hn::Set(d_i16, std::int16_t{1}), hn::Zero(d),
                                       unused);
}
#else
using DotSum = VI32;

HWY_INLINE DotSum start_dot(DI32 d, std::int32_t shift) {
  return hn::Set(d, shift);
}
HWY_INLINE DotSum add_dot(DotSum sum, DotSum keys, DotSum query) {
  const auto low = hn::Set(DI32(), 0xff);
  sum = hn::Add(sum, hn::Mul(hn::And(keys, low), hn::ShiftRight<24>(hn::ShiftLeft<24>(query))));
  sum = hn::Add(sum, hn::Mul(hn::And(hn::ShiftRight<8>(keys), low),
                             hn::ShiftRight<24>(hn::ShiftLeft<16>(query))));
  sum = hn::Add(sum, hn::Mul(hn::And(hn::ShiftRight<16>(keys), low),
                             hn::ShiftRight<24>(hn::ShiftLeft<8>(query))));
  return hn::Add(sum, hn::Mul(hn::And(hn::ShiftRight<24>(keys), low), hn::ShiftRight<24>(query)));
}
HWY_INLINE VI32 finish_dot(DI32, DotSum sum) {
  return sum;
}
#endif

}  // namespace HWY_NAMESPACE
}  // namespace precis
HWY_AFTER_NAMESPACE();

#endif
