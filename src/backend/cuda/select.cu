// The lightning indexer: exact scores of packed keys and the K best rows, in one pass over the keys.
//
// Twice an e2m1 value is a small integer, and a group of 32 channels is the depth of one s8 tensor
// core product: mma.m16n8k32 gives the exact sums of 16 keys with 8 heads.  Scales, heads and the
// order of additions are those of every backend, so the selection is the CPU's bit for bit.  A block
// keeps the best rows of its tokens in shared memory; scores never reach device memory.
// Byte and cycle counts: docs/kernels/cuda_select.md.
#include <algorithm>

#include <cooperative_groups.h>

#include "backend/cuda/numbers.cuh"
#include "backend/cuda/ops.h"
#include "base/check.h"

namespace precis::cuda {
namespace {

constexpr int kWarps = 8;
constexpr int kThreads = kWarps * kWarp;
constexpr int kWarpKeys = 32;
constexpr int kBlockKeys = kWarps * kWarpKeys;
constexpr int kTileHeads = 8;
constexpr int kLogitTiles = 2;  // head tiles whose logits wait in shared memory
// Rows of 20 floats: their float4 reads and nearly all float2 writes meet different banks.
constexpr int kLogitStride = kLogitTiles * kTileHeads + 4;
constexpr int kDigitBits = 11;
constexpr int kDigits = 1 << kDigitBits;
constexpr int kLevels = 2;
// 1.5 · 2^23: an integer below 2^22 added to its bits is added to its value.
constexpr std::int32_t kFloatOffsetBits = 0x4b400000;
constexpr float kFloatOffset = 12582912.0f;

struct SelectCall {
  Rows queries;
  Mat<const float> weights;
  float weight_scale;
  Rows keys;
  const std::int32_t* n_visible;
  Mat<std::int32_t> out;
  Rounding rounding;
  int capacity;      // entries of a list, a power of two
  int block_tokens;  // tokens of a block
  int n_splits;      // parts of the rows
  // Where n_splits > 1:
  int* histogram;        // [T, kLevels, kDigits] of the blocks' entries, zero before
  int* n_found;          // [T], zero before
  std::uint64_t* found;  // [T, capacity] entries that can be among the best
  std::uint64_t* parts;  // [T, n_splits, K] best of each part, only where `found` was too short
  int* part_counts;      // [T, n_splits]
};

// ---- Best rows: entries order by score ascending, then row descending; 0 is below all.

__device__ std::uint64_t make_entry(float score, std::int32_t row) {
  std::int32_t bits = __float_as_int(score + 0.0f);  // −0 becomes +0
  bits ^= (bits >> 31) & 0x7fffffff;
  if (isnan(score)) bits = -0x7fffffff - 1;
  const std::uint32_t high = static_cast<std::uint32_t>(bits) ^ 0x80000000u;
  return static_cast<std::uint64_t>(high) << 32 | ~static_cast<std::uint32_t>(row);
}

struct BestRows {
  std::uint64_t* entries;  // [capacity]
  int* count;
  std::uint64_t* threshold;  // a candidate must be above

