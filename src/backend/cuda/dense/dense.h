// Products with FP8 and BF16 weights on the tensor cores: every dense weight of the model.
//
// A value is Σ over blocks of 128 along k, ascending, of scale · (the sum of the block, by wgmma in
// steps of 32 bytes, ascending), each block added with one f32 multiply-add.  No step depends on the
// number of tokens or on how rows are shared out, so a value has equal bits in every batch and chunk.
// Layouts, bytes and cycles: docs/kernels/cuda_product.md.
#pragma once

#include <cstdint>
#include <span>

#include "backend/cuda/device.h"
#include "backend/cuda/weight.h"
#include "tensor/view.h"

namespace precis::cuda {

/// Rows of an input as the tensor cores read them, in the workspace.
struct DenseInput {
  const std::uint8_t* tiles = nullptr;     // [n_planes, blocks along k, padded_tokens / 8] atoms
  const float* scales = nullptr;           // [n_blocks, padded_tokens] of e4m3 codes, or null
  const std::uint8_t* is_split = nullptr;  // [n_flags] 1 where a bf16 number did not hold a value
  int n_flags = 0;
  int n_planes = 1;
  int n_blocks = 0;  // of 128 along k, of all groups
  int n_tokens = 0;
  int padded_tokens = 0;
};

struct DenseTarget {
  WeightView weight;
  Mat<float> out;  // [T, n_out]
};

/// Whether multiply_dense takes this weight, cut into `n_groups` along its outputs.
bool is_dense(const WeightView& weight, int n_groups);

/// x as the release quantises it: e4m3 codes and a power of two per token and 128 columns.
DenseInput quantise_rows(Device& device, Mat<const float> x);

/// x as sums of bf16 numbers: one where `values` says that x holds bf16 numbers, otherwise as many of
/// three as the values need, which is exact.  `weight` is one that the result will be multiplied with.
DenseInput split_rows(Device& device, Mat<const float> x, int n_groups, const WeightView& weight,
                      Rounding values);

/// out = x · weightᵀ for every target; quantised rows need FP8 weights.
///
/// Requires  is_dense for every target, equal formats and n_in; one target where n_groups > 1
void multiply_dense(Device& device, const DenseInput& x, std::span<const DenseTarget> targets,
                    int n_groups, Rounding rounding);

}  // namespace precis::cuda
