// The pieces of attention on tensor cores: rows expanded into tiles, products with them, weights, results.
//
// A tile is 64 rows (or heads) × 64 channels in bf16, swizzled; a block of 64 rows is eight tiles, the
// last of them the rotated channels.  In products over channels its rows are those of an operand; in
// products over rows the same bytes are the operand read the other way.
#pragma once

#include <cuda_bf16.h>

#include "backend/cuda/attend/call.cuh"
#include "backend/cuda/wgmma.cuh"

namespace precis::cuda {

inline constexpr int kHeads = 64;  // the M side of every product
inline constexpr int kWidth = 512;
inline constexpr int kGroup = 64;  // channels of a tile, and of a scale
inline constexpr int kGroups = kWidth / kGroup;
inline constexpr int kCodeGroups = kGroups - 1;
inline constexpr int kRowBytes = 576;  // and 8 bytes of scales behind the page's rows
inline constexpr int kRowScales = 8;
inline constexpr int kBlockRows = 64;
inline constexpr int kTileBytes = kBlockRows * kAtomRowBytes;
inline constexpr int kBlockBytes = kGroups * kTileBytes;
inline constexpr int kSteps =
    kBlockRows / 16;  // instructions of a product over the rows of a block
inline constexpr int kWarps = kWarpgroup / kWarp;
inline constexpr int kPartBlocks = 16;  // of a part, whose blocks are added before parts are
inline constexpr float kSlack = 32;     // the reference moves when a block's passes it by more
inline constexpr float kLog2E = 1.44269504f;

// ---- Rows: from device memory to tiles.

// What a thread reads of a row: a quarter of each group.
struct RowPiece {
  uint4 codes[kCodeGroups];
  uint4 rotated[2];
  uint2 scales;
};

__device__ inline uint4 load_16(const std::uint8_t* from, bool aligned) {
  if (aligned) return __ldg(reinterpret_cast<const uint4*>(from));
  const uint2 low = __ldg(reinterpret_cast<const uint2*>(from));
  const uint2 high = __ldg(reinterpret_cast<const uint2*>(from + 8));
  return {low.x, low.y, high.x, high.y};
}

// Where a row lies; no page: it does not exist.
struct RowPlace {
  const std::uint8_t* page;
  std::uint32_t data;
  std::uint32_t scales;
};

// The rows of a token in three steps, each of which waits for memory: number, place, bytes.
class RowList {
 public:
  // Ends before entry `end`.
  __device__ RowList(const AttendCall& c, std::int64_t t, int end)
      : c_(c), n_window_(c.n_window(t)), end_(min(c.n_rows(t), end)) {
    const std::int64_t oldest = c.step_begin + t - n_window_ + 1;
    oldest_in_step_ = static_cast<int>(oldest - c.step_begin);
    oldest_slot_ = n_window_ == 0 ? 0 : static_cast<int>(oldest % c.window);
    listed_ = c.n_first == nullptr ? c.listed.data + t * c.listed.stride : nullptr;
  }
  // Slot or row of entry i; -1: none.
  __device__ int number(int i) const {
    if (i >= end_) return -1;
    if (i >= n_window_) {
      return listed_ != nullptr ? __ldg(&listed_[i - n_window_]) : i - n_window_;
    }
    if (oldest_in_step_ + i >= 0) return c_.window + oldest_in_step_ + i;
    const int slot = oldest_slot_ + i;
    return slot < c_.window ? slot : slot - c_.window;
  }
  __device__ RowPlace place(int i, int number) const {
    if (number < 0) return {nullptr, 0, 0};
    const Rows& rows = i < n_window_ ? c_.window_rows : c_.compressed;
    const auto n = static_cast<std::uint32_t>(rows.rows_per_page);
    const std::uint32_t in_page = static_cast<std::uint32_t>(number) % n;
    const auto page = __ldg(reinterpret_cast<const unsigned long long*>(rows.pages) +
                            static_cast<std::uint32_t>(number) / n);
    return {reinterpret_cast<const std::uint8_t*>(page), in_page * kRowBytes,
            n * kRowBytes + in_page * kRowScales};
  }

