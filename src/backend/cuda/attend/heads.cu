// Attention of 64 heads over released V4 rows (448 codes and 64 rotated bf16 channels), on tensor cores.
//
// A block of the grid takes units of work in turn (units.cuh).  Two warpgroups read rows, 64 at a time,
// and expand them into shared memory; one multiplies them with the queries, makes weights and adds the
// first 128 channels of the values; one adds the other 384.  Weights count from a power of two, so
// rescaling is exact and one pass over the rows is enough.
// Byte and cycle counts: docs/kernels/cuda_attend.md.
#include <algorithm>

#include "backend/cuda/attend/units.cuh"
#include "backend/cuda/launch.h"
#include "base/integers.h"

namespace precis::cuda {
namespace {

constexpr int kStages = 2;
constexpr int kScoringTiles = 2;  // tiles of values that the warpgroup with the scores adds
constexpr int kPiece = 32;        // channels of values multiplied at a time
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
    for (int half = 0; half < 2; ++half) {
      init_barrier(&shared.rows.full[i][half], kReaders);
      init_barrier(&shared.rows.empty[i][half], 2 * kWarps);
    }
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

  template <int kBuffers, typename Meanwhile, typename Released>
  __device__ void add_block(const Factors& factors, const Words& words, const std::uint8_t* tiles,
                            const Meanwhile& meanwhile, const Released& released) {
    add_values<kPiece, kBuffers, kHalfGroups - kFirst>(
        sums, factors, words, tiles + kFirst * kTileBytes, meanwhile, released);
  }

  // Leaves sums in device memory until more can be added to them.
  __device__ void park(UnitRecord* record, int tid) {
    leave_record(record, tid);
#pragma unroll
    for (int i = 0; i < kTiles; ++i) {
#pragma unroll
      for (int j = 0; j < kGroup / 2; ++j) sums[i][j] = kNothing;
    }
  }

