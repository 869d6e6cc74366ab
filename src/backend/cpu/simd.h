// Vector helpers that every kernel shares: rounding, exp, sums in a fixed order, activation
// quantisation.  Each result is the same bits on every instruction set with fused multiply-add.
//
// A vector register holds 16, 8 or 4 floats; whatever sums across lanes therefore works on 16
// virtual lanes.  Included once per instruction set by foreach_target.h, hence the guard that
// toggles.
#include <algorithm>
#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>

#include <hwy/highway.h>

#include "ops/weight.h"
#include "tensor/float8.h"
#include "tensor/quant.h"

#if defined(PRECIS_CPU_SIMD_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef PRECIS_CPU_SIMD_H_
#undef PRECIS_CPU_SIMD_H_
#else
#define PRECIS_CPU_SIMD_H_
#endif

HWY_BEFORE_NAMESPACE();
namespace precis {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

using DF32 = hn::CappedTag<float, 16>;
using DI32 = hn::RebindToSigned<DF32>;
using DU32 = hn::RebindToUnsigned<DF32>;
using VF32 = hn::Vec<DF32>;
using VI32 = hn::Vec<DI32>;
using VU32 = hn::Vec<DU32>;

inline constexpr std::size_t kVirtualLanes = 16;
inline constexpr std::size_t kLanes = hn::MaxLanes(DF32());
inline constexpr std::size_t kParts = kVirtualLanes / kLanes;  // registers for 16 virtual lanes

/// As tensor/bf16.h: round to nearest even, NaN stays NaN.
HWY_INLINE VF32 round_to_bf16(VF32 v) {
  const DF32 df;
  const DU32 du;
  const VU32 bits = hn::BitCast(du, v);
  const VU32 lsb = hn::And(hn::ShiftRight<16>(bits), hn::Set(du, 1));
  const VU32 rounded = hn::Add(hn::Add(bits, hn::Set(du, 0x7fff)), lsb);
  const VU32 quiet = hn::Or(bits, hn::Set(du, 0x00400000));
  const VU32 chosen = hn::IfThenElse(hn::RebindMask(du, hn::IsNaN(v)), quiet, rounded);
  return hn::BitCast(df, hn::And(chosen, hn::Set(du, 0xffff0000)));
}

HWY_INLINE VF32 round_as(VF32 v, Rounding rounding) {
  return rounding == Rounding::kBf16 ? round_to_bf16(v) : v;
}

/// e^x: within 2 ulp, gradual underflow, overflow to infinity, NaN stays NaN.
HWY_INLINE VF32 exp_f32(VF32 x) {
  const DF32 df;
  const DI32 di;
  // Beyond these bounds the result is 0 or infinity; comparisons let NaN through.
  const VF32 lowest = hn::Set(df, -110.0f);
  const VF32 highest = hn::Set(df, 90.0f);
  VF32 v = hn::IfThenElse(hn::Lt(x, lowest), lowest, x);
  v = hn::IfThenElse(hn::Gt(v, highest), highest, v);
  // e^x = 2^n · e^r with |r| <= ln2 / 2; ln2 in two parts so that n · ln2 is exact enough.
  const VI32 n = hn::NearestInt(hn::Mul(v, hn::Set(df, 1.44269504088896341f)));
  const VF32 n_f32 = hn::ConvertTo(df, n);
  VF32 r = hn::NegMulAdd(n_f32, hn::Set(df, 0.693145751953125f), v);
  r = hn::NegMulAdd(n_f32, hn::Set(df, 1.42860682030941723e-6f), r);
  // Taylor to the sixth power plus a seventh: the first omitted term is below 2^-26 of the result.
  VF32 p = hn::Set(df, 1.0f / 5040);
  p = hn::MulAdd(p, r, hn::Set(df, 1.0f / 720));
  p = hn::MulAdd(p, r, hn::Set(df, 1.0f / 120));
  p = hn::MulAdd(p, r, hn::Set(df, 1.0f / 24));
  p = hn::MulAdd(p, r, hn::Set(df, 1.0f / 6));
  p = hn::MulAdd(p, r, hn::Set(df, 0.5f));
  p = hn::MulAdd(p, r, hn::Set(df, 1.0f));
  p = hn::MulAdd(p, r, hn::Set(df, 1.0f));
  // 2^n in two factors: n reaches -159 and 130, a single exponent field does not.
  const VI32 half = hn::ShiftRight<1>(n);
  const VI32 bias = hn::Set(di, 127);
  const VF32 first = hn::BitCast(df, hn::ShiftLeft<23>(hn::Add(half, bias)));
  const VF32 second = hn::BitCast(df, hn::ShiftLeft<23>(hn::Add(hn::Sub(n, half), bias)));
  return hn::Mul(hn::Mul(p, first), second);
}

HWY_INLINE VF32 sigmoid(VF32 x) {
  const VF32 one = hn::Set(DF32(), 1.0f);
  return hn::Div(one, hn::Add(one, exp_f32(hn::Neg(x))));
}

#if HWY_TARGET != HWY_SCALAR
/// Four vectors, seen as 4 × 4 words in each 128-bit block, transposed within the blocks.
HWY_INLINE void transpose_in_blocks(VU32& a, VU32& b, VU32& c, VU32& d) {
  const DU32 d_u32;
  const hn::Repartition<std::uint64_t, DU32> d_u64;
  const auto low_ab = hn::BitCast(d_u64, hn::InterleaveLower(d_u32, a, b));
  const auto low_cd = hn::BitCast(d_u64, hn::InterleaveLower(d_u32, c, d));
  const auto high_ab = hn::BitCast(d_u64, hn::InterleaveUpper(d_u32, a, b));
  const auto high_cd = hn::BitCast(d_u64, hn::InterleaveUpper(d_u32, c, d));
  a = hn::BitCast(d_u32, hn::InterleaveLower(d_u64, low_ab, low_cd));
  b = hn::BitCast(d_u32, hn::InterleaveUpper(d_u64, low_ab, low_cd));
  c = hn::BitCast(d_u32, hn::InterleaveLower(d_u64, high_ab, high_cd));
  d = hn::BitCast(d_u32, hn::InterleaveUpper(d_u64, high_ab, high_cd));
}
#endif

/// The first n (< kLanes) floats of p, zeros behind them; reads nothing else.
HWY_INLINE VF32 load_first(const float* HWY_RESTRICT p, std::size_t n) {
  HWY_ALIGN float padded[kLanes] = {};
  for (std::size_t i = 0; i < n; ++i) padded[i] = p[i];
  return hn::Load(DF32(), padded);
}

/// Stores the first n (< kLanes) lanes of v; writes nothing else.
HWY_INLINE void store_first(VF32 v, float* HWY_RESTRICT p, std::size_t n) {
  HWY_ALIGN float padded[kLanes];
  hn::Store(v, DF32(), padded);
  for (std::size_t i = 0; i < n; ++i) p[i] = padded[i];
}

/// Adds 16 virtual lanes in one fixed tree.
HWY_INLINE float sum_lanes(const float* HWY_RESTRICT lanes) {
  float sums[kVirtualLanes];
  for (std::size_t i = 0; i < kVirtualLanes; ++i) sums[i] = lanes[i];
  for (std::size_t width = kVirtualLanes / 2; width > 0; width /= 2) {
    for (std::size_t i = 0; i < width; ++i) sums[i] += sums[i + width];
  }
  return sums[0];
}

/// Σ x², element i in virtual lane i mod 16.
HWY_INLINE float sum_squares(const float* HWY_RESTRICT x, std::size_t n) {
  const DF32 df;
  VF32 sums[kParts];
  for (VF32& sum : sums) sum = hn::Zero(df);
  std::size_t i = 0;
  for (; i + kVirtualLanes <= n; i += kVirtualLanes) {
    for (std::size_t part = 0; part < kParts; ++part) {
      const VF32 v = hn::LoadU(df, x + i + part * kLanes);
      sums[part] = hn::MulAdd(v, v, sums[part]);
    }
  }
  for (std::size_t part = 0; i < n; ++part, i += kLanes) {
    const VF32 v = n - i < kLanes ? load_first(x + i, n - i) : hn::LoadU(df, x + i);
    sums[part] = hn::MulAdd(v, v, sums[part]);
  }
  HWY_ALIGN float lanes[kVirtualLanes];
  for (std::size_t part = 0; part < kParts; ++part) {
    hn::Store(sums[part], df, lanes + part * kLanes);
  }
  return sum_lanes(lanes);
}

/// 1 / sqrt(mean(x²) + eps).
HWY_INLINE float inverse_rms(const float* HWY_RESTRICT x, std::size_t n, float eps) {
  return 1.0f / std::sqrt(sum_squares(x, n) / static_cast<float>(n) + eps);
}

/// max |x|; NaN wherever one is, since magnitudes are compared as integers.
HWY_INLINE float max_magnitude(const float* HWY_RESTRICT x, std::size_t n) {
  const DU32 du;
  VU32 largest = hn::Zero(du);
  for (std::size_t i = 0; i < n; i += kLanes) {
    const VF32 v = n - i < kLanes ? load_first(x + i, n - i) : hn::LoadU(DF32(), x + i);
    largest = hn::Max(largest, hn::And(hn::BitCast(du, v), hn::Set(du, 0x7fffffff)));
  }
  HWY_ALIGN std::uint32_t lanes[kLanes];
  hn::Store(largest, du, lanes);
  return std::bit_cast<float>(*std::max_element(lanes, lanes + kLanes));
}

/// The e4m3 number nearest to a magnitude given as bits, ties to even, saturated at 448.
HWY_INLINE VF32 round_to_e4m3(VU32 magnitude) {
  const DF32 df;
  const DU32 du;
  const VU32 clamped = hn::Min(magnitude, hn::Set(du, 0x43e00000));  // 448
  const VU32 lsb = hn::And(hn::ShiftRight<20>(clamped), hn::Set(du, 1));
  const VU32 rounded = hn::Add(hn::Add(clamped, hn::Set(du, 0x7ffff)), lsb);
  const VU32 normal = hn::And(rounded, hn::Set(du, 0xfff00000));
  // One unit in the last place of 2^14 is 2^-9, the step of the subnormal codes.
  const VF32 step_is_ulp = hn::Set(df, 0x1p14f);
  const VF32 value = hn::BitCast(df, clamped);
  const VF32 subnormal = hn::Sub(hn::Add(value, step_is_ulp), step_is_ulp);
  return hn::IfThenElse(hn::Lt(value, hn::Set(df, 0x1p-6f)), subnormal, hn::BitCast(df, normal));
}

/// What storing x in e4m3 groups of 128 and reading it back gives; out may be x.
///
/// Ensures   the same bits as fake_quantize_row_e4m3
HWY_INLINE void fake_quantize_e4m3(const float* x, std::size_t n, float* out) {
  const DF32 df;
  const DU32 du;
  const VU32 sign_bit = hn::Set(du, 0x80000000);
  for (std::size_t begin = 0; begin < n; begin += kActivationGroup) {
    const std::size_t end = begin + kActivationGroup < n ? begin + kActivationGroup : n;
    const std::uint8_t byte = e4m3_group_scale(max_magnitude(x + begin, end - begin));
    const VF32 inverse = hn::Set(df, 1.0f / decode_e8m0(byte));
    const VF32 scale = hn::Set(df, decode_e8m0(byte));
    for (std::size_t i = begin; i < end; i += kLanes) {
      const bool partial = end - i < kLanes;
      const VF32 v = partial ? load_first(x + i, end - i) : hn::LoadU(df, x + i);
      const VU32 bits = hn::BitCast(du, hn::Mul(v, inverse));
      const VF32 magnitude = round_to_e4m3(hn::AndNot(sign_bit, bits));
      const VF32 value = hn::Mul(
          hn::BitCast(df, hn::Or(hn::BitCast(du, magnitude), hn::And(sign_bit, bits))), scale);
      if (partial) {
        store_first(value, out + i, end - i);
      } else {
        hn::StoreU(value, df, out + i);
      }
    }
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace precis
HWY_AFTER_NAMESPACE();

#endif  // toggled guard
