// The selection for up to 64 heads of 128 channels: products of 64 keys with the heads of one or four
// tokens on the tensor cores (wgmma, s8), whose operands hold scales as shifts.
//
// Where the scales of a key's four groups, and those of each head's, lie within three powers of two, the
// products of all 128 channels add up in one integer below 2^21, and score times a power of two is the
// chain that every backend adds: the same bits for one product and one addition a head.  Columns are
// dealt so that a thread holds its heads in ascending order.  Other tiles take each group's sums with
// their scales.  Derivation, bytes and cycles: docs/kernels/cuda_select.md.
#include <algorithm>

#include "backend/cuda/select/call.cuh"
#include "backend/cuda/wgmma.cuh"
#include "base/check.h"
#include "base/integers.h"

namespace precis::cuda {
namespace {

constexpr int kHeads = 64;
constexpr int kGroups = 4;
constexpr int kTileKeys = 64;
constexpr int kRowBytes = 64;   // of codes
constexpr int kLanesOfRow = 4;  // that share a row of an accumulator
constexpr int kBlockHeads = 16;
constexpr int kBlockColumns = kBlockHeads * kLanesOfRow;

// Scales that may become shifts: near enough to 1 that no score is subnormal or infinite.
constexpr std::uint32_t kLeastScale = 127 - 20;
constexpr std::uint32_t kGreatestScale = 127 + 20;
constexpr std::uint32_t kMaxSpan = 3;
constexpr std::uint32_t kPlainScales = 0x7f7f7f7f;

struct ScaleRange {
  std::uint32_t least;
  std::uint32_t greatest;

  __device__ explicit ScaleRange(std::uint32_t bytes) {
    const std::uint32_t even = bytes & 0x00ff00ff;
    const std::uint32_t odd = (bytes >> 8) & 0x00ff00ff;
    const std::uint32_t low = __vminu2(even, odd);
    const std::uint32_t high = __vmaxu2(even, odd);
    least = min(low & 0xffff, low >> 16);
    greatest = max(high & 0xffff, high >> 16);
  }
  __device__ bool is_plain() const {
    return least >= kLeastScale && greatest <= kGreatestScale && greatest - least <= kMaxSpan;
  }
};

__device__ std::uint32_t byte_of(std::uint32_t word, int i) {
  return (word >> (8 * i)) & 0xff;
}

// A negative integer read as a float is a NaN, which saturation makes 0; a small positive one is
// subnormal: max(sum, 0) · 2^-23.
__device__ float positive_part(std::int32_t sum) {
  float out;
  asm("mul.sat.f32 %0, %1, 0f7e800000;" : "=f"(out) : "f"(__int_as_float(sum)));
  return out;
}

// ---- Queries: the B operand, weights and scales.

// Lane q of a row's four has heads in slots: all 64 of token q, or heads 16·q … of the only token.
template <int kTokens>
struct Slots {
  static constexpr int kColumns = kTokens * kHeads;
  static constexpr int kOwn = kColumns / kLanesOfRow;