 private:
  const AttendCall& c_;
  int n_window_;
  int end_;
  int oldest_in_step_;  // the position of entry 0, counted from the step's first token
  int oldest_slot_;
  const std::int32_t* listed_;
};

// A row that does not exist is zeros.
__device__ inline void load_piece(RowPiece& piece, const RowPlace& place, int quarter) {
  if (place.page == nullptr) {
    piece = RowPiece{};
    return;
  }
  const std::uint8_t* data = place.page + place.data;
  const bool aligned = reinterpret_cast<std::uintptr_t>(data) % 16 == 0;
#pragma unroll
  for (int g = 0; g < kCodeGroups; ++g) {
    piece.codes[g] = load_16(data + kGroup * g + 16 * quarter, aligned);
  }
  const std::uint8_t* rotated = data + kGroup * kCodeGroups + 32 * quarter;
  piece.rotated[0] = load_16(rotated, aligned);
  piece.rotated[1] = load_16(rotated + 16, aligned);
  piece.scales = __ldg(reinterpret_cast<const uint2*>(place.page + place.scales));
}

__device__ inline std::uint32_t multiply_bf16x2(std::uint32_t a, std::uint32_t b) {
  std::uint32_t product;
  asm("mul.rn.bf16x2 %0, %1, %2;" : "=r"(product) : "r"(a), "r"(b));
  return product;
}

__device__ inline std::uint32_t both_halves(std::uint32_t bf16) {
  return bf16 | bf16 << 16;
}

// Two e4m3 codes in the high bytes of the halves become bf16 numbers 2^120 times too small.
__device__ inline std::uint32_t spread_codes(std::uint32_t codes) {
  return (codes & 0x80008000) | (codes >> 4 & 0x07f007f0);
}

__device__ inline uint4 expand_8(std::uint32_t low, std::uint32_t high, std::uint32_t scale) {
  constexpr std::uint32_t kTwoTo120 = 0x7b807b80;
  const auto pair = [&](std::uint32_t word, std::uint32_t selector) {
    const std::uint32_t spread = spread_codes(__byte_perm(word, 0, selector));
    return multiply_bf16x2(multiply_bf16x2(spread, kTwoTo120), scale);
  };
  return {pair(low, 0x1404), pair(low, 0x3424), pair(high, 0x1404), pair(high, 0x3424)};
}

__device__ inline std::uint32_t e8m0_to_bf16(std::uint32_t byte) {
  return byte == 0 ? 0x0040 : byte == 255 ? 0x7fc0 : byte << 7;
}

__device__ inline void store_piece(std::uint8_t* tiles, const RowPiece& piece, int row,
                                   int quarter) {
  std::uint8_t* low = tiles + swizzled(row, 32 * quarter);
  std::uint8_t* high = tiles + swizzled(row, 32 * quarter + 16);
#pragma unroll
  for (int g = 0; g < kCodeGroups; ++g) {
    const std::uint32_t four = g < 4 ? piece.scales.x : piece.scales.y;
    const std::uint32_t scale = both_halves(e8m0_to_bf16(four >> 8 * (g % 4) & 255));
    const uint4& codes = piece.codes[g];
    *reinterpret_cast<uint4*>(low + g * kTileBytes) = expand_8(codes.x, codes.y, scale);
    *reinterpret_cast<uint4*>(high + g * kTileBytes) = expand_8(codes.z, codes.w, scale);
  }
  *reinterpret_cast<uint4*>(low + kCodeGroups * kTileBytes) = piece.rotated[0];
  *reinterpret_cast<uint4*>(high + kCodeGroups * kTileBytes) = piece.rotated[1];
}

// Blocks of rows on their way from a reader to those who multiply.
template <int kStages>
struct RowStages {
  std::uint8_t tiles[kStages][kBlockBytes];
  std::uint32_t exists[kStages][8];  // bit 4·i of word w: row 8·w + i
  Barrier full[kStages];
  Barrier empty[kStages];
};

// The reader's work, a warpgroup's, on blocks begin … end − 1 of a token's list.  Bytes are asked for one
// block ahead, places two and numbers three.
template <int kStages>
__device__ void read_rows(const AttendCall& c, RowStages<kStages>& stages, RingPlace<kStages>& ring,
                          std::int64_t t, int begin, int end) {
  const RowList list(c, t, end * kBlockRows);
  const int tid = static_cast<int>(threadIdx.x) % kWarpgroup;
  const int quarter = tid % 4;
  constexpr int kHalf = kBlockRows / 2;
  const int row = tid / 4;  // of a block; and row + 32
  int at = begin * kBlockRows + row;
  RowPlace places[2];
  RowPiece pieces[2];
  int numbers[2];
  bool exists[2];
  int ahead[2][2];
#pragma unroll
  for (int h = 0; h < 2; ++h) {
    ahead[0][h] = list.number(at + h * kHalf);
    ahead[1][h] = list.number(at + kBlockRows + h * kHalf);
    numbers[h] = list.number(at + 2 * kBlockRows + h * kHalf);
  }
#pragma unroll
  for (int h = 0; h < 2; ++h) {
    const RowPlace first = list.place(at + h * kHalf, ahead[0][h]);
    places[h] = list.place(at + kBlockRows + h * kHalf, ahead[1][h]);
    exists[h] = first.page != nullptr;
    load_piece(pieces[h], first, quarter);
  }
  for (int b = begin; b < end; ++b, at += kBlockRows) {
    std::uint8_t* tiles = stages.tiles[ring.stage];
    wait(&stages.empty[ring.stage], ring.parity ^ 1);
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      const std::uint32_t rows_exist = __ballot_sync(0xffffffff, exists[h]);
      if (tid % kWarp == 0) stages.exists[ring.stage][h * kWarps + tid / kWarp] = rows_exist;
      store_piece(tiles, pieces[h], row + h * kHalf, quarter);
      exists[h] = places[h].page != nullptr;
      load_piece(pieces[h], places[h], quarter);
    }
    publish_shared();
    arrive(&stages.full[ring.stage]);
    ring.advance();
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      places[h] = list.place(at + 2 * kBlockRows + h * kHalf, numbers[h]);
      numbers[h] = list.number(at + 3 * kBlockRows + h * kHalf);
    }
  }
}

