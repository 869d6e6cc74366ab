// The lightning indexer: scores of packed keys, and the K best rows of each token.
//
// A tile of keys is unpacked once and scored by every query of a query tile; lanes are key rows.
// Integer sums are exact, group scales are powers of two, and heads are added in ascending order,
// so the cut into tiles and row chunks is free.  Byte and cycle counts: docs/kernels/cpu_select.md.
#include <algorithm>
#include <cstdint>
#include <vector>

#include "backend/cpu/backend.h"
#include "backend/cpu/slices.h"
#include "backend/cpu/top_rows.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "backend/cpu/select.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "backend/cpu/index_tile.h"
#include "backend/cpu/row_math.h"
#include "backend/cpu/simd.h"

HWY_BEFORE_NAMESPACE();
namespace precis {
namespace HWY_NAMESPACE {
namespace {

// 4 heads x 2 vectors of rows: per word 2 key loads and 4 broadcasts feed 8 products, and the 16
// integer and float sums plus operands fit 32 registers.
constexpr int kHeadBlock = 4;
constexpr int kRowVecs = 2;

// Adds heads head … head + kHeads − 1 of one query to the scores of 2 vectors of rows.
template <int kHeads>
HWY_INLINE void add_heads(const IndexTile& tile, int row, const IndexQueries& queries,
                          std::int64_t query_row, const float* weights, VF32* scores) {
  const DI32 d_dot;
  const DF32 d;
  constexpr int kRows = static_cast<int>(kLanes);
  const int n_words = tile.n_groups * kGroupWords;
  VF32 dots[kHeads][kRowVecs];
  for (auto& head : dots) head[0] = head[1] = hn::Zero(d);
  for (int g = 0; g < tile.n_groups; ++g) {
    DotSum sums[kHeads][kRowVecs];
    for (int h = 0; h < kHeads; ++h) {
      sums[h][0] = sums[h][1] =
          start_dot(d_dot, queries.shifts[(query_row + h) * tile.n_groups + g]);
    }
    const std::uint32_t* group_words = tile.words + g * kGroupWords * kIndexTileRows + row;
    for (int w = 0; w < kGroupWords; ++w) {
      const std::uint32_t* words = group_words + w * kIndexTileRows;
      const auto keys_0 = hn::BitCast(d_dot, hn::Load(DU32(), words));
      const auto keys_1 = hn::BitCast(d_dot, hn::Load(DU32(), words + kRows));
      for (int h = 0; h < kHeads; ++h) {
        const auto query =
            hn::Set(d_dot, queries.words[(query_row + h) * n_words + g * kGroupWords + w]);
        sums[h][0] = add_dot(sums[h][0], keys_0, query);
        sums[h][1] = add_dot(sums[h][1], keys_1, query);
      }
    }
    const float* scales = tile.scales + g * kIndexTileRows + row;
    for (int h = 0; h < kHeads; ++h) {
      const auto query_scale = hn::Set(d, queries.scales[(query_row + h) * tile.n_groups + g]);
      for (int v = 0; v < kRowVecs; ++v) {
        const auto scale = hn::Mul(query_scale, hn::Load(d, scales + v * kRows));
        const auto dot = hn::ConvertTo(d, finish_dot(d_dot, sums[h][v]));
        dots[h][v] = hn::MulAdd(dot, scale, dots[h][v]);
      }
    }
  }
  for (int h = 0; h < kHeads; ++h) {
    for (int v = 0; v < kRowVecs; ++v) {
      const auto is_negative = hn::Lt(dots[h][v], hn::Zero(d));
      const auto relu = hn::IfThenElse(is_negative, hn::Zero(d), dots[h][v]);  // NaN stays visible
      scores[v] = hn::MulAdd(hn::Set(d, weights[h]), relu, scores[v]);
    }
  }
}

// Scores as integers in the same order, NaN below every number.
HWY_INLINE VI32 order_lanes(VF32 score) {
  const DF32 d;
  const DI32 d_i32;
  const auto bits = hn::BitCast(d_i32, hn::Add(score, hn::Zero(d)));  // −0 becomes +0
  const auto order = hn::Xor(bits, hn::And(hn::ShiftRight<31>(bits), hn::Set(d_i32, 0x7fffffff)));
  const auto is_nan = hn::RebindMask(d_i32, hn::IsNaN(score));
  return hn::IfThenElse(is_nan, hn::Set(d_i32, std::int32_t{-0x7fffffff - 1}), order);
}

// Offers rows first_row … first_row + n − 1 to the list; n <= the lanes.
HWY_INLINE void offer(VI32 order, std::int32_t first_row, int n, TopRows& best) {
  const DI32 d;
  if (!best.accepts_all()) {
    const auto passes = hn::Gt(order, hn::Set(d, best.threshold()));
    if (HWY_LIKELY(hn::AllFalse(d, passes))) return;
  }
  HWY_ALIGN std::int32_t orders[kLanes];
  hn::Store(order, d, orders);
  for (int i = 0; i < n; ++i) best.add(orders[i], first_row + i);
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

// Scores rows [begin, end) for one token of the tile.
HWY_INLINE void score_token(const SelectArgs& a, const IndexTile& tile, std::int64_t tile_begin,
                            int n_rows, const QueryTile& query_tile, int i, TopRows& best) {
  const DF32 d;
  constexpr int kRows = static_cast<int>(kLanes);
  const int n_heads = static_cast<int>(a.weights.cols);
  const std::int64_t query_row = std::int64_t{i} * n_heads;
  const float* weights = query_tile.weights + query_row;
  for (int row = 0; row < n_rows; row += kRowVecs * kRows) {
    VF32 scores[kRowVecs] = {hn::Zero(d), hn::Zero(d)};
    int h = 0;
    for (; h + kHeadBlock <= n_heads; h += kHeadBlock) {
      add_heads<kHeadBlock>(tile, row, query_tile.queries, query_row + h, weights + h, scores);
    }
    for (; h < n_heads; ++h) {
      add_heads<1>(tile, row, query_tile.queries, query_row + h, weights + h, scores);
    }
    for (int v = 0; v < kRowVecs; ++v) {
      const int first = row + v * kRows;
      if (first >= n_rows) break;
      if (a.rounding == Rounding::kBf16) scores[v] = round_to_bf16(scores[v]);
      offer(order_lanes(scores[v]), static_cast<std::int32_t>(tile_begin + first),
            std::min(kRows, n_rows - first), best);
    }
  }
}

void load_queries(const SelectArgs& a, const QueryTile& tile) {
  const std::int64_t n_heads = a.weights.cols;
  const std::int64_t first = tile.first_token * n_heads;
  for (std::int64_t r = 0; r < tile.n_tokens * n_heads; ++r) {
    load_index_query(a.format, a.queries.data(first + r), a.queries.scales(first + r), r,
                     tile.queries);
  }
  for (int i = 0; i < tile.n_tokens; ++i) {
    const float* weights = a.weights.row(tile.first_token + i);
    for (std::int64_t h = 0; h < n_heads; ++h) {
      tile.weights[i * n_heads + h] = weights[h] * a.weight_scale;
    }
  }
  round_row(tile.weights, tile.n_tokens * n_heads, a.rounding);
}

// Streams rows [begin, end) past the tile's queries.
void select_rows(const SelectArgs& a, const QueryTile& query_tile, std::int64_t begin,
                 std::int64_t end, const IndexTile& tile, TopRows* best) {
  for (std::int64_t row = begin; row < end; row += kIndexTileRows) {
    const int n = static_cast<int>(std::min<std::int64_t>(kIndexTileRows, end - row));
    load_index_tile(a.keys, a.format, row, n, tile);
    for (int i = 0; i < query_tile.n_tokens; ++i) {
      const std::int64_t n_visible = a.n_visible[query_tile.first_token + i] - row;
      if (n_visible <= 0) continue;
      score_token(a, tile, row, static_cast<int>(std::min<std::int64_t>(n, n_visible)), query_tile,
                  i, best[i]);
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
  load_queries(a, query_tile);
  select_rows(a, query_tile, begin, end, tile, best);
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

// Few tokens with many rows are cut along the rows, many tokens along the tokens: a tile of keys
// costs about as much to unpack as three queries cost to score.
struct SelectPlan {
  int tile_tokens;
  std::int64_t n_tiles;
  std::int64_t chunk_rows;
  std::int64_t n_chunks;
};

constexpr std::int64_t kFewTokens = 4;
constexpr std::int64_t kMaxTileTokens = 32;
constexpr std::int64_t kMinChunkRows = 4096;  // about 30 µs of one token's scoring
constexpr std::int64_t kMaxChunks = 64;       // bounds the candidate lists

SelectPlan plan_select(std::int64_t n_tokens, std::int64_t n_rows) {
  const auto ceil_div = [](std::int64_t a, std::int64_t b) { return (a + b - 1) / b; };
  if (n_tokens <= kFewTokens) {
    const std::int64_t chunk = std::max(kMinChunkRows, ceil_div(n_rows, kMaxChunks));
    return {static_cast<int>(n_tokens), 1, chunk, ceil_div(n_rows, chunk)};
  }
  const std::int64_t tile = std::clamp(ceil_div(n_tokens, 8), kFewTokens, kMaxTileTokens);
  return {static_cast<int>(tile), ceil_div(n_tokens, tile), n_rows, 1};
}

}  // namespace

void CpuBackend::do_select(const SelectArgs& a) {
  const std::int64_t n_tokens = a.weights.rows;
  const std::int64_t k = a.out.cols;
  if (n_tokens == 0 || k == 0) return;
  const std::int64_t n_rows = *std::max_element(a.n_visible.begin(), a.n_visible.end());
  const SelectPlan plan = plan_select(n_tokens, n_rows);
  const auto task = PRECIS_CPU_ENTRY(isa_, select_task);
  const std::size_t scratch_bytes =
      PRECIS_CPU_ENTRY(isa_, select_scratch_bytes)(a, plan.tile_tokens);
  const std::size_t capacity = TopRows::capacity(k, n_rows);

  // One list per worker and token of a tile, or per row chunk and token where rows are cut.
  const std::int64_t n_list_sets = std::max<std::int64_t>(plan.n_chunks, threads_.n_threads());
  const auto n_lists = static_cast<std::size_t>(n_list_sets * plan.tile_tokens);
  auto* entries = result_scratch_.get<std::uint64_t>(n_lists * capacity);
  std::vector<TopRows> lists(n_lists);
  const auto start_lists = [&](std::int64_t set) {
    TopRows* best = lists.data() + set * plan.tile_tokens;
    for (int i = 0; i < plan.tile_tokens; ++i) {
      best[i] = TopRows({entries + (set * plan.tile_tokens + i) * capacity, capacity}, k);
    }
    return best;
  };

  if (plan.n_tiles > 1) {
    threads_.parallel_for(plan.n_tiles, 1, [&](std::int64_t tile, std::int64_t, int worker) {
      const std::int64_t first = tile * plan.tile_tokens;
      const int n = static_cast<int>(std::min<std::int64_t>(plan.tile_tokens, n_tokens - first));
      TopRows* best = start_lists(worker);
      const auto visible = a.n_visible.subspan(first, n);
      const std::int64_t end = *std::max_element(visible.begin(), visible.end());
      task(a, first, n, 0, end, worker_scratch_[worker].get<std::byte>(scratch_bytes), best);
      for (int i = 0; i < n; ++i) best[i].finish(a.out.row_span(first + i));
    });
    return;
  }
  threads_.parallel_for(plan.n_chunks, 1, [&](std::int64_t chunk, std::int64_t, int worker) {
    const std::int64_t begin = chunk * plan.chunk_rows;
    task(a, 0, plan.tile_tokens, begin, std::min(begin + plan.chunk_rows, n_rows),
         worker_scratch_[worker].get<std::byte>(scratch_bytes), start_lists(chunk));
  });
  if (plan.n_chunks == 0) start_lists(0);
  for (int i = 0; i < plan.tile_tokens; ++i) {
    for (std::int64_t chunk = 1; chunk < plan.n_chunks; ++chunk) {
      lists[i].merge(lists[chunk * plan.tile_tokens + i]);
    }
    lists[i].finish(a.out.row_span(i));
  }
}

}  // namespace precis
#endif
