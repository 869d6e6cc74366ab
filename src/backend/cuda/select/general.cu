// The selection for any number of heads and rows of 32, 64, 128 or 256 channels, in exact group sums of
// mma.m16n8k32: 16 keys with 8 heads, whose logits pass through shared memory into one chain a key.
#include <algorithm>

#include "backend/cuda/select/call.cuh"
#include "base/check.h"

namespace precis::cuda {
namespace {

constexpr int kWarps = 8;
constexpr int kThreads = kWarps * kWarp;
constexpr int kWarpKeys = 32;
constexpr int kBlockKeys = kWarps * kWarpKeys;
constexpr int kMaxTokens = 4;  // of a block: they share one expansion of the keys
constexpr int kTileHeads = 8;
constexpr int kLogitTiles = 2;  // head tiles whose logits wait in shared memory
// Rows of 20 floats: their float4 reads and nearly all float2 writes meet different banks.
constexpr int kLogitStride = kLogitTiles * kTileHeads + 4;
// 1.5 · 2^23: an integer below 2^22 added to its bits is added to its value.
constexpr std::int32_t kFloatOffsetBits = 0x4b400000;
constexpr float kFloatOffset = 12582912.0f;

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
      word = load_word(c.queries.data(t * n_heads + head) + group * 16 + lane % 4 * 4);
    }
    out.words[i] = ByteTable(0).bytes(word);
  }
  float* scales = reinterpret_cast<float*>(out.scales);
  for (int i = static_cast<int>(threadIdx.x); i < n_tiles * kGroups * kTileHeads; i += kThreads) {
    const int head = i / kTileHeads / kGroups * kTileHeads + i % kTileHeads;
    const int group = i / kTileHeads % kGroups;
    scales[i] =
        head < n_heads ? 0.25f * e8m0_to_float(c.queries.scales(t * n_heads + head)[group]) : 0;
  }
  for (int h = static_cast<int>(threadIdx.x); h < n_heads; h += kThreads) {
    out.weights[h] = c.weight(t, h);
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
        const uint2 bytes = ByteTable(0).bytes(packed[g]);
        words[i / 2][g][i % 2] = bytes.x;
        words[i / 2][g][2 + i % 2] = bytes.y;
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
  int n_found_max;

  __host__ __device__ int token_bytes() const {
    return n_tiles * kGroups * (kWarp * 8 + 4 * 8) + (n_heads + 3) / 4 * 16 + capacity * 8 + 16;
  }
  __host__ __device__ int logits_at() const { return block_tokens * token_bytes(); }
  __host__ __device__ int scratch_at() const {
    return logits_at() + kWarps * kWarpKeys * kLogitStride * 4;
  }
  __host__ __device__ int n_bytes() const {
    const int found = n_found_max * static_cast<int>(sizeof(Entry));
    return scratch_at() + (found > kSteps * 4 ? found : kSteps * 4);
  }
  __device__ TokenQueries queries(std::byte* shared, int i) const {
    std::byte* at = shared + i * token_bytes();
    TokenQueries out;
    out.words = reinterpret_cast<uint2*>(at);
    out.scales = reinterpret_cast<float2*>(at + n_tiles * kGroups * kWarp * 8);
    out.weights = reinterpret_cast<float*>(out.scales + n_tiles * kGroups * 4);
    return out;
  }
  __device__ BestRows list(std::byte* shared, int i) const {
    std::byte* end = shared + (i + 1) * token_bytes();
    return {reinterpret_cast<Entry*>(end - 16 - 8 * capacity), reinterpret_cast<int*>(end - 8),
            reinterpret_cast<Entry*>(end - 16)};
  }
  __device__ float* logits(std::byte* shared, int warp) const {
    return reinterpret_cast<float*>(shared + logits_at()) + warp * kWarpKeys * kLogitStride;
  }
};

