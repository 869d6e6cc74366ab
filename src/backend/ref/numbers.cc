#include "backend/ref/numbers.h"

#include <bit>
#include <cmath>
#include <vector>

#include "tensor/bf16.h"

namespace precis::ref {

float rounded(double value, Rounding rounding) {
  const auto f32 = static_cast<float>(value);
  return rounding == Rounding::kBf16 ? round_to_bf16(f32) : f32;
}

double dot(std::span<const float> a, std::span<const float> b) {
  double sum = 0;
  for (std::size_t i = 0; i < a.size(); ++i) sum += static_cast<double>(a[i]) * b[i];
  return sum;
}

double inverse_rms(std::span<const float> x, double eps) {
  return 1 / std::sqrt(dot(x, x) / static_cast<double>(x.size()) + eps);
}

void normalise(std::span<const float> x, std::span<const float> weight, double eps,
               Rounding rounding, std::span<float> out) {
  const double scale = inverse_rms(x, eps);
  for (std::size_t i = 0; i < x.size(); ++i) out[i] = rounded(x[i] * scale * weight[i], rounding);
}

void rotate_tail(std::span<float> x, const RopeTable& rope, std::int64_t index, Rotation rotation,
                 Rounding rounding) {
  const std::span<float> tail = x.last(rope.cos_sin.cols);
  for (int j = 0; j < rope.n_pairs(); ++j) {
    const double cos = rope.cos(index)[j];
    const double sin = rotation == Rotation::kForward ? rope.sin(index)[j] : -rope.sin(index)[j];
    const double even = tail[2 * j];
    const double odd = tail[2 * j + 1];
    tail[2 * j] = rounded(even * cos - odd * sin, rounding);
    tail[2 * j + 1] = rounded(even * sin + odd * cos, rounding);
  }
}

void hadamard(std::span<float> x, Rounding rounding) {
  const std::vector<float> in(x.begin(), x.end());
  for (std::size_t i = 0; i < x.size(); ++i) {
    double sum = 0;
    for (std::size_t k = 0; k < x.size(); ++k) {
      sum += std::popcount(i & k) % 2 == 0 ? in[k] : -in[k];
    }
    x[i] = rounded(sum / std::sqrt(static_cast<double>(x.size())), rounding);
  }
}

}  // namespace precis::ref
