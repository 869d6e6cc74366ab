// The selection of one token, for up to 64 heads of 128 channels: the step of a decoding sequence.
//
// A scan adds each key's heads in any order, which is three instructions in place of the chain's ten, and
// keeps the keys that a margin for rounding lets reach a bound below the K-th score.  Only those are scored
// exactly, in the order of every backend.  Blocks that share a token count the best of every tile in device
// memory as they go and read the bound from there; none waits for another, and the last to end finds the K
// best of what all kept.  Derivation, bytes and cycles: docs/kernels/cuda_select.md.
#include <algorithm>

#include "backend/cuda/launch.h"
#include "backend/cuda/select/decode_scores.cuh"
#include "base/check.h"
#include "base/integers.h"

namespace precis::cuda {
namespace decode {
namespace {

constexpr int kWarps = 16;
constexpr int kThreads = kWarps * kWarp;
constexpr int kSegment = 256;     // candidates of a warp
constexpr int kRoundsToLook = 8;  // at the segments, together
constexpr int kTilesOfCount = 4;  // one of them is counted, before the first look
constexpr int kCapacity = 8192;   // entries of the list
constexpr int kListLimit = kCapacity - kWarps * kSegment;

constexpr int kMaxCalls = 32;  // of a launch

template <int kCalls>
struct SelectStep {
  SelectCall calls[kCalls];
};

struct Candidate {
  float score;  // at least that of the row
  std::int32_t row;
};

struct SharedMemory {
  Queries queries;
  alignas(16) TileBytes stages[kWarps][kStages];
  union {
    Candidate segments[kWarps][kSegment];
    Entry sorted[kListLimit];
  };
  Entry entries[kCapacity];
  int histogram[kSteps];
  BiasedTables tables[4];
  Entry threshold;
  int count;
  int n_kept;
  int place;
};

// The bound that the blocks of a token share: steps of a sixty-fourth of a power of two, on floats above 0.
struct Bound {
  int* counts;  // [kSteps] in device memory
  int base;     // float bits of step 0, shifted
  int step = 0;

  static constexpr int kShift = 23 - 6;

  __device__ Bound(int* steps, int magnitude) : counts(steps) {
    // From far below what the heaviest head adds for a key of scale 1.
    const int exponent = min(max((magnitude >> 23) - 12, 1), 254 - 32);
    base = exponent << (23 - kShift);
  }
  // Counts a row, none of which is counted twice, of at least this score.
  __device__ void count(float score) const {
    const int own = min((__float_as_int(score) >> kShift) - base, kSteps - 1);
    if (own > step) atomicAdd(&counts[own], 1);
  }
  // By the whole block: the greatest step that K rows are in or above.
  __device__ void raise(int k) {
    const Cut cut = find_cut<kThreads>(k, [&](int s) { return __ldcg(&counts[s]); });
    step = max(step, cut.step);
  }
  __device__ Entry least() const {
    if (step == 0) return 0;
    return static_cast<Entry>(0x80000000u | static_cast<std::uint32_t>(step + base) << kShift)
           << 32;
  }
};

__device__ int count_below(unsigned lanes, std::uint32_t lane) {
  return __popc(lanes & ((1u << lane) - 1));
}

// A score below which none becomes `least`'s or more when it is rounded.
__device__ float floor_of(Entry least) {
  if (least == 0) return -INFINITY;
  const float score = score_of(least);
  return score - fabsf(score) * 0x1p-8f - 0x1p-120f;
}

// Keeps those of the warp's n candidates that reach `least_score`; returns their number.
__device__ int filter_candidates(Candidate* candidates, int n, float least_score) {
  const auto lane = static_cast<int>(threadIdx.x) % kWarp;
  int n_kept = 0;
  for (int first = 0; first < n; first += kWarp) {
    const Candidate own = first + lane < n ? candidates[first + lane] : Candidate{0, -1};
    const bool is_kept = own.row >= 0 && !(own.score < least_score);
    const unsigned kept = __ballot_sync(0xffffffff, is_kept);
    if (is_kept) candidates[n_kept + count_below(kept, lane)] = own;
    n_kept += __popc(kept);
    __syncwarp();
  }
  return n_kept;
}

// Scores the warp's n candidates and calls take(i, entry), by every lane: `entry` is 0 or that of candidate i.
template <typename Take>
__device__ void score_candidates(const SelectCall& c, const Queries& queries,
                                 const Candidate* candidates, int n, const Bound& bound,
                                 const Take& take) {
  const auto lane = static_cast<int>(threadIdx.x) % kWarp;
  for (int first = 0; first < n; first += kProductKeys) {
    const int given = first + lane / kGroups;
    float scores[2];
    score_rows(c, queries, given < n ? candidates[given].row : -1, scores);
#pragma unroll
    for (int j = 0; j < 2; ++j) {
      const int own = first + 2 * (lane % kGroups) + j;
      Entry entry = 0;
      if (has_scores(lane) && own < n) {
        const float score = round_as(scores[j], c.rounding);
        entry = make_entry(score, candidates[own].row);
        // What the scan could not score it did not count.
        if (candidates[own].score == INFINITY && score > 0) bound.count(score);
      }
      take(own, entry);
    }
  }
}

// Adds the entries of the warp that are at least `least`.
__device__ void add_to_list(const BestRows& list, Entry entry, Entry least) {
  const auto lane = static_cast<int>(threadIdx.x) % kWarp;
  const unsigned added = __ballot_sync(0xffffffff, entry >= least && entry != 0);
  if (added == 0) return;
  int place = 0;
  if (lane == 0) place = atomicAdd(list.count, __popc(added));
  place = __shfl_sync(0xffffffff, place, 0);
  if (entry >= least && entry != 0) list.entries[place + count_below(added, lane)] = entry;
}

// What the blocks of a token share in device memory, beside the counts of Bound: zero between launches.
struct Found {
  unsigned long long* counter;  // blocks that have ended · 2^32 + places given
  Entry* entries;

