// Index keys and queries as small integers, ready for exact dot products.
//
// Twice an e2m1 value is one of 0, ±1, ±2, ±3, ±4, ±6, ±8, ±12.  A group of 32 products then fits
// 16 bits even with the keys shifted by +12 to make them unsigned (32·24·12 = 9216), which is what
// the unsigned-by-signed byte products of x86 want; the shift is taken off again by starting each
// group's sum at −12·Σ q.
//
// Included once per instruction set by foreach_target.h, hence the guard that toggles.
#include <algorithm>
#include <bit>
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

inline constexpr int kIndexTileRows = 128;  // 4 KiB of keys at width 64, 8 KiB at 128: stays in L1
inline constexpr int kKeyShift = 12;
inline constexpr int kGroupWords = IndexRowFormat::kGroup / 4;
// Keys and queries both carry a factor 2, which the scales of the queries take off again.
inline constexpr float kQuarter = 0.25f;
// Between these scale bytes the product of two scales and a sum is a normal number: there, adding
// exponent fields multiplies scales, and no score of a head is infinite or NaN.
inline constexpr std::uint8_t kLowestPlainScale = 66;
inline constexpr std::uint8_t kHighestPlainScale = 180;

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
        scales(slices.take<float>(kIndexTileRows * format.n_groups())) {}

  int n_groups;
  std::uint32_t* packed;  // [width / 8][kIndexTileRows]
  float* scales;          // [n_groups][kIndexTileRows]
};

// Heads of a query that are scored together lie side by side: a block of B heads that begins at
// row r has word w of head h at r · width / 4 + w · B + h, and its groups alike.
struct IndexQueries {
  IndexQueries(Slices& slices, std::int64_t n_rows, const IndexRowFormat& format)
      : words(slices.take<std::int32_t>(n_rows * format.width / 4)),
        shifts(slices.take<std::int32_t>(n_rows * format.n_groups())),
        scales(slices.take<float>(n_rows * format.n_groups())),
        exponents(slices.take<std::int32_t>(n_rows * format.n_groups())) {}

  std::int32_t* words;      // [width / 4][B] a block
  std::int32_t* shifts;     // [n_groups][B]: −kKeyShift·Σ q
  float* scales;            // [n_groups][B], quartered
  std::int32_t* exponents;  // [n_groups][B]: what `scales` adds to the bits of a float
};

HWY_INLINE bool is_plain_scale(std::byte scale) {
  const auto byte = static_cast<std::uint8_t>(scale);
  return byte >= kLowestPlainScale && byte <= kHighestPlainScale;
}

// Loads head `h` of the block of `n_block` heads that begins at row `block`.  Returns whether all
// its scales are plain.
HWY_INLINE bool load_index_query(const IndexRowFormat& format, const std::byte* data,
                                 const std::byte* scale_bytes, std::int64_t block, int n_block,
                                 int h, const IndexQueries& out) {
  bool is_plain = true;
  std::int32_t* words = out.words + block * format.width / 4 + h;
  for (int g = 0; g < format.n_groups(); ++g) {
    int sum = 0;
    for (int i = g * IndexRowFormat::kGroup / 2; i < (g + 1) * IndexRowFormat::kGroup / 2; ++i) {
      const auto pair = static_cast<std::uint8_t>(data[i]);
      const std::int8_t even = kDoubledE2m1[pair & 0xf];
      const std::int8_t odd = kDoubledE2m1[pair >> 4];
      std::int32_t* even_word = words + i / 4 * 2 * n_block;
      reinterpret_cast<std::int8_t*>(even_word)[i % 4] = even;
      reinterpret_cast<std::int8_t*>(even_word + n_block)[i % 4] = odd;
      sum += even + odd;
    }
    const float scale = kQuarter * decode_e8m0(static_cast<std::uint8_t>(scale_bytes[g]));
    const std::int64_t at = block * format.n_groups() + g * n_block + h;
    out.shifts[at] = -kKeyShift * sum;
    out.scales[at] = scale;
    out.exponents[at] = std::bit_cast<std::int32_t>(scale) - std::bit_cast<std::int32_t>(1.0f);
    is_plain = is_plain && is_plain_scale(scale_bytes[g]);
  }
  return is_plain;
}

