// Attention over packed rows in four kernels: scores, softmax, values, and the end of a head.
//
// The maximum is known before a probability is rounded, as the operation demands.  The list of a
// token (window, then selected rows) is cut into parts of fixed size, whose sums are added in order,
// so a result does not depend on what else is in the step.
// Byte and cycle counts: docs/kernels/cuda_attend.md.
#include <algorithm>

#include "backend/cuda/attend/call.cuh"
#include "backend/cuda/ops.h"
#include "base/check.h"

namespace precis::cuda {
namespace {

constexpr int kScoreRows = 32;    // rows of a block, one a lane
constexpr int kScoreSlots = 8;    // warps: each takes some heads
constexpr int kScoreDepth = 128;  // terms of one chain, and channels in shared memory
constexpr int kPartRows = 64;
constexpr int kSoftmaxThreads = 256;
constexpr int kFinishThreads = 128;

struct Call : AttendCall {
  std::int64_t first_token;  // of the tokens that one set of launches takes; scratch counts from it
  int max_rows;
  int n_parts;
  float* scores;        // [T, heads, max_rows]: scores, then probabilities
  float* partial;       // [T, parts, heads, Dv]
  float* denominators;  // [T, heads]
};

__device__ float load_f32(const std::uint8_t* bytes) {
  return __uint_as_float(bytes[0] | bytes[1] << 8 | bytes[2] << 16 |
                         static_cast<std::uint32_t>(bytes[3]) << 24);
}
__device__ float load_bf16(const std::uint8_t* bytes) {
  return bf16_bits_to_float(bytes[0] | static_cast<std::uint32_t>(bytes[1]) << 8);
}

__device__ float row_value(const RowPointer& row, const KvRowFormat& f, int channel) {
  const bool scales_behind = f.nope_storage == NopeStorage::kE4m3Scales32;
  if (channel >= f.nope) {
    const int nope_bytes = f.nope_storage == NopeStorage::kBf16 ? 2 * f.nope
                           : scales_behind ? f.nope + 4 * ((f.nope + 127) / 128)
                                           : f.nope;
    const int i = channel - f.nope;
    return f.rope_storage == RopeStorage::kF32 ? load_f32(row.data + nope_bytes + 4 * i)
                                               : load_bf16(row.data + nope_bytes + 2 * i);
  }
  if (f.nope_storage == NopeStorage::kBf16) return load_bf16(row.data + 2 * channel);
  const float code = e4m3_to_float(row.data[channel]);
  if (scales_behind) return code * load_f32(row.data + f.nope + 4 * (channel / 128));
  return code * e8m0_to_float(row.scales[channel / KvRowFormat::kGroup]);
}

// Channels channel … channel + 3, zeros beyond `end`; a word at a time where the codes allow it.
__device__ void row_values(const RowPointer& row, const KvRowFormat& f, int channel, int end,
                           float (&out)[4]) {
  const std::uint8_t* codes = row.data + channel;
  if (f.nope_storage == NopeStorage::kE4m3Scales8 && channel + 4 <= min(f.nope, end) &&
      channel % 4 == 0 && reinterpret_cast<std::uintptr_t>(codes) % 4 == 0) {
    const std::uint32_t word = __ldg(reinterpret_cast<const std::uint32_t*>(codes));
    const float scale = e8m0_to_float(__ldg(&row.scales[channel / KvRowFormat::kGroup]));
    const float2 low = e4m3x2_to_float2(static_cast<std::uint16_t>(word));
    const float2 high = e4m3x2_to_float2(static_cast<std::uint16_t>(word >> 16));
    out[0] = low.x * scale, out[1] = low.y * scale;
    out[2] = high.x * scale, out[3] = high.y * scale;
    return;
  }
#pragma unroll
  for (int i = 0; i < 4; ++i) out[i] = channel + i < end ? row_value(row, f, channel + i) : 0;
}

// A block: 32 rows of one token's list; warp s takes heads s·kHeads … of the block's heads.
template <int kHeads>
__global__ void __launch_bounds__(kScoreSlots* kWarp) score_rows(Call c) {
  __shared__ float rows[kScoreRows][kScoreDepth + 1];
  __shared__ RowPointer pointers[kScoreRows];
  __shared__ __align__(16) float queries[kScoreSlots * kHeads][kScoreDepth];
  const std::int64_t local = blockIdx.y;
  const std::int64_t t = c.first_token + local;
  const int first = static_cast<int>(blockIdx.x) * kScoreRows;
  const int n_rows = c.n_rows(t);
  if (first >= n_rows) return;
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const int warp = static_cast<int>(threadIdx.x) / kWarp;
  const int block_head = static_cast<int>(blockIdx.z) * kScoreSlots * kHeads;
  const auto width = static_cast<int>(c.q.cols);
  if (threadIdx.x < kScoreRows) {
    pointers[lane] = first + lane < n_rows ? row_at(c, t, first + lane) : RowPointer{};
  }
  __syncthreads();
  float totals[kHeads] = {};
  for (int k = 0; k < width; k += kScoreDepth) {
    const int depth = min(kScoreDepth, width - k);
    const int key_end = c.key_begin + k + depth;
#pragma unroll
    for (int r = warp; r < kScoreRows; r += kScoreSlots) {
      float values[4] = {};
      if (pointers[r].data != nullptr) {
        row_values(pointers[r], c.format, c.key_begin + k + 4 * lane, key_end, values);
      }
#pragma unroll
      for (int i = 0; i < 4; ++i) rows[r][4 * lane + i] = values[i];
    }
    for (int h = warp; h < kScoreSlots * kHeads; h += kScoreSlots) {
      const int head = block_head + h;
      for (int i = lane; i < kScoreDepth; i += kWarp) {
        queries[h][i] = head < c.n_heads && i < depth
                            ? c.q.data[(t * c.q.planes + c.first_head + head) * c.q.cols + k + i]
                            : 0;
      }
    }
    __syncthreads();
    float sums[kHeads] = {};
#pragma unroll 2
    for (int i = 0; i < depth; i += 4) {  // beyond the depth stand zeros
      float values[4];
#pragma unroll
      for (int j = 0; j < 4; ++j) values[j] = rows[lane][i + j];
#pragma unroll
      for (int h = 0; h < kHeads; ++h) {
        const float4 q = *reinterpret_cast<const float4*>(&queries[warp * kHeads + h][i]);
        sums[h] = fmaf(q.x, values[0], sums[h]);
        sums[h] = fmaf(q.y, values[1], sums[h]);
        sums[h] = fmaf(q.z, values[2], sums[h]);
        sums[h] = fmaf(q.w, values[3], sums[h]);
      }
    }
#pragma unroll
    for (int h = 0; h < kHeads; ++h) totals[h] += sums[h];
    __syncthreads();
  }
  if (first + lane >= n_rows) return;
  const bool is_row = pointers[lane].data != nullptr;
  for (int h = 0; h < kHeads; ++h) {
    const int head = block_head + warp * kHeads + h;
    if (head >= c.n_heads) return;
    c.scores[(local * c.n_heads + head) * c.max_rows + first + lane] =
        is_row ? totals[h] * c.scale : -INFINITY;
  }
}

// A NaN is above everything, so that it spreads to its head.
__device__ float larger(float a, float b) {
  return a > b || isnan(a) ? a : b;
}

__device__ float block_max(float value, float* shared) {
  for (int step = kWarp / 2; step > 0; step /= 2) {
    value = larger(value, __shfl_xor_sync(0xffffffff, value, step));
  }
  __syncthreads();
  if (threadIdx.x % kWarp == 0) shared[threadIdx.x / kWarp] = value;
  __syncthreads();
  for (int w = 0; w < kSoftmaxThreads / kWarp; ++w) value = larger(value, shared[w]);
  return value;
}

// Scores become probabilities up to the denominator.  A block takes one head, or all heads of a
// token where their mass is asked for: a thread then owns its columns of the mass.
__global__ void softmax_heads(Call c, int block_heads) {
  __shared__ float shared[kWarp];
  const std::int64_t local = blockIdx.x;
  const std::int64_t t = c.first_token + local;
  const int n = c.n_rows(t);
  const int n_window = c.n_window(t);
  const auto tid = static_cast<int>(threadIdx.x);
  const bool has_mass = c.mass.data != nullptr;
  float* mass = has_mass ? c.mass.data + t * c.mass.stride : nullptr;
  if (has_mass) {
    // The same threads add to these columns below.
    for (int r = tid; r < n_window + c.mass.cols; r += kSoftmaxThreads) {
      if (r >= n_window) mass[r - n_window] = 0;
    }
  }
  for (int i = 0; i < block_heads; ++i) {
    const int head = static_cast<int>(blockIdx.y) * block_heads + i;
    float* scores = c.scores + (local * c.n_heads + head) * c.max_rows;
    float largest = -INFINITY;
    for (int r = tid; r < n; r += kSoftmaxThreads) largest = larger(largest, scores[r]);
    largest = block_max(largest, shared);
    if (largest == -INFINITY) {  // no row at all
      if (tid == 0) c.denominators[local * c.n_heads + head] = 0;
      continue;
    }
    float sum = 0;
    for (int r = tid; r < n; r += kSoftmaxThreads) sum += expf(scores[r] - largest);
    sum = block_sum(sum, shared);
    if (c.sink != nullptr) sum += expf(c.sink[c.first_head + head] - largest);
    if (tid == 0) c.denominators[local * c.n_heads + head] = sum;
    for (int r = tid; r < n; r += kSoftmaxThreads) {
      const float weight = expf(scores[r] - largest);
      if (has_mass && r >= n_window) mass[r - n_window] += weight / sum;
      scores[r] = round_as(weight, c.rounding);
    }
  }
}

// A block: one part of a token's list and some heads; a thread takes four channels.
template <int kHeads>
__global__ void add_values(Call c) {
  __shared__ RowPointer rows[kPartRows];
  __shared__ __align__(16) float weights[kPartRows][kHeads];
  const std::int64_t local = blockIdx.y;
  const std::int64_t t = c.first_token + local;
  const int first = static_cast<int>(blockIdx.x) * kPartRows;
  const int n = min(kPartRows, c.n_rows(t) - first);
  if (n <= 0) return;
  const int block_head = static_cast<int>(blockIdx.z) * kHeads;
  for (int r = static_cast<int>(threadIdx.x); r < n; r += static_cast<int>(blockDim.x)) {
    rows[r] = row_at(c, t, first + r);
#pragma unroll
    for (int h = 0; h < kHeads; ++h) {
      const int head = min(block_head + h, c.n_heads - 1);
      weights[r][h] = c.scores[(local * c.n_heads + head) * c.max_rows + first + r];
    }
  }
  __syncthreads();
  const auto width = static_cast<int>(c.out.cols);
  for (int channel = 4 * static_cast<int>(threadIdx.x); channel < width;
       channel += 4 * static_cast<int>(blockDim.x)) {
    float sums[kHeads][4] = {};
#pragma unroll 2
    for (int r = 0; r < n; ++r) {
      if (rows[r].data == nullptr) continue;
      float values[4];
      row_values(rows[r], c.format, c.value_begin + channel, c.value_begin + width, values);
#pragma unroll
      for (int h = 0; h < kHeads; ++h) {
#pragma unroll
        for (int i = 0; i < 4; ++i) sums[h][i] = fmaf(weights[r][h], values[i], sums[h][i]);
      }
    }
#pragma unroll
    for (int h = 0; h < kHeads; ++h) {
      if (block_head + h >= c.n_heads) break;
      float* out =
          c.partial + ((local * c.n_parts + blockIdx.x) * c.n_heads + block_head + h) * width;
      for (int i = 0; i < 4 && channel + i < width; ++i) out[channel + i] = sums[h][i];
    }
  }
}

__global__ void finish_head(Call c) {
  extern __shared__ float row[];
  const std::int64_t local = blockIdx.y;
  const std::int64_t t = c.first_token + local;
  const auto head = static_cast<int>(blockIdx.x);
  const auto width = static_cast<int>(c.out.cols);
  const int n_parts = (c.n_rows(t) + kPartRows - 1) / kPartRows;
  const float denominator = c.denominators[local * c.n_heads + head];
  float* out = c.out.data + (t * c.out.planes + c.first_head + head) * width;
  for (int i = static_cast<int>(threadIdx.x); i < width; i += kFinishThreads) {
    float sum = 0;
    for (int part = 0; part < n_parts; ++part) {
      sum += c.partial[((local * c.n_parts + part) * c.n_heads + head) * width + i];
    }
    row[i] = denominator == 0 ? 0 : round_as(sum / denominator, c.rounding);
  }
  __syncthreads();
  const auto n_pairs = static_cast<int>(c.angles.cols / 2);
  const float* cosines = c.angles.data + t * c.angles.stride;
  float* tail = row + width - 2 * n_pairs;
  for (int j = static_cast<int>(threadIdx.x); j < n_pairs && denominator != 0;
       j += kFinishThreads) {
    const float a = tail[2 * j];
    const float b = tail[2 * j + 1];
    tail[2 * j] = round_as(a * cosines[j] + b * cosines[n_pairs + j], c.rounding);
    tail[2 * j + 1] = round_as(b * cosines[j] - a * cosines[n_pairs + j], c.rounding);
  }
  __syncthreads();
  for (int i = static_cast<int>(threadIdx.x); i < width; i += kFinishThreads) out[i] = row[i];
}

template <int kHeads>
void launch_scores(Device& device, const Call& c, unsigned n_tokens) {
  const dim3 grid((c.max_rows + kScoreRows - 1) / kScoreRows, n_tokens,
                  (c.n_heads + kScoreSlots * kHeads - 1) / (kScoreSlots * kHeads));
  score_rows<kHeads><<<grid, kScoreSlots * kWarp, 0, device.stream>>>(c);
  PRECIS_CUDA_LAUNCHED();
}

template <int kHeads>
void launch_values(Device& device, const Call& c, unsigned n_tokens) {
  const auto width = static_cast<int>(c.out.cols);
  const int n_threads = std::min(256, (width / 4 + kWarp - 1) / kWarp * kWarp);
  const dim3 grid(c.n_parts, n_tokens, (c.n_heads + kHeads - 1) / kHeads);
  add_values<kHeads><<<grid, n_threads, 0, device.stream>>>(c);
  PRECIS_CUDA_LAUNCHED();
}

void run(Device& device, const Call& c, unsigned n_tokens) {
  if (c.max_rows > 0) {
    c.n_heads > 32   ? launch_scores<8>(device, c, n_tokens)
    : c.n_heads > 16 ? launch_scores<4>(device, c, n_tokens)
    : c.n_heads > 8  ? launch_scores<2>(device, c, n_tokens)
                     : launch_scores<1>(device, c, n_tokens);
  }
  const int block_heads = c.mass.data == nullptr ? 1 : c.n_heads;
  softmax_heads<<<dim3(n_tokens, c.n_heads / block_heads), kSoftmaxThreads, 0, device.stream>>>(
      c, block_heads);
  PRECIS_CUDA_LAUNCHED();
  if (c.max_rows > 0) {
    c.n_heads > 4 ? launch_values<16>(device, c, n_tokens) : launch_values<4>(device, c, n_tokens);
  }
  finish_head<<<dim3(c.n_heads, n_tokens), kFinishThreads, 4 * static_cast<int>(c.out.cols),
                device.stream>>>(c);
  PRECIS_CUDA_LAUNCHED();
}

// All tokens, as many at a time as a workspace of bounded size serves.
void run_tokens(Device& device, Call call) {
  constexpr std::int64_t kMaxWorkspaceFloats = std::int64_t{64} << 20;
  const std::int64_t token_floats =
      std::int64_t{call.n_heads} * (call.max_rows + call.n_parts * call.out.cols + 1);
  const std::int64_t chunk =
      std::clamp<std::int64_t>(kMaxWorkspaceFloats / token_floats, 1, call.q.n);
  device.workspace.begin();
  call.scores = device.workspace.take<float>(chunk * call.n_heads * call.max_rows);
  call.partial = device.workspace.take<float>(chunk * call.n_parts * call.n_heads * call.out.cols);
  call.denominators = device.workspace.take<float>(chunk * call.n_heads);
  for (call.first_token = 0; call.first_token < call.q.n; call.first_token += chunk) {
    run(device, call, static_cast<unsigned>(std::min(chunk, call.q.n - call.first_token)));
  }
}

}  // namespace

void attend_general(Device& device, const AttendCall& shared_call, std::int64_t most_listed) {
  Call call{shared_call};
  call.max_rows = static_cast<int>(call.window + most_listed);
  call.n_parts = (call.max_rows + kPartRows - 1) / kPartRows;
  run_tokens(device, call);
}

}  // namespace precis::cuda
