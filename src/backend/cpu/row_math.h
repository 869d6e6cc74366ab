// What is done to one row of a head: norm, rotary pairs, the Hadamard transform, rounding.
//
// Plain loops without a sum across elements, which the compiler vectorises without changing a bit;
// the one sum, of squares, has the fixed order of simd.h.
//
// Included once per instruction set by foreach_target.h, hence the guard that toggles.
#include <cmath>
#include <cstdint>

#include <hwy/highway.h>

#include "backend/cpu/simd.h"
#include "ops/rope.h"
#include "ops/weight.h"

#if defined(PRECIS_CPU_ROW_MATH_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef PRECIS_CPU_ROW_MATH_H_
#undef PRECIS_CPU_ROW_MATH_H_
#else
#define PRECIS_CPU_ROW_MATH_H_
#endif

HWY_BEFORE_NAMESPACE();
namespace precis {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

HWY_INLINE void round_row(float* x, std::int64_t n, Rounding rounding) {
  if (rounding == Rounding::kNone) return;
  const DF32 d;
  constexpr auto kStep = static_cast<std::int64_t>(kLanes);
  std::int64_t i = 0;
  for (; i + kStep <= n; i += kStep) {
    hn::StoreU(round_to_bf16(hn::LoadU(d, x + i)), d, x + i);
  }
  if (i < n)
    store_first(round_to_bf16(load_first(x + i, static_cast<std::size_t>(n - i))), x + i,
                static_cast<std::size_t>(n - i));
}

// out = x · rsqrt(mean(x²) + eps) · weight; a null weight means ones.  out may be x.
HWY_INLINE void rms_norm_row(const float* x, std::int64_t n, const float* weight, float eps,
                             float* out) {
  const float scale = inverse_rms(x, static_cast<std::size_t>(n), eps);
  if (weight == nullptr) {
    for (std::int64_t i = 0; i < n; ++i) out[i] = x[i] * scale;
  } else {
    for (std::int64_t i = 0; i < n; ++i) out[i] = x[i] * scale * weight[i];
  }
}

// Rotates the interleaved pairs of `x` [2 · n_pairs] by the angles' cosines and sines.
HWY_INLINE void rotate_pairs(float* x, int n_pairs, const float* cosines, const float* sines) {
  for (int j = 0; j < n_pairs; ++j) {
    const float a = x[2 * j];
    const float b = x[2 * j + 1];
    x[2 * j] = a * cosines[j] - b * sines[j];
    x[2 * j + 1] = a * sines[j] + b * cosines[j];
  }
}

// The rotation by the negative angles.
HWY_INLINE void rotate_pairs_back(float* x, int n_pairs, const float* cosines, const float* sines) {
  for (int j = 0; j < n_pairs; ++j) {
    const float a = x[2 * j];
    const float b = x[2 * j + 1];
    x[2 * j] = a * cosines[j] + b * sines[j];
    x[2 * j + 1] = b * cosines[j] - a * sines[j];
  }
}

// Rotates the last channels of a row of `width` and rounds them.
HWY_INLINE void rotate_row(float* row, std::int64_t width, const RopeTable& rope,
                           std::int64_t index, Rounding rounding) {
  const int n_pairs = rope.n_pairs();
  float* rotated = row + width - 2 * n_pairs;
  rotate_pairs(rotated, n_pairs, rope.cos(index), rope.sin(index));
  round_row(rotated, 2 * n_pairs, rounding);
}

// Walsh–Hadamard transform in natural order, times width^-0.5; width is a power of two.
HWY_INLINE void hadamard_row(float* x, int width) {
  for (int half = 1; half < width; half *= 2) {
    for (int begin = 0; begin < width; begin += 2 * half) {
      for (int i = begin; i < begin + half; ++i) {
        const float a = x[i];
        const float b = x[i + half];
        x[i] = a + b;
        x[i + half] = a - b;
      }
    }
  }
  const float scale = 1.0f / std::sqrt(static_cast<float>(width));
  for (int i = 0; i < width; ++i) x[i] *= scale;
}

}  // namespace HWY_NAMESPACE
}  // namespace precis
HWY_AFTER_NAMESPACE();

#endif