struct KeyWords {
  VI32 even;
  VI32 odd;
};

// Nibble codes of packed words as shifted bytes.
HWY_INLINE KeyWords unpack_keys(VU32 pairs) {
  const DU32 d;
  const DI32 d_i32;
#if HWY_TARGET == HWY_SCALAR
  std::uint32_t even = 0;
  std::uint32_t odd = 0;
  for (int shift = 0; shift < 32; shift += 8) {
    const std::uint32_t pair = hn::GetLane(pairs) >> shift;
    even |= std::uint32_t{kShiftedE2m1[pair & 0xf]} << shift;
    odd |= std::uint32_t{kShiftedE2m1[pair >> 4 & 0xf]} << shift;
  }
  return {hn::BitCast(d_i32, hn::Set(d, even)), hn::BitCast(d_i32, hn::Set(d, odd))};
#else
  const hn::Repartition<std::uint8_t, DU32> d_u8;
  const auto table = hn::LoadDup128(d_u8, kShiftedE2m1);
#if HWY_TARGET == HWY_AVX3_DL
  // The lookup among 64 bytes ignores the upper two bits of an index, and four copies of the table
  // make it ignore the next two: nothing has to be masked.
  return {VI32{_mm512_permutexvar_epi8(pairs.raw, table.raw)},
          VI32{_mm512_permutexvar_epi8(hn::ShiftRight<4>(pairs).raw, table.raw)}};
#else
  const auto nibble = hn::Set(d, 0x0f0f0f0fu);
  const auto low = hn::BitCast(d_u8, hn::And(pairs, nibble));
  const auto high = hn::BitCast(d_u8, hn::And(hn::ShiftRight<4>(pairs), nibble));
  return {hn::BitCast(d_i32, hn::TableLookupBytes(table, low)),
          hn::BitCast(d_i32, hn::TableLookupBytes(table, high))};
#endif
#endif
}

#if HWY_TARGET != HWY_SCALAR
// 16 bytes of every kth row, one row in each 128-bit block.
template <typename D>
HWY_INLINE hn::Vec<D> load_blocks(D d, const std::byte* rows, std::ptrdiff_t stride) {
  if constexpr (hn::MaxLanes(D()) == 4) {
    return hn::LoadU(d, reinterpret_cast<const std::uint32_t*>(rows));
  } else {
    const hn::Half<D> half;
    constexpr auto kBlocks = static_cast<std::ptrdiff_t>(hn::MaxLanes(D()) / 8);
    return hn::Combine(d, load_blocks(half, rows + kBlocks * stride, stride),
                       load_blocks(half, rows, stride));
  }
}

// Four words of as many rows as a vector has lanes, to one vector a word.
HWY_INLINE void transpose_words(const std::byte* rows, std::ptrdiff_t row_bytes,
                                std::uint32_t* out) {
  const DU32 d;
  VU32 words[4];
  for (int i = 0; i < 4; ++i) words[i] = load_blocks(d, rows + i * row_bytes, 4 * row_bytes);
  transpose_in_blocks(words[0], words[1], words[2], words[3]);
  for (int w = 0; w < 4; ++w) hn::StoreU(words[w], d, out + w * kIndexTileRows);
}
#endif

// `run` rows that follow each other in memory to rows r, r + 1 … of the tile.
HWY_INLINE void transpose_rows(const std::byte* data, int row_bytes, int run, int r,
                               const IndexTile& tile) {
  const int n_packed = row_bytes / 4;
  int i = 0;
#if HWY_TARGET != HWY_SCALAR
  constexpr int kRows = static_cast<int>(kLanes);
  for (; i + kRows <= run; i += kRows) {
    for (int w = 0; w < n_packed; w += 4) {
      transpose_words(data + i * row_bytes + 4 * w, row_bytes,
                      tile.packed + w * kIndexTileRows + r + i);
    }
  }
#endif
  for (; i < run; ++i) {
    for (int w = 0; w < n_packed; ++w) {
      std::memcpy(&tile.packed[w * kIndexTileRows + r + i], data + i * row_bytes + 4 * w,
                  sizeof(std::uint32_t));
    }
  }
}