  __device__ explicit Found(const Meeting& m)
      : counter(reinterpret_cast<unsigned long long*>(m.histograms + kSteps)), entries(m.found) {}

  // The first of n places.
  __device__ int reserve(int n) const {
    return static_cast<int>(atomicAdd(counter, static_cast<unsigned long long>(n)));
  }
  // By the whole block, which has written its entries: how many there are if it is the last, or −1.
  __device__ int finish(int n_blocks) const {
    __shared__ int n_found;
    __syncthreads();
    if (threadIdx.x == 0) {
      unsigned long long before = 0;
      asm volatile("atom.add.acq_rel.gpu.global.u64 %0, [%1], %2;"
                   : "=l"(before)
                   : "l"(counter), "l"(1ULL << 32)
                   : "memory");
      n_found = before >> 32 == static_cast<unsigned long long>(n_blocks - 1)
                    ? static_cast<int>(before & 0xffffffff)
                    : -1;
    }
    __syncthreads();
    return n_found;
  }
};

// A warp's scan: candidates of its tiles, from row `first` on.
struct Scan {
  TileRing ring;
  std::int32_t first;
  std::int32_t stride;
  std::int32_t n_rows;
  Candidate* candidates;
  int n_candidates = 0;
  bool is_plain;       // of the queries
  bool may_count_few;  // so many tiles come before the first look that some of them make a bound

