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
#include "base/integers.h"

namespace precis::cuda {
namespace {

constexpr int kStages = 2;
constexpr int kScoringTiles = 3;  // tiles of values that the warpgroup with the scores adds
constexpr int kTileQuads = kGroup / 8;
constexpr int kMultipliers = 2 * kWarpgroup;

enum Role { kScores, kValues, kReader, kRoles = kReader + kReaders / kWarpgroup };

// What the scoring warpgroup tells the other: the factors of sums, of a thread's two heads, and with
// those of a block its weights, as words of the operand A.
struct Message {
  uint4 weights[kSteps][kWarpgroup];
  Factors factors[kWarpgroup];
};

struct Shared {
  std::uint8_t queries[kBlockBytes];  // between two units: results, in the same places
  RowStages<kStages> rows;
  Message messages[kStages];
  float2 sinks[kWarpgroup];
  Barrier message_full[kStages];
  Barrier message_empty[kStages];
};

__device__ void init(Shared& shared) {
  for (int i = 0; i < kStages; ++i) {
    init_barrier(&shared.rows.full[i], kReaders);
    init_barrier(&shared.rows.empty[i], 2 * kWarps);
    init_barrier(&shared.message_full[i], kWarpgroup);
    init_barrier(&shared.message_empty[i], kWarps);
  }
  publish_barriers();
}

// Both warpgroups that multiply.
__device__ void sync_multipliers() {
  asm volatile("bar.sync 1, %0;" ::"n"(kMultipliers) : "memory");
}

__device__ void share_queries(const AttendCall& c, Shared& shared, const Unit& unit) {
  if (unit.has_queries) return;
  sync_multipliers();
  load_queries(c, shared.queries, unit.list.t, unit.list.head, unit.first_head, unit.n_heads,
               kMultipliers);
  publish_shared();
  sync_multipliers();
}

// Stores the results of a list from shared memory.
__device__ void store_results(const AttendCall& c, const Shared& shared, const Unit& unit) {
  const List& list = unit.list;
  constexpr int kRowPieces = kWidth / 4;
  auto* out = reinterpret_cast<float4*>(c.out.data + (list.t * c.out.planes + list.head) * kWidth);
  const float* angles = c.angles.data + list.t * c.angles.stride;
  sync_multipliers();
#pragma unroll 4
  for (int i = unit.first_head * kRowPieces + static_cast<int>(threadIdx.x);
       i < (unit.first_head + unit.n_heads) * kRowPieces; i += kMultipliers) {
    const int row = i / kRowPieces;
    const int piece = i % kRowPieces;
    const uint2 words = *reinterpret_cast<const uint2*>(shared.queries + piece / 16 * kTileBytes +
                                                        swizzled(row, piece % 16 * 8));
    float2 low{__uint_as_float(words.x << 16), __uint_as_float(words.x & 0xffff0000)};
    float2 high{__uint_as_float(words.y << 16), __uint_as_float(words.y & 0xffff0000)};
    if (piece / 16 == kCodeGroups && c.angles.cols > 0) {
      low = turned_back(low.x, low.y, angles, piece % 16 * 2);
      high = turned_back(high.x, high.y, angles, piece % 16 * 2 + 1);
    }
    __stcs(out + i, float4{low.x, low.y, high.x, high.y});
  }
}

// The sums of a unit in kTiles tiles of channels from kFirst on.
template <int kFirst, int kTiles>
struct UnitSums {
  float sums[kTiles][kGroup / 2];

  __device__ explicit UnitSums(const Unit& unit) {
    const float value = unit.list.n_blocks == 0 ? 0 : kNothing;
#pragma unroll
    for (int i = 0; i < kTiles; ++i) {
#pragma unroll
      for (int j = 0; j < kGroup / 2; ++j) sums[i][j] = value;
    }
  }

  __device__ void add_block(const Factors& factors, const Words& words, const std::uint8_t* tiles) {
#pragma unroll
    for (int i = 0; i < kTiles; ++i) {
      add_values(sums[i], factors, words, tiles + (kFirst + i) * kTileBytes);
    }
  }

