// The decode selection's queries: 64 heads of one token as A fragments of mma.m16n8k32, scales as shifts.
//
// Lanes 4·l … 4·l + 3 of a warp hold heads 8·l … 8·l + 7, so a chain of all heads in ascending order passes
// through eight lanes; lane l % 4 holds group l % 4 of each, in the k order of the keys.
#pragma once

#include "backend/cuda/select/scales.cuh"
#include "backend/cuda/wgmma.cuh"

namespace precis::cuda::decode {

inline constexpr int kHeads = 64;
inline constexpr int kOwnHeads = 8;  // of a lane
inline constexpr int kHeadTiles = 4;
inline constexpr int kParts = 8;                     // of a head
inline constexpr int kPartedHeads = kWarp / kParts;  // of a warp
inline constexpr int kSteps8 = 4;                    // of 32 channels
inline constexpr std::uint32_t kByteBias = 64;       // of a key's byte
inline constexpr int kMaxSum = 32 * 126;             // of a head's bytes, to be undone in 32
inline constexpr float kRowNorm = 544.0f;            // above that of 128 bytes of at most 48
inline constexpr float kRelative = 0x1p-17f;         // above 64 + 16 roundings of 2^-24, twice over

struct Queries {
  std::uint8_t bytes[kHeads * kAtomRowBytes];  // swizzled; in front: 1024-aligned
  std::uint8_t
      bias_bytes[kHeads * kAtomRowBytes];  // the first 32 of a row: times 64 they undo the bias
  uint4 words[kHeadTiles][kSteps8][kWarp];
  alignas(16) float scaled_weights[kHeads];  // · 2^(scale of the head)
  alignas(16) float weights[kHeads];
  float4 scales[kHeads];  // of the four groups, with the factor 1/4
  float margins[kHeads / kPartedHeads];
  int magnitude;  // float bits of the largest scaled weight
};

// A thread's part of the queries: half a group of a head.
struct QueryPart {
  std::byte* page = nullptr;
  float stored_weight = 0;
  uint2 codes{};
  std::uint32_t scales = kPlainScales;

  __device__ static int head() { return static_cast<int>(threadIdx.x) / kParts; }
  __device__ static int part() { return static_cast<int>(threadIdx.x) % kParts; }