  __device__ void run(const SharedMemory& shared, int n_rounds, float least_score,
                      const Bound& bound) {
    const std::uint32_t lane = threadIdx.x % kWarp;
    const std::uint64_t b = describe(shared.queries.bytes);
    const std::uint64_t bias = describe(shared.queries.bias_bytes);
    constexpr std::uint32_t kBiasWord = kByteBias * 0x01010101u;
    const std::uint32_t bias_words[4] = {kBiasWord, kBiasWord, kBiasWord, kBiasWord};
    float weights[kHeads / kGroups];
#pragma unroll
    for (int i = 0; i < kHeads / kGroups; ++i) {
      weights[i] = shared.queries.scaled_weights[i / 2 * 8 + 2 * (lane % kGroups) + i % 2];
    }
    float margin = 0;
#pragma unroll
    for (const float of_heads : shared.queries.margins) margin += of_heads;
    const float margin_twice = 2 * margin;
    const float start = lane % kGroups == 0 ? margin : 0.0f;
    const bool counts_few = may_count_few && bound.step == 0;

    int best = 0;  // of the tiles that are not counted yet
#pragma unroll 1
    for (int round = 0; round < n_rounds; ++round, first += stride) {
      // A warp without a tile in the last round computes with what is there, and nobody sees a row of it.
      const std::byte* tile = ring.take();
      ring.fetch_next();
      const TileScales scales(tile);
      std::uint32_t words[kSteps8][4];
#pragma unroll
      for (int r = 0; r < 2; ++r) {
        const auto codes = *reinterpret_cast<const uint4*>(tile + r * (kCodeBytes / 2) + 16 * lane);
        const auto table = *reinterpret_cast<const uint4*>(
            shared.tables[r == 0 ? scales.shifts & 3 : scales.shifts >> 16].words);
        const std::uint32_t packed[kSteps8] = {codes.x, codes.y, codes.z, codes.w};
#pragma unroll
        for (int s = 0; s < kSteps8; ++s) {
          const uint2 eight = biased_bytes(table, packed[s]);
          words[s][r] = eight.x;
          words[s][2 + r] = eight.y;
        }
      }
      std::int32_t products[kHeads / 2];
      begin_products();
      multiply_registers<S8, kHeads>(products, bias_words, bias, 0);
#pragma unroll
      for (int s = 0; s < kSteps8; ++s) {
        multiply_registers<S8, kHeads>(products, words[s], along_k(b, s), 1);
      }
      commit_products();
      await_products<0>();
      hold(products);
#pragma unroll
      for (int s = 0; s < kSteps8; ++s) hold(words[s]);
      float sums[2] = {start, start};
#pragma unroll
      for (int i = 0; i < kHeads / kGroups; ++i) {
#pragma unroll
        for (int r = 0; r < 2; ++r) {
          sums[r] = fmaf(weights[i], positive_part(products[i / 2 * 4 + 2 * r + i % 2]), sums[r]);
        }
      }
      const float sum = add_lanes(sums);
      const std::uint32_t scale = lane % 2 == 0 ? scales.greatest & 0xffff : scales.greatest >> 16;
      // 2^(scale of the key), without the factors 2^-23 of the parts and 4 of the doubled codes.
      const float factor = __uint_as_float((scale - kMaxShift + 23 - 2) << 23);
      float score = sum * factor;
      float counted = score - margin_twice * factor;
      const unsigned odd = __ballot_sync(0xffffffff, !(scales.is_plain && is_plain));
      if ((odd & 0xfu << lane / kGroups * kGroups) != 0) {
        score = INFINITY;
        counted = 0;
      }
      const std::int32_t row = first + own_key(lane);
      const bool is_candidate = is_owner(lane) && row < n_rows && !(score < least_score);
      const unsigned added = __ballot_sync(0xffffffff, is_candidate);
      if (added == 0) continue;
      if (is_candidate) candidates[n_candidates + count_below(added, lane)] = {score, row};
      n_candidates += __popc(added);
      best = max(best,
                 __reduce_max_sync(0xffffffff, is_candidate ? max(__float_as_int(counted), 0) : 0));
      if (counts_few && round % kTilesOfCount != kTilesOfCount - 1) continue;
      if (lane == 0) bound.count(__int_as_float(best));
      best = 0;
    }
    if (lane == 0) bound.count(__int_as_float(best));
  }
};

template <int kCalls>
__global__ void __launch_bounds__(kThreads, 1)
    select_decode(const __grid_constant__ SelectStep<kCalls> step) {
  begin_kernel();
  const SelectCall& c = step.calls[blockIdx.y];
  extern __shared__ std::byte bytes[];
  auto& shared = *reinterpret_cast<SharedMemory*>(bytes + bytes_to_atom(bytes));
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const int warp = static_cast<int>(threadIdx.x) / kWarp;
  const auto k = static_cast<int>(c.out.cols);
  const std::int32_t n_rows = c.n_visible[0];
  const QueryPart query_part(c);

  const int n_tiles = (n_rows + kTileKeys - 1) / kTileKeys;
  const auto n_blocks = static_cast<int>(gridDim.x);
  const auto block = static_cast<int>(blockIdx.x);
  // Blocks take neighbouring tiles, so their last rounds are equal too.
  const int n_rounds = (n_tiles - block + n_blocks * kWarps - 1) / (n_blocks * kWarps);
  const std::int32_t first = (warp * n_blocks + block) * kTileKeys;
  const std::int32_t stride = kWarps * n_blocks * kTileKeys;
  Scan scan{TileRing(c.keys, shared.stages[warp], first, stride, n_rows), first, stride, n_rows,
            shared.segments[warp]};

  const BestRows list{shared.entries, &shared.count, &shared.threshold};
  if (threadIdx.x == 0) {
    list.start();
    shared.n_kept = 0;
  }
  if (threadIdx.x < 4) shared.tables[threadIdx.x].fill(static_cast<int>(threadIdx.x));
  scan.may_count_few = min(n_blocks * kWarps * kRoundsToLook, n_tiles) >= 2 * kTilesOfCount * k;
  scan.is_plain = store_queries(query_part, shared.queries);
  Bound bound(c.meeting.histograms, shared.queries.magnitude);
  float least_score = -INFINITY;

  const Found found(c.meeting);
  const int most = k + k / 8;  // that a block hands over
  for (int round = 0;;) {
    scan.run(shared, min(kRoundsToLook, n_rounds - round), least_score, bound);
    round += kRoundsToLook;
    const bool is_end = round >= n_rounds;
    const bool is_due =
        __syncthreads_or(scan.n_candidates > kSegment - kRoundsToLook * kTileKeys) != 0 || is_end;
    // Raised after 1, 2, 4 … looks: it doubles what it is found among.
    const int look = round / kRoundsToLook;
    if (is_due || (look & (look - 1)) == 0) {
      bound.raise(k);
      least_score = fmaxf(least_score, floor_of(bound.least()));
    }
    if (!is_due) continue;
    // At the end they are handed over, if they are few enough; otherwise the list takes them.
    const int n = filter_candidates(scan.candidates, scan.n_candidates, least_score);
    scan.n_candidates = 0;
    bool is_handed = false;
    if (is_end) {
      if (lane == 0) atomicAdd(&shared.n_kept, n);
      __syncthreads();
      is_handed = *list.count + shared.n_kept <= most;
      __syncthreads();
    }
    int place = 0;
    if (is_handed && lane == 0 && n > 0) place = found.reserve(n);
    const Entry least = max(bound.least(), *list.threshold + 1);
    score_candidates(c, shared.queries, scan.candidates, n, bound, [&](int i, Entry entry) {
      if (is_handed) {
        const int given = __shfl_sync(0xffffffff, place, 0);
        if (entry != 0) found.entries[given + i] = entry;
      } else {
        add_to_list(list, entry, least);
      }
    });
    if (!is_handed) {
      __syncthreads();
      tighten<kThreads>(list, k, is_end ? most : kListLimit, shared.histogram);
      if (*list.threshold != 0) least_score = fmaxf(least_score, floor_of(*list.threshold));
    }
    if (is_end) break;
  }

  const int n_listed = *list.count;
  if (n_listed > 0) {
    if (threadIdx.x == 0) shared.place = found.reserve(n_listed);
    __syncthreads();
    for (int e = static_cast<int>(threadIdx.x); e < n_listed; e += kThreads) {
      found.entries[shared.place + e] = list.entries[e];
    }
  }
  const int n_found = found.finish(n_blocks);
  if (n_found < 0) return;

  // The last block has all to itself.
  if (threadIdx.x == 0) list.start();
  __syncthreads();
  const Entry least = bound.least();
  constexpr int kAtOnce = 4;
  for (int begin = 0; begin < n_found; begin += kThreads * kAtOnce) {
    Entry entries[kAtOnce];
#pragma unroll
    for (int i = 0; i < kAtOnce; ++i) {
      const int e = begin + i * kThreads + static_cast<int>(threadIdx.x);
      entries[i] = e < n_found ? __ldcg(&found.entries[e]) : 0;
    }
    const Entry least_added = max(least, *list.threshold + 1);
#pragma unroll
    for (int i = 0; i < kAtOnce; ++i) add_to_list(list, entries[i], least_added);
    __syncthreads();
    tighten<kThreads>(list, k, kListLimit, shared.histogram);
  }
  for (int s = static_cast<int>(threadIdx.x); s < kSteps; s += kThreads) bound.counts[s] = 0;
  if (threadIdx.x == 0) *found.counter = 0;
  write_sorted<kThreads>(list, k, c.rounding == Rounding::kBf16 ? 48 : 45, least, shared.histogram,
                         shared.sorted, c.out.data);
}

template <int kCalls>
void launch(Device& device, std::span<const SelectCall> calls) {
  const auto kernel = select_decode<kCalls>;
  constexpr int kSharedBytes = static_cast<int>(sizeof(SharedMemory)) + kAtomBytes;
  PRECIS_CUDA_CHECK(
      cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, kSharedBytes));
  const auto n_calls = static_cast<int>(std::ssize(calls));
  const auto k = static_cast<int>(calls.front().out.cols);
  const int n_splits = std::max(1, device.n_multiprocessors / n_calls);
  SelectStep<kCalls> step{};
  std::copy(calls.begin(), calls.end(), step.calls);
  step.calls[0].meeting.n_found_max = n_splits * (k + k / 8);
  prepare_meeting(device, std::span(step.calls).first(calls.size()), n_splits, n_calls);
  launch_overlapping(device, kernel,
                     dim3(static_cast<unsigned>(n_splits), static_cast<unsigned>(n_calls)),
                     kThreads, kSharedBytes, 1, step);
}

}  // namespace
}  // namespace decode

void launch_decode_selects(Device& device, std::span<const SelectCall> calls) {
  for (; !calls.empty();
       calls = calls.subspan(std::min<std::size_t>(calls.size(), decode::kMaxCalls))) {
    const auto some = calls.first(std::min<std::size_t>(calls.size(), decode::kMaxCalls));
    some.size() == 1 ? decode::launch<1>(device, some)
                     : decode::launch<decode::kMaxCalls>(device, some);
  }
}

}  // namespace precis::cuda