// ---- Queries, scores and weights.

__device__ inline std::uint32_t pack_bf16(float low, float high) {
  const __nv_bfloat162 pair = __floats2bfloat162_rn(low, high);
  return *reinterpret_cast<const std::uint32_t*>(&pair);
}

// A token's 64 queries, bf16 numbers already where the call rounds to bf16.  Threads 0 … n_threads − 1.
__device__ inline void load_queries(const AttendCall& c, std::uint8_t* tiles, std::int64_t t,
                                    int head, int n_threads) {
  constexpr int kRowPieces = kWidth / 8;
  const float* q = c.q.data + (t * c.q.planes + head) * kWidth;
#pragma unroll 8
  for (int i = static_cast<int>(threadIdx.x); i < kHeads * kRowPieces; i += n_threads) {
    const int row = i / kRowPieces;
    const int piece = i % kRowPieces;
    const float4 a = __ldg(reinterpret_cast<const float4*>(q + 8 * i));
    const float4 b = __ldg(reinterpret_cast<const float4*>(q + 8 * i + 4));
    *reinterpret_cast<uint4*>(tiles + piece / 8 * kTileBytes + swizzled(row, piece % 8 * 16)) = {
        pack_bf16(a.x, a.y), pack_bf16(a.z, a.w), pack_bf16(b.x, b.y), pack_bf16(b.z, b.w)};
  }
}

// Begins the products of a block's rows with the queries.
__device__ inline void begin_scores(float (&scores)[kBlockRows / 2], const void* query_tiles,
                                    const void* row_tiles) {
  const std::uint64_t queries = describe(query_tiles);
  const std::uint64_t rows = describe(row_tiles);
  begin_products();
#pragma unroll
  for (int k = 0; k < kWidth / 16; ++k) {
    const std::uint64_t at = k / 4 * (kTileBytes / 16) + k % 4 * 2;
    multiply_tiles<Bf16, kBlockRows>(scores, queries + at, rows + at, k > 0);
  }
  commit_products();
}

// Scores in units of log 2, and none where there is no row.
__device__ inline void finish_scores(float (&scores)[kBlockRows / 2],
                                     const std::uint32_t (&exists)[8], float scale) {
  const int first_bit = 8 * static_cast<int>(threadIdx.x % 4);
#pragma unroll
  for (int j = 0; j < kBlockRows / 8; ++j) {
#pragma unroll
    for (int i = 0; i < 4; ++i) scores[4 * j + i] *= scale;
    if (exists[j] == 0xffffffff) continue;
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      if ((exists[j] >> (first_bit + 4 * (i % 2)) & 1) == 0) scores[4 * j + i] = -INFINITY;
    }
  }
}

