// Rotary angles of a step, computed once and shared by every layer and backend.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "tensor/view.h"

namespace precis {

/// Cosines and sines at `n` positions first, first + stride, …; row i is cos for pairs 0 … Dr/2−1,
/// then sin for the same pairs.
struct RopeTable {
  Mat<const float> cos_sin;  // [n, Dr]
  std::int64_t first_position = 0;
  std::int64_t stride = 1;

  int n_pairs() const { return static_cast<int>(cos_sin.cols / 2); }
  const float* cos(std::int64_t index) const { return cos_sin.row(index); }
  const float* sin(std::int64_t index) const { return cos_sin.row(index) + cos_sin.cols / 2; }
};

/// Parameters of the YaRN interpolation; factor 1 leaves the frequencies as they are.
struct YarnScaling {
  double factor = 1;
  double original_max_position = 0;
  double beta_fast = 32;
  double beta_slow = 1;
};

/// The Dr/2 inverse frequencies, θ^(−2j/Dr), interpolated by YaRN where factor > 1.
///
/// Units     radians per position
/// Source    docs/model.md §5.3; model.py `precompute_freqs_cis`, evaluated in f32 as there
std::vector<float> rope_frequencies(int rope_width, double theta, const YarnScaling& yarn);

/// Fills `out` [n, Dr] with the cosines and sines at positions first + i·stride.
///
/// The angle is the f32 product position·frequency: near 10⁶ its spacing is 1/16 rad, and the
/// release was trained with exactly that.  Its cosine is then taken at full range in f64.
///
/// Cost      n·Dr/2 sincos
void fill_rope_table(std::span<const float> frequencies, std::int64_t first_position,
                     std::int64_t stride, Mat<float> out);

}  // namespace precis