template <int kGroups>
__global__ void __launch_bounds__(kThreads, 2)
    select_general(SelectCall c, SharedLayout<kGroups> layout) {
  extern __shared__ __align__(16) std::byte shared[];
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const int warp = static_cast<int>(threadIdx.x) / kWarp;
  const auto n_heads = static_cast<int>(c.weights.cols);
  const auto k = static_cast<int>(c.out.cols);
  const std::int64_t first_token = static_cast<std::int64_t>(blockIdx.y) * layout.block_tokens;
  const auto n_tokens = static_cast<int>(
      min(static_cast<std::int64_t>(layout.block_tokens), c.weights.rows - first_token));
  std::int32_t n_rows = 0;
  for (int i = 0; i < n_tokens; ++i) {
    n_rows = max(n_rows, c.n_visible[first_token + i]);
    load_queries<kGroups>(c, first_token + i, layout.queries(shared, i));
    if (threadIdx.x == 0) layout.list(shared, i).start();
  }
  __syncthreads();

  int* histogram = reinterpret_cast<int*>(shared + layout.scratch_at());
  const int limit = layout.capacity - kBlockKeys;
  const std::int64_t stride = static_cast<std::int64_t>(gridDim.x) * kBlockKeys;
  for (std::int64_t row = blockIdx.x * kBlockKeys; row < n_rows; row += stride) {
    const std::int64_t first = row + warp * kWarpKeys;
    KeyTile<kGroups> keys;
    keys.load(c.keys, first, n_rows, lane);
    for (int i = 0; i < n_tokens; ++i) {
      const std::int32_t visible = c.n_visible[first_token + i];
      if (first >= visible) continue;
      const float score =
          score_keys(keys, layout.queries(shared, i), n_heads, layout.logits(shared, warp), lane);
      if (first + lane >= visible) continue;
      const BestRows list = layout.list(shared, i);
      const Entry entry =
          make_entry(round_as(score, c.rounding), static_cast<std::int32_t>(first) + lane);
      if (entry > *list.threshold) list.entries[atomicAdd(list.count, 1)] = entry;
    }
    __syncthreads();
    for (int i = 0; i < n_tokens; ++i) {
      const BestRows list = layout.list(shared, i);
      const bool is_full = *list.count > limit;
      if (is_full) tighten<kThreads>(list, k, k + (limit - k) / 4, histogram);
    }
    __syncthreads();
  }

  const auto list_of = [&](int i) { return layout.list(shared, i); };
  write_selection<kThreads, kMaxTokens>(
      c, first_token, n_tokens, list_of, [](int) { return Steps::all(); }, histogram,
      shared + layout.scratch_at());
}

template <int kGroups>
void launch(Device& device, SelectCall call) {
  const auto n_tokens = static_cast<int>(call.weights.rows);
  const auto n_heads = static_cast<int>(call.weights.cols);
  const auto k = static_cast<int>(call.out.cols);
  const int n_found_max = std::max(1024, 2 * k);
  SharedLayout<kGroups> layout{(n_heads + kTileHeads - 1) / kTileHeads, n_heads,
                               n_found_max + kBlockKeys, 1, n_found_max};
  PRECIS_CHECK_LE(layout.n_bytes(), device.max_shared_bytes);
  const int wanted = std::min(kMaxTokens, n_tokens);
  while (layout.block_tokens < wanted) {
    ++layout.block_tokens;
    if (layout.n_bytes() <= device.max_shared_bytes / 2) continue;
    --layout.block_tokens;
    break;
  }
  const int n_bytes = layout.n_bytes();
  PRECIS_CUDA_CHECK(cudaFuncSetAttribute(select_general<kGroups>,
                                         cudaFuncAttributeMaxDynamicSharedMemorySize, n_bytes));
  int resident = 0;
  PRECIS_CUDA_CHECK(cudaOccupancyMaxActiveBlocksPerMultiprocessor(
      &resident, select_general<kGroups>, kThreads, n_bytes));
  const int n_groups = (n_tokens + layout.block_tokens - 1) / layout.block_tokens;
  const int n_splits = std::max(1, resident * device.n_multiprocessors / n_groups);
  call.meeting.n_found_max = n_found_max;
  if (n_splits > 1) prepare_meeting(device, {&call, 1}, n_splits, n_groups);
  select_general<kGroups>
      <<<dim3(n_splits, n_groups), kThreads, n_bytes, device.stream>>>(call, layout);
  PRECIS_CUDA_LAUNCHED();
}

}  // namespace

void launch_general_select(Device& device, const SelectCall& call, int row_groups) {
  switch (row_groups) {
    case 1: return launch<1>(device, call);
    case 2: return launch<2>(device, call);
    case 4: return launch<4>(device, call);
    case 8: return launch<8>(device, call);
    default: PRECIS_CHECK(!"index rows are 32, 64, 128 or 256 wide on this backend");
  }
}

}  // namespace precis::cuda