// The maximum and the sum over the four lanes that share a head.
__device__ inline float quad_max(float x) {
  x = fmaxf(x, __shfl_xor_sync(0xffffffff, x, 1));
  return fmaxf(x, __shfl_xor_sync(0xffffffff, x, 2));
}
__device__ inline float quad_sum(float x) {
  x += __shfl_xor_sync(0xffffffff, x, 1);
  return x + __shfl_xor_sync(0xffffffff, x, 2);
}

__device__ inline float exp2_of(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}

// 2^d for whole d <= kSlack; 0 below the normal numbers.
__device__ inline float power_of_two(float d) {
  return d < -126 ? 0
                  : __uint_as_float(static_cast<std::uint32_t>(127 + static_cast<int>(d)) << 23);
}

// Two heads of a thread, and of its three neighbours.
using Words = std::uint32_t[kSteps][4];  // weights in bf16: the operand A of a product over rows

// A block's weights by themselves: 2^(score − reference), the reference a whole number.
struct BlockWeights {
  float reference[2];  // −infinity: no row
  float sum[2];        // before rounding
};

__device__ inline BlockWeights weigh(const float (&scores)[kBlockRows / 2], Words& words) {
  BlockWeights block;
#pragma unroll
  for (int h = 0; h < 2; ++h) {
    float top = -INFINITY;
#pragma unroll
    for (int j = 0; j < kBlockRows / 8; ++j) {
      top = fmaxf(top, fmaxf(scores[4 * j + 2 * h], scores[4 * j + 2 * h + 1]));
    }
    block.reference[h] = ceilf(quad_max(top));
    const float origin = block.reference[h] == -INFINITY ? 0 : block.reference[h];
    float sum = 0;
#pragma unroll
    for (int j = 0; j < kBlockRows / 8; ++j) {
      const float a = exp2_of(scores[4 * j + 2 * h] - origin);
      const float b = exp2_of(scores[4 * j + 2 * h + 1] - origin);
      sum += a;
      sum += b;
      words[j / 2][2 * (j % 2) + h] = pack_bf16(a, b);
    }
    block.sum[h] = quad_sum(sum);
  }
  return block;
}

// What sums are multiplied by, for a thread's two heads: powers of two.
struct Factors {
  float before[2];  // the sum so far
  float added[2];   // what is added to it
};

// Denominators, and the powers of two from which sums count: of blocks so far, or of parts so far.
struct Chain {
  float reference[2] = {-INFINITY, -INFINITY};
  float denominator[2] = {};

  __device__ Factors take(const float (&next_reference)[2], const float (&next_sum)[2]) {
    Factors factors{{1, 1}, {1, 1}};
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      const float before = reference[h];
      if (next_reference[h] > before + kSlack) {
        reference[h] = next_reference[h];
        factors.before[h] = before == -INFINITY ? 1 : power_of_two(before - reference[h]);
      }
      if (next_reference[h] != -INFINITY) {
        factors.added[h] = power_of_two(next_reference[h] - reference[h]);
      }
      denominator[h] = fmaf(next_sum[h], factors.added[h], denominator[h] * factors.before[h]);
    }
    return factors;
  }

  // What sums are multiplied by in the end: 1 over the denominators, sinks included.  `head` is the first
  // of the two.
  __device__ float2 last_factors(const AttendCall& c, int head) const {
    float sums[2];
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      const float origin = reference[h] == -INFINITY ? 0 : reference[h];
      sums[h] = denominator[h];
      if (c.sink != nullptr) sums[h] += exp2_of(c.sink[head + 8 * h] * kLog2E - origin);
    }
    return {sums[0] == 0 ? 0 : 1 / sums[0], sums[1] == 0 ? 0 : 1 / sums[1]};
  }
};

__device__ inline float4 as_float4(const Chain& c) {
  return {c.reference[0], c.reference[1], c.denominator[0], c.denominator[1]};
}

// What a sum starts from: x + kNothing is x, zeros of either sign included.
inline constexpr float kNothing = -0.0f;

