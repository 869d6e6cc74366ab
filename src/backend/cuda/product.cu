#include <algorithm>

#include "backend/cuda/experts/layout.cuh"
#include "backend/cuda/launch.h"
#include "backend/cuda/numbers.cuh"
#include "backend/cuda/product.h"
#include "base/check.h"
#include "base/integers.h"

namespace precis::cuda {
namespace {

constexpr int kSumBlock = 128;  // terms of one chain

// ---- Weights expanded in registers.

template <int kCount>
__device__ void decode_slowly(const WeightView& w, int n, int k, float* out) {
  for (int i = 0; i < kCount; ++i) {
    const int at = k + i;
    if (at >= w.n_in) {
      out[i] = 0;
      continue;
    }
    const std::int64_t index = static_cast<std::int64_t>(n) * w.n_in + at;
    const auto scale = [&] {
      return e8m0_to_float(
          w.scales[static_cast<std::int64_t>(n / w.block_out) * w.scale_cols + at / w.block_in]);
    };
    switch (w.format) {
      case WeightFormat::kF32: out[i] = reinterpret_cast<const float*>(w.codes)[index]; break;
      case WeightFormat::kBf16:
        out[i] = bf16_bits_to_float(reinterpret_cast<const std::uint16_t*>(w.codes)[index]);
        break;
      case WeightFormat::kFp8Block: out[i] = e4m3_to_float(w.codes[index]) * scale(); break;
      case WeightFormat::kFp4Group:
        out[i] = e2m1_to_float(w.codes[index / 2] >> (4 * (index % 2)) & 0xf) * scale();
        break;
    }
  }
}

// Elements k … k + kCount − 1 of row n; k is a multiple of kCount, zeros stand beyond the row.
template <int kCount>
__device__ __forceinline__ void decode(const WeightView& w, int n, int k, float (&out)[kCount]) {
  static_assert(kCount == 8);
  if (w.is_packed) {
    int shift;
    const std::uint32_t bits = unpacked_signs(packed_word(w.codes, w.n_in, n, k, &shift));
    const float scale = e8m0_to_float(w.scales[n]);
    for (int i = 0; i < 8; ++i) {
      out[i] = ldexpf(e2m1_to_float(bits >> (4 * i) & 0xf), shift - kMaxShift) * scale;
    }
    return;
  }
  if (w.n_in % kCount != 0 || (w.scales != nullptr && w.block_in % kCount != 0)) {
    decode_slowly<kCount>(w, n, k, out);
    return;
  }
  const std::int64_t index = static_cast<std::int64_t>(n) * w.n_in + k;
  if (w.format == WeightFormat::kF32) {
    const float4* values = reinterpret_cast<const float4*>(w.codes + 4 * index);
    const float4 low = __ldg(values);
    const float4 high = __ldg(values + 1);
    out[0] = low.x, out[1] = low.y, out[2] = low.z, out[3] = low.w;
    out[4] = high.x, out[5] = high.y, out[6] = high.z, out[7] = high.w;
    return;
  }
  if (w.format == WeightFormat::kBf16) {
    const uint4 bits = __ldg(reinterpret_cast<const uint4*>(w.codes + 2 * index));
    const std::uint32_t words[4] = {bits.x, bits.y, bits.z, bits.w};
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      out[2 * i] = __uint_as_float(words[i] << 16);
      out[2 * i + 1] = __uint_as_float(words[i] & 0xffff0000);
    }
    return;
  }
  const float scale = e8m0_to_float(
      __ldg(&w.scales[static_cast<std::int64_t>(n / w.block_out) * w.scale_cols + k / w.block_in]));
  if (w.format == WeightFormat::kFp8Block) {
    const uint2 bits = __ldg(reinterpret_cast<const uint2*>(w.codes + index));
    const std::uint32_t words[2] = {bits.x, bits.y};
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const float2 pair =
          e4m3x2_to_float2(static_cast<std::uint16_t>(words[i / 2] >> (16 * (i % 2))));
      out[2 * i] = pair.x * scale;
      out[2 * i + 1] = pair.y * scale;
    }
    return;
  }
  const std::uint32_t bits = __ldg(reinterpret_cast<const std::uint32_t*>(w.codes + index / 2));
#pragma unroll
  for (int i = 0; i < 8; ++i) out[i] = e2m1_to_float(bits >> (4 * i) & 0xf) * scale;
}