  __device__ void start() {
    if (threadIdx.x == 0) {
      *count = 0;
      *threshold = 0;
    }
  }
  // A call between two barriers adds at most kThreads entries.
  __device__ void add(std::uint64_t entry) {
    if (entry > *threshold) entries[atomicAdd(count, 1)] = entry;
  }
  // Sorts descending and keeps k.  By the whole block, after a barrier; ends with one.
  __device__ void tighten(int capacity, int k) {
    const int n = *count;
    for (int i = n + static_cast<int>(threadIdx.x); i < capacity; i += kThreads) entries[i] = 0;
    __syncthreads();
    for (int size = 2; size <= capacity; size *= 2) {
      for (int step = size / 2; step > 0; step /= 2) {
        for (int i = static_cast<int>(threadIdx.x); i < capacity / 2; i += kThreads) {
          const int low = i / step * 2 * step + i % step;
          const std::uint64_t a = entries[low];
          const std::uint64_t b = entries[low + step];
          const bool descending = (low & size) == 0;
          if ((a < b) == descending) {
            entries[low] = b;
            entries[low + step] = a;
          }
        }
        __syncthreads();
      }
    }
    if (threadIdx.x == 0) {
      *count = min(n, k);
      *threshold = n >= k ? entries[k - 1] : 0;
    }
    __syncthreads();
  }
  __device__ void make_room(int capacity, int k) {
    if (*count > capacity - kThreads) tighten(capacity, k);
  }
};

// ---- Scores.

// Four nibbles (the low half of `word`) as signed bytes of twice their value.
__device__ std::uint32_t doubled_e2m1(std::uint32_t word) {
  const std::uint32_t magnitude = word & 0x7777;
  const std::uint32_t positive = __byte_perm(0x03020100, 0x0c080604, magnitude);
  const std::uint32_t negative = __byte_perm(0xfdfeff00, 0xf4f8fafc, magnitude);
  const std::uint32_t mask = __byte_perm(0x0000ff00, 0, (word >> 3) & 0x1111);
  return positive ^ ((positive ^ negative) & mask);
}

__device__ void exact_product(std::int32_t (&sums)[4], const std::uint32_t (&keys)[4],
                              const uint2& queries) {
  asm("mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, "
      "{%0,%1,%2,%3};"
      : "+r"(sums[0]), "+r"(sums[1]), "+r"(sums[2]), "+r"(sums[3])
      : "r"(keys[0]), "r"(keys[1]), "r"(keys[2]), "r"(keys[3]), "r"(queries.x), "r"(queries.y));
}

// What a block keeps of one token.
struct TokenQueries {
  uint2* words;    // [head tiles][groups][32 lanes], as the tensor core wants them
  float2* scales;  // [head tiles][groups][4]: of two neighbouring heads, with the factor 1/4
  float* weights;  // [heads]
};

template <int kGroups>
__device__ void load_queries(const SelectCall& c, std::int64_t t, const TokenQueries& out) {
  const auto n_heads = static_cast<int>(c.weights.cols);
  const int n_tiles = (n_heads + kTileHeads - 1) / kTileHeads;
  for (int i = static_cast<int>(threadIdx.x); i < n_tiles * kGroups * kWarp; i += kThreads) {
    const int lane = i % kWarp;
    const int group = i / kWarp % kGroups;
    const int head = i / kWarp / kGroups * kTileHeads + lane / 4;
    std::uint32_t word = 0;
    if (head < n_heads) {
      const std::uint8_t* data = c.queries.data(t * n_heads + head) + group * 16 + lane % 4 * 4;
      for (int b = 0; b < 4; ++b) word |= static_cast<std::uint32_t>(data[b]) << (8 * b);
    }
    out.words[i] = {doubled_e2m1(word), doubled_e2m1(word >> 16)};
  }
  float* scales = reinterpret_cast<float*>(out.scales);
  for (int i = static_cast<int>(threadIdx.x); i < n_tiles * kGroups * kTileHeads; i += kThreads) {
    const int head = i / kTileHeads / kGroups * kTileHeads + i % kTileHeads;
    const int group = i / kTileHeads % kGroups;
    scales[i] =
        head < n_heads ? 0.25f * e8m0_to_float(c.queries.scales(t * n_heads + head)[group]) : 0;
  }
  for (int h = static_cast<int>(threadIdx.x); h < n_heads; h += kThreads) {
    out.weights[h] =
        round_as(c.weights.data[t * c.weights.stride + h] * c.weight_scale, c.rounding);
  }
}

// 32 keys of a warp as two 16-row operands, with their scales.
template <int kGroups>
struct KeyTile {
  std::uint32_t words[2][kGroups][4];
  float scales[4][kGroups];  // of rows lane / 4 + 8 · i

