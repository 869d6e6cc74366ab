// Attention of 64 heads over released V4 rows (448 codes and 64 rotated bf16 channels), on tensor cores.
//
// A block of the grid takes units of work in turn (units.cuh).  One warpgroup reads rows, 64 at a time,
// and expands them into shared memory; one multiplies them with the queries, makes weights and adds the
// first 192 channels of the values; one adds the other 320.  Weights count from a power of two, so
// rescaling is exact and one pass over the rows is enough.
// Byte and cycle counts: docs/kernels/cuda_attend.md.
#include <algorithm>

#include "backend/cuda/attend/units.cuh"
#include "backend/cuda/launch.h"

namespace precis::cuda {
namespace {

constexpr int kStages = 2;
constexpr int kScoringTiles = 3;  // tiles of values that the warpgroup with the scores adds
constexpr int kTileQuads = kGroup / 8;

enum Role { kScores, kValues, kRowReader, kRoles };

// What the scoring warpgroup tells the other of a block of rows: a thread's two heads.
struct Message {
  uint4 weights[kSteps][kWarpgroup];  // words of the operand A
  float4 block[kWarpgroup];           // references, sums
};

struct Shared {
  std::uint8_t queries[kBlockBytes];
  RowStages<kStages> rows;
  Message messages[kStages];
  Barrier message_full[kStages];
  Barrier message_empty[kStages];
};

__device__ void init(Shared& shared) {
  for (int i = 0; i < kStages; ++i) {
    init_barrier(&shared.rows.full[i], kWarpgroup);
    init_barrier(&shared.rows.empty[i], 2 * kWarps);
    init_barrier(&shared.message_full[i], kWarpgroup);
    init_barrier(&shared.message_empty[i], kWarps);
  }
  publish_barriers();
}

// Both warpgroups that multiply load the queries.  The last unit's are read no more: the scoring one
// is done with them, and the other has its last message.
__device__ void share_queries(const AttendStep& step, Shared& shared, const List& list) {
  constexpr int kThreads = 2 * kWarpgroup;
  load_queries(step.call, shared.queries, list.t, list.head, kThreads);
  publish_shared();
  asm volatile("bar.sync 1, %0;" ::"n"(kThreads) : "memory");
}

// The sums of a unit in kTiles tiles of channels from kFirst on, and the chains that they count from.
template <int kFirst, int kTiles>
struct UnitSums {
  float sums[kTiles][kGroup / 2];
  Chain part;
  Chain list;

  __device__ explicit UnitSums(const Unit& unit) { clear(unit.list.n_blocks == 0 ? 0 : kNothing); }

  __device__ void clear(float value) {
#pragma unroll
    for (int i = 0; i < kTiles; ++i) {
#pragma unroll
      for (int j = 0; j < kGroup / 2; ++j) sums[i][j] = value;
    }
  }

  __device__ void add_block(const BlockWeights& block, const Words& words,
                            const std::uint8_t* tiles) {
    const Factors factors = part.take(block.reference, block.sum);
#pragma unroll
    for (int i = 0; i < kTiles; ++i) {
      add_values(sums[i], factors, words, tiles + (kFirst + i) * kTileBytes);
    }
  }

  // Adds the part to the list.  Sums of earlier parts wait in device memory; the list's stay here.
  __device__ void end_part(float4 (*earlier)[kWarpgroup], int tid, bool is_first, bool is_last) {
    const Factors factors = list.take(part.reference, part.denominator);
    if (is_first && is_last) return;
#pragma unroll
    for (int i = 0; i < kTiles; ++i) {
      float4* totals = &earlier[(kFirst + i) * kTileQuads][tid];
      float4 total[kTileQuads];
#pragma unroll
      for (int j = 0; j < kTileQuads; ++j) {
        total[j] =
            is_first ? float4{kNothing, kNothing, kNothing, kNothing} : totals[j * kWarpgroup];
      }
#pragma unroll
      for (int j = 0; j < kTileQuads; ++j) {
        add_scaled(total[j], quad(i, j), factors);
        if (!is_last) totals[j * kWarpgroup] = total[j];
        const float next[4] = {total[j].x, total[j].y, total[j].z, total[j].w};
#pragma unroll
        for (int k = 0; k < 4; ++k) sums[i][4 * j + k] = is_last ? next[k] : kNothing;
      }
    }
    part = Chain{};
  }

