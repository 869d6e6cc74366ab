// The best rows of a token: candidate lists in shared memory, and the exact best of all blocks' lists.
//
// An entry is a score as an ordered integer above the complement of its row, so larger entries come
// first in a selection and no two are equal: whichever way they are searched, the result is the same.
// Nothing is sorted: a histogram finds a bound below the k-th entry, and an entry's place is the number
// of entries above it.
#pragma once

#include <cstdint>

#include "backend/cuda/numbers.cuh"
#include "tensor/view.h"

namespace precis::cuda {

using Entry = std::uint64_t;

inline constexpr int kSteps = 2048;  // of a histogram
inline constexpr int kStepBits = 11;
inline constexpr int kHistograms = 3;  // of a token, taken in turn

__device__ inline std::uint32_t ordered_bits(float score) {
  std::int32_t bits = __float_as_int(score + 0.0f);  // −0 becomes +0
  bits ^= (bits >> 31) & 0x7fffffff;
  if (isnan(score)) bits = -0x7fffffff - 1;
  return static_cast<std::uint32_t>(bits) ^ 0x80000000u;
}
__device__ inline Entry make_entry(float score, std::int32_t row) {
  return static_cast<Entry>(ordered_bits(score)) << 32 | ~static_cast<std::uint32_t>(row);
}
__device__ inline std::int32_t row_of(Entry entry) {
  return static_cast<std::int32_t>(~static_cast<std::uint32_t>(entry));
}

__device__ inline float score_of(Entry entry) {
  auto bits = static_cast<std::int32_t>(static_cast<std::uint32_t>(entry >> 32) ^ 0x80000000u);
  bits ^= (bits >> 31) & 0x7fffffff;
  return __int_as_float(bits);
}

/// Candidates of one token, in shared memory.
struct BestRows {
  Entry* entries;    // [capacity]
  int* count;        // of entries
  Entry* threshold;  // a candidate is above

  __device__ void start() const {
    *count = 0;
    *threshold = 0;
  }
};

/// Equal steps from `low` on, for the entries begin … end; outside of the steps the first or the last.
struct Steps {
  Entry low;
  int shift;  // a step is 2^shift
  Entry begin;
  Entry end;
  bool is_clamped;  // begin … end is wider than the steps