  __device__ static int token(int lane) { return kTokens == 1 ? 0 : lane; }
  __device__ static int head(int lane, int i) { return kTokens == 1 ? kOwn * lane + i : i; }
  __device__ static int column(int lane, int i) { return i / 2 * 8 + 2 * lane + i % 2; }
  // Four neighbouring slots are one load, and the loads of the four lanes are neighbours.
  __device__ static int place(int lane, int i) { return (i / 4 * kLanesOfRow + lane) * 4 + i % 4; }
};

template <int kTokens>
struct QueryTile {
  std::uint8_t bytes[Slots<kTokens>::kColumns * kAtomRowBytes];  // swizzled; in front: 1024-aligned
  float scaled_weights[Slots<kTokens>::kColumns];                // · 2^(scale of the head)
  float weights[Slots<kTokens>::kColumns];
  float4 scales[Slots<kTokens>::kColumns];  // of the four groups, with the factor 1/4
  int magnitude[kTokens];                   // float bits of the largest scaled weight
  int is_plain;
};

// By the whole block; `tile` is visible to wgmma after the barrier that ends it.
template <int kTokens, int kThreads>
__device__ void load_queries(const SelectCall& c, std::int64_t first_token, int n_tokens,
                             QueryTile<kTokens>& tile) {
  using Slot = Slots<kTokens>;
  const auto n_heads = static_cast<int>(c.weights.cols);
  if (threadIdx.x < kTokens) tile.magnitude[threadIdx.x] = 0;
  if (threadIdx.x == 0) tile.is_plain = 1;
  __syncthreads();
  for (int at = static_cast<int>(threadIdx.x); at < Slot::kColumns * kGroups; at += kThreads) {
    const int slot = at / kGroups;
    const int group = at % kGroups;
    const int lane = slot / Slot::kOwn;
    const int i = slot % Slot::kOwn;
    const int token = Slot::token(lane);
    const int head = Slot::head(lane, i);
    const bool exists = token < n_tokens && head < n_heads;
    const std::int64_t row = (first_token + token) * n_heads + head;
    const std::uint32_t scale_bytes = exists ? load_word(c.queries.scales(row)) : kPlainScales;
    const uint4 codes = exists ? load_words(c.queries.data(row) + 16 * group) : uint4{};
    const float weight = exists ? c.weight(first_token + token, head) : 0.0f;
    const ScaleRange range(scale_bytes);
    const int shift =
        range.is_plain() ? static_cast<int>(byte_of(scale_bytes, group) - range.least) : 0;
    const ByteTable table(shift);
    const int column = Slot::column(lane, i);
    const std::uint32_t words[4] = {codes.x, codes.y, codes.z, codes.w};
    // The k order is that of KeyOperand: word `w` of every group makes a step of 32.
#pragma unroll
    for (int w = 0; w < 4; ++w) {
      const uint2 bytes = table.bytes(words[w]);
      *reinterpret_cast<std::uint32_t*>(tile.bytes + swizzled(column, 32 * w + 4 * group)) = bytes.x;
      *reinterpret_cast<std::uint32_t*>(tile.bytes + swizzled(column, 32 * w + 16 + 4 * group)) = bytes.y;
    }
    if (group != 0) continue;
    const int place = Slot::place(lane, i);
    const float common = e8m0_to_float(static_cast<std::uint8_t>(range.least));
    const float magnitude = fabsf(weight);
    const float scaled = weight * common;
    tile.weights[place] = weight;
    tile.scaled_weights[place] = scaled;
    float scales[kGroups];
#pragma unroll
    for (int g = 0; g < kGroups; ++g) {
      scales[g] = 0.25f * (range.is_plain()
                               ? common
                               : e8m0_to_float(static_cast<std::uint8_t>(byte_of(scale_bytes, g))));
    }
    tile.scales[place] = {scales[0], scales[1], scales[2], scales[3]};
    atomicMax(&tile.magnitude[token], __float_as_int(fabsf(scaled)));
    const bool fits = magnitude == 0 || (magnitude >= 0x1p-60f && magnitude <= 0x1p40f);
    if (!range.is_plain() || !fits) atomicAnd(&tile.is_plain, 0);
  }
  publish_shared();
  __syncthreads();
}

// ---- Keys: the A operand, in registers.

// Rows lane / 4 + 8·r of a warp's 16, group lane % 4 of each; all scales of the rows.
struct PackedKeys {
  std::uint32_t words[2][4];
  std::uint32_t scales[2];
};

// Where a warp's 16 rows are: the load of a page's address is done a round before those behind it.
struct KeyPlace {
  const std::byte* page;  // null where there is no row
  std::uint32_t in_page;  // the first row
};

// A warp's rows are those of one page.
struct KeyReader {
  Rows keys;
  std::int32_t n_rows;
  int page_shift;  // of a power of two of rows a page, otherwise −1

  __device__ KeyReader(const Rows& pool, std::int32_t rows) : keys(pool), n_rows(rows) {
    page_shift = __popc(pool.rows_per_page) == 1 ? __ffs(pool.rows_per_page) - 1 : -1;
  }

