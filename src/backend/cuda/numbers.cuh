// Device arithmetic that several operations share: formats, roundings, fixed-order reductions and
// the rows behind a page table.
//
// Built without contraction (-fmad=false): a product and a sum are fused only where fmaf is written,
// as on the CPU (docs/numerics.md).
#pragma once

#include <cstdint>

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_fp8.h>

#include "ops/rope.h"
#include "ops/weight.h"
#include "tensor/float4.h"
#include "tensor/float8.h"
#include "tensor/view.h"

namespace precis::cuda {

inline constexpr int kWarp = 32;

__device__ inline float bf16_bits_to_float(std::uint32_t bits) {
  return __uint_as_float(bits << 16);
}

// To nearest, ties to even; a NaN stays one.
__device__ inline std::uint16_t to_bf16_bits(float value) {
  const std::uint32_t bits = __float_as_uint(value);
  if ((bits & 0x7fffffff) > 0x7f800000) return static_cast<std::uint16_t>((bits >> 16) | 0x40);
  return static_cast<std::uint16_t>((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
}

__device__ inline float round_as(float value, Rounding rounding) {
  return rounding == Rounding::kBf16 ? bf16_bits_to_float(to_bf16_bits(value)) : value;
}

// By the hardware's conversion, which gives any NaN the same bits; round_as keeps them.
__device__ inline float to_bf16(float value) {
  return __bfloat162float(__float2bfloat16_rn(value));
}
__device__ inline std::uint32_t pack_bf16(float low, float high) {
  const __nv_bfloat162 pair = __floats2bfloat162_rn(low, high);
  return *reinterpret_cast<const std::uint32_t*>(&pair);
}

// Two products of bf16 numbers.
__device__ inline std::uint32_t multiply_bf16x2(std::uint32_t a, std::uint32_t b) {
  std::uint32_t product;
  asm("mul.rn.bf16x2 %0, %1, %2;" : "=r"(product) : "r"(a), "r"(b));
  return product;
}

// Two e4m3 codes in the high bytes of the halves become bf16 numbers 2^120 times too small.
__device__ inline std::uint32_t spread_codes(std::uint32_t codes) {
  return (codes & 0x80008000) | (codes >> 4 & 0x07f007f0);
}

__device__ inline float e4m3_to_float(std::uint8_t code) {
  return __half2float(__half(__nv_cvt_fp8_to_halfraw(code, __NV_E4M3)));
}

__device__ inline float2 e4m3x2_to_float2(std::uint16_t codes) {
  return __half22float2(__half2(__nv_cvt_fp8x2_to_halfraw2(codes, __NV_E4M3)));
}

__device__ inline float e8m0_to_float(std::uint8_t byte) {
  if (byte == 0) return __uint_as_float(0x00400000);    // 2^-127
  if (byte == 255) return __uint_as_float(0x7fc00000);  // NaN
  return __uint_as_float(static_cast<std::uint32_t>(byte) << 23);
}

// The value of an e2m1 nibble: magnitudes 0 0.5 1 1.5 2 3 4 6.
__device__ inline float e2m1_to_float(std::uint32_t nibble) {
  const std::uint32_t magnitude = nibble & 7;
  // Exponent and mantissa bits moved to their places in an f32, whose bias is 126 greater.
  const float value = magnitude < 2 ? 0.5f * static_cast<float>(magnitude)
                                    : __uint_as_float((magnitude << 22) + (126u << 23));
  return nibble & 8 ? -value : value;
}

// The scale of a group of activations (docs/numerics.md) from the bits of its largest magnitude.
__device__ inline float activation_scale(std::uint32_t max_bits) {
  const float amax = __uint_as_float(max_bits);
  return e8m0_to_float(encode_e8m0_ceil((amax < 1e-4f ? 1e-4f : amax) * (1.0f / kE4m3Max)));
}

// Codes of four values times `inverse`, the first in the lowest byte.
__device__ inline std::uint32_t to_e4m3x4(const float (&values)[4], float inverse) {
  const auto pair = [&](int i) -> std::uint32_t {
    return __nv_cvt_float2_to_fp8x2(make_float2(values[i] * inverse, values[i + 1] * inverse),
                                    __NV_SATFINITE, __NV_E4M3);
  };
  return pair(0) | pair(2) << 16;
}

// A number that changes from step to step.  A repeated recording reads it from the cell.
struct StepValue {
  std::int64_t value = 0;
  const std::int64_t* cell = nullptr;

  __device__ operator std::int64_t() const { return cell == nullptr ? value : __ldg(cell); }
};

// ---- Reductions: a fixed tree, so a result depends on the values alone.

__device__ inline float warp_sum(float value) {
  for (int step = kWarp / 2; step > 0; step /= 2) {
    value += __shfl_xor_sync(0xffffffff, value, step);
  }
  return value;
}

__device__ inline std::uint32_t warp_max(std::uint32_t value) {
  for (int step = kWarp / 2; step > 0; step /= 2) {
    const std::uint32_t other = __shfl_xor_sync(0xffffffff, value, step);
    value = value > other ? value : other;
  }
  return value;
}

// Sum over the block's threads, known to all of them; `shared` has kWarp floats.
__device__ inline float block_sum(float value, float* shared) {
  const int n_warps = static_cast<int>((blockDim.x + kWarp - 1) / kWarp);
  value = warp_sum(value);
  __syncthreads();
  if (threadIdx.x % kWarp == 0) shared[threadIdx.x / kWarp] = value;
  __syncthreads();
  float sum = 0;
  for (int w = 0; w < n_warps; ++w) sum += shared[w];
  return sum;
}

// 1 / sqrt(mean(x²) + eps) over n values, by the whole block.
__device__ inline float block_inverse_rms(const float* x, int n, float eps, float* shared) {
  float sum = 0;
  for (int i = static_cast<int>(threadIdx.x); i < n; i += static_cast<int>(blockDim.x)) {
    sum = fmaf(x[i], x[i], sum);
  }
  return 1.0f / sqrtf(block_sum(sum, shared) / static_cast<float>(n) + eps);
}

// ---- Per-row work of a block on `row` in shared memory; each ends with a barrier.

__device__ inline void block_rotate(float* row, int width, const float* cos_sin, int rope_width,
                                    Rounding rounding) {
  const int n_pairs = rope_width / 2;
  float* tail = row + width - rope_width;
  for (int j = static_cast<int>(threadIdx.x); j < n_pairs; j += static_cast<int>(blockDim.x)) {
    const float a = tail[2 * j];
    const float b = tail[2 * j + 1];
    const float c = cos_sin[j];
    const float s = cos_sin[n_pairs + j];
    tail[2 * j] = round_as(a * c - b * s, rounding);
    tail[2 * j + 1] = round_as(a * s + b * c, rounding);
  }
  __syncthreads();
}

__device__ inline void block_hadamard(float* row, int width, Rounding rounding) {
  for (int half = 1; half < width; half *= 2) {
    for (int i = static_cast<int>(threadIdx.x); i < width / 2; i += static_cast<int>(blockDim.x)) {
      const int at = i / half * 2 * half + i % half;
      const float a = row[at];
      const float b = row[at + half];
      row[at] = a + b;
      row[at + half] = a - b;
    }
    __syncthreads();
  }
  const float scale = 1.0f / sqrtf(static_cast<float>(width));
  for (int i = static_cast<int>(threadIdx.x); i < width; i += static_cast<int>(blockDim.x)) {
    row[i] = round_as(row[i] * scale, rounding);
  }
  __syncthreads();
}

// ---- Rows behind a page table.

struct Rows {
  std::byte* const* pages;
  int rows_per_page;
  int data_bytes;
  int scale_bytes;

  // Rows are int32 everywhere, and a 64-bit division would cost more than the row's load.
  __device__ std::byte* page(std::int64_t row) const {
    return pages[static_cast<std::uint32_t>(row) / static_cast<std::uint32_t>(rows_per_page)];
  }
  __device__ std::int64_t in_page(std::int64_t row) const {
    return static_cast<std::uint32_t>(row) % static_cast<std::uint32_t>(rows_per_page);
  }
  // Of a row, in its page.
  __device__ std::uint8_t* data_in(std::byte* page, std::int64_t row) const {
    return reinterpret_cast<std::uint8_t*>(page + in_page(row) * data_bytes);
  }
  __device__ std::uint8_t* scales_in(std::byte* page, std::int64_t row) const {
    return reinterpret_cast<std::uint8_t*>(
        page + static_cast<std::int64_t>(rows_per_page) * data_bytes + in_page(row) * scale_bytes);
  }
  __device__ std::uint8_t* data(std::int64_t row) const { return data_in(page(row), row); }
  __device__ std::uint8_t* scales(std::int64_t row) const { return scales_in(page(row), row); }
};

inline Rows rows_of(const RowPool& pool) {
  return {pool.pages, pool.rows_per_page, pool.data_bytes, pool.scale_bytes};
}

// Packs `row` [width] as a KV row of V4: a warp per group of 64 codes.  Called by whole warps.
__device__ inline void block_write_kv_row(const float* row, const Rows& rows, std::int64_t at,
                                          const KvRowFormat& format) {
  std::uint8_t* data = rows.data(at);
  std::uint8_t* scales = rows.scales(at);
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const int warp = static_cast<int>(threadIdx.x) / kWarp;
  const int n_warps = static_cast<int>(blockDim.x) / kWarp;
  const int nope = format.nope;
  const int n_groups = (nope + KvRowFormat::kGroup - 1) / KvRowFormat::kGroup;
  for (int g = warp; g < n_groups; g += n_warps) {
    const int begin = g * KvRowFormat::kGroup;
    const int end = min(begin + KvRowFormat::kGroup, nope);
    std::uint32_t max_bits = 0;
    for (int i = begin + lane; i < end; i += kWarp) {
      max_bits = max(max_bits, __float_as_uint(row[i]) & 0x7fffffff);
    }
    float amax = __uint_as_float(warp_max(max_bits));
    amax = amax < 1e-4f ? 1e-4f : amax;
    const std::uint8_t scale = encode_e8m0_ceil(amax * (1.0f / kE4m3Max));
    const float inverse = 1.0f / e8m0_to_float(scale);
    for (int i = begin + lane; i < end; i += kWarp) data[i] = encode_e4m3(row[i] * inverse);
    if (lane == 0) scales[g] = scale;
  }
  // The padding of the scales is part of what snapshots hash, so it has a value.
  for (int i = n_groups + static_cast<int>(threadIdx.x); i < rows.scale_bytes;
       i += static_cast<int>(blockDim.x)) {
    scales[i] = 0;
  }
  for (int i = static_cast<int>(threadIdx.x); i < format.rope; i += static_cast<int>(blockDim.x)) {
    const float value = row[nope + i];
    // Rows need not be aligned to the size of their values.
    if (format.rope_storage == RopeStorage::kF32) {
      const std::uint32_t bits = __float_as_uint(value);
      for (int b = 0; b < 4; ++b) data[nope + 4 * i + b] = static_cast<std::uint8_t>(bits >> 8 * b);
    } else {
      const std::uint16_t bits = to_bf16_bits(value);
      data[nope + 2 * i] = static_cast<std::uint8_t>(bits);
      data[nope + 2 * i + 1] = static_cast<std::uint8_t>(bits >> 8);
    }
  }
}

// Packs `row` [width] as an FP4 index row: a warp per group of 32.  Called by whole warps.
__device__ inline void block_write_index_row(const float* row, const Rows& rows, std::int64_t at,
                                             int width) {
  std::uint8_t* data = rows.data(at);
  std::uint8_t* scales = rows.scales(at);
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const int warp = static_cast<int>(threadIdx.x) / kWarp;
  const int n_warps = static_cast<int>(blockDim.x) / kWarp;
  for (int g = warp; g < width / IndexRowFormat::kGroup; g += n_warps) {
    const float value = row[g * IndexRowFormat::kGroup + lane];
    float amax = __uint_as_float(warp_max(__float_as_uint(value) & 0x7fffffff));
    amax = amax < 6 * 0x1p-126f ? 6 * 0x1p-126f : amax;
    const std::uint8_t scale = encode_e8m0_ceil(amax * (1.0f / kE2m1Max));
    const std::uint32_t code = encode_e2m1(value * (1.0f / e8m0_to_float(scale)));
    const std::uint32_t odd = __shfl_down_sync(0xffffffff, code, 1);
    if (lane % 2 == 0) {
      data[(g * IndexRowFormat::kGroup + lane) / 2] = static_cast<std::uint8_t>(code | odd << 4);
    }
    if (lane == 0) scales[g] = scale;
  }
}

}  // namespace precis::cuda