// Sums of two channels of a thread's two heads: the order of a product's accumulators.
__device__ inline void add_scaled(float4& sums, const float4& next, const Factors& f) {
  sums.x = fmaf(next.x, f.added[0], sums.x * f.before[0]);
  sums.y = fmaf(next.y, f.added[0], sums.y * f.before[0]);
  sums.z = fmaf(next.z, f.added[1], sums.z * f.before[1]);
  sums.w = fmaf(next.w, f.added[1], sums.w * f.before[1]);
}

// ---- Values.

// Rows as the operand B of a product over rows: 64 channels to an atom, tiles of channels apart.
__device__ inline std::uint64_t describe_values(const void* tiles) {
  constexpr std::uint64_t kSwizzle128 = std::uint64_t{1} << 62;
  constexpr std::uint64_t kRowStride = std::uint64_t{kAtomBytes / 16} << 32;
  constexpr std::uint64_t kTileStride = std::uint64_t{kTileBytes / 16} << 16;
  return kSwizzle128 | kRowStride | kTileStride | ((shared_address(tiles) & 0x3ffff) >> 4);
}

// sums = sums · f.before + weights · values · f.added, for the 64 channels of a tile.
__device__ inline void add_values(float (&sums)[kGroup / 2], const Factors& f, const Words& words,
                                  const void* tile) {
  float next[kGroup / 2];
  const std::uint64_t rows = describe_values(tile);
  begin_products();
#pragma unroll
  for (int k = 0; k < kSteps; ++k) {
    multiply_registers<Bf16Rows, kGroup>(next, words[k], rows + k * (16 * kAtomRowBytes / 16),
                                         k > 0);
  }
  commit_products();
  await_products<0>();
  hold(next);
  if (__any_sync(0xffffffff, f.before[0] != 1 || f.before[1] != 1)) {
#pragma unroll
    for (int i = 0; i < kGroup / 2; ++i) sums[i] *= f.before[i % 4 / 2];
  }
#pragma unroll
  for (int i = 0; i < kGroup / 2; ++i) sums[i] = fmaf(next[i], f.added[i % 4 / 2], sums[i]);
}

__device__ inline float to_bf16(float x) {
  return __bfloat162float(__float2bfloat16_rn(x));
}

// The first of the two heads of a warpgroup's thread; the other is 8 further.
__device__ inline int head_of_thread(int tid) {
  return 16 * (tid / kWarp) + tid % kWarp / 4;
}
// The first of its two channels among the eight of a quad of accumulators.
__device__ inline int channel_of_thread(int tid) {
  return 2 * (tid % 4);
}

// Two channels, from `channel` on, of a head's result: rounded and, where `turns`, turned back.
__device__ inline void store_pair(const AttendCall& c, std::int64_t t, int head, int channel,
                                  float a, float b, bool turns) {
  a = to_bf16(a);
  b = to_bf16(b);
  if (turns) {
    const int pair = (channel - kGroup * kCodeGroups) / 2;
    const float* angles = c.angles.data + t * c.angles.stride;
    const float cosine = angles[pair];
    const float sine = angles[kGroup / 2 + pair];
    const float turned = to_bf16(a * cosine + b * sine);
    b = to_bf16(b * cosine - a * sine);
    a = turned;
  }
  *reinterpret_cast<float2*>(c.out.data + (t * c.out.planes + head) * kWidth + channel) = {a, b};
}

// Quad `at` of the sums of thread `tid`, whose first head is `head`: divided and stored.
__device__ inline void store_quad(const AttendCall& c, std::int64_t t, int head, int at, int tid,
                                  const float4& sums, float2 factors) {
  const int channel = 8 * at + channel_of_thread(tid);
  const bool turns = at >= kCodeGroups * kGroup / 8 && c.angles.cols > 0;
  store_pair(c, t, head, channel, sums.x * factors.x, sums.y * factors.x, turns);
  store_pair(c, t, head + 8, channel, sums.z * factors.y, sums.w * factors.y, turns);
}

// The dynamic shared memory of a block, from a boundary of atoms on.
template <typename Shared>
__device__ Shared& shared_memory() {
  extern __shared__ std::uint8_t memory[];
  return *reinterpret_cast<Shared*>(memory + (kAtomBytes - shared_address(memory) % kAtomBytes) %
                                                 kAtomBytes);
}

}  // namespace precis::cuda