__device__ __forceinline__ void decode_e4m3(std::uint32_t word, float scale, float (&out)[4]) {
  const float2 low = e4m3x2_to_float2(static_cast<std::uint16_t>(word));
  const float2 high = e4m3x2_to_float2(static_cast<std::uint16_t>(word >> 16));
  out[0] = low.x * scale, out[1] = low.y * scale;
  out[2] = high.x * scale, out[3] = high.y * scale;
}

// ---- Few rows: a thread takes one chain of 128 terms of one output.

constexpr int kVectorThreads = 256;
constexpr int kVectorBlocks = 3;  // on a multiprocessor, where a block takes one row
// So that eight lanes at different blocks read four values each from different banks.
constexpr int kPaddedBlock = kSumBlock + 4;

// sums += values times four terms of every row; `x` is a multiple of four in.
template <int kRows>
__device__ __forceinline__ void add_terms(const float (&values)[4], const float* x, int x_stride,
                                          float (&sums)[kRows]) {
#pragma unroll
  for (int r = 0; r < kRows; ++r) {
    const float4 terms = *reinterpret_cast<const float4*>(x + r * x_stride);
    sums[r] = fmaf(terms.x, values[0], sums[r]);
    sums[r] = fmaf(terms.y, values[1], sums[r]);
    sums[r] = fmaf(terms.z, values[2], sums[r]);
    sums[r] = fmaf(terms.w, values[3], sums[r]);
  }
}

// A whole chain of FP8 codes: all its loads are in flight before the first use.  `x` [kRows]
// rows, `x_stride` apart.
template <int kRows>
__device__ __forceinline__ void fp8_chain(const WeightView& w, int out, int k, const float* x,
                                          int x_stride, float (&sums)[kRows]) {
  const auto* codes =
      reinterpret_cast<const uint4*>(w.codes + static_cast<std::int64_t>(out) * w.n_in + k);
  uint4 words[kSumBlock / 16];
#pragma unroll
  for (int i = 0; i < kSumBlock / 16; ++i) words[i] = __ldg(codes + i);
  const float scale = e8m0_to_float(__ldg(
      &w.scales[static_cast<std::int64_t>(out / w.block_out) * w.scale_cols + k / w.block_in]));
#pragma unroll
  for (int i = 0; i < kSumBlock / 16; ++i) {
    const std::uint32_t parts[4] = {words[i].x, words[i].y, words[i].z, words[i].w};
#pragma unroll
    for (int p = 0; p < 4; ++p) {
      float values[4];
      decode_e4m3(parts[p], scale, values);
      add_terms(values, x + 16 * i + 4 * p, x_stride, sums);
    }
  }
}

// The same for BF16 numbers.
template <int kRows>
__device__ __forceinline__ void bf16_chain(const WeightView& w, int out, int k, const float* x,
                                           int x_stride, float (&sums)[kRows]) {
  const auto* numbers =
      reinterpret_cast<const uint4*>(w.codes + 2 * (static_cast<std::int64_t>(out) * w.n_in + k));
  constexpr int kInFlight = kSumBlock / 16;
  uint4 words[kInFlight];
#pragma unroll
  for (int i = 0; i < kInFlight; ++i) words[i] = __ldg(numbers + i);
#pragma unroll
  for (int i = 0; i < kSumBlock / 8; ++i) {
    const uint4 word = words[i % kInFlight];
    if (i < kInFlight) words[i] = __ldg(numbers + kInFlight + i);
    const std::uint32_t pairs[4] = {word.x, word.y, word.z, word.w};
#pragma unroll
    for (int p = 0; p < 4; p += 2) {
      const float values[4] = {
          __uint_as_float(pairs[p] << 16), __uint_as_float(pairs[p] & 0xffff0000),
          __uint_as_float(pairs[p + 1] << 16), __uint_as_float(pairs[p + 1] & 0xffff0000)};
      add_terms(values, x + 8 * i + 2 * p, x_stride, sums);
    }
  }
}

