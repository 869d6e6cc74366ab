// Hyper-connections: mixing values in one kernel, the way back in another.
//
// Mixing values are sums over all streams of a token, cut into parts of fixed length.  A block takes
// one part of a few tokens; the last block of those tokens adds the parts in order and goes on, so
// the bits depend neither on the number of tokens nor on which block comes last.
#include <algorithm>

#include "backend/cuda/launch.h"
#include "backend/cuda/limits.h"
#include "backend/cuda/numbers.cuh"
#include "backend/cuda/ops.h"
#include "base/check.h"
#include "base/integers.h"

namespace precis::cuda {
namespace {

constexpr int kThreads = 512;
constexpr int kWarps = kThreads / kWarp;
constexpr int kLaneTerms = 8;
constexpr int kPartTerms = kWarp * kLaneTerms;
constexpr int kMaxTileTokens = kWarps;  // a warp normalises the mixing values of one token
constexpr int kMaxMix = kMaxStreams * (2 + kMaxStreams);

struct HyperCall {
  const float* streams;  // [T, M, D]
  int n_streams;
  int width;
  const float* fn;  // [n_mix, M·D]
  int n_mix;
  const float* base;
  const float* scale;
  HyperParams params;
  Mat<float> x;
  Mat<float> post;  // none in front of the head
  Mat<float> comb;  // likewise
  Rounding rounding;
  int n_tokens;
  int tile_tokens;
  int n_parts;
  float* partial;  // [T, n_parts, n_mix + 1]: products with fn, then the sum of squares
  int* arrived;    // [tiles], zero before and after

