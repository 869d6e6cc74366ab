// Rows of the expert kernels: every token once for the shared expert, then the pairs of token and expert,
// grouped by expert and cut into tiles of rows that share a weight.
#pragma once

#include <cstdint>

#include "backend/cuda/device.h"
#include "backend/cuda/experts/layout.cuh"
#include "ops/experts.h"

namespace precis::cuda {

/// Rows begin … begin + n - 1 meet the weight of index `weight`; `begin` is a multiple of 8.
struct RowTile {
  int weight;
  int begin;
  int n;
};

/// All of it in device memory.
struct RowPlan {
  RowTile* tiles = nullptr;       // those of the shared expert first
  int* n_routed_tiles = nullptr;  // behind them
  int* finished = nullptr;        // [tiles] 0; parts of a tile's hidden rows that are written
  std::int32_t* place = nullptr;  // [T, A] row of a pair; token t's row for the shared expert is t
  float* row_weight = nullptr;    // [rows]
  int n_shared_tiles = 0;
  int max_rows = 0;
  int n_active = 0;
};

/// Plans the rows of a call; a tile has at most `max_tile_rows`.  One launch, to overlap.
RowPlan plan_rows(Device& device, const ExpertsArgs& args, int max_tile_rows);

/// Quantises each token and writes it to its rows.  Launched to overlap with its neighbours.
QuantisedRows quantise_rows(Device& device, const ExpertsArgs& args, const RowPlan& plan);

/// out = Σ over a token's pairs in order of their outputs, then the shared expert's, rounded.
/// `outputs` [max_rows, D] bf16.  Launched to overlap with the kernel that writes them.
void add_rows(Device& device, const ExpertsArgs& args, const RowPlan& plan,
              const std::uint16_t* outputs);

}  // namespace precis::cuda
