// The router: gate products, then a thread per token chooses among a few hundred scores.
#include "backend/cuda/numbers.cuh"
#include "backend/cuda/ops.h"
#include "backend/cuda/product.h"
#include "base/check.h"

namespace precis::cuda {
namespace {

constexpr int kThreads = 32;
constexpr int kMaxActive = 16;

// log1p keeps what exp(x) adds below 2^-24; above the threshold softplus(x) = x to the last bit.
__device__ float gate_score(float logit) {
  constexpr float kSoftplusIsIdentity = 20;
  if (logit > kSoftplusIsIdentity) return sqrtf(logit);
  return sqrtf(static_cast<float>(log1p(exp(static_cast<double>(logit)))));
}

__global__ void score_experts(float* logits, std::int64_t n) {
  const std::int64_t i = static_cast<std::int64_t>(blockIdx.x) * 256 + threadIdx.x;
  if (i < n) logits[i] = gate_score(logits[i]);
}

__global__ void choose_experts(RouteArgs a, const float* scores, int n_experts) {
  const std::int64_t t = static_cast<std::int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (t >= a.x.rows) return;
  const auto n_active = static_cast<int>(a.expert_idx.cols);
  const float* score = scores + t * n_experts;
  int chosen[kMaxActive];
  int n = 0;
  if (a.tid2eid.rows > 0) {
    for (; n < n_active; ++n) chosen[n] = a.tid2eid.data[a.ids[t] * a.tid2eid.stride + n];
  } else {
    const auto value = [&](int e) {
      const float biased = score[e] + a.bias[e];
      return isnan(biased) ? -INFINITY : biased;
    };
    // Insertion into the best so far; experts come in ascending order, so equal ones stay behind.
    for (int e = 0; e < n_experts; ++e) {
      const float candidate = value(e);
      if (n == n_active && !(candidate > value(chosen[n - 1]))) continue;
      int place = n < n_active ? n++ : n - 1;
      for (; place > 0 && candidate > value(chosen[place - 1]); --place) {
        chosen[place] = chosen[place - 1];
      }
      chosen[place] = e;
    }
  }
  for (int i = 1; i < n; ++i) {
    const int e = chosen[i];
    int place = i;
    for (; place > 0 && chosen[place - 1] > e; --place) chosen[place] = chosen[place - 1];
    chosen[place] = e;
  }
  float sum = 0;
  for (int i = 0; i < n; ++i) sum += score[chosen[i]];
  for (int i = 0; i < n; ++i) {
    a.expert_idx.data[t * a.expert_idx.stride + i] = chosen[i];
    a.weight.data[t * a.weight.stride + i] = score[chosen[i]] / sum * a.route_scale;
  }
}

}  // namespace

void route(Device& device, const RouteArgs& args) {
  if (args.x.rows == 0) return;
  PRECIS_CHECK_LE(args.expert_idx.cols, std::int64_t{kMaxActive});
  const WeightView gate = view_of(args.gate);
  const std::int64_t n = args.x.rows * gate.n_out;
  auto* scores = device.workspace.take<float>(n);
  Product product;
  product.weight = gate;
  product.x = args.x.data;
  product.x_stride = args.x.stride;
  product.out = scores;
  product.out_stride = gate.n_out;
  product.n_rows = static_cast<int>(args.x.rows);
  multiply(device, product);
  score_experts<<<static_cast<unsigned>((n + 255) / 256), 256, 0, device.stream>>>(scores, n);
  PRECIS_CUDA_LAUNCHED();
  const std::int64_t n_blocks = (args.x.rows + kThreads - 1) / kThreads;
  choose_experts<<<static_cast<unsigned>(n_blocks), kThreads, 0, device.stream>>>(args, scores,
                                                                                  gate.n_out);
  PRECIS_CUDA_LAUNCHED();
}

}  // namespace precis::cuda
