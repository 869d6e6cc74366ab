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

// The e4m3 and e2m1 codes become f16 numbers 2^-8 times as large, because the bits then only have
// to be shifted: f16 has the same layout with more exponent, subnormals included.
inline constexpr int kCodeExponent = 8;

template <WeightFormat kFormat>
inline constexpr int kScaleGroup = kFormat == WeightFormat::kFp8Block   ? 128
                                   : kFormat == WeightFormat::kFp4Group ? 32
                                                                        : 0;

// 16 scale bytes as factors 2^(b - 127 + 8).  A byte above 246 is taken as 246: such a scale only
// occurs where the weight itself is beyond bf16.  Byte 255 is NaN.
HWY_INLINE VF32 load_scales(const std::uint8_t* HWY_RESTRICT bytes, std::size_t part) {
  const DF32 df;
  const DU32 du;
  const hn::Rebind<std::uint8_t, DF32> du8;
  const VU32 b = hn::PromoteTo(du, hn::LoadU(du8, bytes + part * kLanes));
  const VU32 field = hn::Min(hn::Add(b, hn::Set(du, kCodeExponent)), hn::Set(du, 254));
  const VU32 bits = hn::IfThenElse(hn::Eq(b, hn::Set(du, kE8m0Nan)), hn::Set(du, 0x7fc00000),
                                   hn::ShiftLeft<23>(field));
  return hn::BitCast(df, bits);
}

enum class Nibble { kEven, kOdd };

#if HWY_TARGET == HWY_AVX3_DL

HWY_ALIGN inline constexpr float kE2m1Scaled[16] = {
    0x0p-8f,  0x1p-9f,  0x1p-8f,  0x3p-9f,  0x1p-7f,  0x3p-8f,  0x1p-6f,  0x3p-7f,
    -0x0p-8f, -0x1p-9f, -0x1p-8f, -0x3p-9f, -0x1p-7f, -0x3p-8f, -0x1p-6f, -0x3p-7f};

/// 2^-8 times the e2m1 values of kLanes code pairs.  One register holds all 16 values, so a code is
/// an index: widen, shift, look up.
template <Nibble kNibble>
HWY_INLINE VF32 load_e2m1(const std::uint8_t* HWY_RESTRICT pairs) {
  const DI32 di;
  const VI32 wide = hn::PromoteTo(di, hn::LoadU(hn::Rebind<std::uint8_t, DF32>(), pairs));
  const VI32 code =
      kNibble == Nibble::kEven ? hn::And(wide, hn::Set(di, 0xf)) : hn::ShiftRight<4>(wide);
  return hn::TableLookupLanes(hn::Load(DF32(), kE2m1Scaled), hn::IndicesFromVec(DF32(), code));
}

#else

// The high bytes of the f16 numbers 2^-8 · (0, 0.5, 1, 1.5, 2, 3, 4, 6) and their negatives; the
// low bytes are zero.
HWY_ALIGN inline constexpr std::uint8_t kE2m1HighBytes[16] = {
    0x00, 0x18, 0x1c, 0x1e, 0x20, 0x22, 0x24, 0x26, 0x80, 0x98, 0x9c, 0x9e, 0xa0, 0xa2, 0xa4, 0xa6};

/// 2^-8 times the e2m1 values of kLanes code pairs, looked up as bytes of f16 numbers.
template <Nibble kNibble>
HWY_INLINE VF32 load_e2m1(const std::uint8_t* HWY_RESTRICT pairs) {
  const hn::Rebind<std::uint8_t, DF32> du8;
  const hn::Rebind<std::uint16_t, DF32> du16;
  const hn::Rebind<hwy::float16_t, DF32> df16;
  const auto wide = hn::LoadU(du8, pairs);
  const auto code =
      kNibble == Nibble::kEven ? hn::And(wide, hn::Set(du8, 0xf)) : hn::ShiftRight<4>(wide);
  const auto table = hn::Load(hn::Full128<std::uint8_t>(), kE2m1HighBytes);
  const auto high = hn::PromoteTo(du16, hn::TableLookupBytes(table, code));
  return hn::PromoteTo(DF32(), hn::BitCast(df16, hn::ShiftLeft<8>(high)));
}

#endif

