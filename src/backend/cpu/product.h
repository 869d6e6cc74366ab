// Products of f32 rows with a weight in panel layout: the one summation order of the CPU backend.
//
// Every output is a chain of multiply-adds in ascending k within a block of 128, and the block sums
// are added in ascending order, starting from zero.  Lanes are outputs, so neither the width of a
// register nor the number of rows enters the order; the kernel for few rows and the one for many
// only differ in where the decoded weights live.  Included once per instruction set by
// foreach_target.h, hence the guard that toggles.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>

#include <hwy/highway.h>

#include "backend/cpu/grain.h"
#include "backend/cpu/simd.h"
#include "backend/cpu/weight.h"

#if defined(PRECIS_CPU_PRODUCT_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef PRECIS_CPU_PRODUCT_H_
#undef PRECIS_CPU_PRODUCT_H_
#else
#define PRECIS_CPU_PRODUCT_H_
#endif

HWY_BEFORE_NAMESPACE();
namespace precis {
namespace HWY_NAMESPACE {

static_assert(kVirtualLanes == kPanelOutputs);

inline constexpr int kBlockK = 128;

// Register tiles, chosen to fill the register file with accumulators: 12 rows x 2 panels of one
// zmm (24 of 32 registers), 6 x 1 panel of two ymm, 3 x 1 panel of four xmm (12 of 16).  A step of
// k costs the first 2 + 12 loads for 24 multiply-adds, which two load ports hide.
inline constexpr int kRegisterRows = kLanes == 16 ? 12 : kLanes == 8 ? 6 : 3;
inline constexpr int kRegisterPanels = kLanes == 16 ? 2 : 1;

// With so few rows decoded weights are used at once and never stored.
inline constexpr int kDirectRows = 4;

/// Consecutive k that share a word of codes, the first in its low bits; a word is 16 bits (FP8) or
/// 32, so that one load serves several multiply-adds.
template <WeightFormat kFormat>
inline constexpr int kWordK = kFormat == WeightFormat::kF32        ? 1
                              : kFormat == WeightFormat::kFp4Group ? 8
                                                                   : 2;

// FP8 scales change where a block ends and are applied to its sum.  FP4 scales change within it and
// are applied to each weight.
template <WeightFormat kFormat>
inline constexpr int kSegmentK = kFormat == WeightFormat::kFp4Group ? 32 : kBlockK;

// Decoded codes are off by a power of two, which the scale makes good.  e4m3 becomes an f16 number
// 2^-8 times as large, because the bits then only have to be shifted: f16 has the same layout with
// more exponent, subnormals included.  e2m1 becomes a whole number, twice as large.
template <WeightFormat kFormat>
inline constexpr int kScaleExponent = kFormat == WeightFormat::kFp8Block ? 8 : -1;

/// 16 scale bytes b as factors 2^(b - 127 + kScaleExponent), exact where f32 has them: an FP8 byte
/// above 246 is taken as 246, which only occurs where the weight itself is beyond bf16.  255 is NaN.
template <WeightFormat kFormat>
HWY_INLINE VF32 load_scales(const std::uint8_t* HWY_RESTRICT bytes, std::size_t part) {
  const DF32 df;
  const DU32 du;
  const DI32 di;
  const hn::Rebind<std::uint8_t, DF32> du8;
  const VI32 b = hn::PromoteTo(di, hn::LoadU(du8, bytes + part * kLanes));
  const VI32 field = hn::Min(hn::Add(b, hn::Set(di, kScaleExponent<kFormat>)), hn::Set(di, 254));
  VU32 bits = hn::BitCast(du, hn::ShiftLeft<23>(field));
  if constexpr (kScaleExponent<kFormat> < 0) {  // bytes 0 and 1 are subnormal
    const VI32 subnormal =
        hn::IfThenElse(hn::Eq(b, hn::Zero(di)), hn::Set(di, 0x200000), hn::Set(di, 0x400000));
    bits = hn::BitCast(du,
                       hn::IfThenElse(hn::Lt(b, hn::Set(di, 2)), subnormal, hn::BitCast(di, bits)));
  }
  const auto is_nan = hn::Eq(b, hn::Set(di, kE8m0Nan));
  return hn::BitCast(df, hn::IfThenElse(hn::RebindMask(du, is_nan), hn::Set(du, 0x7fc00000), bits));
}

/// The factors of an FP8 block's sums; ones for the formats that scale weights or nothing.
template <WeightFormat kFormat>
HWY_INLINE VF32 load_block_scales(const CpuWeight& weight, std::int64_t panel, std::int64_t k,
                                  std::size_t part) {
  if constexpr (kFormat == WeightFormat::kFp8Block) {
    return load_scales<kFormat>(weight.panel_scales(panel) + k / kBlockK * kPanelOutputs, part);
  }
  return hn::Set(DF32(), 1.0f);
}

/// The factors of the weights from k to the end of its segment; unused but for FP4.
template <WeightFormat kFormat>
HWY_INLINE VF32 load_weight_scales(const CpuWeight& weight, std::int64_t panel, std::int64_t k,
                                   std::size_t part) {
  if constexpr (kFormat == WeightFormat::kFp4Group) {
    return load_scales<kFormat>(weight.panel_scales(panel) + k / kSegmentK<kFormat> * kPanelOutputs,
                                part);
  }
  return hn::Zero(DF32());
}

#if HWY_TARGET == HWY_AVX3_DL

HWY_ALIGN inline constexpr float kE2m1Doubled[16] = {0,     1,  2,  3,  4,  6,  8,  12,
                                                     -0.0f, -1, -2, -3, -4, -6, -8, -12};

using Fp4Word = VU32;

HWY_INLINE Fp4Word load_fp4_word(const std::uint32_t* HWY_RESTRICT codes) {
  return hn::LoadU(DU32(), codes);
}

/// One register holds all 16 values and a code is an index, of which the instruction reads the low
/// four bits alone; the library's lookup would want the others cleared.
template <int kIndex>
HWY_INLINE VF32 decode_fp4(Fp4Word word) {
  const VF32 table = hn::Load(DF32(), kE2m1Doubled);
  return VF32{_mm512_permutexvar_ps(hn::ShiftRight<4 * kIndex>(word).raw, table.raw)};
}

#else

HWY_ALIGN inline constexpr std::int8_t kE2m1Doubled[16] = {0, 1,  2,  3,  4,  6,  8,  12,
                                                           0, -1, -2, -3, -4, -6, -8, -12};

// Each byte twice the value of one code, of even k and of odd k.
struct Fp4Word {
  VI32 even;
  VI32 odd;
};

HWY_INLINE Fp4Word load_fp4_word(const std::uint32_t* HWY_RESTRICT codes) {
  const DI32 di;
  const hn::Repartition<std::uint8_t, DF32> du8;
  const hn::Repartition<std::int8_t, DF32> di8;
  const auto bytes = hn::BitCast(du8, hn::LoadU(DU32(), codes));
  const auto table = hn::LoadDup128(di8, kE2m1Doubled);
  const auto even = hn::And(bytes, hn::Set(du8, 0xf));
  const auto odd =
      hn::And(hn::BitCast(du8, hn::ShiftRight<4>(hn::BitCast(DU32(), bytes))), hn::Set(du8, 0xf));
  return {hn::BitCast(di, hn::TableLookupBytes(table, hn::BitCast(di8, even))),
          hn::BitCast(di, hn::TableLookupBytes(table, hn::BitCast(di8, odd)))};
}

template <int kIndex>
HWY_INLINE VF32 decode_fp4(const Fp4Word& word) {
  const VI32 bytes = kIndex % 2 == 0 ? word.even : word.odd;
  return hn::ConvertTo(DF32(), hn::ShiftRight<24>(hn::ShiftLeft<24 - kIndex / 2 * 8>(bytes)));
}

#endif

/// Codes of word `index` of the panel's outputs [part · kLanes, …).
template <WeightFormat kFormat>
HWY_INLINE auto load_word(const std::byte* HWY_RESTRICT panel, std::int64_t index,
                          std::size_t part) {
  const std::size_t place = static_cast<std::size_t>(index) * kPanelOutputs + part * kLanes;
  if constexpr (kFormat == WeightFormat::kF32) {
    return hn::LoadU(DF32(), reinterpret_cast<const float*>(panel) + place);
  } else if constexpr (kFormat == WeightFormat::kFp4Group) {
    return load_fp4_word(reinterpret_cast<const std::uint32_t*>(panel) + place);
  } else if constexpr (kFormat == WeightFormat::kBf16) {
    return hn::LoadU(DU32(), reinterpret_cast<const std::uint32_t*>(panel) + place);
  } else {
    return hn::LoadU(hn::Rebind<std::uint16_t, DF32>(),
                     reinterpret_cast<const std::uint16_t*>(panel) + place);
  }
}

/// Weight kIndex of a word, scaled where the format scales weights.
template <WeightFormat kFormat, int kIndex, class Word>
HWY_INLINE VF32 decode_weight(const Word& word, VF32 scale) {
  const DF32 df;
  if constexpr (kFormat == WeightFormat::kF32) {
    return word;
  } else if constexpr (kFormat == WeightFormat::kBf16) {
    return hn::BitCast(
        df, kIndex == 0 ? hn::ShiftLeft<16>(word) : hn::And(word, hn::Set(DU32(), 0xffff0000)));
  } else if constexpr (kFormat == WeightFormat::kFp8Block) {
    // With the code in bits 8 to 15, an arithmetic shift by one fills bits 14 and 15 with the sign
    // and leaves the magnitude in 7 to 13; the mask clears bit 14 and the other code.
    const hn::Rebind<hwy::float16_t, DF32> df16;
    const hn::Rebind<std::uint16_t, DF32> du16;
    const hn::Rebind<std::int16_t, DF32> di16;
    const auto high = kIndex == 0 ? hn::ShiftLeft<8>(word) : word;
    const auto bits = hn::BitCast(du16, hn::ShiftRight<1>(hn::BitCast(di16, high)));
    return hn::PromoteTo(df, hn::BitCast(df16, hn::And(bits, hn::Set(du16, 0xbf80))));
  } else {
    return hn::Mul(decode_fp4<kIndex>(word), scale);  // exact: a power of two
  }
}

/// Adds weights kIndex … n - 1 of a word to the chains of kRows rows, whose inputs begin at k.
template <WeightFormat kFormat, int kIndex, int kRows, std::size_t kStride, class Word>
HWY_INLINE void direct_word(const Word& word, VF32 scale, const float* const* HWY_RESTRICT rows,
                            std::int64_t k, int n, VF32* HWY_RESTRICT sums) {
  if constexpr (kIndex < kWordK<kFormat>) {
    if (kIndex >= n) return;
    const VF32 weights = decode_weight<kFormat, kIndex>(word, scale);
    for (std::size_t r = 0; r < kRows; ++r) {
      VF32& sum = sums[r * kStride];
      sum = hn::MulAdd(hn::Set(DF32(), rows[r][k + kIndex]), weights, sum);
    }
    direct_word<kFormat, kIndex + 1, kRows, kStride>(word, scale, rows, k, n, sums);
  }
}

/// Adds one block to out [kRows, kTileOutputs], weights in registers.
template <WeightFormat kFormat, int kRows, int kPanels>
HWY_INLINE void direct_block(const CpuWeight& weight, std::int64_t first_panel,
                             std::int64_t k_begin, const float* const* HWY_RESTRICT row_starts,
                             float* HWY_RESTRICT out) {
  constexpr std::size_t kVectors = kPanels * kParts;
  constexpr int kWord = kWordK<kFormat>;
  const DF32 df;
  const std::byte* panels[kPanels];
  const float* rows[kRows];
  for (int p = 0; p < kPanels; ++p) panels[p] = weight.panel(first_panel + p);
  for (int r = 0; r < kRows; ++r) rows[r] = row_starts[r];
  const auto panel_of = [first_panel](std::size_t v) {
    return first_panel + static_cast<std::int64_t>(v / kParts);
  };
  VF32 sums[kRows][kVectors];
  for (auto& row : sums) {
    for (VF32& sum : row) sum = hn::Zero(df);
  }
  const std::int64_t k_end = std::min<std::int64_t>(k_begin + kBlockK, weight.n_in());
  for (std::int64_t begin = k_begin; begin < k_end; begin += kSegmentK<kFormat>) {
    VF32 scales[kVectors];
    for (std::size_t v = 0; v < kVectors; ++v) {
      scales[v] = load_weight_scales<kFormat>(weight, panel_of(v), begin, v % kParts);
    }
    const auto add_words = [&](std::int64_t k, int n) HWY_ATTR {
      for (std::size_t v = 0; v < kVectors; ++v) {
        direct_word<kFormat, 0, kRows, kVectors>(
            load_word<kFormat>(panels[v / kParts], k / kWord, v % kParts), scales[v], rows, k, n,
            &sums[0][v]);
      }
    };
    const std::int64_t end = std::min<std::int64_t>(begin + kSegmentK<kFormat>, k_end);
    std::int64_t k = begin;
    for (; k + kWord <= end; k += kWord) add_words(k, kWord);
    if (k < end) add_words(k, static_cast<int>(end - k));
  }
  for (std::size_t v = 0; v < kVectors; ++v) {
    const VF32 scale = load_block_scales<kFormat>(weight, panel_of(v), k_begin, v % kParts);
    for (int r = 0; r < kRows; ++r) {
      float* place = out + r * kTileOutputs + v * kLanes;
      hn::StoreU(hn::MulAdd(sums[r][v], scale, hn::LoadU(df, place)), df, place);
    }
  }
}

/// The block sums of all blocks for 1 to kRows rows.
template <WeightFormat kFormat, int kRows, int kPanels>
HWY_NOINLINE void multiply_direct(const CpuWeight& weight, std::int64_t first_panel,
                                  const float* const* rows, int n_rows, float* out) {
  if constexpr (kRows > 1) {
    if (n_rows < kRows) {
      return multiply_direct<kFormat, kRows - 1, kPanels>(weight, first_panel, rows, n_rows, out);
    }
  }
  for (std::int64_t k = 0; k < weight.n_in(); k += kBlockK) {
    direct_block<kFormat, kRows, kPanels>(weight, first_panel, k, rows, out);
  }
}

/// Stores weights kIndex … n - 1 of a word, one k after the other.
template <WeightFormat kFormat, int kIndex, class Word>
HWY_INLINE void store_word(const Word& word, VF32 scale, int n, float* HWY_RESTRICT out) {
  if constexpr (kIndex < kWordK<kFormat>) {
    if (kIndex >= n) return;
    hn::StoreU(decode_weight<kFormat, kIndex>(word, scale), DF32(), out + kIndex * kPanelOutputs);
    store_word<kFormat, kIndex + 1>(word, scale, n, out);
  }
}

/// Decodes [k_begin, k_end) of one panel to floats [k, 16].
template <WeightFormat kFormat>
HWY_NOINLINE void decode_panel(const CpuWeight& weight, std::int64_t panel_idx,
                               std::int64_t k_begin, std::int64_t k_end, float* HWY_RESTRICT out) {
  constexpr int kWord = kWordK<kFormat>;
  const std::byte* panel = weight.panel(panel_idx);
  for (std::int64_t begin = k_begin; begin < k_end; begin += kSegmentK<kFormat>) {
    const std::int64_t end = std::min<std::int64_t>(begin + kSegmentK<kFormat>, k_end);
    for (std::size_t part = 0; part < kParts; ++part) {
      const VF32 scale = load_weight_scales<kFormat>(weight, panel_idx, begin, part);
      float* place = out + (begin - k_begin) * kPanelOutputs + part * kLanes;
      std::int64_t k = begin;
      for (; k + kWord <= end; k += kWord, place += kWord * kPanelOutputs) {
        store_word<kFormat, 0>(load_word<kFormat>(panel, k / kWord, part), scale, kWord, place);
      }
      if (k < end) {
        store_word<kFormat, 0>(load_word<kFormat>(panel, k / kWord, part), scale,
                               static_cast<int>(end - k), place);
      }
    }
  }
}

/// A block of decoded weights: panels [n_k, 16] and the factors of their sums.
struct DecodedBlock {
  const float* panels[kTilePanels];
  HWY_ALIGN float scales[kTilePanels][kPanelOutputs];
  int n_panels;
  std::int64_t k_begin;
  std::int64_t n_k;
};

/// Adds panels first_panel … of one block to out [kRows, kTileOutputs], which begins at the first of
/// them; rows packed [kRows, kBlockK].
template <int kRows, int kPanels>
HWY_INLINE void tile_block(const DecodedBlock& block, int first_panel, const float* HWY_RESTRICT x,
                           float* HWY_RESTRICT out) {
  constexpr std::size_t kVectors = kPanels * kParts;
  const DF32 df;
  const float* const* panels = block.panels + first_panel;
  VF32 sums[kRows][kVectors];
  for (auto& row : sums) {
    for (VF32& sum : row) sum = hn::Zero(df);
  }
  for (std::int64_t k = 0; k < block.n_k; ++k) {
    VF32 w[kVectors];
    for (std::size_t v = 0; v < kVectors; ++v) {
      w[v] = hn::LoadU(df, panels[v / kParts] + k * kPanelOutputs + v % kParts * kLanes);
    }
    for (int r = 0; r < kRows; ++r) {
      const VF32 value = hn::Set(df, x[r * kBlockK + k]);
      for (std::size_t v = 0; v < kVectors; ++v) sums[r][v] = hn::MulAdd(value, w[v], sums[r][v]);
    }
  }
  for (std::size_t v = 0; v < kVectors; ++v) {
    const VF32 scale = hn::Load(df, block.scales[first_panel] + v * kLanes);
    for (int r = 0; r < kRows; ++r) {
      float* place = out + r * kTileOutputs + v * kLanes;
      hn::StoreU(hn::MulAdd(sums[r][v], scale, hn::LoadU(df, place)), df, place);
    }
  }
}

/// Rows of the next smaller register tile: 12, 8, 4, 2, 1 or 6, 4, 2, 1 or 3, 2, 1.
constexpr int fewer_rows(int rows) {
  if (rows > 8) return 8;
  if (rows > 4) return 4;
  return rows > 2 ? 2 : 1;
}

/// Adds one block for all rows, kRows at a time and the rest with smaller tiles.
template <int kRows>
HWY_NOINLINE void tile_rows(const DecodedBlock& block, const float* const* rows, int n_rows,
                            float* out) {
  // Side by side the rows have one base register and constant displacements; the copy is read
  // n_panels · 16 times.
  HWY_ALIGN float x[kRows * kBlockK];
  int r = 0;
  for (; r + kRows <= n_rows; r += kRows) {
    for (int i = 0; i < kRows; ++i) {
      std::copy_n(rows[r + i] + block.k_begin, block.n_k, x + i * kBlockK);
    }
    float* place = out + r * kTileOutputs;
    int p = 0;
    for (; p + kRegisterPanels <= block.n_panels; p += kRegisterPanels) {
      tile_block<kRows, kRegisterPanels>(block, p, x, place + p * kPanelOutputs);
    }
    if (p < block.n_panels) tile_block<kRows, 1>(block, p, x, place + p * kPanelOutputs);
  }
  if constexpr (kRows > 1) {
    if (r < n_rows) {
      tile_rows<fewer_rows(kRows)>(block, rows + r, n_rows - r, out + r * kTileOutputs);
    }
  }
}

template <WeightFormat kFormat>
HWY_INLINE void multiply_as(const CpuWeight& weight, std::int64_t first_panel, int n_panels,
                            const float* const* rows, int n_rows, float* out) {
  if (n_rows <= kDirectRows) {
    int p = 0;
    for (; p + kRegisterPanels <= n_panels; p += kRegisterPanels) {
      multiply_direct<kFormat, kDirectRows, kRegisterPanels>(weight, first_panel + p, rows, n_rows,
                                                             out + p * kPanelOutputs);
    }
    if (p < n_panels) {
      multiply_direct<kFormat, kDirectRows, 1>(weight, first_panel + p, rows, n_rows,
                                               out + p * kPanelOutputs);
    }
    return;
  }
  HWY_ALIGN float decoded[kTilePanels][kBlockK * kPanelOutputs];  // 16 KiB, half of the L1 cache
  DecodedBlock block;
  block.n_panels = n_panels;
  for (std::int64_t k = 0; k < weight.n_in(); k += kBlockK) {
    block.k_begin = k;
    block.n_k = std::min<std::int64_t>(kBlockK, weight.n_in() - k);
    for (int p = 0; p < n_panels; ++p) {
      for (std::size_t part = 0; part < kParts; ++part) {
        hn::Store(load_block_scales<kFormat>(weight, first_panel + p, k, part), DF32(),
                  block.scales[p] + part * kLanes);
      }
      if constexpr (kFormat == WeightFormat::kF32) {
        const auto* values = reinterpret_cast<const float*>(weight.panel(first_panel + p));
        block.panels[p] = values + k * kPanelOutputs;
      } else {
        decode_panel<kFormat>(weight, first_panel + p, k, k + block.n_k, decoded[p]);
        block.panels[p] = decoded[p];
      }
    }
    tile_rows<kRegisterRows>(block, rows, n_rows, out);
  }
}

/// out [n_rows, kTileOutputs] = rows · weightᵀ for up to kTilePanels panels from `first_panel` on.
///
/// Shapes    rows [n_rows] starts of n_in floats each
HWY_INLINE void multiply_tile(const CpuWeight& weight, std::int64_t first_panel, int n_panels,
                              const float* const* rows, int n_rows, float* out) {
  std::fill_n(out, n_rows * kTileOutputs, 0.0f);
  switch (weight.format()) {
    case WeightFormat::kF32:
      return multiply_as<WeightFormat::kF32>(weight, first_panel, n_panels, rows, n_rows, out);
    case WeightFormat::kBf16:
      return multiply_as<WeightFormat::kBf16>(weight, first_panel, n_panels, rows, n_rows, out);
    case WeightFormat::kFp8Block:
      return multiply_as<WeightFormat::kFp8Block>(weight, first_panel, n_panels, rows, n_rows, out);
    case WeightFormat::kFp4Group:
      return multiply_as<WeightFormat::kFp4Group>(weight, first_panel, n_panels, rows, n_rows, out);
  }
}

/// Rounds `n` results and stores them; reads and writes nothing beyond them.
HWY_INLINE void store_rounded(const float* HWY_RESTRICT from, std::size_t n, Rounding rounding,
                              float* HWY_RESTRICT to) {
  const DF32 df;
  std::size_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    hn::StoreU(round_as(hn::LoadU(df, from + i), rounding), df, to + i);
  }
  if (i < n) store_first(round_as(load_first(from + i, n - i), rounding), to + i, n - i);
}

}  // namespace HWY_NAMESPACE
}  // namespace precis
HWY_AFTER_NAMESPACE();

#endif  // toggled guard
