// The end of lists that attention on tensor cores has cut (units.cuh): their records are added in order.
//
// A thread takes a quad of sums of one part.  Where lists have several parts, kParts warps take some each,
// and the first of them adds the parts.  Byte and cycle counts: docs/kernels/cuda_attend.md.
#include "backend/cuda/attend/units.cuh"
#include "backend/cuda/launch.h"

namespace precis::cuda {
namespace {

constexpr int kMergeWarps = 8;
constexpr int kLoads = 8;  // records on their way at once; divides a part

struct PartSums {
  float4 sums{kNothing, kNothing, kNothing, kNothing};
  Chain chain;

  __device__ void add(const float4& next, const float4& chain_of_next) {
    const float4& c = chain_of_next;
    add_scaled(sums, next, chain.take({c.x, c.y}, {c.z, c.w}));
  }
};

// Units begin … end − 1 of a list, those of one part, for thread `tid` of the warpgroup that made them.
__device__ PartSums add_records(const AttendStep& step, int list, int begin, int end, int at,
                                int tid) {
  PartSums part;
  for (int first = begin; first < end; first += kLoads) {
    float4 quads[kLoads];
    float4 chains[kLoads];
#pragma unroll
    for (int i = 0; i < kLoads; ++i) {
      if (first + i >= end) break;
      const UnitRecord& record = step.records[(first + i) * step.n_lists + list];
      quads[i] = record.quads[at][tid];
      chains[i] = record.chain[tid];
    }
#pragma unroll
    for (int i = 0; i < kLoads; ++i) {
      if (first + i >= end) break;
      part.add(quads[i], chains[i]);
    }
  }
  return part;
}

template <int kParts>
__global__ void __launch_bounds__(kMergeWarps* kWarp)
    merge_list(const __grid_constant__ AttendStep step) {
  __shared__ float4 part_sums[kMergeWarps][kWarp];
  __shared__ float4 part_chains[kMergeWarps][kWarp];
  begin_kernel();
  const auto idx = static_cast<int>(blockIdx.x);
  const List list = list_at(step, idx);
  if (list.n_blocks <= step.unit_blocks) return;
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const int warp = static_cast<int>(threadIdx.x) / kWarp;
  const int rank = warp % kParts;
  const int group = static_cast<int>(blockIdx.y) * (kMergeWarps / kParts) + warp / kParts;
  const int at = group / kWarps;
  const int tid = group % kWarps * kWarp + lane;
  const int n_units = (list.n_blocks + step.unit_blocks - 1) / step.unit_blocks;
  const int part_units = kPartBlocks / step.unit_blocks;
  PartSums total;
  for (int first = 0; first < n_units; first += kParts * part_units) {
    const int begin = first + rank * part_units;
    if (begin < n_units) {
      const PartSums part =
          add_records(step, idx, begin, min(n_units, begin + part_units), at, tid);
      part_sums[warp][lane] = part.sums;
      part_chains[warp][lane] = as_float4(part.chain);
    }
    if (kParts > 1) __syncthreads();
    for (int w = 0; rank == 0 && w < kParts && first + w * part_units < n_units; ++w) {
      total.add(part_sums[warp + w][lane], part_chains[warp + w][lane]);
    }
    if (kParts > 1) __syncthreads();
  }
  if (rank != 0) return;
  const int head = list.head + head_of_thread(tid);
  store_quad(step.call, list.t, head, at, tid, total.sums,
             total.chain.last_factors(step.call, head));
}

template <int kParts>
void launch(Device& device, const AttendStep& step) {
  constexpr unsigned kBlocks = kWidth / 8 * kWarps / (kMergeWarps / kParts);
  launch_overlapping(device, merge_list<kParts>, dim3(static_cast<unsigned>(step.n_lists), kBlocks),
                     kMergeWarps * kWarp, 0, 1, step);
}

}  // namespace

void merge_units(Device& device, const AttendStep& step, bool has_parts) {
  has_parts ? launch<4>(device, step) : launch<1>(device, step);
}

}  // namespace precis::cuda