  __device__ KeyPlace locate(std::int32_t first) const {
    const auto row = static_cast<std::uint32_t>(first);
    const auto per_page = static_cast<std::uint32_t>(keys.rows_per_page);
    const std::uint32_t page = page_shift >= 0 ? row >> page_shift : row / per_page;
    return {first < n_rows ? keys.pages[page] : nullptr, row - page * per_page};
  }
  // Rows from n_rows on are what their page holds there.
  __device__ PackedKeys load(const KeyPlace& place) const {
    const auto lane = threadIdx.x % kWarp;
    PackedKeys out{{}, {kPlainScales, kPlainScales}};
    if (place.page == nullptr) return out;
    const std::uint32_t row = place.in_page + lane / kLanesOfRow;
    const std::byte* data = place.page + row * kRowBytes + 16 * (lane % kLanesOfRow);
    const std::byte* scales = place.page + keys.rows_per_page * kRowBytes + row * kGroups;
    const bool is_aligned = reinterpret_cast<std::uintptr_t>(place.page) % 16 == 0;
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      const auto* words = reinterpret_cast<const std::uint32_t*>(data + 8 * r * kRowBytes);
      if (is_aligned) {
        const uint4 four = __ldg(reinterpret_cast<const uint4*>(words));
        out.words[r][0] = four.x;
        out.words[r][1] = four.y;
        out.words[r][2] = four.z;
        out.words[r][3] = four.w;
      } else {
#pragma unroll
        for (int w = 0; w < 4; ++w) out.words[r][w] = __ldg(words + w);
      }
      out.scales[r] = __ldg(reinterpret_cast<const std::uint32_t*>(scales + 8 * r * kGroups));
    }
    return out;
  }
};

// Four steps of 32 channels: word s of every group.  A lane holds its group's, so group sums are those
// of a lane's part alone.
struct KeyOperand {
  std::uint32_t words[4][4];

  __device__ void expand(const PackedKeys& keys, const int (&shifts)[2]) {
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      const ByteTable table(shifts[r]);
#pragma unroll
      for (int s = 0; s < 4; ++s) {
        const uint2 bytes = table.bytes(keys.words[r][s]);
        words[s][r] = bytes.x;
        words[s][2 + r] = bytes.y;
      }
    }
  }
  // With scales as shifts; `least` is what remains of each row's.  Returns whether both rows allow it.
  __device__ bool expand_scaled(const PackedKeys& keys, std::uint32_t (&least)[2]) {
    const int group = static_cast<int>(threadIdx.x) % kLanesOfRow;
    bool is_plain = true;
    int shifts[2];
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      const ScaleRange range(keys.scales[r]);
      is_plain = is_plain && range.is_plain();
      least[r] = range.least;
      shifts[r] = static_cast<int>((byte_of(keys.scales[r], group) - range.least) & kMaxSpan);
    }
    expand(keys, shifts);
    return is_plain;
  }
  // Keeps the registers until products that read them have ended.
  __device__ void hold_words() {
#pragma unroll
    for (int s = 0; s < 4; ++s) hold(words[s]);
  }
};

// ---- Scores of the rows lane / 4 and lane / 4 + 8: of token lane % 4, or in lane % 4 == 3.

template <int kTokens>
__device__ float4 four_weights(const float* weights, int lane_of_row, int i) {
  return *reinterpret_cast<const float4*>(&weights[Slots<kTokens>::place(lane_of_row, i)]);
}

// Adds kCount of the lane's heads, from slot `first` on, to two chains; value(j, r) is of slot j, row r.
template <int kTokens, int kCount, typename Value>
__device__ void add_heads(const float* weights, int first, const Value& value, float (&scores)[2]) {
  const int lane_of_row = static_cast<int>(threadIdx.x) % kLanesOfRow;
#pragma unroll
  for (int i = 0; i < kCount; i += 4) {
    const float4 w = four_weights<kTokens>(weights, lane_of_row, first + i);
    const float each[4] = {w.x, w.y, w.z, w.w};
#pragma unroll
    for (int j = 0; j < 4; ++j) {
#pragma unroll
      for (int r = 0; r < 2; ++r) scores[r] = fmaf(each[j], value(i + j, r), scores[r]);
    }
  }
}

// As add_heads for the only token: the chain passes from lane to lane of a row.  A lane's own result is
// of use when all before it have had their turn.
template <int kCount, typename Value>
__device__ void add_heads_in_turn(const float* weights, const Value& value, float (&scores)[2]) {
#pragma unroll
  for (int turn = 0; turn < kLanesOfRow; ++turn) {
    if (turn > 0) {
#pragma unroll
      for (int r = 0; r < 2; ++r) scores[r] = __shfl_up_sync(0xffffffff, scores[r], 1);
    }
    add_heads<1, kCount>(weights, 0, value, scores);
  }
}

