// Arithmetic that several operations share: sums in f64, one rounding at the end.
#pragma once

#include <span>

#include "ops/rope.h"
#include "ops/weight.h"

namespace precis::ref {

/// `value` as an op stores it: f32, or the bf16 number nearest to that f32.
float rounded(double value, Rounding rounding);

double dot(std::span<const float> a, std::span<const float> b);

/// 1 / sqrt(mean(x²) + eps).
double inverse_rms(std::span<const float> x, double eps);

/// out = x · inverse_rms · weight; `out` may be `x`.
void normalise(std::span<const float> x, std::span<const float> weight, double eps,
               Rounding rounding, std::span<float> out);

enum class Rotation : std::uint8_t { kForward, kInverse };

/// Rotates the last channels of `x` as interleaved pairs (2j, 2j + 1) by row `index` of the table.
///
/// Source    docs/model.md §5.3; model.py `apply_rotary_emb`
void rotate_tail(std::span<float> x, const RopeTable& rope, std::int64_t index, Rotation rotation,
                 Rounding rounding);

/// Walsh–Hadamard transform in natural (Sylvester) order, × n^-0.5, in place.
///
/// Requires  x.size() is a power of two
/// Source    docs/model.md §5.4; model.py `rotate_activation`
void hadamard(std::span<float> x, Rounding rounding);

}  // namespace precis::ref
