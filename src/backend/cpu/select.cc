// The lightning indexer: scores of packed keys, and the K best rows of each token.
//
// A tile of packed keys is transposed once and scored by every query of a query tile, which unpacks
// it in registers; lanes are key rows.  Integer sums are exact, group scales are powers of two, and
// heads are added in ascending order, so the cut into tiles and row chunks is free.  Byte and cycle
// counts: docs/kernels/cpu_select.md.
#include <algorithm>
#include <cstdint>
#include <vector>

#include "backend/cpu/backend.h"
#include "backend/cpu/select_kernel.h"
#include "backend/cpu/slices.h"
#include "backend/cpu/top_rows.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "backend/cpu/select.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "backend/cpu/index_tile.h"
#include "backend/cpu/row_math.h"
#include "backend/cpu/score_order.h"
#include "backend/cpu/simd.h"
#include "base/integers.h"

HWY_BEFORE_NAMESPACE();
namespace precis {
namespace HWY_NAMESPACE {
namespace {

// 4 heads x 2 vectors of rows: 4 key loads and 8 broadcasts feed 16 products, and the 16 integer and
// float sums plus operands fit 32 registers.  4 vectors of rows would spill and are slower.
constexpr int kHeadBlock = 4;
constexpr int kRowVecs = 2;
// Two heads alone: keys are unpacked once for both, and with 32 registers four vectors of rows give
// as many sums in flight.
constexpr int kHalfBlock = kHeadBlock / 2;
constexpr int kFewHeadsVecs = kLanes == 16 ? 4 : kRowVecs;

// How many heads from a block's first one share its layout and its unpacked keys.
int heads_of_block(int first, int n_heads) {
  const int left = n_heads - first;
  return left >= kHeadBlock ? kHeadBlock : left >= kHalfBlock ? kHalfBlock : 1;
}

// How the scales of a query and a key multiply: as floats, or, where all are plain, as exponents,
// which leaves the multipliers to the products of bytes.
enum class ScaleProduct : std::uint8_t { kFloat, kExponent };

template <ScaleProduct kProduct>
HWY_INLINE VF32 multiply_scales(float query, std::int32_t query_exponent, VF32 keys) {
  const DF32 d;
  if constexpr (kProduct == ScaleProduct::kFloat) {
    return hn::Mul(hn::Set(d, query), keys);
  } else {
    const DI32 d_i32;
    return hn::BitCast(d, hn::Add(hn::Set(d_i32, query_exponent), hn::BitCast(d_i32, keys)));
  }
}

template <ScaleProduct kProduct>
HWY_INLINE VF32 relu(VF32 dot) {
  const DF32 d;
  if constexpr (kProduct == ScaleProduct::kFloat) {
    return hn::IfThenElse(hn::Lt(dot, hn::Zero(d)), hn::Zero(d), dot);  // NaN stays visible
  } else {
    const DI32 d_i32;
    return hn::BitCast(d, hn::Max(hn::BitCast(d_i32, dot), hn::Zero(d_i32)));
  }
}

// Adds the kHeads heads of a block, which begins at row `block` of the queries, to the scores of
// kVecs vectors of rows.
template <int kHeads, int kVecs, ScaleProduct kProduct>
HWY_INLINE void add_heads(const IndexTile& tile, int row, const IndexQueries& queries,
                          std::int64_t block, const float* weights, VF32* scores) {
  const DI32 d_dot;
  const DF32 d;
  constexpr int kRows = static_cast<int>(kLanes);
  constexpr int kGroupPairs = kGroupWords / 2;
  const std::int32_t* words = queries.words + block * tile.n_groups * kGroupWords;
  const std::int64_t groups = block * tile.n_groups;
  VF32 dots[kHeads][kVecs];
  for (auto& head : dots) {
    for (VF32& dot : head) dot = hn::Zero(d);
  }
  for (int g = 0; g < tile.n_groups; ++g, words += kGroupWords * kHeads) {
    const std::int32_t* shifts = queries.shifts + groups + g * kHeads;
    DotSum sums[kHeads][kVecs];
    for (int h = 0; h < kHeads; ++h) {
      for (DotSum& sum : sums[h]) sum = start_dot(d_dot, shifts[h]);
    }
    const std::uint32_t* packed = tile.packed + g * kGroupPairs * kIndexTileRows + row;
    HWY_UNROLL(kGroupPairs)
    for (int pair = 0; pair < kGroupPairs; ++pair) {
      KeyWords keys[kVecs];
      for (int v = 0; v < kVecs; ++v) {
        keys[v] = unpack_keys(hn::Load(DU32(), packed + pair * kIndexTileRows + v * kRows));
      }
      for (int h = 0; h < kHeads; ++h) {
        const auto even = hn::Set(d_dot, words[2 * pair * kHeads + h]);
        for (int v = 0; v < kVecs; ++v) sums[h][v] = add_dot(sums[h][v], keys[v].even, even);
        const auto odd = hn::Set(d_dot, words[(2 * pair + 1) * kHeads + h]);
        for (int v = 0; v < kVecs; ++v) sums[h][v] = add_dot(sums[h][v], keys[v].odd, odd);
      }
    }
    const float* key_scales = tile.scales + g * kIndexTileRows + row;
    const float* scales = queries.scales + groups + g * kHeads;
    const std::int32_t* exponents = queries.exponents + groups + g * kHeads;
    for (int h = 0; h < kHeads; ++h) {
      for (int v = 0; v < kVecs; ++v) {
        const VF32 scale =
            multiply_scales<kProduct>(scales[h], exponents[h], hn::Load(d, key_scales + v * kRows));
        const auto dot = hn::ConvertTo(d, finish_dot(d_dot, sums[h][v]));
        dots[h][v] = hn::MulAdd(dot, scale, dots[h][v]);
      }
    }
  }
  for (int h = 0; h < kHeads; ++h) {
    for (int v = 0; v < kVecs; ++v) {
      scores[v] = hn::MulAdd(hn::Set(d, weights[h]), relu<kProduct>(dots[h][v]), scores[v]);
    }
  }
}

struct QueryTile {
  QueryTile(Slices& slices, const SelectArgs& a, std::int64_t first, int n)
      : first_token(first),
        n_tokens(n),
        queries(slices, n * a.weights.cols, a.format),
        weights(slices.take<float>(n * a.weights.cols)) {}