__device__ constexpr int accumulator_of(int slot, int row) {
  return slot / 2 * 4 + 2 * row + slot % 2;
}

template <int kTokens>
__device__ void add_sums(const QueryTile<kTokens>& queries,
                         const std::int32_t (&sums)[Slots<kTokens>::kColumns / 2],
                         float (&scores)[2]) {
  constexpr int kOwn = Slots<kTokens>::kOwn;
  if constexpr (kTokens == 1) {
    float values[2 * kOwn];
#pragma unroll
    for (int i = 0; i < 2 * kOwn; ++i) values[i] = positive_part(sums[i]);
    add_heads_in_turn<kOwn>(
        queries.scaled_weights, [&](int i, int r) { return values[accumulator_of(i, r)]; }, scores);
  } else {
    add_heads<kTokens, kOwn>(
        queries.scaled_weights, 0,
        [&](int i, int r) { return positive_part(sums[accumulator_of(i, r)]); }, scores);
  }
}

// Any scales: the sums of one group after the other, 16 heads of each lane at a time.
template <int kTokens>
__device__ void add_group_sums(const QueryTile<kTokens>& queries, const PackedKeys& keys,
                               float (&scores)[2]) {
  const int group = static_cast<int>(threadIdx.x) % kLanesOfRow;
#pragma unroll 1
  for (int first = 0; first < Slots<kTokens>::kOwn; first += kBlockHeads) {
    const std::uint64_t b = describe(queries.bytes + first * kLanesOfRow * kAtomRowBytes);
    float dots[kBlockColumns / 2] = {};
#pragma unroll 1
    for (int g = 0; g < kGroups; ++g) {
      PackedKeys part = keys;
#pragma unroll
      for (int r = 0; r < 2; ++r) {
#pragma unroll
        for (int w = 0; w < 4; ++w) part.words[r][w] = group == g ? keys.words[r][w] : 0;
      }
      KeyOperand of_group;
      of_group.expand(part, {0, 0});
      std::int32_t sums[kBlockColumns / 2];
      begin_products();
#pragma unroll
      for (int s = 0; s < 4; ++s) {
        multiply_registers<S8, kBlockColumns>(sums, of_group.words[s], along_k(b, s), s > 0);
      }
      commit_products();
      await_products<0>();
      hold(sums);
      of_group.hold_words();
      float key_scales[2];
#pragma unroll
      for (int r = 0; r < 2; ++r) {
        key_scales[r] = e8m0_to_float(static_cast<std::uint8_t>(byte_of(keys.scales[r], g)));
      }
#pragma unroll
      for (int i = 0; i < kBlockHeads; ++i) {
        const float4& of_head = queries.scales[Slots<kTokens>::place(group, first + i)];
        const float query_scale = reinterpret_cast<const float*>(&of_head)[g];
#pragma unroll
        for (int r = 0; r < 2; ++r) {
          float& dot = dots[accumulator_of(i, r)];
          dot = fmaf(static_cast<float>(sums[accumulator_of(i, r)]), query_scale * key_scales[r],
                     dot);
        }
      }
    }
    const auto value = [&](int i, int r) {
      const float dot = dots[accumulator_of(i, r)];
      return dot < 0 ? 0 : dot;  // not fmaxf: a NaN stays visible
    };
    if constexpr (kTokens == 1) {
      add_heads_in_turn<kBlockHeads>(queries.weights, value, scores);
    } else {
      add_heads<kTokens, kBlockHeads>(queries.weights, first, value, scores);
    }
  }
}

// ---- The kernel.

struct Tile {
  KeyOperand operand;
  std::uint32_t scales[2];  // one for each row
  bool is_plain;            // neither its keys nor the queries need each group's sums
};

template <int kTokens>
struct SharedLayout {
  int capacity;
  int n_found_max;

