// The selection of one token, for up to 64 heads of 128 channels: the step of a decoding sequence.
//
// A scan adds each key's heads in any order, which is three instructions in place of the chain's ten, and
// keeps the keys that a margin for rounding lets reach a bound below the K-th score.  Only those are scored
// exactly, in the order of every backend.  Blocks that share a token count the best of their tiles in device
// memory as they go and read the bound from there; none waits for another, and the last to end finds the K
// best of what all kept.  Derivation, bytes and cycles: docs/kernels/cuda_select.md.
#include <algorithm>

#include "backend/cuda/launch.h"
#include "backend/cuda/select/decode_scores.cuh"
#include "base/check.h"

namespace precis::cuda {
namespace decode {
namespace {

constexpr int kWarps = 16;
constexpr int kThreads = kWarps * kWarp;
static_assert(kThreads == kHeads * kParts, "a thread unpacks one part of the queries");
constexpr int kSegment = 256;     // candidates of a warp
constexpr int kRoundsToLook = 4;  // at the segments, together
constexpr int kLookKeys = kRoundsToLook * kTileKeys;
constexpr int kTilesOfCount = 2;  // one key of them is counted, before the first look
constexpr int kCapacity = 8192;   // entries of the list
constexpr int kListLimit = kCapacity - kWarps * kSegment;
constexpr int kMostSorted = 4 * kThreads;

constexpr int kMaxCalls = 32;  // of a launch

template <int kCalls>
struct SelectStep {
  SelectCall calls[kCalls];
};

struct alignas(8) Candidate {
  float score;  // at least that of the row
  std::int32_t row;
};

struct SharedMemory {
  Queries queries;
  alignas(16) TileRing::Stages stages[kWarps];
  TileRing::Places tile_places[kWarps];
  float scores[kWarps][kLookKeys];  // of the tiles since the last look
  union {
    Candidate segments[kWarps][kSegment];
    Entry sorted[kListLimit];
  };
  Entry entries[kCapacity];
  int histogram[kSteps];           // of the list
  alignas(16) int places[kSteps];  // of all that is handed over: zero until then
  BiasedTables tables[4];
  Entry threshold;
  int count;
  int place;               // of the list in what is handed over
  std::uint32_t greatest;  // ordered score of it
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
  // Scores that matter are those of few steps in a row, and a cache line takes one addition at a time:
  // neighbours lie in different lines.
  __device__ static int place(int step) { return step % 8 * (kSteps / 8) + step / 8; }
  // Counts a row, none of which is counted twice, of at least this score.
  __device__ void count(float score) const {
    const int own = min((__float_as_int(score) >> kShift) - base, kSteps - 1);
    if (own > step) atomicAdd(&counts[place(own)], 1);
  }
  // The least positive score that `count` would count.
  __device__ float least_counted() const { return __int_as_float((base + step + 1) << kShift); }
  // By the whole block: the greatest step that K rows are in or above.
  __device__ void raise(int k) {
    const Cut cut = find_cut<kThreads>(k, [&](int s) { return __ldcg(&counts[place(s)]); });
    step = max(step, cut.step);
  }
  // By the whole block: zero, as the next launch finds it.
  __device__ void clear() const { reinterpret_cast<int4*>(counts)[threadIdx.x] = {}; }
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

// Scores the warp's n candidates and calls take(i, entry), by every lane: `entry` is 0 or that of candidate i.
template <typename Take>
__device__ void score_candidates(const SelectCall& c, const Queries& queries,
                                 const Candidate* candidates, int n, HeadParts& parts,
                                 const Bound& bound, const Take& take) {
  const auto lane = static_cast<int>(threadIdx.x) % kWarp;
  for (int first = 0; first < n; first += kProductKeys) {
    // Four lanes fetch a row, one gets its score.
    const int fetched = first + lane / kGroups;
    const int own = first + lane;
    const Candidate candidate = fetched < n ? candidates[fetched] : Candidate{0, -1};
    // What the scan could not score.
    const float sum = __any_sync(0xffffffff, candidate.score == INFINITY) == 0
                          ? score_shifted_rows(c, queries, candidate.row, parts)
                          : score_rows(c, queries, candidate.row, parts);
    Entry entry = 0;
    if (lane < kProductKeys && own < n) {
      const float score = round_as(sum, c.rounding);
      entry = make_entry(score, candidates[own].row);
      // Nor did it count that.
      if (candidates[own].score == INFINITY && score > 0) bound.count(score);
    }
    take(own, entry);
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
  unsigned* counter;  // places given, and above them the number of blocks that have ended
  Entry* entries;

  static constexpr int kPlaceBits = 24;

  __device__ explicit Found(const Meeting& m)
      : counter(reinterpret_cast<unsigned*>(m.histograms + kSteps)), entries(m.found) {}

  // The first of n places.
  __device__ int reserve(int n) const {
    return static_cast<int>(atomicAdd(counter, static_cast<unsigned>(n)) &
                            ((1u << kPlaceBits) - 1));
  }
  // By the whole block, which has written its entries: how many there are if it is the last, or −1.
  __device__ int finish(int n_blocks) const {
    __shared__ int n_found;
    __syncthreads();
    if (threadIdx.x == 0) {
      unsigned before = 0;
      asm volatile("atom.add.acq_rel.gpu.global.u32 %0, [%1], %2;"
                   : "=r"(before)
                   : "l"(counter), "r"(1u << kPlaceBits)
                   : "memory");
      n_found = before >> kPlaceBits == static_cast<unsigned>(n_blocks - 1)
                    ? static_cast<int>(before & ((1u << kPlaceBits) - 1))
                    : -1;
    }
    __syncthreads();
    return n_found;
  }
};

// The steps of the end.  Many scores are equal when they are rounded, so where there are fewer of them than steps, a
// score's rows are divided too.
struct FinalSteps {
  std::uint32_t low;  // ordered score
  int shift;          // of a score's step
  int row_bits;
  int row_shift;

  // From `least` on, to the first of all.
  __device__ FinalSteps(std::uint32_t least, std::uint32_t greatest, Rounding rounding,
                        std::int32_t n_rows)
      : low(least) {
    const int n_zeros = rounding == Rounding::kBf16 ? 16 : 0;
    const int score_bits = max(32 - __clz(static_cast<int>(greatest - low)) - n_zeros, 0);
    shift = n_zeros + max(score_bits - kStepBits, 0);
    row_bits = max(kStepBits - score_bits, 0);
    row_shift = max(32 - __clz(n_rows) - row_bits, 0);
  }
  __device__ int of(Entry entry) const {
    const auto score = static_cast<std::uint32_t>(entry >> 32);
    if (score < low) return 0;
    const std::uint32_t step = (score - low) >> shift;
    if (step >= (kSteps >> row_bits) - 1) return kSteps - 1;
    return ((static_cast<int>(step) + 1) << row_bits) - (row_of(entry) >> row_shift);
  }
};

// A warp's scan.
struct Scan {
  TileRing ring;
  bool is_plain;         // of the queries
  bool may_count_few;    // so many tiles come before the first look that some of them make a bound
  bool must_count_keys;  // so few tiles that the best of each make none

  // Writes scores, or what is above them, of the keys of n_rounds tiles, from row `first` on.
  __device__ void run(const SharedMemory& shared, std::int32_t first, int n_rounds,
                      const Bound& bound, float* scores) {
    const std::uint32_t lane = ring.lane();
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
    for (int i = 0; i < kHeads / kPartedHeads; i += 4) {
      const float* four = shared.queries.margins + i;
      margin += four[0] + four[1] + (four[2] + four[3]);
    }
    const float margin_twice = 2 * margin;
    const float start = lane % kGroups == 0 ? margin : 0.0f;
    // Tiles whose best is counted, less one.
    int count_mask = may_count_few && bound.step == 0 ? kTilesOfCount - 1 : 0;
    asm("" : "+r"(count_mask));  // not worked out anew for each tile
    const float least_counted = bound.least_counted();
    scores += TileScales::key(lane);
    std::int32_t own_row = first + TileScales::key(lane);

    float best = 0;  // of the lane in the tiles that are not counted yet
#pragma unroll 1
    for (int round = 0; round < n_rounds; ++round) {
      // A warp without a tile in the last round computes with what is there, and nobody sees a row of it.
      const std::uint32_t tile = ring.take();
      ring.fetch_next();
      const TileScales scales(tile, lane);
      float sums[kGroups] = {start, start, start, start};
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        std::uint32_t words[kSteps8][4];
#pragma unroll
        for (int r = 0; r < 2; ++r) {
          const int j = 2 * half + r;
          const uint4 codes = load_shared_words(tile + 16 * kWarp * j);
          const auto table = *reinterpret_cast<const uint4*>(
              reinterpret_cast<const std::byte*>(shared.tables) + scales.table_place(j));
          const std::uint32_t packed[kSteps8] = {codes.x, codes.y, codes.z, codes.w};
#pragma unroll
          for (int s = 0; s < kSteps8; ++s) {
            const uint2 eight = biased_bytes(table, packed[s]);
            words[s][r] = eight.x;
            words[s][2 + r] = eight.y;
          }
        }
        // Defined, though the first product sets them: otherwise ptxas 13.0 takes both halves' for the same.
        std::int32_t products[kHeads / 2] = {};
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
#pragma unroll
        for (int i = 0; i < kHeads / kGroups; ++i) {
#pragma unroll
          for (int r = 0; r < 2; ++r) {
            float& sum = sums[2 * half + r];
            sum = fmaf(weights[i], positive_part(products[i / 2 * 4 + 2 * r + i % 2]), sum);
          }
        }
      }
      const float factor = scale_factor(scales.greatest - kMaxShift);
      const bool is_bounded = scales.is_plain && is_plain;
      const float bounded = add_lanes(sums) * factor;
      const float score = is_bounded ? bounded : INFINITY;
      const float counted =
          is_bounded && own_row < ring.n_rows() ? score - margin_twice * factor : 0.0f;
      scores[round * kTileKeys] = score;
      own_row += ring.stride();
      best = fmaxf(best, counted);
      if ((round & count_mask) != count_mask) continue;
      count_best(best, least_counted, count_mask == 0, bound);
    }
    count_best(best, least_counted, count_mask == 0, bound);
  }

 private:
  // Of the warp, of each half of its tile, or of each key, if it is worth it; starts anew.
  __device__ void count_best(float& best, float least_counted, bool has_halves,
                             const Bound& bound) const {
    const float of_lane = best;
    best = 0;
    if (__any_sync(0xffffffff, of_lane >= least_counted) == 0) return;
    if (must_count_keys) {
      bound.count(of_lane);
      return;
    }
    const std::uint32_t lane = ring.lane();
    const bool is_upper = TileScales::key(lane) >= kHalfKeys;
    const int own = __float_as_int(of_lane);
    const int lower = __reduce_max_sync(0xffffffff, has_halves && is_upper ? 0 : own);
    const int upper = __reduce_max_sync(0xffffffff, has_halves && is_upper ? own : 0);
    if (lane == 0) {
      bound.count(__int_as_float(lower));
      bound.count(__int_as_float(upper));
    }
  }
};

// A warp's candidates.
struct Candidates {
  Candidate* all;  // [kSegment]
  int n = 0;