// A row in padded blocks, zeros behind its `n_terms`.  Loads come eight at a time.
__device__ void stage_row(const float* from, int n_terms, int n_blocks, float* to) {
  constexpr int kEach = 8;
  for (int begin = static_cast<int>(threadIdx.x); begin < n_blocks * kSumBlock;
       begin += kEach * kVectorThreads) {
    float values[kEach];
#pragma unroll
    for (int i = 0; i < kEach; ++i) {
      const int at = begin + i * kVectorThreads;
      values[i] = at < n_terms ? from[at] : 0;
    }
#pragma unroll
    for (int i = 0; i < kEach; ++i) {
      const int at = begin + i * kVectorThreads;
      if (at < n_blocks * kSumBlock) to[at / kSumBlock * kPaddedBlock + at % kSumBlock] = values[i];
    }
  }
}

template <int kRows>
__global__ void __launch_bounds__(kVectorThreads, kRows == 1 ? kVectorBlocks : 1)
    vector_product(Product p, int outs_per_block) {
  extern __shared__ float shared[];
  const int first_row = static_cast<int>(blockIdx.z) * kRows;
  const int group = static_cast<int>(blockIdx.y);
  const int n_blocks = (p.weight.n_in + kSumBlock - 1) / kSumBlock;
  const int outs_per_group = p.weight.n_out / p.n_groups;
  const int first_out = static_cast<int>(blockIdx.x) * outs_per_block;
  const int n_outs = min(outs_per_block, outs_per_group - first_out);
  begin_kernel();
  const WeightView w = p.table == nullptr ? p.weight : p.table[p.weight_idx[first_row]];
  float* x = shared;                                          // [kRows][n_blocks][kPaddedBlock]
  float* partial = shared + kRows * n_blocks * kPaddedBlock;  // [n_outs][n_blocks][kRows]

  for (int r = 0; r < kRows; ++r) {
    const int row = first_row + r;
    const float* from =
        p.x + row / p.x_divisor * p.x_stride + static_cast<std::int64_t>(group) * w.n_in;
    const int n_terms = row < p.n_rows ? w.n_in : 0;
    stage_row(from, n_terms, n_blocks, x + r * n_blocks * kPaddedBlock);
  }
  __syncthreads();

  for (int item = static_cast<int>(threadIdx.x); item < n_outs * n_blocks; item += kVectorThreads) {
    const int out = group * outs_per_group + first_out + item / n_blocks;
    const int block = item % n_blocks;
    const int n_terms = min(kSumBlock, w.n_in - block * kSumBlock);
    float sums[kRows] = {};
    const float* block_x = x + block * kPaddedBlock;
    const int x_stride = n_blocks * kPaddedBlock;
    const bool is_whole = n_terms == kSumBlock && w.n_in % 32 == 0;
    if (is_whole && w.format == WeightFormat::kFp8Block && w.block_in % kSumBlock == 0) {
      fp8_chain(w, out, block * kSumBlock, block_x, x_stride, sums);
    } else if (is_whole && w.format == WeightFormat::kBf16) {
      bf16_chain(w, out, block * kSumBlock, block_x, x_stride, sums);
    } else {
      for (int i = 0; i < n_terms; i += 8) {
        float values[8];
        decode(w, out, block * kSumBlock + i, values);
#pragma unroll
        for (int j = 0; j < 8; ++j) {
#pragma unroll
          for (int r = 0; r < kRows; ++r) {
            sums[r] = fmaf(block_x[r * x_stride + i + j], values[j], sums[r]);
          }
        }
      }
    }
#pragma unroll
    for (int r = 0; r < kRows; ++r) partial[item * kRows + r] = sums[r];
  }
  __syncthreads();

  for (int i = static_cast<int>(threadIdx.x); i < n_outs * kRows; i += kVectorThreads) {
    const int out = i / kRows;
    const int r = i % kRows;
    if (first_row + r >= p.n_rows) continue;
    float total = 0;
    for (int block = 0; block < n_blocks; ++block) {
      total += partial[(out * n_blocks + block) * kRows + r];
    }
    p.out[(first_row + r) * p.out_stride + group * outs_per_group + first_out + out] =
        round_as(total, p.rounding);
  }
}

template <int kRows>
void launch_vector(Device& device, const Product& p, int outs_per_block, int shared_bytes) {
  const int outs_per_group = p.weight.n_out / p.n_groups;
  const dim3 grid((outs_per_group + outs_per_block - 1) / outs_per_block, p.n_groups,
                  (p.n_rows + kRows - 1) / kRows);
  PRECIS_CUDA_CHECK(cudaFuncSetAttribute(
      vector_product<kRows>, cudaFuncAttributeMaxDynamicSharedMemorySize, shared_bytes));
  launch_overlapping(device, vector_product<kRows>, grid, kVectorThreads, shared_bytes, 1, p,
                     outs_per_block);
}

