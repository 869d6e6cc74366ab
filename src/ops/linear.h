// Matrix products with the checkpoint's weights.
#pragma once

#include <span>

#include "ops/weight.h"
#include "tensor/view.h"

namespace precis {

/// One product of a shared input: out = x · weightᵀ.
struct LinearTarget {
  const Weight* weight = nullptr;  // [n_groups * n_out_per_group, n_in]
  Mat<float> out;                  // [T, weight->n_out()]; must not alias x
};

/// Products of one input with one or more weights; the input is quantised once for all of them.
///
/// Shapes    x [T, n_groups · n_in] f32
/// With n_groups > 1, x and the output rows are cut into groups: output rows of group g read only
/// columns g·n_in … (g+1)·n_in − 1 of x (the grouped output projection wo_a).
/// Requires  n_groups == 1 where the input is quantised: the release multiplies wo_a with BF16
///           activations, and groups of 128 would straddle its columns
/// Ensures   the value at (t, n) depends on row t of x and row n of the weight alone: terms are
///           added in ascending k within blocks of 128, and the blocks in ascending order
/// Cost      2·T·n_out·n_in flop; weight bytes once per step
/// Source    docs/model.md §4 "Products"; model.py `linear`
struct LinearArgs {
  Mat<const float> x;
  std::span<const LinearTarget> targets;
  int n_groups = 1;
  InputQuant input = InputQuant::kNone;
  Rounding rounding = Rounding::kNone;
};

void check(const LinearArgs& args);

}  // namespace precis
