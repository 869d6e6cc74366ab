// The pieces of attention on tensor cores: rows expanded into tiles, products with them, weights, results.
//
// A tile is 64 rows (or heads) × 64 channels in bf16, swizzled; a block of 64 rows is eight tiles, the
// last of them the rotated channels.  In products over channels its rows are those of an operand; in
// products over rows the same bytes are the operand read the other way.
#pragma once

#include "backend/cuda/attend/call.cuh"
#include "backend/cuda/wgmma.cuh"

namespace precis::cuda {

// Not `inline`: other kernels have constants of these names, and other values.
constexpr int kHeads = 64;  // the M side of every product
constexpr int kWidth = 512;
constexpr int kGroup = 64;  // channels of a tile, and of a scale
constexpr int kGroups = kWidth / kGroup;
constexpr int kCodeGroups = kGroups - 1;
constexpr int kHalfGroups = kGroups / 2;  // of half a row, which comes and goes by itself
constexpr int kRowBytes = 576;            // and 8 bytes of scales behind the page's rows
constexpr int kRowScales = 8;
constexpr int kBlockRows = 64;
constexpr int kTileBytes = kBlockRows * kAtomRowBytes;
constexpr int kBlockBytes = kGroups * kTileBytes;
constexpr int kSteps = kBlockRows / 16;  // instructions of a product over the rows of a block
constexpr int kWarps = kWarpgroup / kWarp;
constexpr int kReaders = 2 * kWarpgroup;
constexpr float kSlack = 32;  // the reference moves when a block's passes it by more
constexpr float kLog2E = 1.44269504f;

// ---- Rows: from device memory to tiles.

// What a thread reads of a row: a quarter of each group.
struct RowPiece {
  uint4 codes[kCodeGroups];
  uint4 rotated[2];
  std::uint32_t scales[2];  // of either half
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

// The first or second half of a quarter row.  A row that does not exist is zeros.
template <int kHalf>
__device__ inline void load_half(RowPiece& piece, const RowPlace& place, int quarter) {
  constexpr int kEnd = kHalf == 0 ? kHalfGroups : kCodeGroups;
  if (place.page == nullptr) {
#pragma unroll
    for (int g = kHalf * kHalfGroups; g < kEnd; ++g) piece.codes[g] = uint4{};
    piece.scales[kHalf] = 0;
    if constexpr (kHalf == 1) piece.rotated[0] = piece.rotated[1] = uint4{};
    return;
  }
  const std::uint8_t* data = place.page + place.data;
  const bool aligned = reinterpret_cast<std::uintptr_t>(data) % 16 == 0;
#pragma unroll
  for (int g = kHalf * kHalfGroups; g < kEnd; ++g) {
    piece.codes[g] = load_16(data + kGroup * g + 16 * quarter, aligned);
  }
  if constexpr (kHalf == 1) {
    const std::uint8_t* rotated = data + kGroup * kCodeGroups + 32 * quarter;
    piece.rotated[0] = load_16(rotated, aligned);
    piece.rotated[1] = load_16(rotated + 16, aligned);
  }
  piece.scales[kHalf] =
      __ldg(reinterpret_cast<const std::uint32_t*>(place.page + place.scales) + kHalf);
}

__device__ inline std::uint32_t both_halves(std::uint32_t bf16) {
  return bf16 | bf16 << 16;
}

// 2^120 times a scale, as far as bf16 numbers go, and what is left of it.
struct Scale {
  std::uint32_t first;
  std::uint32_t rest;
};

__device__ inline Scale split_scale(std::uint32_t e8m0) {
  constexpr std::uint32_t kLargest = 254;
  constexpr std::uint32_t kBias = 127;
  const std::uint32_t exponent = e8m0 + 120;
  if (exponent <= kLargest) return {exponent << 7, kBias << 7};
  if (e8m0 == 255) return {kLargest << 7, 0x7fc0};
  return {kLargest << 7, (exponent - kLargest + kBias) << 7};
}

__device__ inline uint4 expand_8(std::uint32_t low, std::uint32_t high, std::uint32_t scale) {
  const auto pair = [&](std::uint32_t word, std::uint32_t selector) {
    return multiply_bf16x2(spread_codes(__byte_perm(word, 0, selector)), scale);
  };
  return {pair(low, 0x1404), pair(low, 0x3424), pair(high, 0x1404), pair(high, 0x3424)};
}

__device__ inline void multiply_8(uint4& values, std::uint32_t factor) {
  values.x = multiply_bf16x2(values.x, factor);
  values.y = multiply_bf16x2(values.y, factor);
  values.z = multiply_bf16x2(values.z, factor);
  values.w = multiply_bf16x2(values.w, factor);
}

// Stores the groups of half a quarter row; kSmall: their scales are below 2, and 2^120 times them bf16
// numbers.
template <int kHalf, bool kSmall>
__device__ inline void store_groups(std::uint8_t* low, std::uint8_t* high, const RowPiece& piece) {
  constexpr int kEnd = kHalf == 0 ? kHalfGroups : kCodeGroups;
  const std::uint32_t scales = piece.scales[kHalf];
#pragma unroll
  for (int g = kHalf * kHalfGroups; g < kEnd; ++g) {
    const uint4& codes = piece.codes[g];
    Scale scale{};
    if constexpr (!kSmall) scale = split_scale(scales >> 8 * (g % 4) & 255);
    const std::uint32_t factor =
        kSmall ? (__byte_perm(scales, 0, 0x4040 + g % 4 * 0x101) + 0x780078) << 7
               : both_halves(scale.first);
    uint4 first = expand_8(codes.x, codes.y, factor);
    uint4 second = expand_8(codes.z, codes.w, factor);
    if constexpr (!kSmall) {
      multiply_8(first, both_halves(scale.rest));
      multiply_8(second, both_halves(scale.rest));
    }
    *reinterpret_cast<uint4*>(low + g * kTileBytes) = first;
    *reinterpret_cast<uint4*>(high + g * kTileBytes) = second;
  }
}

template <int kHalf>
__device__ inline void store_half(std::uint8_t* tiles, const RowPiece& piece, int row,
                                  int quarter) {
  std::uint8_t* low = tiles + swizzled(row, 32 * quarter);
  std::uint8_t* high = tiles + swizzled(row, 32 * quarter + 16);
  if ((piece.scales[kHalf] & 0x80808080) == 0) {
    store_groups<kHalf, true>(low, high, piece);
  } else {
    store_groups<kHalf, false>(low, high, piece);
  }
  if constexpr (kHalf == 0) return;
  *reinterpret_cast<uint4*>(low + kCodeGroups * kTileBytes) = piece.rotated[0];
  *reinterpret_cast<uint4*>(high + kCodeGroups * kTileBytes) = piece.rotated[1];
}

// Blocks of rows on their way from a reader to those who multiply.
template <int kStages>
struct RowStages {
  std::uint8_t tiles[kStages][kBlockBytes];
  alignas(16) std::uint32_t exists[kStages][8];  // bit 4·i of word w: row 8·w + i
  Barrier full[kStages][2];                      // of either half of the channels
  Barrier empty[kStages][2];
};

// The readers' work, two warpgroups', on blocks begin … end − 1 of a token's list: a thread has a quarter
// of a row of each, and stores and asks for either half by itself.  Bytes are asked for one block ahead,
// places two and numbers three.  Those who multiply publish the tiles: here that would wait for bytes.
template <int kStages>
__device__ void read_rows(const AttendCall& c, RowStages<kStages>& stages, RingPlace<kStages>& ring,
                          std::int64_t t, int begin, int end) {
  const RowList list(c, t, end * kBlockRows);
  const int tid = static_cast<int>(threadIdx.x) % kReaders;
  const int quarter = tid % 4;
  const int row = tid / 4;  // of a block
  int at = begin * kBlockRows + row;
  int number = list.number(at);
  int next = list.number(at + kBlockRows);
  RowPlace place = list.place(at, number);
  number = list.number(at + 2 * kBlockRows);
  bool exists = place.page != nullptr;
  RowPiece piece;
  load_half<0>(piece, place, quarter);
  load_half<1>(piece, place, quarter);
  place = list.place(at + kBlockRows, next);
  for (int b = begin; b < end; ++b, at += kBlockRows) {
    wait(&stages.empty[ring.stage][0], ring.parity ^ 1);
    const std::uint32_t rows_exist = __ballot_sync(0xffffffff, exists);
    if (tid % kWarp == 0) stages.exists[ring.stage][tid / kWarp] = rows_exist;
    exists = place.page != nullptr;
    store_half<0>(stages.tiles[ring.stage], piece, row, quarter);
    arrive(&stages.full[ring.stage][0]);
    load_half<0>(piece, place, quarter);
    wait(&stages.empty[ring.stage][1], ring.parity ^ 1);
    store_half<1>(stages.tiles[ring.stage], piece, row, quarter);
    arrive(&stages.full[ring.stage][1]);
    load_half<1>(piece, place, quarter);
    ring.advance();
    place = list.place(at + 2 * kBlockRows, number);
    number = list.number(at + 3 * kBlockRows);
  }
}

// ---- Queries, scores and weights.

// A token's queries, bf16 numbers already where the call rounds to bf16: `n_heads` of the tiles' 64, from
// place `first` on, by threads 0 … n_threads − 1.  Tiles' other rows may hold anything.
__device__ inline void load_queries(const AttendCall& c, std::uint8_t* tiles, std::int64_t t,
                                    int head, int first, int n_heads, int n_threads) {
  constexpr int kRowPieces = kWidth / 4;
  constexpr int kAtOnce = 8;
  const auto* q = reinterpret_cast<const float4*>(c.q.data + (t * c.q.planes + head) * kWidth);
  const int end = (first + n_heads) * kRowPieces;
  for (int begin = first * kRowPieces + static_cast<int>(threadIdx.x); begin < end;
       begin += kAtOnce * n_threads) {
    float4 values[kAtOnce];
#pragma unroll
    for (int k = 0; k < kAtOnce; ++k) values[k] = __ldcs(q + begin + k * n_threads);
#pragma unroll
    for (int k = 0; k < kAtOnce; ++k) {
      const int row = (begin + k * n_threads) / kRowPieces;
      const int piece = (begin + k * n_threads) % kRowPieces;
      *reinterpret_cast<uint2*>(tiles + piece / 16 * kTileBytes + swizzled(row, piece % 16 * 8)) = {
          pack_bf16(values[k].x, values[k].y), pack_bf16(values[k].z, values[k].w)};
    }
  }
}

// Begins the products of a block's rows with the queries; `between` comes before the second half of the
// channels.
template <typename Between>
__device__ inline void begin_scores(float (&scores)[kBlockRows / 2], const void* query_tiles,
                                    const void* row_tiles, const Between& between) {
  const std::uint64_t queries = describe(query_tiles);
  const std::uint64_t rows = describe(row_tiles);
  publish_shared();  // what readers wrote: they do not, for it would wait for bytes they have asked for
  begin_products();
#pragma unroll
  for (int k = 0; k < kWidth / 16; ++k) {
    const std::uint64_t at = k / 4 * (kTileBytes / 16) + k % 4 * 2;
    if (k == 4 * kHalfGroups) {
      between();
      publish_shared();
      begin_products();
    }
    multiply_tiles<Bf16, kBlockRows>(scores, queries + at, rows + at, k > 0);
  }
  commit_products();
}

// No scores where there is no row.
__device__ inline void mask_scores(float (&scores)[kBlockRows / 2],
                                   const std::uint32_t (&exists)[kBlockRows / 8]) {
  const auto* words = reinterpret_cast<const uint4*>(exists);
  const uint4 a = words[0];
  const uint4 b = words[1];
  if ((a.x & a.y & a.z & a.w & b.x & b.y & b.z & b.w) == 0xffffffff) return;
  const int first_bit = 8 * static_cast<int>(threadIdx.x % 4);
#pragma unroll
  for (int j = 0; j < kBlockRows / 8; ++j) {
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

// A block's weights by themselves: 2^(score · scale − reference), the reference a whole number.
struct BlockWeights {
  float reference[2];  // −infinity: no row
  float sum[2];        // before rounding, over the rows that the thread has
};

__device__ inline BlockWeights weigh(const float (&scores)[kBlockRows / 2], float scale,
                                     Words& words) {
  BlockWeights block;
  float top[2] = {-INFINITY, -INFINITY};
  float origin[2];
#pragma unroll
  for (int i = 0; i < kBlockRows / 2; ++i) top[i % 4 / 2] = fmaxf(top[i % 4 / 2], scores[i]);
#pragma unroll
  for (int h = 0; h < 2; ++h) {
    block.reference[h] = ceilf(quad_max(top[h]) * scale);
    origin[h] = block.reference[h] == -INFINITY ? 0 : block.reference[h];
  }
  float sums[4] = {};  // of even and odd rows of each head
#pragma unroll
  for (int i = 0; i < kBlockRows / 2; i += 2) {
    const int h = i % 4 / 2;
    const float a = exp2_of(fmaf(scores[i], scale, -origin[h]));
    const float b = exp2_of(fmaf(scores[i + 1], scale, -origin[h]));
    sums[2 * h] += a;
    sums[2 * h + 1] += b;
    words[i / 8][i % 8 / 4 * 2 + h] = pack_bf16(a, b);
  }
#pragma unroll
  for (int h = 0; h < 2; ++h) block.sum[h] = sums[2 * h] + sums[2 * h + 1];
  return block;
}

// What sums are multiplied by, for a thread's two heads: powers of two.
struct Factors {
  float before[2];  // the sum so far
  float added[2];   // what is added to it
};

// Denominators, over the rows that the thread has, and the powers of two from which sums count: of blocks
// so far, or of parts so far.
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

  // What sums are multiplied by in the end: 1 over the denominators, sinks included.  By whole warps.
  __device__ float2 last_factors(float2 sinks) const {
    const float sink[2] = {sinks.x, sinks.y};
    float sums[2];
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      const float origin = reference[h] == -INFINITY ? 0 : reference[h];
      sums[h] = quad_sum(denominator[h]) + exp2_of(fmaf(sink[h], kLog2E, -origin));
    }
    return {sums[0] == 0 ? 0 : 1 / sums[0], sums[1] == 0 ? 0 : 1 / sums[1]};
  }
};

// Sinks of heads head and head + 8; −infinity: none.
__device__ inline float2 load_sinks(const AttendCall& c, int head) {
  if (c.sink == nullptr) return {-INFINITY, -INFINITY};
  return {__ldg(c.sink + head), __ldg(c.sink + head + 8)};
}

__device__ inline float4 as_float4(const Chain& c) {
  return {c.reference[0], c.reference[1], c.denominator[0], c.denominator[1]};
}

// What a sum starts from: x + kNothing is x, zeros of either sign included.
constexpr float kNothing = -0.0f;

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

// sums = sums · f.before + weights · values · f.added, for tiles of 64 channels: kPiece channels at a
// time, and where there are kBuffers for two, the products of a piece are under way while those before are
// added.  `meanwhile` is done under the first products, `released` behind those with tile kReleased − 1.
template <int kPiece, int kBuffers, int kReleased, int kTiles, typename Meanwhile,
          typename Released>
__device__ inline void add_values(float (&sums)[kTiles][kGroup / 2], const Factors& f,
                                  const Words& words, const std::uint8_t* tiles,
                                  const Meanwhile& meanwhile, const Released& released) {
  constexpr int kPieces = kTiles * kGroup / kPiece;
  constexpr int kOfTile = kGroup / kPiece;
  const std::uint64_t values = describe_values(tiles);
  float next[kBuffers][kPiece / 2];
  const auto begin = [&](int piece) {
    const std::uint64_t at =
        values + (piece / kOfTile * kTileBytes + piece % kOfTile * kPiece * 2) / 16;
    begin_products();
#pragma unroll
    for (int k = 0; k < kSteps; ++k) {
      multiply_registers<Bf16Rows, kPiece>(next[piece % kBuffers], words[k],
                                           at + k * (16 * kAtomRowBytes / 16), k > 0);
    }
    commit_products();
  };
  if (__any_sync(0xffffffff, f.before[0] != 1 || f.before[1] != 1)) {
#pragma unroll
    for (int i = 0; i < kTiles; ++i) {
#pragma unroll
      for (int j = 0; j < kGroup / 2; ++j) sums[i][j] *= f.before[j % 4 / 2];
    }
  }
#pragma unroll
  for (int i = 0; i < kPieces; ++i) {
    const bool begins_next = kBuffers == 2 && i + 1 < kPieces;
    if (kBuffers == 1 || i == 0) begin(i);
    if (begins_next) begin(i + 1);
    if (i == 0) meanwhile();
    begins_next ? await_products<1>() : await_products<0>();
    hold(next[i % kBuffers]);
    if (i + 1 == kReleased * kOfTile) released();
#pragma unroll
    for (int j = 0; j < kPiece / 2; ++j) {
      float& sum = sums[i / kOfTile][i % kOfTile * (kPiece / 2) + j];
      sum = fmaf(next[i % kBuffers][j], f.added[j % 4 / 2], sum);
    }
  }
}

// The first of the two heads of a warpgroup's thread; the other is 8 further.
__device__ inline int head_of_thread(int tid) {
  return 16 * (tid / kWarp) + tid % kWarp / 4;
}
// The first of its two channels among the eight of a quad of accumulators.
__device__ inline int channel_of_thread(int tid) {
  return 2 * (tid % 4);
}

// Rounded results of a pair of rotated channels, turned back.
__device__ inline float2 turned_back(float a, float b, const float* angles, int pair) {
  const float cosine = angles[pair];
  const float sine = angles[kGroup / 2 + pair];
  return {to_bf16(a * cosine + b * sine), to_bf16(b * cosine - a * sine)};
}

// The dynamic shared memory of a block, from a boundary of atoms on.
template <typename Shared>
__device__ Shared& shared_memory() {
  extern __shared__ std::uint8_t memory[];
  return *reinterpret_cast<Shared*>(memory + bytes_to_atom(memory));
}

}  // namespace precis::cuda
