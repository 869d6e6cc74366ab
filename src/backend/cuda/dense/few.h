// FP8 products of a few tokens, in one launch: every block of threads quantises the input for itself.
#pragma once

#include <span>

#include "backend/cuda/dense/dense.h"

namespace precis::cuda {

/// Whether an input is so small that quantising it in every block costs no time.
bool fits_few(Mat<const float> x);

/// out = x · weightᵀ for every target, with the bits of quantise_rows and multiply_dense.
///
/// Requires  is_dense for every target, FP8 and of equal n_in; fits_few(x); rounding to bf16
void multiply_few(Device& device, Mat<const float> x, std::span<const DenseTarget> targets);

}  // namespace precis::cuda
