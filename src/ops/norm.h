// Root-mean-square normalisation, and the sum that joins the two inputs of the MTP block.
#pragma once

#include <span>

#include "ops/weight.h"
#include "tensor/view.h"

namespace precis {

/// out = x · rsqrt(mean(x²) + eps) · weight, row by row.
///
/// Shapes    x, out [n, width] (out may be x) · weight [width]
/// Source    docs/model.md §4 "RMSNorm": plain weight, no 1 + w
struct RmsNormArgs {
  Mat<const float> x;
  std::span<const float> weight;
  Mat<float> out;
  float eps = 0;
  Rounding rounding = Rounding::kNone;
};

/// streams[t, m] += x[t] for every stream m.
///
/// Shapes    x [T, D] · streams [T, M, D]
/// Source    model.py `MTPBlock.forward`
struct AddToStreamsArgs {
  Mat<const float> x;
  Cube<float> streams;
  Rounding rounding = Rounding::kNone;
};

void check(const RmsNormArgs& args);
void check(const AddToStreamsArgs& args);

}  // namespace precis
