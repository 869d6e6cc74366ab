// A block of 128 activations as a warp quantises it: a lane takes four neighbouring columns.
#pragma once

#include "backend/cuda/dense/config.h"
#include "backend/cuda/numbers.cuh"

namespace precis::cuda {

inline constexpr int kPerLane = kSumBlock / kWarp;

/// Columns 4·lane … 4·lane + 3 of a block that begins at column `first` and has `width` columns; zeros
/// beyond the width and the last token.
__device__ inline void load_block(Mat<const float> x, int token, int first, int width,
                                  float (&values)[kPerLane]) {
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const float* from = x.data + token * x.stride + first + kPerLane * lane;
  if (token < x.rows && kPerLane * (lane + 1) <= width &&
      reinterpret_cast<std::uintptr_t>(from) % sizeof(float4) == 0) {
    const float4 four = *reinterpret_cast<const float4*>(from);
    values[0] = four.x, values[1] = four.y, values[2] = four.z, values[3] = four.w;
    return;
  }
#pragma unroll
  for (int i = 0; i < kPerLane; ++i) {
    values[i] = token < x.rows && kPerLane * lane + i < width ? from[i] : 0;
  }
}

/// The lane's four codes of a block, and the scale that the whole block has.
__device__ inline std::uint32_t quantise_block(const float (&values)[kPerLane], float& scale) {
  std::uint32_t max_bits = 0;
#pragma unroll
  for (const float value : values) max_bits = max(max_bits, __float_as_uint(value) & 0x7fffffff);
  const float amax = __uint_as_float(__reduce_max_sync(0xffffffff, max_bits));
  const std::uint32_t byte = encode_e8m0_ceil((amax < 1e-4f ? 1e-4f : amax) * (1.0f / kE4m3Max));
  // A power of two far from the ends of the exponents, and so is one over it; or no number.
  constexpr std::uint32_t kNan = 0x7fffffff;
  scale = __uint_as_float(byte == kE8m0Nan ? kNan : byte << 23);
  const float inverse = __uint_as_float(byte == kE8m0Nan ? kNan : (254 - byte) << 23);
  return to_e4m3x4(values, inverse);
}

}  // namespace precis::cuda