  __device__ void load(const Rows& keys, std::int64_t first, std::int64_t end, int lane) {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const std::int64_t row = first + lane / 4 + 8 * i;
      std::uint32_t packed[kGroups] = {};
      if (row < end) {
        const std::uint8_t* data = keys.data(row) + lane % 4 * 4;
        const std::uint8_t* scale_bytes = keys.scales(row);
#pragma unroll
        for (int g = 0; g < kGroups; ++g) {
          packed[g] = __ldg(reinterpret_cast<const std::uint32_t*>(data + g * 16));
          scales[i][g] = e8m0_to_float(scale_bytes[g]);
        }
      } else {
#pragma unroll
        for (int g = 0; g < kGroups; ++g) scales[i][g] = 0;
      }
#pragma unroll
      for (int g = 0; g < kGroups; ++g) {
        words[i / 2][g][i % 2] = doubled_e2m1(packed[g]);
        words[i / 2][g][2 + i % 2] = doubled_e2m1(packed[g] >> 16);
      }
    }
  }
};

// The score of the lane's own key; `logits` [32][kLogitStride] belongs to the warp.
template <int kGroups>
__device__ float score_keys(const KeyTile<kGroups>& keys, const TokenQueries& queries, int n_heads,
                            float* logits, int lane) {
  float score = 0;
  for (int first = 0; first < n_heads; first += kLogitTiles * kTileHeads) {
#pragma unroll
    for (int tile = 0; tile < kLogitTiles; ++tile) {
      const int head_tile = first / kTileHeads + tile;
      if (head_tile * kTileHeads >= n_heads) break;
      float dots[2][4] = {};
#pragma unroll
      for (int g = 0; g < kGroups; ++g) {
        const uint2 words = queries.words[(head_tile * kGroups + g) * kWarp + lane];
        const float2 scales = queries.scales[(head_tile * kGroups + g) * 4 + lane % 4];
#pragma unroll
        for (int half = 0; half < 2; ++half) {
          std::int32_t sums[4] = {kFloatOffsetBits, kFloatOffsetBits, kFloatOffsetBits,
                                  kFloatOffsetBits};
          exact_product(sums, keys.words[half][g], words);
#pragma unroll
          for (int i = 0; i < 4; ++i) {
            const float scale =
                (i % 2 == 0 ? scales.x : scales.y) * keys.scales[2 * half + i / 2][g];
            dots[half][i] = fmaf(__int_as_float(sums[i]) - kFloatOffset, scale, dots[half][i]);
          }
        }
      }
#pragma unroll
      for (int half = 0; half < 2; ++half) {
#pragma unroll
        for (int row = 0; row < 2; ++row) {
          const float even = dots[half][2 * row];
          const float odd = dots[half][2 * row + 1];
          float* out = logits + (16 * half + 8 * row + lane / 4) * kLogitStride +
                       tile * kTileHeads + 2 * (lane % 4);
          // Not fmaxf: a NaN stays visible.
          *reinterpret_cast<float2*>(out) = {even < 0 ? 0 : even, odd < 0 ? 0 : odd};
        }
      }
    }
    __syncwarp();
    const int n = min(kLogitTiles * kTileHeads, n_heads - first);
    const float* own = logits + lane * kLogitStride;
    const float* weights = queries.weights + first;
    if (n == kLogitTiles * kTileHeads) {
#pragma unroll
      for (int h = 0; h < kLogitTiles * kTileHeads; h += 4) {
        const float4 value = *reinterpret_cast<const float4*>(own + h);
        const float4 weight = *reinterpret_cast<const float4*>(weights + h);
        score = fmaf(weight.x, value.x, score);
        score = fmaf(weight.y, value.y, score);
        score = fmaf(weight.z, value.z, score);
        score = fmaf(weight.w, value.w, score);
      }
    } else {
      for (int h = 0; h < n; ++h) score = fmaf(weights[h], own[h], score);
    }
    __syncwarp();
  }
  return score;
}

template <int kGroups>
struct SharedLayout {
  int n_tiles;
  int n_heads;
  int capacity;
  int block_tokens;