  __device__ static Steps all() { return {0, 64 - kStepBits, 0, ~Entry{0}, false}; }
  __device__ bool holds(Entry entry) const { return entry >= begin && entry <= end; }
  __device__ int of(Entry entry) const {
    if (entry < low) return 0;
    const Entry step = (entry - low) >> shift;
    return step < kSteps ? static_cast<int>(step) : kSteps - 1;
  }
  __device__ Entry edge(int step) const {
    return step == 0 ? begin : low + (static_cast<Entry>(step) << shift);
  }
  /// The entries of one step in finer ones; where steps were clamped, everything anew.
  __device__ Steps within(int step) const {
    if (is_clamped) return all();
    const Entry first = edge(step);
    const Entry last = first + ((Entry{1} << shift) - 1);
    return {first, shift > kStepBits ? shift - kStepBits : 0, first, last < end ? last : end,
            false};
  }
};

/// Where the k-th largest entry lies.
struct Cut {
  int step;   // its step; 0 where there are fewer than k
  int above;  // entries above that step
  int taken;  // entries in it or above
};

/// The sum of `own` over the threads before this one.  By the whole block, with a barrier before the next call.
template <int kThreads>
__device__ int sum_before(int own) {
  __shared__ int warp_sums[kThreads / kWarp];
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const int warp = static_cast<int>(threadIdx.x) / kWarp;
  int sum = own;
#pragma unroll
  for (int step = 1; step < kWarp; step *= 2) {
    const int other = __shfl_up_sync(0xffffffff, sum, step);
    if (lane >= step) sum += other;
  }
  if (lane == kWarp - 1) warp_sums[warp] = sum;
  __syncthreads();
  return sum - own + __reduce_add_sync(0xffffffff, lane < warp ? warp_sums[lane] : 0);
}

/// By the whole block: the cut of a histogram, read by `count_at(step)`.  Begins and ends with a barrier.
template <int kThreads, typename CountAt>
__device__ Cut find_cut(int k, const CountAt& count_at) {
  constexpr int kOwn = (kSteps + kThreads - 1) / kThreads;
  __shared__ Cut cut;
  const int top = kSteps - 1 - kOwn * static_cast<int>(threadIdx.x);
  __syncthreads();
  int counts[kOwn];
  int own = 0;
#pragma unroll
  for (int i = 0; i < kOwn; ++i) counts[i] = top - i >= 0 ? count_at(top - i) : 0;
#pragma unroll
  for (int i = 0; i < kOwn; ++i) own += counts[i];
  int above = sum_before<kThreads>(own);
  const bool is_last = threadIdx.x == kThreads - 1;
  if (above < k && (k <= above + own || is_last)) {
    cut = {0, 0, above + own};
    bool found = false;
#pragma unroll
    for (int i = 0; i < kOwn; ++i) {
      if (!found && above + counts[i] >= k) {
        cut = {top - i, above, above + counts[i]};
        found = true;
      }
      above += counts[i];
    }
  }
  __syncthreads();
  return cut;
}

/// Counts the entries of `list` that `steps` holds into histogram [kSteps], which is zeroed first.
template <int kThreads>
__device__ void count_steps(const BestRows& list, const Steps& steps, int* histogram) {
  __syncthreads();
  for (int i = static_cast<int>(threadIdx.x); i < kSteps; i += kThreads) histogram[i] = 0;
  __syncthreads();
  const int n = *list.count;
  for (int e = static_cast<int>(threadIdx.x); e < n; e += kThreads) {
    const Entry entry = list.entries[e];
    if (steps.holds(entry)) atomicAdd(&histogram[steps.of(entry)], 1);
  }
}

/// The steps that fit the entries of `list`, which is not empty.  By the whole block.
template <int kThreads>
__device__ Steps fit_steps(const BestRows& list) {
  __shared__ unsigned long long bounds[2];
  __syncthreads();
  if (threadIdx.x == 0) {
    bounds[0] = ~0ULL;
    bounds[1] = 0;
  }
  __syncthreads();
  unsigned long long least = ~0ULL;
  unsigned long long most = 0;
  const int n = *list.count;
  for (int e = static_cast<int>(threadIdx.x); e < n; e += kThreads) {
    const unsigned long long entry = list.entries[e];
    least = min(least, entry);
    most = max(most, entry);
  }
#pragma unroll
  for (int step = kWarp / 2; step > 0; step /= 2) {
    least = min(least, __shfl_xor_sync(0xffffffff, least, step));
    most = max(most, __shfl_xor_sync(0xffffffff, most, step));
  }
  if (threadIdx.x % kWarp == 0) {
    atomicMin(&bounds[0], least);
    atomicMax(&bounds[1], most);
  }
  __syncthreads();
  const Entry low = bounds[0];
  const Entry high = bounds[1];
  const int width = 64 - __clzll(static_cast<long long>(high - low));
  return {low, width > kStepBits ? width - kStepBits : 0, low, high, false};
}

/// Keeps at most `limit` entries of a list, the k best among them, and raises its threshold.
/// `histogram` [kSteps].  By the whole block, after a barrier; ends with one.
template <int kThreads>
__device__ void tighten(const BestRows& list, int k, int limit, int* histogram) {
  const int n = *list.count;
  __syncthreads();  // all have read it before one goes on and adds
  if (n <= limit || n <= k) return;
  Steps steps = fit_steps<kThreads>(list);
  int above = 0;
  Entry least = 0;
  for (;;) {
    count_steps<kThreads>(list, steps, histogram);
    const Cut cut = find_cut<kThreads>(k - above, [&](int step) { return histogram[step]; });
    least = steps.edge(cut.step);
    if (above + cut.taken <= limit) break;
    above += cut.above;
    steps = steps.within(cut.step);
  }
  if (threadIdx.x == 0) *list.count = 0;
  for (int first = 0; first < n; first += kThreads) {
    const int e = first + static_cast<int>(threadIdx.x);
    const Entry entry = e < n ? list.entries[e] : 0;
    __syncthreads();
    // Places before the end of the piece that all threads have read.
    if (e < n && entry >= least) list.entries[atomicAdd(list.count, 1)] = entry;
  }
  if (threadIdx.x == 0) *list.threshold = least == 0 ? 0 : least - 1;
  __syncthreads();
}

/// Writes the rows of those of the block's entries that are at or above `least` and among the k best of
/// all n entries `all` (shared memory) to their places in `out`.
template <int kThreads>
__device__ void write_places(const BestRows& own, Entry least, const Entry* all, int n, int k,
                             std::int32_t* out) {
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const int warp = static_cast<int>(threadIdx.x) / kWarp;
  const int n_own = *own.count;
  for (int first = warp * kWarp; first < n_own; first += kThreads) {
    const Entry mine = first + lane < n_own ? own.entries[first + lane] : 0;
    unsigned wanted = __ballot_sync(0xffffffff, mine >= least && mine != 0);
    for (; wanted != 0; wanted &= wanted - 1) {
      const Entry entry = __shfl_sync(0xffffffff, mine, __ffs(static_cast<int>(wanted)) - 1);
      int place = 0;
      for (int e = lane; e < n; e += kWarp) place += all[e] > entry ? 1 : 0;
      place = __reduce_add_sync(0xffffffff, place);
      if (lane == 0 && place < k) out[place] = row_of(entry);
    }
  }
}

template <int kThreads>
__device__ void write_none(int n, int k, std::int32_t* out) {
  for (int i = n + static_cast<int>(threadIdx.x); i < k; i += kThreads) out[i] = -1;
}

/// So many entries may go on where the k best are wanted: a step of a histogram goes as a whole.
__host__ __device__ constexpr int most_handed_on(int k) {
  return k + k / 8;
}

/// Writes the k best of a list that is complete.  By the whole block, after a barrier.
template <int kThreads>
__device__ void write_best(const BestRows& list, int k, int* histogram, std::int32_t* out) {
  tighten<kThreads>(list, k, most_handed_on(k), histogram);
  const int n = *list.count;
  write_places<kThreads>(list, 0, list.entries, n, k, out);
  write_none<kThreads>(n, k, out);
}

/// Writes the k best of n entries, of which each thread has every kThreads-th, in one pass: they are dealt to steps,
/// `steps.of(entry)`, which follow the order of entries and whose places follow from the counts, and find their own
/// among those of their step.  `histogram` [kSteps] is zero, `sorted` has room for all and three more.  By the whole
/// block.
template <int kThreads, int kMost, typename StepsOfEntries>
__device__ void write_sorted(const Entry (&own)[kMost], int n, int k, const StepsOfEntries& steps,
                             int* histogram, Entry* sorted, std::int32_t* out) {
  static_assert(kSteps == 4 * kThreads);
  const auto thread = static_cast<int>(threadIdx.x);
  int step_of[kMost];
  int place_in[kMost];
#pragma unroll
  for (int i = 0; i < kMost; ++i) {
    if (i * kThreads + thread >= n) continue;
    step_of[i] = steps.of(own[i]);
    place_in[i] = atomicAdd(&histogram[step_of[i]], 1);
  }
  write_none<kThreads>(n, k, out);
  __syncthreads();
  // From here on a step's word is the place of its first entry.
  int4& four = reinterpret_cast<int4*>(histogram)[kThreads - 1 - thread];
  const int4 counts = four;
  const int3 above = {counts.y + counts.z + counts.w, counts.z + counts.w, counts.w};
  const int place = sum_before<kThreads>(counts.x + above.x);
  four = {place + above.x, place + above.y, place + above.z, place};
  __syncthreads();
#pragma unroll
  for (int i = 0; i < kMost; ++i) {
    if (i * kThreads + thread < n) sorted[histogram[step_of[i]] + place_in[i]] = own[i];
  }
  __syncthreads();
#pragma unroll
  for (int i = 0; i < kMost; ++i) {
    if (i * kThreads + thread >= n) continue;
    const int begin = histogram[step_of[i]];
    if (begin >= k) continue;
    const int end = step_of[i] > 0 ? histogram[step_of[i] - 1] : n;
    int at = begin;
    // Four loads at a time, of which those beyond the end do not count.
#pragma unroll 1
    for (int other = begin; other < end; other += 4) {
#pragma unroll
      for (int j = 0; j < 4; ++j) at += other + j < end && sorted[other + j] > own[i] ? 1 : 0;
    }
    if (at < k) out[at] = row_of(own[i]);
  }
}

/// What the blocks that share a token know of each other, in device memory.
struct Meeting {
  int n_blocks;
  int n_found_max;        // entries that `found` holds of a token, at least k
  unsigned int* arrived;  // of the group of blocks; 0 or the top bit between launches
  int* histograms;        // [tokens][kHistograms][kSteps], zero between launches
  int* n_found;           // [tokens], zero between launches
  Entry* found;           // [tokens][n_found_max]

