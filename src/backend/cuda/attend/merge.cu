// The end of lists that attention on tensor cores has cut (units.cuh): their records are added in order.
//
// A thread takes a quad of sums.  Where lists have several parts and units are blocks, kParts warps take
// a part each, and the first of them adds the parts.
// Byte and cycle counts: docs/kernels/cuda_attend.md.
#include "backend/cuda/attend/units.cuh"
#include "backend/cuda/launch.h"

namespace precis::cuda {
namespace {

// What a list's records are sums of.
enum class Units {
  kBlocks,         // of one part
  kBlocksOfParts,  // of several
  kParts,
  kPairs,
};

constexpr int kMergeParts = 8;  // at once, a warp each

template <Units kUnits>
constexpr int kMergeWarps = kUnits == Units::kBlocksOfParts ? kMergeParts : 4;

// Records on their way at once: all of 640 rows, half a part, all of 8,320 rows.
template <Units kUnits>
constexpr int kLoads = kUnits == Units::kBlocks          ? 12
                       : kUnits == Units::kBlocksOfParts ? (kPartBlocks + 1) / 2
                       : kUnits == Units::kParts         ? 8
                                                         : 4;

struct PartSums {
  float4 sums{kNothing, kNothing, kNothing, kNothing};
  Chain chain;

  __device__ void add(const float4& next, const float4& chain_of_next) {
    const float4& c = chain_of_next;
    add_scaled(sums, next, chain.take({c.x, c.y}, {c.z, c.w}));
  }
  __device__ void add(const PartSums& next) { add(next.sums, as_float4(next.chain)); }
};

// Sums of units begin … end − 1 of a list for thread `tid` of the warpgroup that made them.
template <Units kUnits>
__device__ PartSums add_records(const UnitRecord* records, int stride, int begin, int end, int at,
                                int tid) {
  PartSums all;
  PartSums pair;
  for (int first = begin; first < end; first += kLoads<kUnits>) {
    float4 quads[kLoads<kUnits>];
    float4 chains[kLoads<kUnits>];
#pragma unroll
    for (int i = 0; i < kLoads<kUnits>; ++i) {
      if (first + i >= end) break;
      const UnitRecord& record = records[(first + i) * stride];
      quads[i] = record.quads[at][tid];
      chains[i] = record.chain[tid];
    }
#pragma unroll
    for (int i = 0; i < kLoads<kUnits>; ++i) {
      if (first + i >= end) break;
      if constexpr (kUnits == Units::kParts) {
        pair.add(quads[i], chains[i]);
        if (i % 2 == 0 && first + i + 1 < end) continue;
        all.add(pair);
        pair = PartSums{};
      } else {
        all.add(quads[i], chains[i]);
      }
    }
  }
  return all;
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

template <Units kUnits, int kCalls>
__global__ void __launch_bounds__(kMergeWarps<kUnits>* kWarp)
    merge_list(const __grid_constant__ AttendStep<kCalls> step) {
  constexpr bool kHasParts = kUnits == Units::kBlocksOfParts;
  __shared__ float4 part_sums[kMergeWarps<kUnits>][kWarp];
  __shared__ float4 part_chains[kMergeWarps<kUnits>][kWarp];
  begin_kernel();
  const auto idx = static_cast<int>(blockIdx.x);
  const List list = list_at(step, idx);
  if (list.n_blocks <= unit_begin(step.two_units, 1)) return;
  const UnitRecord* records = step.records + idx;
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const int warp = static_cast<int>(threadIdx.x) / kWarp;
  const int rank = kHasParts ? warp : 0;
  constexpr int kGroups = kHasParts ? 1 : kMergeWarps<kUnits>;
  const int group = static_cast<int>(blockIdx.y) * kGroups + warp - rank;
  // Where many lists' records come from L2, warps of a block are of the same heads, whose chains they read.
  constexpr bool kSharesChains = kUnits == Units::kParts || kUnits == Units::kPairs;
  const int at = kSharesChains ? group % (kWidth / 8) : group / kWarps;
  const int tid = (kSharesChains ? group / (kWidth / 8) : group % kWarps) * kWarp + lane;
  PartSums total;
  if constexpr (kHasParts) {
    const int n_parts = count_units(kPairBlocks, list.n_blocks);
    for (int first = 0; first < n_parts; first += kMergeParts) {
      if (first + rank < n_parts) {
        const int begin = unit_begin(kPairBlocks, first + rank);
        const int end = min(list.n_blocks, unit_begin(kPairBlocks, first + rank + 1));
        const PartSums part = add_records<kUnits>(records, step.n_lists, begin, end, at, tid);
        part_sums[warp][lane] = part.sums;
        part_chains[warp][lane] = as_float4(part.chain);
      }
      __syncthreads();
      for (int w = 0; rank == 0 && w < kMergeParts && first + w < n_parts; w += 2) {
        PartSums pair;
        for (int i = w; i < w + 2 && first + i < n_parts; ++i) {
          pair.add(part_sums[i][lane], part_chains[i][lane]);
        }
        total.add(pair);
      }
      __syncthreads();
    }
  } else {
    const int n_units = count_units(step.two_units, list.n_blocks);
    total = add_records<kUnits>(records, step.n_lists, 0, n_units, at, tid);
  }
  if (rank != 0) return;
  const int head = list.head + head_of_thread(tid);
  const AttendCall& c = step.calls[list.call];
  const float2 factors = total.chain.last_factors(load_sinks(c, head));
  const float4& sums = total.sums;
  store_pair(c, list.t, head, at, tid, sums.x * factors.x, sums.y * factors.x);
  store_pair(c, list.t, head + 8, at, tid, sums.z * factors.y, sums.w * factors.y);
}

template <Units kUnits, int kCalls>
void launch(Device& device, const AttendStep<kCalls>& step) {
  constexpr unsigned kQuadWarps = kWidth / 8 * kWarps;
  constexpr unsigned kBlocks =
      kUnits == Units::kBlocksOfParts ? kQuadWarps : kQuadWarps / kMergeWarps<kUnits>;
  launch_overlapping(device, merge_list<kUnits, kCalls>,
                     dim3(static_cast<unsigned>(step.n_lists), kBlocks),
                     kMergeWarps<kUnits> * kWarp, 0, 1, step);
}

template <int kCalls>
void merge(Device& device, const AttendStep<kCalls>& step, bool has_parts) {
  step.two_units == 2 && !has_parts ? launch<Units::kBlocks>(device, step)
  : step.two_units == 2             ? launch<Units::kBlocksOfParts>(device, step)
  : step.two_units == kPairBlocks   ? launch<Units::kParts>(device, step)
                                    : launch<Units::kPairs>(device, step);
}

}  // namespace

void merge_units(Device& device, const AttendStep<1>& step, bool has_parts) {
  merge(device, step, has_parts);
}

void merge_units(Device& device, const AttendStep<kMaxCalls>& step, bool has_parts) {
  merge(device, step, has_parts);
}

}  // namespace precis::cuda