  __device__ int n_terms() const { return n_streams * width; }
};

// Kernels for four streams know their number.
template <int kMax>
__device__ int streams_of(const HyperCall& c) {
  return kMax == 4 ? 4 : c.n_streams;
}

__device__ float sigmoid(float x) {
  return 1.0f / (1.0f + expf(-x));
}

__device__ void prefetch_weights(const HyperCall& c) {
  constexpr int kLineTerms = 32;
  constexpr int kLines = kPartTerms / kLineTerms;
  if (threadIdx.x == 0) prefetch(c.base);
  if (threadIdx.x == kWarp) prefetch(c.scale);
  for (int i = static_cast<int>(threadIdx.x); i < c.n_mix * kLines; i += kThreads) {
    const int at = static_cast<int>(blockIdx.x) * kPartTerms + i % kLines * kLineTerms;
    if (at < c.n_terms()) prefetch(&c.fn[static_cast<std::int64_t>(i / kLines) * c.n_terms() + at]);
  }
}

// One part of the sums of some tokens; `tile` holds their terms, zeros beyond the last.
__device__ void add_part(const HyperCall& c, int first_token, int n_tokens,
                         float (*tile)[kPartTerms]) {
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const int warp = static_cast<int>(threadIdx.x) / kWarp;
  const int begin = static_cast<int>(blockIdx.x) * kPartTerms;
  for (int i = static_cast<int>(threadIdx.x); i < n_tokens * kPartTerms; i += kThreads) {
    const int at = begin + i % kPartTerms;
    const std::int64_t t = first_token + i / kPartTerms;
    tile[i / kPartTerms][i % kPartTerms] = at < c.n_terms() ? c.streams[t * c.n_terms() + at] : 0;
  }
  __syncthreads();
  for (int out = warp; out <= c.n_mix; out += kWarps) {
    const bool is_square = out == c.n_mix;
    float weights[kLaneTerms];
#pragma unroll
    for (int i = 0; i < kLaneTerms; ++i) {
      const int at = begin + lane + kWarp * i;
      weights[i] = is_square || at >= c.n_terms()
                       ? 0
                       : __ldg(&c.fn[static_cast<std::int64_t>(out) * c.n_terms() + at]);
    }
    for (int t = 0; t < n_tokens; ++t) {
      float sum = 0;
#pragma unroll
      for (int i = 0; i < kLaneTerms; ++i) {
        const float x = tile[t][lane + kWarp * i];
        sum = fmaf(x, is_square ? x : weights[i], sum);
      }
      sum = warp_sum(sum);
      if (lane == 0) {
        const std::int64_t row = std::int64_t{first_token + t} * c.n_parts + blockIdx.x;
        c.partial[row * (c.n_mix + 1) + out] = sum;
      }
    }
  }
}

// Whether this block is the last of its tile; its tile's parts are then visible to it, behind the L1 cache.
__device__ bool is_last(const HyperCall& c) {
  __shared__ bool last;
  __syncthreads();
  if (threadIdx.x == 0) {
    __threadfence();  // for what the whole block wrote before the barrier
    last = atomicAdd(&c.arrived[blockIdx.y], 1) == c.n_parts - 1;
    if (last) c.arrived[blockIdx.y] = 0;
    __threadfence();
  }
  __syncthreads();
  return last;
}

// Within a unit in the last place; 20 rounds of Sinkhorn are a chain of 40 of them.
__device__ float reciprocal(float x) {
  float result;
  asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(result) : "f"(x));
  return result;
}

// Column sums of a matrix of which lane i < n holds row i, known to all lanes, plus `first`.
template <int kMax>
__device__ void add_columns(const float (&row)[kMax], int n, float first, float (&sums)[kMax]) {
#pragma unroll
  for (int j = 0; j < kMax; ++j) {
    if constexpr (kMax == 4) {
      const float two = row[j] + __shfl_xor_sync(0xffffffff, row[j], 1);
      sums[j] = first + (two + __shfl_xor_sync(0xffffffff, two, 2));
    } else {
      sums[j] = first;
#pragma unroll
      for (int i = 0; i < kMax; ++i) {
        if (i < n) sums[j] += __shfl_sync(0xffffffff, row[j], i);
      }
    }
  }
}

// Rows become a softmax plus eps; then columns and rows are normalised in turn, columns last.  Lane
// i < n of a warp holds row i; the other lanes hold anything that is finite.
template <int kMax>
__device__ void sinkhorn(float (&row)[kMax], int n, const HyperParams& params) {
  const auto divide_columns = [&] {
    float sums[kMax];
    add_columns(row, n, params.hc_eps, sums);
#pragma unroll
    for (int j = 0; j < kMax; ++j) row[j] *= reciprocal(sums[j]);
  };
  float largest = row[0];
#pragma unroll
  for (int j = 1; j < kMax; ++j) {
    if (j < n) largest = fmaxf(largest, row[j]);
  }
  float total = 0;
#pragma unroll
  for (int j = 0; j < kMax; ++j) {
    row[j] = j < n ? expf(row[j] - largest) : 0;
    total += row[j];
  }
#pragma unroll
  for (int j = 0; j < kMax; ++j) row[j] = row[j] / total + params.hc_eps;
  divide_columns();
  for (int iteration = 1; iteration < params.sinkhorn_iters; ++iteration) {
    float sum = 0;
#pragma unroll
    for (int j = 0; j < kMax; ++j) {
      if (j < n) sum += row[j];
    }
    const float inverse = reciprocal(sum + params.hc_eps);
#pragma unroll
    for (int j = 0; j < kMax; ++j) row[j] *= inverse;
    divide_columns();
  }
}

// Adds the parts of the sums of some tokens, a warp each at a time: lane l takes parts l, l + 32, …
__device__ void add_parts(const HyperCall& c, int first_token, int n_tokens,
                          float (*sums)[kMaxMix + 1]) {
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const int n_sums = c.n_mix + 1;
#pragma unroll 4
  for (int i = static_cast<int>(threadIdx.x) / kWarp; i < n_tokens * n_sums; i += kWarps) {
    const float* part =
        c.partial + std::int64_t{first_token + i / n_sums} * c.n_parts * n_sums + i % n_sums;
    float sum = 0;
    for (int p = lane; p < c.n_parts; p += kWarp) sum += __ldcg(part + p * n_sums);
    sum = warp_sum(sum);
    if (lane == 0) sums[i / n_sums][i % n_sums] = sum;
  }
}

// The mixing values of one token but `comb`, by a warp: `sums` are products and square of its streams,
// and become the values behind scale and base.
__device__ void mix_token(const HyperCall& c, std::int64_t t, float* sums, float* pre) {
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const int n = c.n_streams;
  const float inverse =
      1.0f / sqrtf(sums[c.n_mix] / static_cast<float>(c.n_terms()) + c.params.norm_eps);
  for (int i = lane; i < c.n_mix; i += kWarp) {
    const int part = i < n ? 0 : i < 2 * n ? 1 : 2;
    sums[i] = sums[i] * inverse * c.scale[part] + c.base[i];
  }
  __syncwarp();
  if (lane < n) pre[lane] = sigmoid(sums[lane]) + c.params.hc_eps;
  if (c.post.data == nullptr) return;
  if (lane < n) c.post.data[t * c.post.stride + lane] = 2 * sigmoid(sums[n + lane]);
}

// The balanced `comb` of one token, by a warp.
template <int kMax>
__device__ void balance_token(const HyperCall& c, std::int64_t t, const float* sums) {
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const int n = streams_of<kMax>(c);
  float row[kMax];
#pragma unroll
  for (int j = 0; j < kMax; ++j) row[j] = lane < n && j < n ? sums[2 * n + lane * n + j] : 0;
  sinkhorn(row, n, c.params);
#pragma unroll
  for (int j = 0; j < kMax; ++j) {
    if (lane < n && j < n) c.comb.data[t * c.comb.stride + lane * n + j] = row[j];
  }
}

// x of one token, by threads `thread` of `n_threads`.
template <int kMax>
__device__ void collapse_token(const HyperCall& c, std::int64_t t, const float* pre, int thread,
                               int n_threads) {
  const int n = streams_of<kMax>(c);
  constexpr int kEach = 4;  // channels whose loads are in flight together
  const float* streams = c.streams + t * c.n_terms();
  for (int begin = thread; begin < c.width; begin += kEach * n_threads) {
    float values[kEach][kMax];
#pragma unroll
    for (int i = 0; i < kEach; ++i) {
      const int d = begin + i * n_threads;
#pragma unroll
      for (int m = 0; m < kMax; ++m) {
        values[i][m] = m < n && d < c.width ? streams[m * c.width + d] : 0;
      }
    }
#pragma unroll
    for (int i = 0; i < kEach; ++i) {
      const int d = begin + i * n_threads;
      float sum = 0;
#pragma unroll
      for (int m = 0; m < kMax; ++m) {
        if (m < n) sum = fmaf(pre[m], values[i][m], sum);
      }
      if (d < c.width) c.x.data[t * c.x.stride + d] = round_as(sum, c.rounding);
    }
  }
}

template <int kMax>
__global__ void __launch_bounds__(kThreads) mix_tokens(HyperCall c) {
  __shared__ float tile[kMaxTileTokens][kPartTerms];
  __shared__ float sums[kMaxTileTokens][kMaxMix + 1];
  __shared__ float pre[kMaxTileTokens][kMaxStreams];
  const int first_token = static_cast<int>(blockIdx.y) * c.tile_tokens;
  const int n_tokens = min(c.tile_tokens, c.n_tokens - first_token);
  prefetch_weights(c);
  begin_kernel();
  add_part(c, first_token, n_tokens, tile);
  if (!is_last(c)) return;

  add_parts(c, first_token, n_tokens, sums);
  __syncthreads();
  const auto thread = static_cast<int>(threadIdx.x);
  const int warp = thread / kWarp;
  if (warp < n_tokens) mix_token(c, first_token + warp, sums[warp], pre[warp]);
  __syncthreads();
  // Few warps balance for as long as the others take for x.
  const int n_balancing = n_tokens <= kWarps / 4 && c.comb.data != nullptr ? n_tokens * kWarp : 0;
  if (warp < n_tokens && c.comb.data != nullptr) {
    balance_token<kMax>(c, first_token + warp, sums[warp]);
  }
  if (thread < n_balancing) return;
  for (int i = 0; i < n_tokens; ++i) {
    collapse_token<kMax>(c, first_token + i, pre[i], thread - n_balancing, kThreads - n_balancing);
  }
}

// A thread reads all streams of its channel before it writes any: out may be streams.
__global__ void leave_token(HyperPostArgs a) {
  __shared__ float weights[kMaxMix];
  begin_kernel();
  const std::int64_t t = blockIdx.y;
  const int n = static_cast<int>(a.streams.planes);
  const int width = static_cast<int>(a.streams.cols);
  const float* streams = a.streams.data + t * n * width;
  float* out = a.out.data + t * n * width;
  const int d = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
  const float f = d < width ? a.f.data[t * a.f.stride + d] : 0;
  float values[kMaxStreams];
#pragma unroll
  for (int i = 0; i < kMaxStreams; ++i) values[i] = i < n && d < width ? streams[i * width + d] : 0;
  for (int i = static_cast<int>(threadIdx.x); i < n + n * n; i += static_cast<int>(blockDim.x)) {
    weights[i] =
        i < n ? a.post.data[t * a.post.stride + i] : a.comb.data[t * a.comb.stride + i - n];
  }
  __syncthreads();
  if (d >= width) return;
  float mixed[kMaxStreams];
#pragma unroll
  for (int j = 0; j < kMaxStreams; ++j) mixed[j] = j < n ? weights[j] * f : 0;
#pragma unroll
  for (int i = 0; i < kMaxStreams; ++i) {
    if (i >= n) break;
#pragma unroll
    for (int j = 0; j < kMaxStreams; ++j) {
      if (j < n) mixed[j] = fmaf(weights[n + i * n + j], values[i], mixed[j]);
    }
  }
#pragma unroll
  for (int j = 0; j < kMaxStreams; ++j) {
    if (j < n) out[j * width + d] = round_as(mixed[j], a.rounding);
  }
}

void mix(Device& device, const Cube<const float>& streams, const HyperWeights& weights,
         HyperCall call) {
  PRECIS_CHECK_LE(streams.planes, std::int64_t{kMaxStreams});
  const WeightView fn = view_of(weights.fn);
  PRECIS_CHECK(fn.format == WeightFormat::kF32);
  call.streams = streams.data;
  call.n_streams = static_cast<int>(streams.planes);
  call.width = static_cast<int>(streams.cols);
  call.fn = reinterpret_cast<const float*>(fn.codes);
  call.n_mix = fn.n_out;
  call.base = weights.base.data();
  call.scale = weights.scale.data();
  call.n_tokens = static_cast<int>(streams.n);
  // Many tiles where tokens are few, as each ends in one block; fn is read once a tile.
  call.tile_tokens = std::clamp(call.n_tokens / 16, 1, kMaxTileTokens);
  call.n_parts = ceil_div(call.n_streams * call.width, kPartTerms);
  call.partial =
      device.workspace.take<float>(std::int64_t{call.n_tokens} * call.n_parts * (call.n_mix + 1));
  const int n_tiles = ceil_div(call.n_tokens, call.tile_tokens);
  call.arrived = device.hyper_counters.first(n_tiles, device.pool);
  const dim3 grid(call.n_parts, n_tiles);
  launch_overlapping(device, call.n_streams == 4 ? mix_tokens<4> : mix_tokens<kMaxStreams>, grid,
                     kThreads, 0, 1, call);
}

}  // namespace

void hyper_pre(Device& device, const HyperPreArgs& args) {
  if (args.streams.n == 0) return;
  HyperCall call{};
  call.params = args.params;
  call.x = args.x;
  call.post = args.post;
  call.comb = args.comb;
  call.rounding = args.rounding;
  mix(device, args.streams, args.weights, call);
}

void hyper_head(Device& device, const HyperHeadArgs& args) {
  if (args.streams.n == 0) return;
  HyperCall call{};
  call.params = args.params;
  call.x = args.x;
  call.rounding = args.rounding;
  mix(device, args.streams, args.weights, call);
}

void hyper_post(Device& device, const HyperPostArgs& args) {
  if (args.streams.n == 0) return;
  PRECIS_CHECK_LE(args.streams.planes, std::int64_t{kMaxStreams});
  constexpr int kLeaveThreads = 128;
  const auto n_blocks = static_cast<unsigned>(ceil_div(args.streams.cols, kLeaveThreads));
  launch_overlapping(device, leave_token, dim3(n_blocks, static_cast<unsigned>(args.streams.n)),
                     kLeaveThreads, 0, 1, args);
}

}  // namespace precis::cuda
