// FP8 products of more tokens than one small tile holds.
#pragma once

#include "backend/cuda/dense/call.cuh"

namespace precis::cuda {

/// out = x · weightᵀ for every target of `call`, whose maps and cuts are made here; values have the bits
/// that dense.h promises.
///
/// Requires  FP8 weights, quantised inputs, rounding to bf16; fits_many
void multiply_many(Device& device, DenseCall& call);

/// Whether the rows of each group are shared out evenly.
bool fits_many(const DenseCall& call);

}  // namespace precis::cuda