// Shared memory of a block that takes `rows` rows at once.
int vector_shared_bytes(const WeightView& w, int rows, int outs_per_block) {
  const int n_blocks = (w.n_in + kSumBlock - 1) / kSumBlock;
  return 4 * rows * n_blocks * (kPaddedBlock + outs_per_block);
}

// ---- Many rows: tiles of 64 rows by 64 outputs, 16 sums a thread.

constexpr int kTileOuts = 64;
constexpr int kTileDepth = 32;
constexpr int kTileThreads = 256;
constexpr int kTilePad = 4;

__global__ void __launch_bounds__(kTileThreads) tile_product(Product p) {
  __shared__ float x_tile[kTileDepth][kTileRows + kTilePad];
  __shared__ float w_tile[kTileDepth][kTileOuts + kTilePad];
  __shared__ int rows[kTileRows];
  const int group = static_cast<int>(blockIdx.z);
  const int tid = static_cast<int>(threadIdx.x);
  const auto tile = static_cast<int>(blockIdx.y);

  WeightView w = p.weight;
  if (p.table != nullptr) {
    if (tile >= *p.tiles.n) return;
    w = p.table[p.tiles.weight[tile]];
  }
  if (tid < kTileRows) {
    const int row = tile * kTileRows + tid;
    rows[tid] = p.table == nullptr          ? (row < p.n_rows ? row : -1)
                : tid < p.tiles.count[tile] ? p.tiles.order[p.tiles.begin[tile] + tid]
                                            : -1;
  }
  __syncthreads();

  const int outs_per_group = w.n_out / p.n_groups;
  const int first_out = static_cast<int>(blockIdx.x) * kTileOuts;
  const int load_row = tid / 4;  // of both tiles
  const int load_k = tid % 4 * 8;
  const int out_of_load = first_out + load_row;
  const int x_row = rows[load_row];
  const float* x = p.x + (x_row < 0 ? 0 : x_row / p.x_divisor) * p.x_stride +
                   static_cast<std::int64_t>(group) * w.n_in;
  const int r0 = tid / 16 * 4;
  const int n0 = tid % 16 * 4;
  float totals[4][4] = {};
  float sums[4][4] = {};

  for (int k = 0; k < w.n_in; k += kTileDepth) {
    float values[8] = {};
    if (out_of_load < outs_per_group && k + load_k < w.n_in) {
      decode(w, group * outs_per_group + out_of_load, k + load_k, values);
    }
#pragma unroll
    for (int j = 0; j < 8; ++j) {
      w_tile[load_k + j][load_row] = values[j];
      x_tile[load_k + j][load_row] = x_row >= 0 && k + load_k + j < w.n_in ? x[k + load_k + j] : 0;
    }
    __syncthreads();
#pragma unroll 8
    for (int i = 0; i < kTileDepth; ++i) {
      const float4 a = *reinterpret_cast<const float4*>(&x_tile[i][r0]);
      const float4 b = *reinterpret_cast<const float4*>(&w_tile[i][n0]);
      const float a_values[4] = {a.x, a.y, a.z, a.w};
      const float b_values[4] = {b.x, b.y, b.z, b.w};
#pragma unroll
      for (int r = 0; r < 4; ++r) {
#pragma unroll
        for (int n = 0; n < 4; ++n) sums[r][n] = fmaf(a_values[r], b_values[n], sums[r][n]);
      }
    }
    if ((k + kTileDepth) % kSumBlock == 0 || k + kTileDepth >= w.n_in) {
#pragma unroll
      for (int r = 0; r < 4; ++r) {
#pragma unroll
        for (int n = 0; n < 4; ++n) {
          totals[r][n] += sums[r][n];
          sums[r][n] = 0;
        }
      }
    }
    __syncthreads();
  }

  for (int r = 0; r < 4; ++r) {
    const int row = rows[r0 + r];
    if (row < 0) continue;
    for (int n = 0; n < 4; ++n) {
      const int out = first_out + n0 + n;
      if (out >= outs_per_group) continue;
      p.out[row * p.out_stride + group * outs_per_group + out] = round_as(totals[r][n], p.rounding);
    }
  }
}

