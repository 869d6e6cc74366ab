// Products of f32 rows with stored weights: the one piece of arithmetic behind linear, the experts,
// the router and the mixing values.
//
// Every value is Σ over blocks of 128 along k, in ascending order, of a chain of fused multiply-adds
// in ascending k.  Both kernels keep that order, so a value has the same bits whichever computes it.
// Byte and cycle counts: docs/kernels/cuda_product.md.
#pragma once

#include <cstdint>

#include "backend/cuda/device.h"
#include "backend/cuda/weight.h"

namespace precis::cuda {

/// Rows that a tile kernel takes at a time.
inline constexpr int kTileRows = 64;

/// Pieces of at most kTileRows rows that share a weight.
struct RowTiles {
  const int* order = nullptr;   // rows, those of one weight behind each other
  const int* weight = nullptr;  // [n] weight of a tile
  const int* begin = nullptr;   // [n] its first place in `order`
  const int* count = nullptr;   // [n]
  const int* n = nullptr;       // number of tiles
  int max_n = 0;
};

/// out[r] = x[r / x_divisor] · W(r)ᵀ for r in 0 … n_rows − 1.
struct Product {
  WeightView weight{};                       // of every row, where `table` is null
  const WeightView* table = nullptr;         // on the device
  const std::int32_t* weight_idx = nullptr;  // [n_rows] into `table`
  RowTiles tiles{};                          // needed with `table` where rows are many
  const float* x = nullptr;
  std::int64_t x_stride = 0;
  int x_divisor = 1;
  float* out = nullptr;
  std::int64_t out_stride = 0;
  int n_rows = 0;
  int n_groups = 1;
  Rounding rounding = Rounding::kNone;
};

/// Requires  all weights of `table` have the shape and format of `weight`
void multiply(Device& device, const Product& product);

/// x as the release quantises it in front of FP8 and FP4 weights, [n_rows, width]; `out` may be x.
void quantise_input(Device& device, const float* x, std::int64_t x_stride, std::int64_t n_rows,
                    int width, float* out);

}  // namespace precis::cuda