  __host__ __device__ int token_bytes() const {
    return n_tiles * kGroups * (kWarp * 8 + 4 * 8) + (n_heads + 3) / 4 * 16 + capacity * 8 + 16;
  }
  __host__ __device__ int n_bytes() const {
    return block_tokens * token_bytes() + kWarps * kWarpKeys * kLogitStride * 4;
  }
  __device__ TokenQueries queries(std::byte* shared, int i) const {
    std::byte* at = shared + i * token_bytes();
    TokenQueries out;
    out.words = reinterpret_cast<uint2*>(at);
    out.scales = reinterpret_cast<float2*>(at + n_tiles * kGroups * kWarp * 8);
    out.weights = reinterpret_cast<float*>(out.scales + n_tiles * kGroups * 4);
    return out;
  }
  __device__ BestRows best(std::byte* shared, int i) const {
    std::byte* end = shared + (i + 1) * token_bytes();
    return {reinterpret_cast<std::uint64_t*>(end - 16 - 8 * capacity),
            reinterpret_cast<int*>(end - 8), reinterpret_cast<std::uint64_t*>(end - 16)};
  }
  __device__ float* logits(std::byte* shared, int warp) const {
    return reinterpret_cast<float*>(shared + block_tokens * token_bytes()) +
           warp * kWarpKeys * kLogitStride;
  }
};

__device__ void write_rows(const BestRows& best, std::int32_t* out, int k) {
  for (int i = static_cast<int>(threadIdx.x); i < k; i += kThreads) {
    out[i] = i < *best.count
                 ? static_cast<std::int32_t>(~static_cast<std::uint32_t>(best.entries[i]))
                 : -1;
  }
}

// ---- The best of all blocks of a launch: digit by digit, as in a radix sort from the top.

// The digit at which the k-th largest entry lies, given how many entries have each digit, and how
// many lie above that digit.  By the whole block; digit 0 where there are fewer than k.
struct Cut {
  int digit;
  int above;
};
__device__ Cut find_cut(const int* histogram, int k) {
  constexpr int kOwn = kDigits / kThreads;
  __shared__ int warp_sums[kWarps];
  __shared__ Cut cut;
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const int warp = static_cast<int>(threadIdx.x) / kWarp;
  const int top = kDigits - 1 - kOwn * static_cast<int>(threadIdx.x);
  int counts[kOwn];
  int own = 0;
#pragma unroll
  for (int i = 0; i < kOwn; ++i) own += counts[i] = __ldcg(&histogram[top - i]);
  int sum = own;
  for (int step = 1; step < kWarp; step *= 2) {
    const int other = __shfl_up_sync(0xffffffff, sum, step);
    if (lane >= step) sum += other;
  }
  __syncthreads();
  if (threadIdx.x == 0) cut = {0, 0};
  if (lane == kWarp - 1) warp_sums[warp] = sum;
  __syncthreads();
  for (int w = 0; w < warp; ++w) sum += warp_sums[w];
  int above = sum - own;
  if (above < k && k <= sum) {
    int i = 0;
    for (; above + counts[i] < k; ++i) above += counts[i];
    cut = {top - i, above};
  }
  __syncthreads();
  const Cut result = cut;
  __syncthreads();
  return result;
}

__device__ int digit_of(std::uint64_t entry, int level) {
  return static_cast<int>(entry >> (64 - kDigitBits * (level + 1))) & (kDigits - 1);
}

// Adds the block's entries of `best` whose digits above `level` are `prefix`.
__device__ void count_digits(const BestRows& best, int level, int prefix, int* histogram) {
  __shared__ int counts[kDigits];
  for (int i = static_cast<int>(threadIdx.x); i < kDigits; i += kThreads) counts[i] = 0;
  __syncthreads();
  for (int e = static_cast<int>(threadIdx.x); e < *best.count; e += kThreads) {
    const std::uint64_t entry = best.entries[e];
    if (level == 0 || digit_of(entry, 0) == prefix) atomicAdd(&counts[digit_of(entry, level)], 1);
  }
  __syncthreads();
  for (int i = static_cast<int>(threadIdx.x); i < kDigits; i += kThreads) {
    if (counts[i] > 0) atomicAdd(&histogram[i], counts[i]);
  }
  __syncthreads();
}

__device__ void merge_parts(const SelectCall& c, std::int64_t t, BestRows best);

// Every block of the launch comes here with the candidates of its part of the rows.
template <typename Best>
__device__ void meet(const SelectCall& c, std::int64_t first_token, int n_tokens,
                     const Best& best_of) {
  constexpr int kMaxTokens = 4;
  const cooperative_groups::grid_group grid = cooperative_groups::this_grid();
  const auto k = static_cast<int>(c.out.cols);
  Cut cuts[kMaxTokens][kLevels] = {};
#pragma unroll
  for (int level = 0; level < kLevels; ++level) {
    for (int i = 0; i < n_tokens; ++i) {
      int* histogram = c.histogram + ((first_token + i) * kLevels + level) * kDigits;
      count_digits(best_of(i), level, cuts[i][0].digit, histogram);
    }
    grid.sync();
    for (int i = 0; i < n_tokens; ++i) {
      const int* histogram = c.histogram + ((first_token + i) * kLevels + level) * kDigits;
      cuts[i][level] = find_cut(histogram, k - (level > 0 ? cuts[i][0].above : 0));
    }
  }
  for (int i = 0; i < n_tokens; ++i) {
    const BestRows best = best_of(i);
    const std::int64_t t = first_token + i;
    const auto least = static_cast<std::uint64_t>(cuts[i][0].digit) << kDigitBits |
                       static_cast<std::uint64_t>(cuts[i][1].digit);
    for (int e = static_cast<int>(threadIdx.x); e < *best.count; e += kThreads) {
      const std::uint64_t entry = best.entries[e];
      if (entry >> (64 - kLevels * kDigitBits) < least) continue;
      const int at = atomicAdd(&c.n_found[t], 1);
      if (at < c.capacity) c.found[t * c.capacity + at] = entry;
    }
  }
  grid.sync();
  // Many equal scores around the k-th: the parts' own lists decide.
  bool overflow = false;
  for (std::int64_t t = 0; t < c.weights.rows; ++t) overflow |= __ldcg(&c.n_found[t]) > c.capacity;
  if (overflow) {
    for (int i = 0; i < n_tokens; ++i) {
      BestRows best = best_of(i);
      best.tighten(c.capacity, k);
      const std::int64_t at = (first_token + i) * c.n_splits + blockIdx.x;
      for (int e = static_cast<int>(threadIdx.x); e < *best.count; e += kThreads) {
        c.parts[at * k + e] = best.entries[e];
      }
      if (threadIdx.x == 0) c.part_counts[at] = *best.count;
    }
    grid.sync();
  }
  for (int i = 0; i < n_tokens; ++i) {
    if (static_cast<int>(blockIdx.x) != i % c.n_splits) continue;
    BestRows best = best_of(i);
    const std::int64_t t = first_token + i;
    if (overflow) {
      merge_parts(c, t, best);
    } else {
      const int n = __ldcg(&c.n_found[t]);
      for (int e = static_cast<int>(threadIdx.x); e < n; e += kThreads) {
        best.entries[e] = __ldcg(&c.found[t * c.capacity + e]);
      }
      if (threadIdx.x == 0) *best.count = n;
      __syncthreads();
      int size = 2;
      while (size < n) size *= 2;
      best.tighten(size, k);
    }
    write_rows(best, c.out.data + t * c.out.stride, k);
  }
}

template <int kGroups>
__global__ void __launch_bounds__(kThreads, 2)
    select_rows(SelectCall c, SharedLayout<kGroups> layout) {
  extern __shared__ __align__(16) std::byte shared[];
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const int warp = static_cast<int>(threadIdx.x) / kWarp;
  const auto n_heads = static_cast<int>(c.weights.cols);
  const auto k = static_cast<int>(c.out.cols);
  const std::int64_t first_token = static_cast<std::int64_t>(blockIdx.y) * c.block_tokens;
  const auto n_tokens = static_cast<int>(
      min(static_cast<std::int64_t>(c.block_tokens), c.weights.rows - first_token));
  std::int32_t n_rows = 0;
  for (int i = 0; i < n_tokens; ++i) {
    n_rows = max(n_rows, c.n_visible[first_token + i]);
    load_queries<kGroups>(c, first_token + i, layout.queries(shared, i));
    layout.best(shared, i).start();
  }
  __syncthreads();

  const std::int64_t share = (static_cast<std::int64_t>(n_rows) + c.n_splits - 1) / c.n_splits;
  const std::int64_t part = (share + kBlockKeys - 1) / kBlockKeys * kBlockKeys;
  const std::int64_t begin = part * blockIdx.x;
  const std::int64_t end = min(begin + part, static_cast<std::int64_t>(n_rows));
  for (std::int64_t row = begin; row < end; row += kBlockKeys) {
    const std::int64_t first = row + warp * kWarpKeys;
    KeyTile<kGroups> keys;
    keys.load(c.keys, first, end, lane);
    for (int i = 0; i < n_tokens; ++i) {
      const std::int64_t visible =
          min(end, static_cast<std::int64_t>(c.n_visible[first_token + i]));
      if (first < visible) {
        float score =
            score_keys(keys, layout.queries(shared, i), n_heads, layout.logits(shared, warp), lane);
        score = round_as(score, c.rounding);
        if (first + lane < visible) {
          layout.best(shared, i).add(make_entry(score, static_cast<std::int32_t>(first + lane)));
        }
      }
    }
    __syncthreads();
    for (int i = 0; i < n_tokens; ++i) layout.best(shared, i).make_room(c.capacity, k);
    __syncthreads();
  }

  if (c.n_splits > 1) {
    meet(c, first_token, n_tokens, [&](int i) { return layout.best(shared, i); });
    return;
  }
  for (int i = 0; i < n_tokens; ++i) {
    BestRows best = layout.best(shared, i);
    best.tighten(c.capacity, k);
    write_rows(best, c.out.data + (first_token + i) * c.out.stride, k);
  }
}

// The best of the parts' best rows.
__device__ void merge_parts(const SelectCall& c, std::int64_t t, BestRows best) {
  __syncthreads();
  best.start();
  __syncthreads();
  const auto k = static_cast<int>(c.out.cols);
  for (int split = 0; split < c.n_splits; ++split) {
    const std::int64_t at = t * c.n_splits + split;
    const int n = __ldcg(&c.part_counts[at]);
    for (int first = 0; first < n; first += kThreads) {
      const int e = first + static_cast<int>(threadIdx.x);
      if (e < n) best.add(__ldcg(&c.parts[at * k + e]));
      __syncthreads();
      best.make_room(c.capacity, k);
      __syncthreads();
    }
  }
  best.tighten(c.capacity, k);
}

template <int kGroups>
void launch(Device& device, SelectCall call) {
  constexpr int kMaxTokens = 4;  // tokens that share one expansion of the keys
  const auto n_tokens = static_cast<int>(call.weights.rows);
  const auto n_heads = static_cast<int>(call.weights.cols);
  SharedLayout<kGroups> layout{(n_heads + kTileHeads - 1) / kTileHeads, n_heads, call.capacity, 1};
  PRECIS_CHECK_LE(layout.n_bytes(), device.max_shared_bytes);
  const int wanted = std::min(kMaxTokens, n_tokens);
  while (layout.block_tokens < wanted) {
    ++layout.block_tokens;
    if (layout.n_bytes() <= device.max_shared_bytes / 2) continue;
    --layout.block_tokens;
    break;
  }
  const int n_bytes = layout.n_bytes();
  PRECIS_CUDA_CHECK(cudaFuncSetAttribute(select_rows<kGroups>,
                                         cudaFuncAttributeMaxDynamicSharedMemorySize, n_bytes));
  int resident = 0;
  PRECIS_CUDA_CHECK(cudaOccupancyMaxActiveBlocksPerMultiprocessor(&resident, select_rows<kGroups>,
                                                                  kThreads, n_bytes));
  call.block_tokens = layout.block_tokens;
  const int n_groups = (n_tokens + call.block_tokens - 1) / call.block_tokens;
  call.n_splits = std::max(1, resident * device.n_multiprocessors / n_groups);
  const dim3 grid(call.n_splits, n_groups);
  if (call.n_splits == 1) {
    select_rows<kGroups><<<grid, kThreads, n_bytes, device.stream>>>(call, layout);
    PRECIS_CUDA_LAUNCHED();
    return;
  }
  const std::int64_t n_parts = static_cast<std::int64_t>(n_tokens) * call.n_splits;
  const std::int64_t n_counts = static_cast<std::int64_t>(n_tokens) * (kLevels * kDigits + 1);
  call.histogram = device.workspace.take<int>(n_counts);
  call.n_found = call.histogram + n_counts - n_tokens;
  call.found = device.workspace.take<std::uint64_t>(std::int64_t{n_tokens} * call.capacity);
  call.parts = device.workspace.take<std::uint64_t>(n_parts * call.out.cols);
  call.part_counts = device.workspace.take<int>(n_parts);
  PRECIS_CUDA_CHECK(cudaMemsetAsync(call.histogram, 0, 4 * n_counts, device.stream));
  // Together on the device, so that its blocks can wait for each other.
  void* arguments[] = {&call, &layout};
  PRECIS_CUDA_CHECK(cudaLaunchCooperativeKernel(reinterpret_cast<void*>(select_rows<kGroups>), grid,
                                                dim3(kThreads), arguments, n_bytes, device.stream));
}

}  // namespace

void select(Device& device, const SelectArgs& args) {
  if (args.weights.rows == 0 || args.out.cols == 0) return;
  PRECIS_CHECK(args.format.storage == IndexStorage::kE2m1);
  SelectCall call{};
  call.queries = rows_of(args.queries);
  call.weights = args.weights;
  call.weight_scale = args.weight_scale;
  call.keys = rows_of(args.keys);
  call.n_visible = args.n_visible.data();
  call.out = args.out;
  call.rounding = args.rounding;
  call.capacity = 4 * kThreads;
  while (call.capacity < 2 * args.out.cols) call.capacity *= 2;
  switch (args.format.n_groups()) {
    case 1: return launch<1>(device, call);
    case 2: return launch<2>(device, call);
    case 4: return launch<4>(device, call);
    case 8: return launch<8>(device, call);
    default: PRECIS_CHECK(!"index rows are 32, 64, 128 or 256 wide on this backend");
  }
}

}  // namespace precis::cuda