// Scales of kLanes rows whose bytes make one T a row, as if all were plain.
template <typename T>
HWY_INLINE void decode_plain_scales(const std::byte* scales, float* out) {
  const DU32 d;
  const hn::Rebind<T, DU32> d_row;
  const auto loaded = hn::LoadU(d_row, reinterpret_cast<const T*>(scales));
  VU32 rows;
  if constexpr (sizeof(T) == sizeof(std::uint32_t)) {
    rows = loaded;
  } else {
    rows = hn::PromoteTo(d, loaded);
  }
  const auto exponent = hn::Set(d, 0x7f800000u);
  const auto store = [&](auto shifted, int g) {
    hn::StoreU(hn::BitCast(DF32(), hn::And(shifted, exponent)), DF32(), out + g * kIndexTileRows);
  };
  store(hn::ShiftLeft<23>(rows), 0);
  if constexpr (sizeof(T) >= 2) store(hn::ShiftLeft<15>(rows), 1);
  if constexpr (sizeof(T) == 4) {
    store(hn::ShiftLeft<7>(rows), 2);
    store(hn::ShiftRight<1>(rows), 3);
  }
}

HWY_INLINE bool all_plain_scales(const std::byte* scales, int n) {
  const hn::Repartition<std::uint8_t, DU32> d;
  constexpr int kBytes = static_cast<int>(hn::MaxLanes(d));
  const auto* bytes = reinterpret_cast<const std::uint8_t*>(scales);
  int i = 0;
  for (; i + kBytes <= n; i += kBytes) {
    const auto v = hn::LoadU(d, bytes + i);
    const auto clamped =
        hn::Min(hn::Max(v, hn::Set(d, kLowestPlainScale)), hn::Set(d, kHighestPlainScale));
    if (!hn::AllTrue(d, hn::Eq(v, clamped))) return false;
  }
  for (; i < n; ++i) {
    if (!is_plain_scale(scales[i])) return false;
  }
  return true;
}

// As transpose_rows(), the scales.  Returns whether all are plain.
HWY_INLINE bool load_scales(const std::byte* scales, int run, int r, const IndexTile& tile) {
  constexpr int kRows = static_cast<int>(kLanes);
  const int n_groups = tile.n_groups;
  const bool all_plain = all_plain_scales(scales, run * n_groups);
  int i = 0;
  if (all_plain && (n_groups == 1 || n_groups == 2 || n_groups == 4)) {
    for (; i + kRows <= run; i += kRows) {
      const std::byte* rows = scales + i * n_groups;
      float* out = tile.scales + r + i;
      if (n_groups == 1) decode_plain_scales<std::uint8_t>(rows, out);
      if (n_groups == 2) decode_plain_scales<std::uint16_t>(rows, out);
      if (n_groups == 4) decode_plain_scales<std::uint32_t>(rows, out);
    }
  }
  for (; i < run; ++i) {
    for (int g = 0; g < n_groups; ++g) {
      tile.scales[g * kIndexTileRows + r + i] =
          decode_e8m0(static_cast<std::uint8_t>(scales[i * n_groups + g]));
    }
  }
  return all_plain;
}

// Loads rows begin … begin + n − 1 of the pool, n <= kIndexTileRows.  What is left of the tile
// keeps any value.  Returns whether every scale is plain.
HWY_INLINE bool load_index_tile(const RowPool& pool, std::int64_t begin, int n,
                                const IndexTile& tile) {
  bool all_plain = true;
  for (int r = 0; r < n;) {
    // One division per page, not per row.
    const std::int64_t in_page = (begin + r) % pool.rows_per_page;
    const int run = static_cast<int>(std::min<std::int64_t>(n - r, pool.rows_per_page - in_page));
    transpose_rows(pool.data(begin + r), pool.data_bytes, run, r, tile);
    all_plain = load_scales(pool.scales(begin + r), run, r, tile) && all_plain;
    r += run;
  }
  return all_plain;
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
