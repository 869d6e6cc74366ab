// The end of lists that attention on tensor cores has cut (units.cuh): their records are added in order.
//
// A thread takes a quad of sums.  Where lists have several parts and units are blocks, kParts warps take
// some parts each, and the first of them adds the parts.
// Byte and cycle counts: docs/kernels/cuda_attend.md.
#include "backend/cuda/attend/units.cuh"
#include "backend/cuda/launch.h"

namespace precis::cuda {
namespace {

// Records on their way at once: all of 640 rows, or half a part.
template <int kParts>
constexpr int kLoads = kParts == 1 ? 12 : kPartBlocks / 2;
template <int kParts>
constexpr int kMergeWarps = kParts == 1 ? 4 : 8;

struct PartSums {
  float4 sums{kNothing, kNothing, kNothing, kNothing};
  Chain chain;

  __device__ void add(const float4& next, const float4& chain_of_next) {
    const float4& c = chain_of_next;
    add_scaled(sums, next, chain.take({c.x, c.y}, {c.z, c.w}));
  }
};

// Units begin … end − 1 of a list, blocks of one part or parts, for thread `tid` of the warpgroup that
// made them.
template <int kLoads>
__device__ PartSums add_records(const UnitRecord* records, int stride, int begin, int end, int at,
                                int tid) {
  PartSums part;
  for (int first = begin; first < end; first += kLoads) {
    float4 quads[kLoads];
    float4 chains[kLoads];
#pragma unroll
    for (int i = 0; i < kLoads; ++i) {
      if (first + i >= end) break;
      const UnitRecord& record = records[(first + i) * stride];
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

// Two channels of quad `at` of thread `tid`.
__device__ void store_pair(const AttendCall& c, std::int64_t t, int head, int at, int tid, float a,
                           float b) {
  float2 pair{to_bf16(a), to_bf16(b)};
  const int channel = 8 * at + channel_of_thread(tid);
  const int first_turned = kGroup * kCodeGroups;
  if (channel >= first_turned && c.angles.cols > 0) {
    pair = turned_back(pair.x, pair.y, c.angles.data + t * c.angles.stride,
                       (channel - first_turned) / 2);
  }
  *reinterpret_cast<float2*>(c.out.data + (t * c.out.planes + head) * kWidth + channel) = pair;
}

template <int kParts, int kCalls>
__global__ void __launch_bounds__(kMergeWarps<kParts>* kWarp)
    merge_list(const __grid_constant__ AttendStep<kCalls> step) {
  __shared__ float4 part_sums[kMergeWarps<kParts>][kWarp];
  __shared__ float4 part_chains[kMergeWarps<kParts>][kWarp];
  begin_kernel();
  const auto idx = static_cast<int>(blockIdx.x);
  const List list = list_at(step, idx);
  if (list.n_blocks <= step.unit_blocks) return;
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const int warp = static_cast<int>(threadIdx.x) / kWarp;
  const int rank = warp % kParts;
  const int group = static_cast<int>(blockIdx.y) * (kMergeWarps<kParts> / kParts) + warp / kParts;
  const int at = group / kWarps;
  const int tid = group % kWarps * kWarp + lane;
  const int n_units = (list.n_blocks + step.unit_blocks - 1) / step.unit_blocks;
  PartSums total;
  if constexpr (kParts == 1) {
    total = add_records<kLoads<kParts>>(step.records + idx, step.n_lists, 0, n_units, at, tid);
  } else {
    const int part_units = kPartBlocks / step.unit_blocks;
    for (int first = 0; first < n_units; first += kParts * part_units) {
      const int begin = first + rank * part_units;
      if (begin < n_units) {
        const PartSums part = add_records<kLoads<kParts>>(
            step.records + idx, step.n_lists, begin, min(n_units, begin + part_units), at, tid);
        part_sums[warp][lane] = part.sums;
        part_chains[warp][lane] = as_float4(part.chain);
      }
      __syncthreads();
      for (int w = 0; rank == 0 && w < kParts && first + w * part_units < n_units; ++w) {
        total.add(part_sums[warp + w][lane], part_chains[warp + w][lane]);
      }
      __syncthreads();
    }
  }
  if (rank != 0) return;
  const int head = list.head + head_of_thread(tid);
  const AttendCall& c = step.calls[list.call];
  const float2 factors = total.chain.last_factors(load_sinks(c, head));
  const float4& sums = total.sums;
  store_pair(c, list.t, head, at, tid, sums.x * factors.x, sums.y * factors.x);
  store_pair(c, list.t, head + 8, at, tid, sums.z * factors.y, sums.w * factors.y);
}

template <int kParts, int kCalls>
void launch(Device& device, const AttendStep<kCalls>& step) {
  constexpr unsigned kBlocks = kWidth / 8 * kWarps / (kMergeWarps<kParts> / kParts);
  launch_overlapping(device, merge_list<kParts, kCalls>,
                     dim3(static_cast<unsigned>(step.n_lists), kBlocks),
                     kMergeWarps<kParts> * kWarp, 0, 1, step);
}

}  // namespace

void merge_units(Device& device, const AttendStep<1>& step, bool has_parts) {
  has_parts ? launch<8>(device, step) : launch<1>(device, step);
}

void merge_units(Device& device, const AttendStep<kMaxCalls>& step, bool has_parts) {
  has_parts ? launch<8>(device, step) : launch<1>(device, step);
}

}  // namespace precis::cuda