void launch_tiles(Device& device, const Product& p) {
  const int outs_per_group = p.weight.n_out / p.n_groups;
  const int n_tiles = p.table == nullptr ? (p.n_rows + kTileRows - 1) / kTileRows : p.tiles.max_n;
  const dim3 grid((outs_per_group + kTileOuts - 1) / kTileOuts, n_tiles, p.n_groups);
  tile_product<<<grid, kTileThreads, 0, device.stream>>>(p);
  PRECIS_CUDA_LAUNCHED();
}

// ---- Input quantisation: a warp per group of 128.

constexpr int kGroup = 128;

__global__ void quantise(const float* x, std::int64_t x_stride, std::int64_t n_rows, int width,
                         float* out) {
  begin_kernel();
  const int n_groups = (width + kGroup - 1) / kGroup;
  const std::int64_t item =
      (static_cast<std::int64_t>(blockIdx.x) * blockDim.x + threadIdx.x) / kWarp;
  if (item >= n_rows * n_groups) return;
  const std::int64_t row = item / n_groups;
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const int begin = static_cast<int>(item % n_groups) * kGroup;
  float values[kGroup / kWarp];
  std::uint32_t max_bits = 0;
#pragma unroll
  for (int i = 0; i < kGroup / kWarp; ++i) {
    const int at = begin + i * kWarp + lane;
    values[i] = at < width ? x[row * x_stride + at] : 0;
    max_bits = max(max_bits, __float_as_uint(values[i]) & 0x7fffffff);
  }
  float amax = __uint_as_float(warp_max(max_bits));
  amax = amax < 1e-4f ? 1e-4f : amax;
  const float scale = e8m0_to_float(encode_e8m0_ceil(amax * (1.0f / kE4m3Max)));
  const float inverse = 1.0f / scale;
#pragma unroll
  for (int i = 0; i < kGroup / kWarp; ++i) {
    const int at = begin + i * kWarp + lane;
    if (at < width) out[row * width + at] = e4m3_to_float(encode_e4m3(values[i] * inverse)) * scale;
  }
}

}  // namespace

void multiply(Device& device, const Product& p) {
  if (p.n_rows == 0 || p.weight.n_out == 0) return;
  constexpr int kFewRows = 8;
  constexpr int kMaxOutsPerBlock = 64;
  const int n_blocks = (p.weight.n_in + kSumBlock - 1) / kSumBlock;
  // Rounds of blocks that fill the device, and at least one chain for every thread.
  const int n_at_once = kVectorBlocks * device.n_multiprocessors;
  const int n_rounds = ceil_div(p.weight.n_out, n_at_once * kMaxOutsPerBlock);
  const int outs_per_block =
      std::max(ceil_div(p.weight.n_out, n_at_once * n_rounds), ceil_div(kVectorThreads, n_blocks));
  const auto fits = [&](int rows) {
    return vector_shared_bytes(p.weight, rows, outs_per_block) <= device.max_shared_bytes;
  };
  const bool few = p.table != nullptr ? p.tiles.n == nullptr : p.n_rows <= kFewRows;
  if (!few || !fits(1)) {
    PRECIS_CHECK(p.table == nullptr || p.tiles.n != nullptr);
    launch_tiles(device, p);
    return;
  }
  const auto bytes = [&](int rows) { return vector_shared_bytes(p.weight, rows, outs_per_block); };
  if (p.table == nullptr && p.n_rows > 2 && fits(4)) {
    launch_vector<4>(device, p, outs_per_block, bytes(4));
  } else if (p.table == nullptr && p.n_rows > 1 && fits(2)) {
    launch_vector<2>(device, p, outs_per_block, bytes(2));
  } else {
    launch_vector<1>(device, p, outs_per_block, bytes(1));
  }
}

void quantise_input(Device& device, const float* x, std::int64_t x_stride, std::int64_t n_rows,
                    int width, float* out) {
  if (n_rows == 0) return;
  constexpr int kThreads = 256;
  const std::int64_t n_warps = n_rows * ((width + kGroup - 1) / kGroup);
  const std::int64_t n_blocks = (n_warps * kWarp + kThreads - 1) / kThreads;
  launch_overlapping(device, quantise, static_cast<unsigned>(n_blocks), kThreads, 0, 1, x, x_stride,
                     n_rows, width, out);
}

}  // namespace precis::cuda
