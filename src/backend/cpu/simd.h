// Vector helpers that every kernel shares: rounding, exp, sums in a fixed order, activation
// quantisation.  Each result is the same bits on every instruction set with fused multiply-add.
//
// A vector register holds 16, 8 or 4 floats; whatever sums across lanes therefore works on 16
// virtual lanes.  Included once per instruction set by foreach_target.h, hence the guard that
// toggles.
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
inline constexpr std::size_t kLanes = HWY_MAX_LANES_D(DF32);
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

}  // namespace HWY_NAMESPACE
}  // namespace precis
HWY_AFTER_NAMESPACE();

#endif  // toggled guard
