// Hyper-connections: mixing values by the common product, then a block per token.
#include "backend/cuda/numbers.cuh"
#include "backend/cuda/ops.h"
#include "backend/cuda/product.h"
#include "base/check.h"

namespace precis::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kMaxStreams = 8;
constexpr int kMaxMix = kMaxStreams * (2 + kMaxStreams);

struct HyperCall {
  Cube<const float> streams;
  const float* products;  // [T, n_mix], streams times fn
  int n_mix;
  const float* base;
  const float* scale;
  HyperParams params;
  Mat<float> x;
  Mat<float> post;
  Mat<float> comb;
  Rounding rounding;
};

__device__ float sigmoid(float x) {
  return 1.0f / (1.0f + expf(-x));
}

// Divides rows (or columns) of comb by their sum plus eps.
__device__ void divide(float* comb, int n, bool columns, float eps) {
  const int along = columns ? n : 1;
  const int across = columns ? 1 : n;
  for (int a = 0; a < n; ++a) {
    float sum = eps;
    for (int b = 0; b < n; ++b) sum += comb[a * across + b * along];
    for (int b = 0; b < n; ++b) comb[a * across + b * along] /= sum;
  }
}

// Rows become a softmax plus eps; then columns and rows are normalised in turn, columns last.
__device__ void sinkhorn(float* comb, int n, const HyperParams& params) {
  for (int i = 0; i < n; ++i) {
    float* row = comb + i * n;
    float largest = row[0];
    for (int j = 1; j < n; ++j) largest = fmaxf(largest, row[j]);
    float sum = 0;
    for (int j = 0; j < n; ++j) sum += row[j] = expf(row[j] - largest);
    for (int j = 0; j < n; ++j) row[j] = row[j] / sum + params.hc_eps;
  }
  divide(comb, n, true, params.hc_eps);
  for (int iteration = 1; iteration < params.sinkhorn_iters; ++iteration) {
    divide(comb, n, false, params.hc_eps);
    divide(comb, n, true, params.hc_eps);
  }
}

// With post (hyper_pre) scale parts are pre, post, comb; without, pre alone.
__global__ void mix_token(HyperCall c, bool is_head) {
  __shared__ float sums[kWarp];
  __shared__ float mix[kMaxMix];
  __shared__ float pre[kMaxStreams];
  const std::int64_t t = blockIdx.x;
  const int n = static_cast<int>(c.streams.planes);
  const int width = static_cast<int>(c.streams.cols);
  const float* streams = c.streams.data + t * n * width;
  const float inverse = block_inverse_rms(streams, n * width, c.params.norm_eps, sums);
  for (int i = static_cast<int>(threadIdx.x); i < c.n_mix; i += kThreads) {
    const int part = i < n ? 0 : i < 2 * n ? 1 : 2;
    mix[i] = c.products[t * c.n_mix + i] * inverse * c.scale[part] + c.base[i];
  }
  __syncthreads();
  if (static_cast<int>(threadIdx.x) < n) {
    const int m = static_cast<int>(threadIdx.x);
    pre[m] = sigmoid(mix[m]) + c.params.hc_eps;
    if (!is_head) c.post.data[t * c.post.stride + m] = 2 * sigmoid(mix[n + m]);
  }
  if (!is_head && threadIdx.x == kWarp) sinkhorn(mix + 2 * n, n, c.params);
  __syncthreads();
  if (!is_head && static_cast<int>(threadIdx.x) < n * n) {
    c.comb.data[t * c.comb.stride + threadIdx.x] = mix[2 * n + threadIdx.x];
  }
  for (int d = static_cast<int>(threadIdx.x); d < width; d += kThreads) {
    float sum = 0;
    for (int m = 0; m < n; ++m) sum = fmaf(pre[m], streams[m * width + d], sum);
    c.x.data[t * c.x.stride + d] = round_as(sum, c.rounding);
  }
}

// A thread reads all streams of its channel before it writes any: out may be streams.
__global__ void leave_token(HyperPostArgs a) {
  __shared__ float weights[kMaxMix];
  const std::int64_t t = blockIdx.x;
  const int n = static_cast<int>(a.streams.planes);
  const int width = static_cast<int>(a.streams.cols);
  for (int i = static_cast<int>(threadIdx.x); i < n + n * n; i += kThreads) {
    weights[i] =
        i < n ? a.post.data[t * a.post.stride + i] : a.comb.data[t * a.comb.stride + i - n];
  }
  __syncthreads();
  const float* streams = a.streams.data + t * n * width;
  float* out = a.out.data + t * n * width;
  for (int d = static_cast<int>(threadIdx.x); d < width; d += kThreads) {
    const float f = a.f.data[t * a.f.stride + d];
    float mixed[kMaxStreams];
#pragma unroll
    for (int j = 0; j < kMaxStreams; ++j) mixed[j] = j < n ? weights[j] * f : 0;
    for (int i = 0; i < n; ++i) {
      const float value = streams[i * width + d];
#pragma unroll
      for (int j = 0; j < kMaxStreams; ++j) {
        if (j < n) mixed[j] = fmaf(weights[n + i * n + j], value, mixed[j]);
      }
    }
#pragma unroll
    for (int j = 0; j < kMaxStreams; ++j) {
      if (j < n) out[j * width + d] = round_as(mixed[j], a.rounding);
    }
  }
}

void mix(Device& device, const Cube<const float>& streams, const HyperWeights& weights,
         HyperCall call, bool is_head) {
  PRECIS_CHECK_LE(streams.planes, std::int64_t{kMaxStreams});
  const WeightView fn = view_of(weights.fn);
  auto* products = device.workspace.take<float>(streams.n * fn.n_out);
  Product product;
  product.weight = fn;
  product.x = streams.data;
  product.x_stride = streams.planes * streams.cols;
  product.out = products;
  product.out_stride = fn.n_out;
  product.n_rows = static_cast<int>(streams.n);
  multiply(device, product);
  call.streams = streams;
  call.products = products;
  call.n_mix = fn.n_out;
  call.base = weights.base.data();
  call.scale = weights.scale.data();
  mix_token<<<static_cast<unsigned>(streams.n), kThreads, 0, device.stream>>>(call, is_head);
  PRECIS_CUDA_LAUNCHED();
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
  mix(device, args.streams, args.weights, call, false);
}

void hyper_head(Device& device, const HyperHeadArgs& args) {
  if (args.streams.n == 0) return;
  HyperCall call{};
  call.params = args.params;
  call.x = args.x;
  call.rounding = args.rounding;
  mix(device, args.streams, args.weights, call, true);
}

void hyper_post(Device& device, const HyperPostArgs& args) {
  if (args.streams.n == 0) return;
  PRECIS_CHECK_LE(args.streams.planes, std::int64_t{kMaxStreams});
  leave_token<<<static_cast<unsigned>(args.streams.n), kThreads, 0, device.stream>>>(args);
  PRECIS_CUDA_LAUNCHED();
}

}  // namespace precis::cuda