  std::int64_t first_token;
  int n_tokens;
  IndexQueries queries;  // [n_tokens · Hi]
  float* weights;        // [n_tokens][Hi]
};

// Scores of the tile's first n_rows rows, and any value up to kVecs vectors, for token i.
template <int kVecs, ScaleProduct kProduct>
HWY_INLINE void score_token(const IndexTile& tile, int n_rows, const QueryTile& query_tile,
                            int n_heads, int i, float* out) {
  const DF32 d;
  constexpr int kRows = static_cast<int>(kLanes);
  static_assert(kIndexTileRows % (kVecs * kRows) == 0);
  const std::int64_t query_row = std::int64_t{i} * n_heads;
  const float* weights = query_tile.weights + query_row;
  for (int row = 0; row < n_rows; row += kVecs * kRows) {
    VF32 scores[kVecs];
    for (VF32& score : scores) score = hn::Zero(d);
    int h = 0;
    if constexpr (kVecs == kRowVecs) {
      for (; h + kHeadBlock <= n_heads; h += kHeadBlock) {
        add_heads<kHeadBlock, kVecs, kProduct>(tile, row, query_tile.queries, query_row + h,
                                               weights + h, scores);
      }
    }
    for (; h + kHalfBlock <= n_heads; h += kHalfBlock) {
      add_heads<kHalfBlock, kVecs, kProduct>(tile, row, query_tile.queries, query_row + h,
                                             weights + h, scores);
    }
    for (; h < n_heads; ++h) {
      add_heads<1, kVecs, kProduct>(tile, row, query_tile.queries, query_row + h, weights + h,
                                    scores);
    }
    for (int v = 0; v < kVecs; ++v) hn::Store(scores[v], d, out + row + v * kRows);
  }
}

// Returns whether every scale is plain.
bool load_queries(const SelectArgs& a, const QueryTile& tile) {
  const auto n_heads = static_cast<int>(a.weights.cols);
  const std::int64_t first = tile.first_token * n_heads;
  bool all_plain = true;
  for (std::int64_t token = 0; token < tile.n_tokens; ++token) {
    for (int block = 0; block < n_heads; block += heads_of_block(block, n_heads)) {
      const int n = heads_of_block(block, n_heads);
      const std::int64_t row = token * n_heads + block;
      for (int h = 0; h < n; ++h) {
        const bool is_plain =
            load_index_query(a.format, a.queries.data(first + row + h),
                             a.queries.scales(first + row + h), row, n, h, tile.queries);
        all_plain = all_plain && is_plain;
      }
    }
  }
  for (int i = 0; i < tile.n_tokens; ++i) {
    const float* weights = a.weights.row(tile.first_token + i);
    for (std::int64_t h = 0; h < n_heads; ++h) {
      tile.weights[i * n_heads + h] = weights[h] * a.weight_scale;
    }
  }
  round_row(tile.weights, tile.n_tokens * n_heads, a.rounding);
  return all_plain;
}

// Scores the n rows of a loaded tile, which begins at row `begin`, for every token.
template <ScaleProduct kProduct>
void score_tile(const SelectArgs& a, const IndexTile& tile, std::int64_t begin, int n,
                const QueryTile& query_tile, TopRows* best) {
  HWY_ALIGN float scores[kIndexTileRows];
  const int n_heads = static_cast<int>(a.weights.cols);
  for (int i = 0; i < query_tile.n_tokens; ++i) {
    const std::int64_t n_visible = a.n_visible[query_tile.first_token + i] - begin;
    if (n_visible <= 0) continue;
    const int n_rows = static_cast<int>(std::min<std::int64_t>(n, n_visible));
    if (n_heads < kHeadBlock) {
      score_token<kFewHeadsVecs, kProduct>(tile, n_rows, query_tile, n_heads, i, scores);
    } else {
      score_token<kRowVecs, kProduct>(tile, n_rows, query_tile, n_heads, i, scores);
    }
    offer(scores, n_rows, a.rounding, static_cast<std::int32_t>(begin), best[i]);
  }
}

// Streams rows [begin, end) past the tile's queries.
void select_rows(const SelectArgs& a, const QueryTile& query_tile, bool plain_queries,
                 std::int64_t begin, std::int64_t end, const IndexTile& tile, TopRows* best) {
  for (std::int64_t row = begin; row < end; row += kIndexTileRows) {
    const int n = static_cast<int>(std::min<std::int64_t>(kIndexTileRows, end - row));
    const bool plain_keys = load_index_tile(a.keys, row, n, tile);
    if (plain_keys && plain_queries) {
      score_tile<ScaleProduct::kExponent>(a, tile, row, n, query_tile, best);
    } else {
      score_tile<ScaleProduct::kFloat>(a, tile, row, n, query_tile, best);
    }
  }
}

}  // namespace

// Selects for tokens first … first + n − 1 among rows [begin, end).  `scratch` has
// select_scratch_bytes; `best` [n] gathers the candidates.
void select_task(const SelectArgs& a, std::int64_t first, int n, std::int64_t begin,
                 std::int64_t end, std::byte* scratch, TopRows* best) {
  Slices slices(scratch);
  const IndexTile tile(slices, a.format);
  const QueryTile query_tile(slices, a, first, n);
  const bool plain_queries = load_queries(a, query_tile);
  select_rows(a, query_tile, plain_queries, begin, end, tile, best);
}

std::size_t select_scratch_bytes(const SelectArgs& a, int n_tokens) {
  Slices slices(nullptr);
  const IndexTile tile(slices, a.format);
  const QueryTile query_tile(slices, a, 0, n_tokens);
  return slices.n_bytes();
}

}  // namespace HWY_NAMESPACE
}  // namespace precis
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace precis {
namespace {

// Few tokens with many rows are cut along the rows, many tokens along the tokens: loading a tile of
// keys costs about half of what one query of four heads costs to score.
struct SelectPlan {
  int tile_tokens;
  std::int64_t n_tiles;
  std::int64_t n_chunks;
};

constexpr std::int64_t kFewTokens = 4;
constexpr std::int64_t kMaxTileTokens = 32;
constexpr std::int64_t kChunkRows = 4096;  // about 10 µs of one token's scoring

SelectPlan plan_select(std::int64_t n_tokens, std::int64_t n_rows) {
  if (n_tokens <= kFewTokens) {
    return {static_cast<int>(n_tokens), 1, ceil_div(n_rows, kChunkRows)};
  }
  const std::int64_t tile = std::clamp(ceil_div(n_tokens, 8), kFewTokens, kMaxTileTokens);
  return {static_cast<int>(tile), ceil_div(n_tokens, tile), 1};
}

SelectKernel e2m1_select_kernel(Isa isa) {
  return {PRECIS_CPU_ENTRY(isa, select_task), PRECIS_CPU_ENTRY(isa, select_scratch_bytes)};
}

}  // namespace

void CpuBackend::do_select(const SelectArgs& a) {
  const std::int64_t n_tokens = a.weights.rows;
  const std::int64_t k = a.out.cols;
  if (n_tokens == 0 || k == 0) return;
  const std::int64_t n_rows = *std::max_element(a.n_visible.begin(), a.n_visible.end());
  const SelectPlan plan = plan_select(n_tokens, n_rows);
  const SelectKernel kernel =
      a.format.storage == IndexStorage::kE4m3 ? e4m3_select_kernel(isa_) : e2m1_select_kernel(isa_);
  const std::size_t scratch_bytes = kernel.scratch_bytes(a, plan.tile_tokens);
  const std::size_t capacity = TopRows::capacity(k, n_rows);

  // One list per worker and token of a tile.
  const int n_workers = threads_.n_threads();
  const auto n_lists = static_cast<std::size_t>(n_workers) * plan.tile_tokens;
  auto* entries = result_scratch_.get<std::uint64_t>(n_lists * capacity);
  std::vector<TopRows> lists(n_lists);
  const auto lists_of = [&](int worker) { return lists.data() + worker * plan.tile_tokens; };
  const auto start_lists = [&](int worker) {
    for (int i = 0; i < plan.tile_tokens; ++i) {
      const std::size_t list = worker * plan.tile_tokens + i;
      lists[list] = TopRows({entries + list * capacity, capacity}, k);
    }
  };

  if (plan.n_tiles > 1) {
    threads_.parallel_for(plan.n_tiles, 1, [&](std::int64_t tile, std::int64_t, int worker) {
      const std::int64_t first = tile * plan.tile_tokens;
      const int n = static_cast<int>(std::min<std::int64_t>(plan.tile_tokens, n_tokens - first));
      const auto visible = a.n_visible.subspan(first, n);
      const std::int64_t end = *std::max_element(visible.begin(), visible.end());
      TopRows* best = lists_of(worker);
      start_lists(worker);
      kernel.run(a, first, n, 0, end, worker_scratch_[worker].get<std::byte>(scratch_bytes), best);
      for (int i = 0; i < n; ++i) best[i].finish(a.out.row_span(first + i));
    });
    return;
  }
  for (int worker = 0; worker < n_workers; ++worker) start_lists(worker);
  threads_.parallel_for(plan.n_chunks, 1, [&](std::int64_t chunk, std::int64_t, int worker) {
    const std::int64_t begin = chunk * kChunkRows;
    kernel.run(a, 0, plan.tile_tokens, begin, std::min(begin + kChunkRows, n_rows),
               worker_scratch_[worker].get<std::byte>(scratch_bytes), lists_of(worker));
  });
  for (int i = 0; i < plan.tile_tokens; ++i) {
    for (int worker = 1; worker < n_workers; ++worker) lists[i].merge(lists_of(worker)[i]);
    lists[i].finish(a.out.row_span(i));
  }
}

}  // namespace precis
#endif
