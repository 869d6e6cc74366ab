// Rotary frequencies and tables: the one place where angles are made.
#include "ops/rope.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "base/check.h"

namespace precis {
namespace {

// The pair whose wavelength makes `n_turns` turns within the original context.
double correction_pair(double n_turns, int rope_width, double theta, double original_max_position) {
  return rope_width * std::log(original_max_position / (n_turns * 2 * std::numbers::pi)) /
         (2 * std::log(theta));
}

// Pairs up to `low` keep their frequency, pairs from `high` on are slowed by the whole factor.
// Source: model.py `find_correction_range`, `linear_ramp_factor`, which mix f64 and f32 like this.
void interpolate(std::vector<float>& frequencies, int rope_width, double theta,
                 const YarnScaling& yarn) {
  const double low = std::max(
      std::floor(correction_pair(yarn.beta_fast, rope_width, theta, yarn.original_max_position)),
      0.0);
  double high = std::min(
      std::ceil(correction_pair(yarn.beta_slow, rope_width, theta, yarn.original_max_position)),
      rope_width - 1.0);
  if (low == high) high += 0.001;
  const auto factor = static_cast<float>(yarn.factor);
  for (std::size_t j = 0; j < frequencies.size(); ++j) {
    const float ramp =
        (static_cast<float>(j) - static_cast<float>(low)) / static_cast<float>(high - low);
    const float kept = 1.0f - std::clamp(ramp, 0.0f, 1.0f);
    frequencies[j] = frequencies[j] / factor * (1.0f - kept) + frequencies[j] * kept;
  }
}

}  // namespace

std::vector<float> rope_frequencies(int rope_width, double theta, const YarnScaling& yarn) {
  PRECIS_CHECK_LE(0, rope_width);
  PRECIS_CHECK_EQ(rope_width % 2, 0);
  std::vector<float> frequencies(rope_width / 2);
  for (int j = 0; j < rope_width / 2; ++j) {
    // The exponent is an f32 quotient as in model.py; the power is rounded to f32 from f64, which
    // is the same on every machine, where powf differs in its last bit between libraries.
    const float exponent = static_cast<float>(2 * j) / static_cast<float>(rope_width);
    frequencies[j] = 1.0f / static_cast<float>(std::pow(theta, static_cast<double>(exponent)));
  }
  if (yarn.factor > 1 && yarn.original_max_position > 0) {
    interpolate(frequencies, rope_width, theta, yarn);
  }
  return frequencies;
}

void fill_rope_table(std::span<const float> frequencies, std::int64_t first_position,
                     std::int64_t stride, Mat<float> out) {
  const auto n_pairs = static_cast<std::int64_t>(frequencies.size());
  PRECIS_CHECK_EQ(out.cols, 2 * n_pairs);
  for (std::int64_t i = 0; i < out.rows; ++i) {
    const auto position = static_cast<float>(first_position + i * stride);
    float* cos_sin = out.row(i);
    for (std::int64_t j = 0; j < n_pairs; ++j) {
      const float angle = position * frequencies[j];
      cos_sin[j] = static_cast<float>(std::cos(static_cast<double>(angle)));
      cos_sin[n_pairs + j] = static_cast<float>(std::sin(static_cast<double>(angle)));
    }
  }
}

}  // namespace precis