/// Weights k of the panel's outputs [part · kLanes, …), scale not applied.
template <WeightFormat kFormat, Nibble kNibble>
HWY_INLINE VF32 load_codes(const std::byte* HWY_RESTRICT panel, std::int64_t k, std::size_t part) {
  const DF32 df;
  const hn::Rebind<hwy::float16_t, DF32> df16;
  const hn::Rebind<std::uint16_t, DF32> du16;
  const std::size_t place = static_cast<std::size_t>(k) * kPanelOutputs + part * kLanes;
  if constexpr (kFormat == WeightFormat::kF32) {
    return hn::LoadU(df, reinterpret_cast<const float*>(panel) + place);
  } else if constexpr (kFormat == WeightFormat::kBf16) {
    const auto bits = hn::LoadU(du16, reinterpret_cast<const std::uint16_t*>(panel) + place);
    return hn::BitCast(df, hn::ShiftLeft<16>(hn::PromoteTo(DU32(), bits)));
  } else if constexpr (kFormat == WeightFormat::kFp8Block) {
    // Sign extension puts the sign into bits 7 to 15; shifted by 7 it fills 14 and 15, above the
    // magnitude in 7 to 13.
    const hn::Rebind<std::int8_t, DF32> di8;
    const hn::Rebind<std::int16_t, DF32> di16;
    const auto codes = hn::LoadU(di8, reinterpret_cast<const std::int8_t*>(panel) + place);
    const auto bits = hn::BitCast(du16, hn::ShiftLeft<7>(hn::PromoteTo(di16, codes)));
    return hn::PromoteTo(df, hn::BitCast(df16, hn::And(bits, hn::Set(du16, 0xbfff))));
  } else {
    return load_e2m1<kNibble>(reinterpret_cast<const std::uint8_t*>(panel) +
                              static_cast<std::size_t>(k / 2) * kPanelOutputs + part * kLanes);
  }
}

template <WeightFormat kFormat, Nibble kNibble>
HWY_INLINE VF32 load_weights(const std::byte* HWY_RESTRICT panel, std::int64_t k, std::size_t part,
                             VF32 scale) {
  const VF32 codes = load_codes<kFormat, kNibble>(panel, k, part);
  if constexpr (kScaleGroup<kFormat> == 0) return codes;
  return hn::Mul(codes, scale);  // exact: a power of two
}

/// Adds k to the chains of kRows rows and kPanels panels.
template <WeightFormat kFormat, Nibble kNibble, int kRows, int kPanels>
HWY_INLINE void direct_step(const std::byte* const (&panels)[kPanels], std::int64_t k,
                            const float* const* HWY_RESTRICT rows,
                            const VF32 (&scales)[kPanels * kParts],
                            VF32 (&sums)[kRows][kPanels * kParts]) {
  for (std::size_t v = 0; v < kPanels * kParts; ++v) {
    const VF32 w = load_weights<kFormat, kNibble>(panels[v / kParts], k, v % kParts, scales[v]);
    for (int r = 0; r < kRows; ++r) {
      sums[r][v] = hn::MulAdd(hn::Set(DF32(), rows[r][k]), w, sums[r][v]);
    }
  }
}