  __host__ __device__ int scratch_bytes() const {
    const int found = n_found_max * static_cast<int>(sizeof(Entry));
    return found > kSteps * 4 ? found : kSteps * 4;
  }
  __host__ __device__ int scratch_at() const {
    return static_cast<int>(sizeof(QueryTile<kTokens>) + 15) / 16 * 16;
  }
  __host__ __device__ int lists_at() const { return scratch_at() + scratch_bytes(); }
  __host__ __device__ int heads_at() const {
    return lists_at() + kTokens * capacity * static_cast<int>(sizeof(Entry));
  }
  // The block's memory need not begin at an atom.
  __host__ __device__ int n_bytes() const { return heads_at() + kTokens * 16 + kAtomBytes; }

  __device__ BestRows list(std::byte* shared, int i) const {
    return {reinterpret_cast<Entry*>(shared + lists_at()) + i * capacity,
            reinterpret_cast<int*>(shared + heads_at() + 16 * i + 8),
            reinterpret_cast<Entry*>(shared + heads_at() + 16 * i)};
  }
};

// Whether any thread of the warpgroup says so.
__device__ bool any_of_warpgroup(bool own, int warpgroup) {
  std::uint32_t any;
  asm volatile(
      "{\n.reg .pred own, any;\nsetp.ne.u32 own, %1, 0;\n"
      "barrier.cta.red.or.pred any, %2, 128, own;\nselp.u32 %0, 1, 0, any;\n}"
      : "=r"(any)
      : "r"(own ? 1 : 0), "r"(1 + warpgroup)
      : "memory");
  return any != 0;
}

// The row's score as an entry of the lane's token, if the token sees the row.
__device__ Entry entry_of(float score, std::int32_t row, std::int32_t visible, Rounding rounding) {
  return row < visible ? make_entry(round_as(score, rounding), row) : 0;
}

// Adds those scores of the warp's rows, from `first` on, whose entries are above the threshold.
template <int kTokens>
__device__ void add_scores(const BestRows& list, const float (&scores)[2], std::int32_t first,
                           std::int32_t visible, Rounding rounding) {
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const std::int32_t row = first + lane / kLanesOfRow;
  const Entry threshold = *list.threshold;
  if constexpr (kTokens == 1) {
    // Lane 3 of a row has both scores, and lane 2 takes over one.
    const float other = __shfl_down_sync(0xffffffff, scores[1], 1);
    const bool is_last = lane % kLanesOfRow == 3;
    const Entry entry = entry_of(is_last ? scores[0] : other, is_last ? row : row + 8,
                                 lane % kLanesOfRow >= 2 ? visible : 0, rounding);
    const unsigned added = __ballot_sync(0xffffffff, entry > threshold);
    if (added == 0) return;
    int at = 0;
    if (lane == 0) at = atomicAdd(list.count, __popc(added));
    at = __shfl_sync(0xffffffff, at, 0);
    if (entry > threshold) list.entries[at + __popc(added & ((1u << lane) - 1))] = entry;
  } else {
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      const Entry entry = entry_of(scores[r], row + 8 * r, visible, rounding);
      if (entry > threshold) list.entries[atomicAdd(list.count, 1)] = entry;
    }
  }
}