  // Asks for the page alone; the rest is what an earlier kernel writes.
  __device__ explicit QueryPart(const SelectCall& c) {
    if (head() < c.weights.cols) page = c.queries.page(head());
  }
  __device__ void load(const SelectCall& c) {
    if (page == nullptr) return;
    stored_weight = c.weights.data[head()];
    scales = load_word(c.queries.scales_in(page, head()));
    const std::uint8_t* data = c.queries.data_in(page, head()) + 8 * part();
    codes = {load_word(data), load_word(data + 4)};
  }
};

// Within 2^-22.
__device__ inline float approximate_root(float square) {
  float root;
  asm("sqrt.approx.f32 %0, %1;" : "=f"(root) : "f"(square));
  return root;
}

// By the whole block, one thread a part, after a barrier that follows `magnitude` = 0; ends with a barrier.  Returns
// whether scales of all heads became shifts.
__device__ inline bool store_queries(const SelectCall& c, const QueryPart& part, Queries& queries) {
  const int head = QueryPart::head();
  const int group = QueryPart::part() / 2;
  const int half = QueryPart::part() % 2;
  const bool is_first = QueryPart::part() == 0;
  const float weight = c.weight_of(part.stored_weight);
  const ScaleRange range(part.scales);
  const bool is_near = range.is_plain();
  const int shift = is_near ? static_cast<int>(byte_of(part.scales, group) - range.least) : 0;
  const ByteTable table(shift);
  const int slot = head % kOwnHeads;
  const int lane = head / kOwnHeads * kGroups + group;
  int sum = 0;
  int squares = 0;
#pragma unroll
  for (int i = 0; i < 2; ++i) {
    const int s = 2 * half + i;
    const uint2 bytes = table.bytes(i == 0 ? part.codes.x : part.codes.y);
    const int column = 32 * s + 4 * group;
    *reinterpret_cast<std::uint32_t*>(queries.bytes + swizzled(head, column)) = bytes.x;
    *reinterpret_cast<std::uint32_t*>(queries.bytes + swizzled(head, column + 16)) = bytes.y;
    auto* fragment = reinterpret_cast<std::uint32_t*>(&queries.words[slot / 2][s][lane]);
    fragment[slot % 2] = bytes.x;
    fragment[2 + slot % 2] = bytes.y;
    for (const std::uint32_t four : {bytes.x, bytes.y}) {
      sum = __dp4a(static_cast<int>(four), 0x01010101, sum);
      squares = __dp4a(static_cast<int>(four), static_cast<int>(four), squares);
    }
  }
#pragma unroll
  for (int step = 1; step < kParts; step *= 2) {
    sum += __shfl_xor_sync(0xffffffff, sum, step);
    squares += __shfl_xor_sync(0xffffffff, squares, step);
  }
  // −sum in 32 bytes, four of each part: (i − sum) / 32 rounded down, for i from 0 to 31, add up to it.
  std::uint32_t four = 0;
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    const int byte = (4 * QueryPart::part() + i - sum) >> 5;
    four |= static_cast<std::uint32_t>(byte & 0xff) << (8 * i);
  }
  *reinterpret_cast<std::uint32_t*>(queries.bias_bytes + swizzled(head, 4 * QueryPart::part())) =
      four;
  const float common = e8m0_to_float(static_cast<std::uint8_t>(range.least));
  const float scaled = weight * common;
  float margin = fabsf(scaled) * approximate_root(static_cast<float>(squares));
#pragma unroll
  for (int step = kParts; step < kWarp; step *= 2) {
    margin += __shfl_xor_sync(0xffffffff, margin, step);
  }
  if (threadIdx.x % kWarp == 0) {
    queries.margins[threadIdx.x / kWarp] = margin * (kRowNorm * kRelative * 0x1p-23f);
  }
  if (half == 0) {
    reinterpret_cast<float*>(&queries.scales[head])[group] =
        0.25f *
        (is_near ? common : e8m0_to_float(static_cast<std::uint8_t>(byte_of(part.scales, group))));
  }
  if (is_first) {
    queries.weights[head] = weight;
    queries.scaled_weights[head] = scaled;
    atomicMax(&queries.magnitude, __float_as_int(fabsf(scaled)));
  }
  const float magnitude = fabsf(weight);
  const bool is_plain = is_near && abs(sum) <= kMaxSum &&
                        (magnitude == 0 || (magnitude >= 0x1p-60f && magnitude <= 0x1p40f));
  publish_shared();
  return __syncthreads_and(is_plain) != 0;
}

// A warp's queries in registers.
struct QueryFragments {
  std::uint32_t words[kHeadTiles][kSteps8][4];

  __device__ explicit QueryFragments(const Queries& queries) {
    const int lane = static_cast<int>(threadIdx.x) % kWarp;
#pragma unroll
    for (int m = 0; m < kHeadTiles; ++m) {
#pragma unroll
      for (int s = 0; s < kSteps8; ++s) {
        const uint4 four = queries.words[m][s][lane];
        words[m][s][0] = four.x;
        words[m][s][1] = four.y;
        words[m][s][2] = four.z;
        words[m][s][3] = four.w;
      }
    }
  }

  // sums[m][2·h + j] is of the lane's head 2·m + h and key 2·(lane % 4) + j, from starts[m][2·h + j] on.
  __device__ void multiply(const uint2 (&keys)[kSteps8],
                           const std::int32_t (&starts)[kHeadTiles][4],
                           std::int32_t (&sums)[kHeadTiles][4]) const {
#pragma unroll
    for (int s = 0; s < kSteps8; ++s) {
#pragma unroll
      for (int m = 0; m < kHeadTiles; ++m) {
        const std::int32_t* from = s == 0 ? starts[m] : sums[m];
        asm("mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, "
            "{%8,%9}, {%10,%11,%12,%13};"
            : "=r"(sums[m][0]), "=r"(sums[m][1]), "=r"(sums[m][2]), "=r"(sums[m][3])
            : "r"(words[m][s][0]), "r"(words[m][s][1]), "r"(words[m][s][2]), "r"(words[m][s][3]),
              "r"(keys[s].x), "r"(keys[s].y), "r"(from[0]), "r"(from[1]), "r"(from[2]),
              "r"(from[3]));
      }
    }
  }
};

}  // namespace precis::cuda::decode
