// One launch of a dense product: up to four targets that share an input, their rows cut into blocks.
#pragma once

#include <cuda.h>

#include "backend/cuda/dense/config.h"
#include "backend/cuda/dense/dense.h"
#include "base/integers.h"

namespace precis::cuda {

inline constexpr int kMaxTargets = 4;

struct DenseCall {
  CUtensorMap maps[kMaxTargets];  // of the weights' codes
  DenseTarget targets[kMaxTargets];
  int first_block[kMaxTargets];  // of a target's rows, in blocks of `rows`
  int n_targets;
  int n_groups;
  int rows;  // of a block of weights' rows
  int n_row_blocks;
  int n_token_tiles;
  DenseInput x;
  Rounding rounding;
};

/// What the TMA unit has to know of a weight to copy `rows` rows by 128 bytes, swizzled.
CUtensorMap map_of(const WeightView& weight, int rows);

/// Rows of a block, at most 64, so that the busiest multiprocessor has the least to do; the larger of
/// equals, which reads the input less often.
int choose_rows(const Device& device, std::span<const DenseTarget> targets, int n_groups);

/// Cuts the rows of every target into blocks of `rows`.
void cut_rows(DenseCall& call, int rows);

// One piece of work: a block of rows by tokens.
struct DenseTile {
  const DenseTarget* target;
  const CUtensorMap* map;
  int first_row;
  int first_token;
  bool has_rows;

  __device__ DenseTile(const DenseCall& call, int row_block, int token)
      : first_token(token), has_rows(row_block < call.n_row_blocks) {
    int t = call.n_targets - 1;
    while (row_block < call.first_block[t]) --t;
    target = &call.targets[t];
    map = &call.maps[t];
    first_row = (row_block - call.first_block[t]) * call.rows;
  }
};

// The e8m0 byte of the tile's rows (within 128) and a block along k, asked for and not waited for: an
// ordinary load, the same in a whole warp, would go to a uniform register and be waited for at once.
__device__ inline std::uint32_t load_scale(const WeightView& weight, int row, int block) {
  const std::uint8_t* at =
      weight.scales + static_cast<std::int64_t>(row / kSumBlock) * weight.scale_cols + block;
  std::uint32_t byte;
  asm volatile("ld.global.nc.u8 %0, [%1];" : "=r"(byte) : "l"(at));
  return byte;
}

// Of the group whose rows the tile has; a group's input has `n_blocks` of them.
__device__ inline int first_input_block(const DenseCall& call, const DenseTile& tile,
                                        int n_blocks) {
  if (call.n_groups == 1) return 0;
  return tile.first_row / (tile.target->weight.n_out / call.n_groups) * n_blocks;
}

}  // namespace precis::cuda