  /// Waits for all n_blocks, and makes what they wrote visible.
  __device__ void gather(int block) const {
    __syncthreads();
    if (threadIdx.x == 0) {
      __threadfence();
      // All additions of a round sum up to the top bit, so the count needs no reset.
      const unsigned int own = block == 0 ? 0x80000000u - static_cast<unsigned>(n_blocks - 1) : 1u;
      const unsigned int before = atomicAdd(arrived, own);
      while (((before ^ *static_cast<volatile unsigned int*>(arrived)) & 0x80000000u) == 0) {
      }
      __threadfence();
    }
    __syncthreads();
  }
};

/// Writes the k best entries of all blocks' lists.  `first_steps` are the same in all of them; `scratch`
/// is shared memory for kSteps counts or n_found_max entries.  Tokens i < n_tokens ≤ kMaxTokens.
template <int kThreads, int kMaxTokens, typename ListOf, typename StepsOf>
__device__ void write_best_of_all(const Meeting& m, int block, std::int64_t first_token,
                                  int n_tokens, const ListOf& list_of, const StepsOf& first_steps,
                                  std::byte* scratch, const Mat<std::int32_t>& out) {
  const auto k = static_cast<int>(out.cols);
  int* histogram = reinterpret_cast<int*>(scratch);
  Steps steps[kMaxTokens];
  int above[kMaxTokens] = {};
  int taken[kMaxTokens] = {};
  Entry least[kMaxTokens] = {};
#pragma unroll
  for (int i = 0; i < kMaxTokens; ++i) {
    taken[i] = i < n_tokens ? m.n_found_max + 1 : 0;
    if (i < n_tokens) steps[i] = first_steps(i);
  }
  bool is_searching = true;
  for (int round = 0; is_searching; ++round) {
    const auto shared_counts = [&](int i, int of_round) {
      return m.histograms + ((first_token + i) * kHistograms + of_round % kHistograms) * kSteps;
    };
#pragma unroll
    for (int i = 0; i < kMaxTokens; ++i) {
      if (taken[i] <= m.n_found_max) continue;
      count_steps<kThreads>(list_of(i), steps[i], histogram);
      __syncthreads();
      int* sums = shared_counts(i, round);
      for (int s = static_cast<int>(threadIdx.x); s < kSteps; s += kThreads) {
        if (histogram[s] > 0) atomicAdd(&sums[s], histogram[s]);
      }
    }
    m.gather(block);
    is_searching = false;
#pragma unroll
    for (int i = 0; i < kMaxTokens; ++i) {
      if (taken[i] <= m.n_found_max) continue;
      const int* sums = shared_counts(i, round);
      const Cut cut = find_cut<kThreads>(k - above[i], [&](int s) { return __ldcg(&sums[s]); });
      least[i] = steps[i].edge(cut.step);
      taken[i] = above[i] + cut.taken;
      // Read by all blocks a round ago, and not written before the next one.
      if (round > 0 && block == 0) {
        int* old = shared_counts(i, round - 1);
        for (int s = static_cast<int>(threadIdx.x); s < kSteps; s += kThreads) old[s] = 0;
      }
      if (taken[i] <= m.n_found_max) continue;
      is_searching = true;
      above[i] = steps[i].is_clamped ? 0 : above[i] + cut.above;
      steps[i] = steps[i].within(cut.step);
    }
  }
#pragma unroll
  for (int i = 0; i < kMaxTokens; ++i) {
    if (i >= n_tokens) continue;
    const BestRows list = list_of(i);
    const std::int64_t t = first_token + i;
    const int n = *list.count;
    for (int e = static_cast<int>(threadIdx.x); e < n; e += kThreads) {
      const Entry entry = list.entries[e];
      if (entry >= least[i]) m.found[t * m.n_found_max + atomicAdd(&m.n_found[t], 1)] = entry;
    }
  }
  m.gather(block);
  Entry* all = reinterpret_cast<Entry*>(scratch);
#pragma unroll
  for (int i = 0; i < kMaxTokens; ++i) {
    if (i >= n_tokens) continue;
    const std::int64_t t = first_token + i;
    for (int e = static_cast<int>(threadIdx.x); e < taken[i]; e += kThreads) {
      all[e] = __ldcg(&m.found[t * m.n_found_max + e]);
    }
    __syncthreads();
    std::int32_t* row = out.data + t * out.stride;
    write_places<kThreads>(list_of(i), least[i], all, taken[i], k, row);
    __syncthreads();
    if (block != 0) continue;
    write_none<kThreads>(taken[i], k, row);
    int* counts = m.histograms + t * kHistograms * kSteps;
    for (int s = static_cast<int>(threadIdx.x); s < kHistograms * kSteps; s += kThreads)
      counts[s] = 0;
    if (threadIdx.x == 0) m.n_found[t] = 0;
  }
}

}  // namespace precis::cuda