  // Adds those of the scores of n_rounds tiles that reach `least_score`; the first is of row `first`.
  __device__ void add(const float* scores, int n_rounds, std::int32_t first, std::int32_t stride,
                      std::int32_t n_rows, float least_score) {
    const std::uint32_t lane = threadIdx.x % kWarp;
    std::int32_t row = first + static_cast<std::int32_t>(lane);
    __syncwarp();
    float own[kRoundsToLook];
#pragma unroll
    for (int i = 0; i < kRoundsToLook; ++i) own[i] = scores[i * kTileKeys + static_cast<int>(lane)];
#pragma unroll
    for (int i = 0; i < kRoundsToLook; ++i) {
      const bool is_added = i < n_rounds && row < n_rows && !(own[i] < least_score);
      const unsigned added = __ballot_sync(0xffffffff, is_added);
      if (is_added) all[n + count_below(added, lane)] = {own[i], row};
      n += __popc(added);
      row += stride;
    }
    __syncwarp();
  }
  // Keeps those that reach it.
  __device__ void filter(float least_score) {
    const std::uint32_t lane = threadIdx.x % kWarp;
    int n_kept = 0;
#pragma unroll 1
    for (int first = 0; first < n; first += kWarp) {
      const int own = first + static_cast<int>(lane);
      const Candidate candidate = own < n ? all[own] : Candidate{0, -1};
      const bool is_kept = candidate.row >= 0 && !(candidate.score < least_score);
      const unsigned kept = __ballot_sync(0xffffffff, is_kept);
      __syncwarp();
      if (is_kept) all[n_kept + count_below(kept, lane)] = candidate;
      n_kept += __popc(kept);
      __syncwarp();
    }
    n = n_kept;
  }
};

// Writes the best of what all blocks have handed over.  By the last of them, which has all to itself.
__device__ void write_found(const SelectCall& c, SharedMemory& shared, const BestRows& list,
                            const Bound& bound, const Found& found, int n_found,
                            std::int32_t n_rows) {
  const auto k = static_cast<int>(c.out.cols);
  const auto thread = static_cast<int>(threadIdx.x);
  const auto found_at = [&](int e) { return e < n_found ? __ldcg(&found.entries[e]) : 0; };
  Entry least = bound.least();
  constexpr int kOwn = kMostSorted / kThreads;
  Entry own[kOwn];
  int n = n_found;
  if (n <= kMostSorted && least != 0) {
#pragma unroll
    for (int i = 0; i < kOwn; ++i) own[i] = found_at(i * kThreads + thread);
  } else {
    if (thread == 0) list.start();
    __syncthreads();
    for (int begin = 0; begin < n_found; begin += 2 * kThreads) {
      const Entry pair[2] = {found_at(begin + thread), found_at(begin + kThreads + thread)};
      const Entry least_added = max(least, *list.threshold + 1);
      for (const Entry entry : pair) add_to_list(list, entry, least_added);
      __syncthreads();
      tighten<kThreads>(list, k, kMostSorted, shared.histogram);
    }
    // Without a bound, the scores of all are too far apart for so many steps.
    if (least == 0) {
      tighten<kThreads>(list, k, most_handed_on(k), shared.histogram);
      if (*list.count > 0) least = fit_steps<kThreads>(list).low;
    }
    n = *list.count;
#pragma unroll
    for (int i = 0; i < kOwn; ++i) {
      const int e = i * kThreads + thread;
      own[i] = e < n ? list.entries[e] : 0;
    }
  }
  Entry greatest = 0;
#pragma unroll
  for (const Entry entry : own) greatest = max(greatest, entry);
  const std::uint32_t of_warp =
      __reduce_max_sync(0xffffffff, static_cast<std::uint32_t>(greatest >> 32));
  if (thread % kWarp == 0) atomicMax(&shared.greatest, of_warp);
  bound.clear();
  if (thread == 0) *found.counter = 0;
  __syncthreads();
  const FinalSteps steps(static_cast<std::uint32_t>(least >> 32), shared.greatest, c.rounding,
                         n_rows);
  write_sorted<kThreads>(own, n, k, steps, shared.places, shared.sorted, c.out.data);
}

template <int kCalls>
__global__ void __launch_bounds__(kThreads, 1)
    select_decode(const __grid_constant__ SelectStep<kCalls> step) {
  const SelectCall& c = step.calls[kCalls == 1 ? 0 : blockIdx.y];
  extern __shared__ std::byte bytes[];
  auto& shared = *reinterpret_cast<SharedMemory*>(bytes + bytes_to_atom(bytes));
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const int warp = static_cast<int>(threadIdx.x) / kWarp;
  const auto k = static_cast<int>(c.out.cols);
  const auto n_blocks = static_cast<int>(gridDim.x);
  const auto block = static_cast<int>(blockIdx.x);
  const BestRows list{shared.entries, &shared.count, &shared.threshold};
  if (threadIdx.x == 0) {
    list.start();
    shared.greatest = 0;
    shared.queries.magnitude = 0;
  }
  if (threadIdx.x < 4) shared.tables[threadIdx.x].fill(static_cast<int>(threadIdx.x));
  static_assert(kSteps == 4 * kThreads);
  reinterpret_cast<int4*>(shared.places)[threadIdx.x] = {};
  // Numbers of rows and tables of pages come from the host, and no kernel writes them.
  const std::int32_t n_rows = c.n_visible[0];
  QueryPart query_part(c);
  // Blocks take neighbouring tiles, so their last rounds are equal too.
  std::int32_t first = (warp * n_blocks + block) * kTileKeys;
  const std::int32_t stride = kWarps * n_blocks * kTileKeys;
  Scan scan{TileRing(c.keys, shared.stages[warp], shared.tile_places[warp], first, stride, n_rows)};
  begin_kernel();
  query_part.load(c);
  scan.ring.start();
  __syncthreads();  // after the zeros above

  const int n_tiles = (n_rows + kTileKeys - 1) / kTileKeys;
  const int n_rounds = (n_tiles - block + n_blocks * kWarps - 1) / (n_blocks * kWarps);
  scan.may_count_few = min(n_blocks * kWarps * kRoundsToLook, n_tiles) >= 2 * kTilesOfCount * k;
  scan.must_count_keys = n_tiles < k;
  scan.is_plain = store_queries(c, query_part, shared.queries);
  Bound bound(c.meeting.histograms, shared.queries.magnitude);
  Candidates candidates{shared.segments[warp]};
  float least_score = -INFINITY;
  const auto raise = [&] {
    bound.raise(k);
    least_score = fmaxf(least_score, floor_of(bound.least()));
    candidates.filter(least_score);
  };

  const Found found(c.meeting);
  const int most = most_handed_on(k);
  bool is_listed = false;
  for (int round = 0;;) {
    const int n_now = min(kRoundsToLook, n_rounds - round);
    scan.run(shared, first, n_now, bound, shared.scores[warp]);
    round += kRoundsToLook;
    const bool is_end = round >= n_rounds;
    // Raised after 1, 2, 4 … looks: it doubles what it is found among.
    const int look = round / kRoundsToLook;
    if (is_end || (look & (look - 1)) == 0) raise();
    candidates.add(shared.scores[warp], n_now, first, stride, n_rows, least_score);
    first += kRoundsToLook * stride;
    // All that there is at the end, and few enough, goes to all blocks' entries at once.  Otherwise the list takes it.
    bool is_handed_over = false;
    if (is_end) {
      is_handed_over = !is_listed && __syncthreads_or(candidates.n > most / kWarps) == 0;
    } else {
      if (__syncthreads_or(candidates.n > kSegment - kLookKeys) == 0) continue;
      raise();
    }
    int place = 0;  // asked for by one lane, and known to all when it is used
    if (is_handed_over && candidates.n > 0 && lane == 0) place = found.reserve(candidates.n);
    auto& parts = reinterpret_cast<HeadParts&>(shared.stages[warp][scan.ring.spent_stage()]);
    score_candidates(c, shared.queries, candidates.all, candidates.n, parts, bound,
                     [&](int i, Entry entry) {
                       if (is_handed_over) {
                         place = __shfl_sync(0xffffffff, place, 0);
                         if (entry != 0) found.entries[place + i] = entry;
                       } else {
                         add_to_list(list, entry, max(bound.least(), *list.threshold + 1));
                       }
                     });
    if (is_handed_over) break;
    is_listed = true;
    candidates.n = 0;
    __syncthreads();
    tighten<kThreads>(list, k, is_end ? most : kListLimit, shared.histogram);
    if (*list.threshold != 0) least_score = fmaxf(least_score, floor_of(*list.threshold));
    if (is_end) break;
  }
  if (is_listed) {
    const int n_listed = *list.count;
    if (threadIdx.x == 0) shared.place = found.reserve(n_listed);
    __syncthreads();
    for (int e = static_cast<int>(threadIdx.x); e < n_listed; e += kThreads) {
      found.entries[shared.place + e] = list.entries[e];
    }
  }
  const int n_found = found.finish(n_blocks);
  if (n_found >= 0) write_found(c, shared, list, bound, found, n_found, n_rows);
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
  step.calls[0].meeting.n_found_max = n_splits * most_handed_on(k);
  PRECIS_CHECK_LE(n_splits, 1 << (32 - Found::kPlaceBits));
  PRECIS_CHECK_LE(step.calls[0].meeting.n_found_max, 1 << Found::kPlaceBits);
  prepare_meeting(device, std::span(step.calls).first(calls.size()), n_splits, n_calls);
  launch_overlapping(device, kernel,
                     dim3(static_cast<unsigned>(n_splits), static_cast<unsigned>(n_calls)),
                     kThreads, kSharedBytes, 1, step);
}

}  // namespace
}  // namespace decode

bool is_decode_select(const SelectArgs& args) {
  return args.weights.rows == 1 && args.keys.rows_per_page % decode::kTileKeys == 0 &&
         args.out.cols <= decode::kMostSorted;
}

void launch_decode_selects(Device& device, std::span<const SelectCall> calls) {
  for (; !calls.empty();
       calls = calls.subspan(std::min<std::size_t>(calls.size(), decode::kMaxCalls))) {
    const auto some = calls.first(std::min<std::size_t>(calls.size(), decode::kMaxCalls));
    some.size() == 1 ? decode::launch<1>(device, some)
                     : decode::launch<decode::kMaxCalls>(device, some);
  }
}

}  // namespace precis::cuda