template <int kTokens, int kWarpgroups, int kBlocks, int kCalls>
__global__ void __launch_bounds__(kWarpgroups* kWarpgroup, kBlocks)
    select_wide(const __grid_constant__ SelectStep<kCalls> step, SharedLayout<kTokens> layout) {
  const SelectCall& c = step.calls[kCalls > 1 ? blockIdx.y : 0];
  constexpr int kThreads = kWarpgroups * kWarpgroup;
  constexpr int kColumns = Slots<kTokens>::kColumns;
  constexpr int kRoundKeys = kWarpgroups * kTileKeys;
  // Looking at the lists holds warpgroups together that had better drift apart.
  constexpr int kRoundsToLook = kWarpgroups > 1 ? 4 : 1;
  extern __shared__ std::byte unaligned[];
  std::byte* shared = unaligned + bytes_to_atom(unaligned);
  auto& queries = *reinterpret_cast<QueryTile<kTokens>*>(shared);
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const int warpgroup = static_cast<int>(threadIdx.x) / kWarpgroup;
  const auto k = static_cast<int>(c.out.cols);
  // Later tokens see more rows, so they begin first.
  const std::int64_t first_token =
      kCalls > 1 ? 0 : static_cast<std::int64_t>(gridDim.y - 1 - blockIdx.y) * kTokens;
  const auto n_tokens = static_cast<int>(min(std::int64_t{kTokens}, c.weights.rows - first_token));
  const int own_token = Slots<kTokens>::token(lane % kLanesOfRow);
  const std::int32_t visible = own_token < n_tokens ? c.n_visible[first_token + own_token] : 0;
  std::int32_t n_rows = 0;
  for (int i = 0; i < n_tokens; ++i) n_rows = max(n_rows, c.n_visible[first_token + i]);

  // Tiles go to blocks in turn; every warpgroup makes the same number of rounds.
  const std::int32_t stride = static_cast<std::int32_t>(gridDim.x) * kRoundKeys;
  const int n_rounds = (n_rows - 1 - static_cast<std::int32_t>(blockIdx.x) * kRoundKeys + stride) /
                       stride;  // rounds toward 0 from above −1
  const KeyReader reader(c.keys, n_rows);
  std::int32_t first = static_cast<std::int32_t>(blockIdx.x) * kRoundKeys +
                       static_cast<std::int32_t>(threadIdx.x) / kWarp * 16;
  PackedKeys keys = reader.load(reader.locate(first));
  KeyPlace place = reader.locate(first + stride);

  if (threadIdx.x < kTokens) layout.list(shared, static_cast<int>(threadIdx.x)).start();
  load_queries<kTokens, kThreads>(c, first_token, n_tokens, queries);
  const std::uint64_t b = describe(queries.bytes);
  const bool plain_queries = queries.is_plain != 0;
  int* histogram = reinterpret_cast<int*>(shared + layout.scratch_at());
  const BestRows own_list = layout.list(shared, own_token);
  const int limit = layout.capacity - kRoundsToLook * kRoundKeys;
  const bool can_fill = n_rounds * kRoundKeys > layout.capacity;

  // Takes the loaded keys as an operand, loads those of the round after, and locates the ones behind.
  Tile tile;
  const auto take_keys = [&](std::int32_t locate_next, Tile& out) {
    const bool is_odd = any_of_warpgroup(!out.operand.expand_scaled(keys, out.scales), warpgroup);
    out.is_plain = plain_queries && !is_odd;
    keys = reader.load(place);
    place = reader.locate(locate_next);
  };
  // One token leaves registers for four warpgroups, whose products and chains overlap; four tokens leave
  // them for the next operand.
  constexpr bool kAhead = kTokens > 1;
  if constexpr (kAhead) take_keys(first + 2 * stride, tile);
  for (int round = 0; round < n_rounds; ++round, first += stride) {
    float scores[2] = {0, 0};
    Tile next;
    if constexpr (!kAhead) take_keys(first + 2 * stride, tile);
    if (tile.is_plain) {
      std::int32_t sums[kColumns / 2];
      begin_products();
#pragma unroll
      for (int s = 0; s < 4; ++s) {
        multiply_registers<S8, kColumns>(sums, tile.operand.words[s], along_k(b, s), s > 0);
      }
      commit_products();
      if constexpr (kAhead) take_keys(first + 3 * stride, next);
      await_products<0>();
      hold(sums);
      tile.operand.hold_words();
      add_sums<kTokens>(queries, sums, scores);
#pragma unroll
      for (int r = 0; r < 2; ++r) {
        // · 2^(scale of the key), without the factors 2^-23 of the parts and 4 of the doubled codes.
        scores[r] *= __uint_as_float((tile.scales[r] + 23 - 2) << 23);
      }
    } else {
      add_group_sums<kTokens>(queries, reader.load(reader.locate(first)), scores);
      if constexpr (kAhead) take_keys(first + 3 * stride, next);
    }
    add_scores<kTokens>(own_list, scores, first, visible, c.rounding);
    // Whoever adds last sees all that was added.
    if (can_fill && round % kRoundsToLook == kRoundsToLook - 1 &&
        __syncthreads_or(*static_cast<volatile int*>(own_list.count) > limit)) {
      for (int i = 0; i < n_tokens; ++i) {
        tighten<kThreads>(layout.list(shared, i), k, k + (limit - k) / 4, histogram);
      }
    }
    if constexpr (kAhead) tile = next;
  }
  __syncthreads();

  const auto list_of = [&](int i) { return layout.list(shared, i); };
  // 64 steps to a power of two, from below what one channel of the heaviest head can add.
  const auto steps_of = [&](int i) {
    const int exponent = min(max((queries.magnitude[i] >> 23) - 2, 1), 254 - 32);
    const Entry low = static_cast<Entry>(0x80000000u | static_cast<std::uint32_t>(exponent) << 23);
    return Steps{low << 32, 32 + 23 - 6, 0, ~Entry{0}, true};
  };
  write_selection<kThreads, kTokens>(c, first_token, n_tokens, list_of, steps_of, histogram,
                                     shared + layout.scratch_at());
}