  // Adds a part to the list's sums: earlier parts wait in device memory, the whole list's stay here.
  __device__ void end_part(const Factors& factors, UnitRecord* earlier, int tid, bool is_first,
                           bool is_last) {
#pragma unroll
    for (int i = 0; i < kTiles; ++i) {
      float4* totals = &earlier->quads[(kFirst + i) * kTileQuads][tid];
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
  }

  // Divides and rounds into the places of queries, which are read no more: the last message tells so.
  __device__ void leave_results(Shared& shared, float2 factors, int tid) const {
    std::uint8_t* low = shared.queries + swizzled(head_of_thread(tid), 0);
    const int column = 2 * channel_of_thread(tid);
    const int mask = head_of_thread(tid) % kAtomRows * 16;
#pragma unroll
    for (int i = 0; i < kTiles; ++i) {
#pragma unroll
      for (int j = 0; j < kTileQuads; ++j) {
        const float4 s = quad(i, j);
        // Head and head + 8 have the same place in their atoms.
        std::uint8_t* to = low - mask + (kFirst + i) * kTileBytes + (16 * j ^ mask) + column;
        *reinterpret_cast<std::uint32_t*>(to) = pack_bf16(s.x * factors.x, s.y * factors.x);
        *reinterpret_cast<std::uint32_t*>(to + kAtomBytes) =
            pack_bf16(s.z * factors.y, s.w * factors.y);
      }
    }
  }

  __device__ void leave_record(UnitRecord* record, int tid) const {
    float4* to = &record->quads[kFirst * kTileQuads][tid];
#pragma unroll
    for (int i = 0; i < kTiles * kTileQuads; ++i) {
      to[i * kWarpgroup] = quad(i / kTileQuads, i % kTileQuads);
    }
  }

  __device__ float4 quad(int tile, int i) const {
    const float(&s)[kGroup / 2] = sums[tile];
    return {s[4 * i], s[4 * i + 1], s[4 * i + 2], s[4 * i + 3]};
  }
};

// Whether a part that has to be added to others ends with block `b` of a unit.
__device__ bool ends_part(const Unit& unit, int b) {
  const bool has_parts = unit.is_whole_list() && unit.end > kPartBlocks;
  return has_parts && ((b + 1) % kPartBlocks == 0 || b + 1 == unit.end);
}

__device__ void send(Shared& shared, RingPlace<kStages>& place, int tid, const Factors& factors,
                     const Words* words = nullptr) {
  Message& message = shared.messages[place.stage];
  wait(&shared.message_empty[place.stage], place.parity ^ 1);
  if (words != nullptr) {
#pragma unroll
    for (int k = 0; k < kSteps; ++k) {
      const std::uint32_t(&w)[4] = (*words)[k];
      message.weights[k][tid] = {w[0], w[1], w[2], w[3]};
    }
  }
  message.factors[tid] = factors;
  arrive(&shared.message_full[place.stage]);
  place.advance();
}

struct Places {
  RingPlace<kStages> rows;
  RingPlace<kStages> messages;
};

__device__ void score_and_add(const AttendCall& c, Shared& shared, const Unit& unit,
                              UnitRecord* record, Places& places) {
  const int tid = static_cast<int>(threadIdx.x) % kWarpgroup;
  const float scale = c.scale * kLog2E;
  share_queries(c, shared, unit);
  UnitSums<0, kScoringTiles> sums(unit);
  Chain part;
  Chain list;
  shared.sinks[tid] = load_sinks(c, unit.list.head + head_of_thread(tid));
  for (int b = unit.begin; b < unit.end; ++b) {
    const int stage = places.rows.stage;
    Words words;
    BlockWeights block;
    {
      float scores[kBlockRows / 2];
      wait(&shared.rows.full[stage], places.rows.parity);
      begin_scores(scores, shared.queries, shared.rows.tiles[stage]);
      await_products<0>();
      hold(scores);
      mask_scores(scores, shared.rows.exists[stage]);
      block = weigh(scores, scale, words);
    }
    const Factors factors = part.take(block.reference, block.sum);
    send(shared, places.messages, tid, factors, &words);
    sums.add_block(factors, words, shared.rows.tiles[stage]);
    if (tid % kWarp == 0) arrive(&shared.rows.empty[stage]);
    places.rows.advance();
    if (!ends_part(unit, b)) continue;
    const Factors of_part = list.take(part.reference, part.denominator);
    send(shared, places.messages, tid, of_part);
    sums.end_part(of_part, record, tid, b < kPartBlocks, b + 1 == unit.end);
    part = Chain{};
  }
  if (!unit.is_whole_list()) {
    if (!unit.has_warp_of(tid)) return;
    sums.leave_record(record, tid);
    record->chain[tid] = as_float4(part);
    return;
  }
  const Chain& all = unit.end > kPartBlocks ? list : part;
  const float2 last = all.last_factors(shared.sinks[tid]);
  send(shared, places.messages, tid, {{last.x, last.y}, {}});
  sums.leave_results(shared, last, tid);
  store_results(c, shared, unit);
}

__device__ Factors receive(Shared& shared, const RingPlace<kStages>& place, int tid) {
  wait(&shared.message_full[place.stage], place.parity);
  return shared.messages[place.stage].factors[tid];
}

// Lets the next message come to this place.
__device__ void leave_message(Shared& shared, RingPlace<kStages>& place, int tid) {
  __syncwarp();
  if (tid % kWarp == 0) arrive(&shared.message_empty[place.stage]);
  place.advance();
}

__device__ void add_other_values(const AttendCall& c, Shared& shared, const Unit& unit,
                                 UnitRecord* record, Places& places) {
  const int tid = static_cast<int>(threadIdx.x) % kWarpgroup;
  share_queries(c, shared, unit);
  UnitSums<kScoringTiles, kGroups - kScoringTiles> sums(unit);
  for (int b = unit.begin; b < unit.end; ++b) {
    const Factors factors = receive(shared, places.messages, tid);
    const Message& message = shared.messages[places.messages.stage];
    Words words;
#pragma unroll
    for (int k = 0; k < kSteps; ++k) {
      const uint4 w = message.weights[k][tid];
      words[k][0] = w.x, words[k][1] = w.y, words[k][2] = w.z, words[k][3] = w.w;
    }
    leave_message(shared, places.messages, tid);
    sums.add_block(factors, words, shared.rows.tiles[places.rows.stage]);
    if (tid % kWarp == 0) arrive(&shared.rows.empty[places.rows.stage]);
    places.rows.advance();
    if (!ends_part(unit, b)) continue;
    const Factors of_part = receive(shared, places.messages, tid);
    leave_message(shared, places.messages, tid);
    sums.end_part(of_part, record, tid, b < kPartBlocks, b + 1 == unit.end);
  }
  if (!unit.is_whole_list()) {
    if (unit.has_warp_of(tid)) sums.leave_record(record, tid);
    return;
  }
  const Factors last = receive(shared, places.messages, tid);
  leave_message(shared, places.messages, tid);
  sums.leave_results(shared, {last.before[0], last.before[1]}, tid);
  store_results(c, shared, unit);
}

// The next unit's queries, into L2; by the readers, who are ahead.  Earlier, others would take their place
// there.
template <int kCalls>
__device__ void prefetch_queries(const AttendStep<kCalls>& step, int i) {
  constexpr int kLine = 128;
  if (i >= step.n_units) return;
  const List list = unit_at(step, i).list;
  const Cube<const float>& q = step.calls[list.call].q;
  const auto* bytes =
      reinterpret_cast<const std::uint8_t*>(q.data + (list.t * q.planes + list.head) * kWidth);
  const int tid = static_cast<int>(threadIdx.x) % kReaders;
#pragma unroll
  for (int line = 0; line < kHeads * kWidth * 4 / kLine; line += kReaders) {
    prefetch(bytes + (line + tid) * kLine);
  }
}

template <int kCalls>
__global__ void __launch_bounds__(kRoles* kWarpgroup, 1)
    attend_units(const __grid_constant__ AttendStep<kCalls> step) {
  Shared& shared = shared_memory<Shared>();
  if (threadIdx.x == 0) init(shared);
  begin_kernel();
  __syncthreads();
  const int role = static_cast<int>(threadIdx.x) / kWarpgroup;
  Places places;
  // Each of the block's units with its call, and the unit's record or, where lists are not cut, the
  // block's for sums of earlier parts.
  const auto for_units = [&](auto work) {
    const auto n_at_once = static_cast<int>(gridDim.x);
    for (auto i = static_cast<int>(blockIdx.x); i < step.n_units; i += n_at_once) {
      Unit unit = unit_at(step, i);
      if (!unit.exists) continue;
      const int record =
          step.n_units > kMaxRecords ? static_cast<int>(blockIdx.x) : i / step.n_splits;
      unit.has_queries = i >= n_at_once && n_at_once % step.n_lists == 0;
      work(step.calls[unit.list.call], unit, &step.records[record], i);
    }
  };
  if (role == kScores) {
    grow_registers<160>();
    for_units([&](const AttendCall& c, const Unit& unit, UnitRecord* record, int) {
      score_and_add(c, shared, unit, record, places);
    });
  } else if (role == kValues) {
    grow_registers<224>();
    for_units([&](const AttendCall& c, const Unit& unit, UnitRecord* record, int) {
      add_other_values(c, shared, unit, record, places);
    });
  } else {
    shrink_registers<64>();
    for_units([&](const AttendCall& c, const Unit& unit, UnitRecord*, int i) {
      read_rows(c, shared.rows, places.rows, unit.list.t, unit.begin, unit.end);
      prefetch_queries(step, i + static_cast<int>(gridDim.x));
    });
  }
}

// The finest cut whose records there is room for.
int unit_blocks(std::int64_t n_lists, int n_blocks) {
  const int n_parts = ceil_div(n_blocks, kPartBlocks);
  return n_lists * n_blocks <= kMaxRecords  ? 1
         : n_lists * n_parts <= kMaxRecords ? kPartBlocks
                                            : n_blocks;
}

// Into how many the heads of units are split, so that queries and sums come and go by more blocks.
int n_splits(int n_multiprocessors, int n_units) {
  return n_units * 4 <= n_multiprocessors ? 4 : n_units * 2 <= n_multiprocessors ? 2 : 1;
}

template <int kCalls>
void launch(Device& device, std::span<const AttendCall> calls, std::int64_t most_rows) {
  constexpr int kSharedBytes = sizeof(Shared) + kAtomBytes;
  static_assert(kSharedBytes <= 227 * 1024);
  AttendStep<kCalls> step{};
  std::ranges::copy(calls, step.calls);
  std::int64_t n_tokens = 0;
  for (const AttendCall& call : calls) n_tokens += call.q.n;
  step.n_groups = calls.front().n_heads / kHeads;
  step.n_lists = static_cast<int>(n_tokens) * step.n_groups;
  const auto n_blocks =
      static_cast<int>(std::max<std::int64_t>(1, ceil_div(most_rows, kBlockRows)));
  step.unit_blocks = unit_blocks(step.n_lists, n_blocks);
  const int list_units = ceil_div(n_blocks, step.unit_blocks);
  const int n_records = step.n_lists * list_units;
  step.n_splits = n_splits(device.n_multiprocessors, n_records);
  step.n_units = n_records * step.n_splits;
  int grid = std::min(device.n_multiprocessors, step.n_units);
  const int n_left = grid % step.n_lists;
  if (n_left <= grid / 16) grid -= n_left;  // units of a block are of one list then
  step.records = device.workspace.take<UnitRecord>(std::min(n_records, kMaxRecords));
  PRECIS_CUDA_CHECK(cudaFuncSetAttribute(
      attend_units<kCalls>, cudaFuncAttributeMaxDynamicSharedMemorySize, kSharedBytes));
  launch_overlapping(device, attend_units<kCalls>, dim3(static_cast<unsigned>(grid)),
                     kRoles * kWarpgroup, kSharedBytes, 1, step);
  if (list_units > 1) merge_units(device, step, step.unit_blocks == 1 && n_blocks > kPartBlocks);
}

}  // namespace

void attend_heads(Device& device, std::span<const AttendCall> calls, std::int64_t most_rows) {
  while (!calls.empty()) {
    const std::size_t n = std::min<std::size_t>(calls.size(), kMaxCalls);
    n == 1 ? launch<1>(device, calls.first(1), most_rows)
           : launch<kMaxCalls>(device, calls.first(n), most_rows);
    calls = calls.subspan(n);
  }
}

}  // namespace precis::cuda