/// Adds block [k_begin, k_end) of kRows rows to out [kRows, kTileOutputs], weights in registers.
template <WeightFormat kFormat, int kRows, int kPanels>
HWY_INLINE void direct_block(const CpuWeight& weight, std::int64_t first_panel,
                             std::int64_t k_begin, std::int64_t k_end,
                             const float* const* HWY_RESTRICT row_starts, float* HWY_RESTRICT out) {
  constexpr std::int64_t kSegment = kScaleGroup<kFormat> == 0 ? kBlockK : kScaleGroup<kFormat>;
  const DF32 df;
  const std::byte* panels[kPanels];
  const float* rows[kRows];
  for (int p = 0; p < kPanels; ++p) panels[p] = weight.panel(first_panel + p);
  for (int r = 0; r < kRows; ++r) rows[r] = row_starts[r];
  VF32 sums[kRows][kPanels * kParts];
  for (auto& row : sums) {
    for (VF32& sum : row) sum = hn::Zero(df);
  }
  for (std::int64_t begin = k_begin; begin < k_end; begin += kSegment) {
    const std::int64_t end = std::min(begin + kSegment, k_end);
    VF32 scales[kPanels * kParts];
    for (std::size_t v = 0; v < kPanels * kParts; ++v) {
      if constexpr (kScaleGroup<kFormat> == 0) {
        scales[v] = hn::Zero(df);
      } else {
        const std::int64_t panel = first_panel + static_cast<std::int64_t>(v / kParts);
        scales[v] =
            load_scales(weight.panel_scales(panel) + begin / kSegment * kPanelOutputs, v % kParts);
      }
    }
    std::int64_t k = begin;
    for (; k + 2 <= end; k += 2) {
      direct_step<kFormat, Nibble::kEven, kRows, kPanels>(panels, k, rows, scales, sums);
      direct_step<kFormat, Nibble::kOdd, kRows, kPanels>(panels, k + 1, rows, scales, sums);
    }
    if (k < end) direct_step<kFormat, Nibble::kEven, kRows, kPanels>(panels, k, rows, scales, sums);
  }
  for (int r = 0; r < kRows; ++r) {
    for (std::size_t v = 0; v < kPanels * kParts; ++v) {
      float* place = out + r * kTileOutputs + v * kLanes;
      hn::StoreU(hn::Add(hn::LoadU(df, place), sums[r][v]), df, place);
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
    const std::int64_t k_end = std::min<std::int64_t>(k + kBlockK, weight.n_in());
    direct_block<kFormat, kRows, kPanels>(weight, first_panel, k, k_end, rows, out);
  }
}

/// Decodes [k_begin, k_end) of one panel to floats [k, 16].
template <WeightFormat kFormat>
HWY_NOINLINE void decode_panel(const CpuWeight& weight, std::int64_t panel_idx,
                               std::int64_t k_begin, std::int64_t k_end, float* HWY_RESTRICT out) {
  constexpr std::int64_t kSegment = kScaleGroup<kFormat> == 0 ? kBlockK : kScaleGroup<kFormat>;
  const DF32 df;
  const std::byte* panel = weight.panel(panel_idx);
  for (std::int64_t begin = k_begin; begin < k_end; begin += kSegment) {
    const std::int64_t end = std::min(begin + kSegment, k_end);
    for (std::size_t part = 0; part < kParts; ++part) {
      VF32 scale = hn::Zero(df);
      if constexpr (kScaleGroup<kFormat> != 0) {
        scale =
            load_scales(weight.panel_scales(panel_idx) + begin / kSegment * kPanelOutputs, part);
      }
      float* place = out + (begin - k_begin) * kPanelOutputs + part * kLanes;
      for (std::int64_t k = begin; k < end; k += 2, place += 2 * kPanelOutputs) {
        hn::StoreU(load_weights<kFormat, Nibble::kEven>(panel, k, part, scale), df, place);
        if (k + 1 == end) break;
        hn::StoreU(load_weights<kFormat, Nibble::kOdd>(panel, k + 1, part, scale), df,
                   place + kPanelOutputs);
      }
    }
  }
}

/// Adds one block to out [kRows, kTileOutputs]; weights decoded, rows packed [kRows, kBlockK].
template <int kRows, int kPanels>
HWY_INLINE void tile_block(const float* const* HWY_RESTRICT panels, const float* HWY_RESTRICT x,
                           std::int64_t n_k, float* HWY_RESTRICT out) {
  constexpr std::size_t kVectors = kPanels * kParts;
  const DF32 df;
  VF32 sums[kRows][kVectors];
  for (auto& row : sums) {
    for (VF32& sum : row) sum = hn::Zero(df);
  }
  for (std::int64_t k = 0; k < n_k; ++k) {
    VF32 w[kVectors];
    for (std::size_t v = 0; v < kVectors; ++v) {
      w[v] = hn::LoadU(df, panels[v / kParts] + k * kPanelOutputs + v % kParts * kLanes);
    }
    for (int r = 0; r < kRows; ++r) {
      const VF32 value = hn::Set(df, x[r * kBlockK + k]);
      for (std::size_t v = 0; v < kVectors; ++v) sums[r][v] = hn::MulAdd(value, w[v], sums[r][v]);
    }
  }
  for (int r = 0; r < kRows; ++r) {
    for (std::size_t v = 0; v < kVectors; ++v) {
      float* place = out + r * kTileOutputs + v * kLanes;
      hn::StoreU(hn::Add(hn::LoadU(df, place), sums[r][v]), df, place);
    }
  }
}

/// Adds one block for all rows, kRows at a time and the rest with half as many.
template <int kRows>
HWY_NOINLINE void tile_rows(const float* const* panels, int n_panels, std::int64_t k_begin,
                            std::int64_t n_k, const float* const* rows, int n_rows, float* out) {
  // Side by side the rows have one base register and constant displacements; the copy is read
  // n_panels · 16 times.
  HWY_ALIGN float x[kRows * kBlockK];
  int r = 0;
  for (; r + kRows <= n_rows; r += kRows) {
    for (int i = 0; i < kRows; ++i) {
      std::copy_n(rows[r + i] + k_begin, n_k, x + i * kBlockK);
    }
    float* place = out + r * kTileOutputs;
    int p = 0;
    for (; p + kRegisterPanels <= n_panels; p += kRegisterPanels) {
      tile_block<kRows, kRegisterPanels>(panels + p, x, n_k, place + p * kPanelOutputs);
    }
    if (p < n_panels) tile_block<kRows, 1>(panels + p, x, n_k, place + p * kPanelOutputs);
  }
  if constexpr (kRows > 1) {
    if (r < n_rows) {
      tile_rows<kRows / 2>(panels, n_panels, k_begin, n_k, rows + r, n_rows - r,
                           out + r * kTileOutputs);
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
  for (std::int64_t k = 0; k < weight.n_in(); k += kBlockK) {
    const std::int64_t k_end = std::min<std::int64_t>(k + kBlockK, weight.n_in());
    const float* panels[kTilePanels];
    for (int p = 0; p < n_panels; ++p) {
      if constexpr (kFormat == WeightFormat::kF32) {
        const auto* values = reinterpret_cast<const float*>(weight.panel(first_panel + p));
        panels[p] = values + k * kPanelOutputs;
      } else {
        decode_panel<kFormat>(weight, first_panel + p, k, k_end, decoded[p]);
        panels[p] = decoded[p];
      }
    }
    tile_rows<kRegisterRows>(panels, n_panels, k, k_end - k, rows, n_rows, out);
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