  // Where the unit is the whole list, its result; or its record.
  __device__ void store(const AttendStep& step, const Unit& unit, UnitRecord* record, int tid) {
    const int head = unit.list.head + head_of_thread(tid);
    const bool is_whole = unit.is_whole_list();
    const float2 factors = is_whole ? list.last_factors(step.call, head) : float2{1, 1};
#pragma unroll
    for (int i = 0; i < kTiles; ++i) {
#pragma unroll
      for (int j = 0; j < kTileQuads; ++j) {
        const int at = (kFirst + i) * kTileQuads + j;
        if (is_whole) {
          store_quad(step.call, unit.list.t, head, at, tid, quad(i, j), factors);
        } else {
          record->quads[at][tid] = quad(i, j);
        }
      }
    }
    if (!is_whole && kFirst == 0) {
      record->chain[tid] = as_float4(part);
    }
  }

  __device__ float4 quad(int tile, int i) const {
    const float(&s)[kGroup / 2] = sums[tile];
    return {s[4 * i], s[4 * i + 1], s[4 * i + 2], s[4 * i + 3]};
  }
};

// What follows block `b` of a unit: the end of a part, where the unit has its list's result.
template <typename Sums>
__device__ void after_block(Sums& sums, const Unit& unit, UnitRecord* earlier, int tid, int b) {
  const bool is_last = b + 1 == unit.end;
  if (!unit.is_whole_list() || (!is_last && (b + 1) % kPartBlocks != 0)) return;
  sums.end_part(earlier->quads, tid, b < kPartBlocks, is_last);
}

__device__ void score_and_add(const AttendStep& step, Shared& shared, const Unit& unit,
                              UnitRecord* record, RingPlace<kStages>& place) {
  const int tid = static_cast<int>(threadIdx.x) % kWarpgroup;
  const float scale = step.call.scale * kLog2E;
  share_queries(step, shared, unit.list);
  UnitSums<0, kScoringTiles> sums(unit);
  for (int b = unit.begin; b < unit.end; ++b) {
    const std::uint8_t* tiles = shared.rows.tiles[place.stage];
    Message& message = shared.messages[place.stage];
    Words words;
    BlockWeights block;
    {
      float scores[kBlockRows / 2];
      wait(&shared.rows.full[place.stage], place.parity);
      begin_scores(scores, shared.queries, tiles);
      await_products<0>();
      hold(scores);
      finish_scores(scores, shared.rows.exists[place.stage], scale);
      block = weigh(scores, words);
    }
    wait(&shared.message_empty[place.stage], place.parity ^ 1);
#pragma unroll
    for (int k = 0; k < kSteps; ++k) {
      message.weights[k][tid] = {words[k][0], words[k][1], words[k][2], words[k][3]};
    }
    message.block[tid] = {block.reference[0], block.reference[1], block.sum[0], block.sum[1]};
    arrive(&shared.message_full[place.stage]);
    sums.add_block(block, words, tiles);
    if (tid % kWarp == 0) arrive(&shared.rows.empty[place.stage]);
    after_block(sums, unit, record, tid, b);
    place.advance();
  }
  sums.store(step, unit, record, tid);
}

__device__ void add_other_values(const AttendStep& step, Shared& shared, const Unit& unit,
                                 UnitRecord* record, RingPlace<kStages>& place) {
  const int tid = static_cast<int>(threadIdx.x) % kWarpgroup;
  share_queries(step, shared, unit.list);
  UnitSums<kScoringTiles, kGroups - kScoringTiles> sums(unit);
  for (int b = unit.begin; b < unit.end; ++b) {
    wait(&shared.message_full[place.stage], place.parity);
    const Message& message = shared.messages[place.stage];
    Words words;
#pragma unroll
    for (int k = 0; k < kSteps; ++k) {
      const uint4 w = message.weights[k][tid];
      words[k][0] = w.x, words[k][1] = w.y, words[k][2] = w.z, words[k][3] = w.w;
    }
    const float4 m = message.block[tid];
    sums.add_block({{m.x, m.y}, {m.z, m.w}}, words, shared.rows.tiles[place.stage]);
    if (tid % kWarp == 0) {
      arrive(&shared.rows.empty[place.stage]);
      arrive(&shared.message_empty[place.stage]);
    }
    after_block(sums, unit, record, tid, b);
    place.advance();
  }
  sums.store(step, unit, record, tid);
}

// The queries of a unit to come, into L2.
__device__ void prefetch_queries(const AttendStep& step, int i) {
  if (i >= step.n_units || threadIdx.x % kWarpgroup != 0) return;
  const List list = unit_at(step, i).list;
  const float* q = step.call.q.data + (list.t * step.call.q.planes + list.head) * kWidth;
  asm volatile("cp.async.bulk.prefetch.L2.global [%0], %1;" ::"l"(q), "n"(kHeads * kWidth * 4)
               : "memory");
}

__global__ void __launch_bounds__(kRoles* kWarpgroup, 1)
    attend_units(const __grid_constant__ AttendStep step) {
  Shared& shared = shared_memory<Shared>();
  if (threadIdx.x == 0) init(shared);
  begin_kernel();
  __syncthreads();
  const int role = static_cast<int>(threadIdx.x) / kWarpgroup;
  const auto n_at_once = static_cast<int>(gridDim.x);
  RingPlace<kStages> place;
  // Records are those of units, or hold a block's sums of earlier parts where lists are not cut.
  const auto record = [&](int i) {
    return &step.records[step.n_units > kMaxRecords ? static_cast<int>(blockIdx.x) : i];
  };
  if (role == kScores) {
    shrink_registers<160>();
    for (auto i = static_cast<int>(blockIdx.x); i < step.n_units; i += n_at_once) {
      const Unit unit = unit_at(step, i);
      if (unit.exists) score_and_add(step, shared, unit, record(i), place);
    }
  } else if (role == kValues) {
    grow_registers<224>();
    for (auto i = static_cast<int>(blockIdx.x); i < step.n_units; i += n_at_once) {
      const Unit unit = unit_at(step, i);
      if (unit.exists) add_other_values(step, shared, unit, record(i), place);
    }
  } else {
    shrink_registers<120>();
    for (auto i = static_cast<int>(blockIdx.x); i < step.n_units; i += n_at_once) {
      prefetch_queries(step, i + n_at_once);
      const Unit unit = unit_at(step, i);
      if (unit.exists) read_rows(step.call, shared.rows, place, unit.list.t, unit.begin, unit.end);
    }
  }
}

// The finest cut whose records there is room for.
int unit_blocks(std::int64_t n_lists, int n_blocks) {
  const int n_parts = (n_blocks + kPartBlocks - 1) / kPartBlocks;
  return n_lists * n_blocks <= kMaxRecords  ? 1
         : n_lists * n_parts <= kMaxRecords ? kPartBlocks
                                            : n_blocks;
}

}  // namespace

void attend_heads(Device& device, const AttendCall& call, std::int64_t most_listed) {
  constexpr int kSharedBytes = sizeof(Shared) + kAtomBytes;
  static_assert(kSharedBytes <= 227 * 1024);
  AttendStep step{call, call.n_heads / kHeads, 0, 0, 0, nullptr};
  step.n_lists = static_cast<int>(call.q.n) * step.n_groups;
  const std::int64_t most_rows = std::max<std::int64_t>(1, call.window + most_listed);
  const auto n_blocks = static_cast<int>((most_rows + kBlockRows - 1) / kBlockRows);
  step.unit_blocks = unit_blocks(step.n_lists, n_blocks);
  const int list_units = (n_blocks + step.unit_blocks - 1) / step.unit_blocks;
  step.n_units = step.n_lists * list_units;
  const int grid = std::min(device.n_multiprocessors, step.n_units);
  step.records = device.workspace.take<UnitRecord>(std::min(step.n_units, kMaxRecords));
  PRECIS_CUDA_CHECK(cudaFuncSetAttribute(attend_units, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                         kSharedBytes));
  launch_overlapping(device, attend_units, dim3(static_cast<unsigned>(grid)), kRoles * kWarpgroup,
                     kSharedBytes, 1, step);
  if (list_units > 1) merge_units(device, step, n_blocks > kPartBlocks);
}

}  // namespace precis::cuda
