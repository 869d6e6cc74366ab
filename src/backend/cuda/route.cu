// The router: gate products, then a block per token scores its experts, of which one warp chooses.
#include "backend/cuda/launch.h"
#include "backend/cuda/limits.h"
#include "backend/cuda/numbers.cuh"
#include "backend/cuda/ops.h"
#include "backend/cuda/product.h"
#include "base/check.h"

namespace precis::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kNone = 1 << 30;  // behind every expert

// log1p keeps what exp(x) adds below 2^-24; above the threshold softplus(x) = x to the last bit.
__device__ float gate_score(float logit) {
  constexpr float kSoftplusIsIdentity = 20;
  if (logit > kSoftplusIsIdentity) return sqrtf(logit);
  return sqrtf(static_cast<float>(log1p(exp(static_cast<double>(logit)))));
}

// The best of the experts that are left, the lowest of equal ones, known to all lanes.  Lane l holds
// the biased scores of experts l, l + 32, …
template <int kOwn>
__device__ int take_best(float (&biased)[kOwn]) {
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  float best = -INFINITY;
  int expert = kNone;
#pragma unroll
  for (int i = 0; i < kOwn; ++i) {
    const bool is_better = biased[i] > best || (expert == kNone && biased[i] == best);
    if (is_better) best = biased[i], expert = lane + kWarp * i;
  }
  for (int step = kWarp / 2; step > 0; step /= 2) {
    const float other = __shfl_xor_sync(0xffffffff, best, step);
    const int other_expert = __shfl_xor_sync(0xffffffff, expert, step);
    if (other > best || (other == best && other_expert < expert)) {
      best = other, expert = other_expert;
    }
  }
#pragma unroll
  for (int i = 0; i < kOwn; ++i) {
    if (lane + kWarp * i == expert) biased[i] = NAN;  // equal to nothing, above nothing
  }
  return expert;
}

// A block per token; kOwn experts a lane of the warp that chooses.
template <int kOwn>
__global__ void __launch_bounds__(kThreads)
    choose_experts(RouteArgs a, const float* logits, int n_experts) {
  __shared__ float scores[kOwn * kWarp];
  begin_kernel();
  const std::int64_t t = blockIdx.x;
  for (int e = static_cast<int>(threadIdx.x); e < n_experts; e += kThreads) {
    scores[e] = gate_score(logits[t * n_experts + e]);
  }
  __syncthreads();
  if (threadIdx.x >= kWarp) return;
  const auto lane = static_cast<int>(threadIdx.x);
  const auto n_active = static_cast<int>(a.expert_idx.cols);
  int chosen = kNone;  // by lane i < n_active
  if (a.tid2eid.rows > 0) {
    if (lane < n_active) chosen = a.tid2eid.data[a.ids[t] * a.tid2eid.stride + lane];
  } else {
    float biased[kOwn];
#pragma unroll
    for (int i = 0; i < kOwn; ++i) {
      const int e = lane + kWarp * i;
      biased[i] = NAN;
      if (e < n_experts) {
        biased[i] = scores[e] + a.bias[e];
        if (isnan(biased[i])) biased[i] = -INFINITY;
      }
    }
    for (int i = 0; i < n_active; ++i) {
      const int expert = take_best(biased);
      if (lane == i) chosen = expert;
    }
  }
  // Ascending: a lane's place is the number of smaller ones, as no expert comes twice.
  int place = 0;
  for (int i = 0; i < n_active; ++i) {
    const int other = __shfl_sync(0xffffffff, chosen, i);
    place += other < chosen || (other == chosen && i < lane) ? 1 : 0;
  }
  const float score = lane < n_active ? scores[chosen] : 0;
  float sum = 0;
  for (int p = 0; p < n_active; ++p) {
    const unsigned at_place = __ballot_sync(0xffffffff, lane < n_active && place == p);
    sum += __shfl_sync(0xffffffff, score, __ffs(static_cast<int>(at_place)) - 1);
  }
  if (lane >= n_active) return;
  a.expert_idx.data[t * a.expert_idx.stride + place] = chosen;
  a.weight.data[t * a.weight.stride + place] = score / sum * a.route_scale;
}

}  // namespace

void route(Device& device, const RouteArgs& args) {
  if (args.x.rows == 0) return;
  PRECIS_CHECK_LE(args.expert_idx.cols, std::int64_t{kMaxActiveExperts});
  const WeightView gate = view_of(args.gate);
  PRECIS_CHECK_LE(gate.n_out, kMaxExperts);
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
  launch_overlapping(
      device, gate.n_out <= 8 * kWarp ? choose_experts<8> : choose_experts<kMaxExperts / kWarp>,
      static_cast<unsigned>(args.x.rows), kThreads, 0, 1, args, scores, gate.n_out);
}

}  // namespace precis::cuda