  // Adds these sums to those that were parked.
  __device__ void add_to(const UnitRecord* record, const Factors& factors, int tid) {
#pragma unroll
    for (int i = 0; i < kTiles; ++i) {
      const float4* parked = &record->quads[(kFirst + i) * kTileQuads][tid];
      float4 total[kTileQuads];
#pragma unroll
      for (int j = 0; j < kTileQuads; ++j) total[j] = parked[j * kWarpgroup];
#pragma unroll
      for (int j = 0; j < kTileQuads; ++j) {
        add_scaled(total[j], quad(i, j), factors);
        const float next[4] = {total[j].x, total[j].y, total[j].z, total[j].w};
#pragma unroll
        for (int k = 0; k < 4; ++k) sums[i][4 * j + k] = next[k];
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

// What ends with block `b` of a unit that has several parts, and whether there were others before it in
// the pair or the unit.
struct Ends {
  bool part;
  bool pair;
  bool unit;
  bool has_part_before;
  bool has_pair_before;

  __device__ Ends(const Unit& of, int b) {
    const int in_pair = b % kPairBlocks;
    unit = b + 1 == of.end;
    pair = in_pair + 1 == kPairBlocks || unit;
    part = of.end - of.begin > kPartBlocks && (in_pair + 1 == kPartBlocks || pair);
    has_part_before = in_pair >= kPartBlocks;
    has_pair_before = b - of.begin >= kPairBlocks;
  }
};

// Adds sums of a part to what is parked, and parks what has to wait: the first part of a pair in record 0,
// earlier pairs in record 1.
template <typename Sums, typename PartFactors, typename PairFactors>
__device__ void end_part(Sums& sums, const Ends& ends, UnitRecord* parked, int tid,
                         const PartFactors& of_part, const PairFactors& of_pair) {
  if (ends.has_part_before) sums.add_to(&parked[0], of_part(), tid);
  if (!ends.pair) return sums.park(&parked[0], tid);
  if (ends.has_pair_before) sums.add_to(&parked[1], of_pair(), tid);
  if (!ends.unit) sums.park(&parked[1], tid);
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
  Chain pair;
  Chain all;  // of the unit, if it has several parts
  shared.sinks[tid] = load_sinks(c, unit.list.head + head_of_thread(tid));
  for (int b = unit.begin; b < unit.end; ++b) {
    const int stage = places.rows.stage;
    Words words;
    BlockWeights block;
    {
      float scores[kBlockRows / 2];
      wait(&shared.rows.full[stage][0], places.rows.parity);
      begin_scores(scores, shared.queries, shared.rows.tiles[stage],
                   [&] { wait(&shared.rows.full[stage][1], places.rows.parity); });
      await_products<0>();
      hold(scores);
      if (tid % kWarp == 0) arrive(&shared.rows.empty[stage][1]);
      mask_scores(scores, shared.rows.exists[stage]);
      block = weigh(scores, scale, words);
    }
    const Factors factors = part.take(block.reference, block.sum);
    sums.add_block<2>(
        factors, words, shared.rows.tiles[stage],
        [&] { send(shared, places.messages, tid, factors, &words); }, [] {});
    if (tid % kWarp == 0) arrive(&shared.rows.empty[stage][0]);
    places.rows.advance();
    const Ends ends(unit, b);
    if (!ends.part) continue;
    const auto sent = [&](const Factors& f) -> const Factors& {
      send(shared, places.messages, tid, f);
      return f;
    };
    const Factors of_part = pair.take(part.reference, part.denominator);
    part = Chain{};
    Factors of_pair{};
    if (ends.pair) {
      of_pair = all.take(pair.reference, pair.denominator);
      pair = Chain{};
    }
    end_part(
        sums, ends, record, tid, [&] { return sent(of_part); }, [&] { return sent(of_pair); });
  }
  if (unit.end - unit.begin <= kPartBlocks) all = part;
  if (!unit.is_whole_list()) {
    if (!unit.has_warp_of(tid)) return;
    sums.leave_record(record, tid);
    record->chain[tid] = as_float4(all);
    return;
  }
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
    publish_shared();
    sums.add_block<1>(
        factors, words, shared.rows.tiles[places.rows.stage],
        [&] { leave_message(shared, places.messages, tid); },
        [&] {
          if (tid % kWarp == 0) arrive(&shared.rows.empty[places.rows.stage][0]);
        });
    if (tid % kWarp == 0) arrive(&shared.rows.empty[places.rows.stage][1]);
    places.rows.advance();
    const Ends ends(unit, b);
    if (!ends.part) continue;
    const auto received = [&] {
      const Factors f = receive(shared, places.messages, tid);
      leave_message(shared, places.messages, tid);
      return f;
    };
    end_part(sums, ends, record, tid, received, received);
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
  // block's two for sums that wait.
  const auto for_units = [&](auto work) {
    const auto n_at_once = static_cast<int>(gridDim.x);
    for (auto i = static_cast<int>(blockIdx.x); i < step.n_units; i += n_at_once) {
      Unit unit = unit_at(step, i);
      if (!unit.exists) continue;
      const int record = step.is_cut ? i / step.n_splits : 2 * static_cast<int>(blockIdx.x);
      unit.has_queries = i >= n_at_once && n_at_once % step.n_lists == 0;
      work(step.calls[unit.list.call], unit, &step.records[record], i);
    }
  };
  if (role == kScores) {
    grow_registers<144>();
    for_units([&](const AttendCall& c, const Unit& unit, UnitRecord* record, int) {
      score_and_add(c, shared, unit, record, places);
    });
  } else if (role == kValues) {
    grow_registers<240>();
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

// Blocks of two units: the finest cut whose records there is room for, if that is blocks, or else the cut
// into parts, pairs or lists that ends first.
int two_units(std::int64_t n_lists, int n_blocks, int n_multiprocessors) {
  constexpr int kOtherwise = 3;  // what a unit takes beside its blocks, in the time of a block
  if (n_lists * n_blocks <= kMaxRecords) return 2;
  int best = 2 * n_blocks;
  std::int64_t least = ceil_div<std::int64_t>(n_lists, n_multiprocessors) * (n_blocks + kOtherwise);
  for (const int two : {2 * kPairBlocks, kPairBlocks}) {
    const std::int64_t n_units = n_lists * count_units(two, n_blocks);
    if (n_units > kMaxRecords || n_blocks <= unit_begin(two, 1)) continue;
    const std::int64_t time =
        ceil_div<std::int64_t>(n_units, n_multiprocessors) * (unit_begin(two, 1) + kOtherwise);
    if (time < least) {
      best = two;
      least = time;
    }
  }
  return best;
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
  step.two_units = two_units(step.n_lists, n_blocks, device.n_multiprocessors);
  const int list_units = count_units(step.two_units, n_blocks);
  step.is_cut = list_units > 1;
  const int n_in_lists = step.n_lists * list_units;
  step.n_splits = n_splits(device.n_multiprocessors, n_in_lists);
  step.n_units = n_in_lists * step.n_splits;
  int grid = std::min(device.n_multiprocessors, step.n_units);
  const int n_left = grid % step.n_lists;
  if (n_left <= grid / 16) grid -= n_left;  // units of a block are of one list then
  step.records = device.workspace.take<UnitRecord>(step.is_cut ? n_in_lists : 2 * grid);
  PRECIS_CUDA_CHECK(cudaFuncSetAttribute(
      attend_units<kCalls>, cudaFuncAttributeMaxDynamicSharedMemorySize, kSharedBytes));
  launch_overlapping(device, attend_units<kCalls>, dim3(static_cast<unsigned>(grid)),
                     kRoles * kWarpgroup, kSharedBytes, 1, step);
  if (step.is_cut) merge_units(device, step, step.two_units == 2 && n_blocks > kPartBlocks);
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