// The longest lists that leave room for kBlocks on a multiprocessor.
template <int kTokens, int kWarpgroups, int kBlocks>
SharedLayout<kTokens> make_layout(const Device& device, int k) {
  constexpr int kReserved = 1024;  // of each block
  constexpr int kLongest = 8192;
  SharedLayout<kTokens> layout{0, std::max(1024, round_up(2 * k, 2))};
  const int available = (device.max_shared_bytes + kReserved) / kBlocks - kReserved - 512;
  const int per_list = (available - layout.n_bytes()) / (kTokens * static_cast<int>(sizeof(Entry)));
  layout.capacity = std::min(kLongest, per_list) / 2 * 2;
  return layout;
}

// A round's entries have to fit beside the best, with something to spare.
template <int kTokens, int kWarpgroups>
bool has_room(const SharedLayout<kTokens>& layout, int k) {
  return layout.capacity >= k + k / 4 + 2 * kWarpgroups * kTileKeys;
}

template <int kTokens, int kWarpgroups, int kBlocks, int kCalls>
void launch(Device& device, std::span<const SelectCall> calls) {
  const auto kernel = select_wide<kTokens, kWarpgroups, kBlocks, kCalls>;
  const auto k = static_cast<int>(calls.front().out.cols);
  const auto layout = make_layout<kTokens, kWarpgroups, kBlocks>(device, k);
  PRECIS_CUDA_CHECK(
      cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, layout.n_bytes()));
  // Blocks that meet have to be on the device together: kBlocks on every multiprocessor.
  PRECIS_CUDA_CHECK(cudaFuncSetAttribute(kernel, cudaFuncAttributePreferredSharedMemoryCarveout,
                                         cudaSharedmemCarveoutMaxShared));
  const auto n_groups =
      static_cast<int>(kCalls > 1 ? std::ssize(calls) : ceil_div(calls.front().weights.rows, kTokens));
  const int n_splits = std::max(1, kBlocks * device.n_multiprocessors / n_groups);
  SelectStep<kCalls> step{};
  std::copy(calls.begin(), calls.end(), step.calls);
  step.calls[0].meeting.n_found_max = layout.n_found_max;
  if (n_splits > 1) {
    prepare_meeting(device, std::span(step.calls).first(calls.size()), n_splits, n_groups);
  }
  kernel<<<dim3(n_splits, n_groups), kWarpgroups * kWarpgroup, layout.n_bytes(), device.stream>>>(
      step, layout);
  PRECIS_CUDA_LAUNCHED();
}

}  // namespace

bool is_wide_select(const Device& device, const SelectArgs& args) {
  const auto k = static_cast<int>(args.out.cols);
  return args.format.width == 32 * kGroups && args.weights.cols <= kHeads &&
         args.keys.rows_per_page % 16 == 0 &&
         has_room<4, 1>(make_layout<4, 1, 2>(device, k), k);
}

void launch_wide_select(Device& device, const SelectCall& call) {
  launch<4, 1, 2, 1>(device, {&call, 1});
}

void launch_wide_selects(Device& device, std::span<const SelectCall> calls) {
  for (; !calls.empty(); calls = calls.subspan(std::min<std::size_t>(calls.size(), kMaxSelectCalls))) {
    const auto some = calls.first(std::min<std::size_t>(calls.size(), kMaxSelectCalls));
    some.size() == 1 ? launch<1, 4, 1, 1>(device, some)
                     : launch<1, 4, 1, kMaxSelectCalls>(device, some);
  }
}

}  // namespace precis::cuda
