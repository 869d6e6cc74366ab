// Attention over packed rows: exact softmax in two passes over decoded tiles.
//
// A task is a few consecutive tokens and a block of heads.  Its tokens share most of their rows, so
// a tile of rows is decoded once, scored (or added) by all of them, and dropped; between the passes
// only the scores stay.  What a token gets does not depend on its company: the score of a row is
// its own chain of multiply-adds, values are added in the order of the token's own list, and the
// denominator's 16 partial sums count from the start of that list.
// Byte and cycle counts: docs/kernels/cpu_attend.md.
#include <algorithm>
#include <cstdint>
#include <limits>

#include "backend/cpu/attend_task.h"
#include "backend/cpu/backend.h"
#include "backend/cpu/slices.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "backend/cpu/attend.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "backend/cpu/attend_sums.h"
#include "backend/cpu/packed_attend.h"
#include "backend/cpu/row_math.h"
#include "backend/cpu/row_tile.h"
#include "base/integers.h"

HWY_BEFORE_NAMESPACE();
namespace precis {
namespace HWY_NAMESPACE {
namespace {

constexpr int kStep = static_cast<int>(kLanes);
constexpr int kHeadBlock = 4;
// Vectors of channels that 4 heads add at once: 16 sums of 32 registers, or 8 of 16.
constexpr int kValueVecs = kStep == 16 ? 4 : 2;

// What lives from one pass of a task to the next.
struct AttendSums {
  AttendSums(Slices& slices, const AttendArgs& a, const AttendTask& task)
      : n_heads(task.n_heads),
        score_stride(kKvTileRows + (task.max_rows + 15) / 16 * 16 + kKvTileRows),
        value_width(padded_width(a.out.cols)),
        scores(slices.take<float>(task.n_tokens * n_heads * score_stride)),
        sums(slices.take<float>(task.n_tokens * n_heads * value_width)),
        denominators(slices.take<float>(task.n_tokens * n_heads)) {}

  // Scores of the token's list, with room for a tile before and after it: whole vectors are stored
  // where a list begins or ends inside a tile.
  float* head_scores(int i, int h) const {
    return scores + (i * n_heads + h) * score_stride + kKvTileRows;
  }
  float* head_sums(int i, int h) const { return sums + (i * n_heads + h) * value_width; }

  std::int64_t n_heads;
  std::int64_t score_stride;
  std::int64_t value_width;
  float* scores;        // [n_tokens][n_heads][score_stride]
  float* sums;          // [n_tokens][n_heads][value_width]
  float* denominators;  // [n_tokens][n_heads]
};

// The rows of one token that lie in a tile: tile rows begin … end − 1, of which tile row 0 would be
// row `offset` of the token's list.
struct TokenRows {
  int token;  // within the task
  int begin;
  int end;
  std::int64_t offset;
};

std::int64_t n_window_rows(const AttendArgs& a, std::int64_t t) {
  const std::int64_t position = a.window.step_begin + t;
  return position + 1 - a.window.first_visible(position);
}

std::int64_t n_selected_rows(const AttendArgs& a, std::int64_t t) {
  if (!a.selection.n_first.empty()) return a.selection.n_first[t];
  if (a.selection.listed.empty()) return 0;
  const auto listed = a.selection.listed.row_span(t);
  return std::count_if(listed.begin(), listed.end(), [](std::int32_t row) { return row >= 0; });
}

// Calls use(TokenRows) for every token that reads rows of the tile just loaded.
template <Pass kPass, class Use>
void for_window_tiles(const AttendArgs& a, const AttendTask& task, const RowTile& tile,
                      const Use& use) {
  const std::int64_t begin = a.window.first_visible(a.window.step_begin + task.first_token);
  const std::int64_t end = a.window.step_begin + task.first_token + task.n_tokens;
  if (a.window.window == 0) return;
  for (std::int64_t p = begin; p < end; p += kKvTileRows) {
    const int n = static_cast<int>(std::min<std::int64_t>(kKvTileRows, end - p));
    for (int r = 0; r < n; ++r) tile.addresses[r] = locate_row(a.window.pool, a.window.slot(p + r));
    load_tile<kPass>(n, tile);
    for (int i = 0; i < task.n_tokens; ++i) {
      const std::int64_t position = a.window.step_begin + task.first_token + i;
      const std::int64_t first = a.window.first_visible(position);
      const std::int64_t row_begin = std::max(first, p);
      const std::int64_t row_end = std::min(position + 1, p + n);
      if (row_begin >= row_end) continue;
      use(TokenRows{i, static_cast<int>(row_begin - p), static_cast<int>(row_end - p), p - first});
    }
  }
}

// Of the compressed rows, those in [begin, end); begin is the first row of a tile.
template <Pass kPass, class Use>
void for_first_tiles(const AttendArgs& a, const AttendTask& task, const RowTile& tile,
                     std::int64_t begin, std::int64_t end, const Use& use) {
  const auto n_first = a.selection.n_first.subspan(task.first_token, task.n_tokens);
  end = std::min<std::int64_t>(end, *std::max_element(n_first.begin(), n_first.end()));
  for (std::int64_t row = begin; row < end; row += kKvTileRows) {
    const int n = static_cast<int>(std::min<std::int64_t>(kKvTileRows, end - row));
    for (int r = 0; r < n; ++r) tile.addresses[r] = locate_row(a.compressed, row + r);
    load_tile<kPass>(n, tile);
    for (int i = 0; i < task.n_tokens; ++i) {
      const std::int64_t n_token = std::min<std::int64_t>(n, n_first[i] - row);
      if (n_token <= 0) continue;
      use(TokenRows{i, 0, static_cast<int>(n_token), n_window_rows(a, task.first_token + i) + row});
    }
  }
}

template <Pass kPass, class Use>
void for_listed_tiles(const AttendArgs& a, const AttendTask& task, const RowTile& tile,
                      const Use& use) {
  for (int i = 0; i < task.n_tokens; ++i) {
    const std::int64_t t = task.first_token + i;
    std::int64_t offset = n_window_rows(a, t);
    int n = 0;
    const auto flush = [&] {
      if (n == 0) return;
      load_tile<kPass>(n, tile);
      use(TokenRows{i, 0, n, offset});
      offset += n;
      n = 0;
    };
    for (const std::int32_t row : a.selection.listed.row_span(t)) {
      if (row < 0) continue;
      tile.addresses[n++] = locate_row(a.compressed, row);
      if (n == kKvTileRows) flush();
    }
    flush();
  }
}

// Window rows and listed rows go with the first of the compressed rows' parts.
template <Pass kPass, class Use>
void for_tiles(const AttendArgs& a, const AttendTask& task, const RowTile& tile, std::int64_t begin,
               std::int64_t end, const Use& use) {
  if (begin == 0) for_window_tiles<kPass>(a, task, tile, use);
  if (!a.selection.n_first.empty()) for_first_tiles<kPass>(a, task, tile, begin, end, use);
  if (begin == 0 && !a.selection.listed.empty()) for_listed_tiles<kPass>(a, task, tile, use);
}

// A channel costs 2 loads and kHeads broadcasts for 2·kHeads multiply-adds.
template <int kHeads>
HWY_INLINE void score_rows(const float* q, std::int64_t q_stride, std::int64_t width,
                           const float* columns, float scale, float* scores,
                           std::int64_t score_stride) {
  const DF32 d;
  ScoreSums<kHeads> sums(q, q_stride);
  for (std::int64_t block = 0; block < width; block += kSumBlock) {
    for (std::int64_t c = block; c < std::min(block + kSumBlock, width); ++c) {
      const float* rows = columns + c * kKvTileRows;
      sums.add(c, hn::Load(d, rows), hn::Load(d, rows + kStep));
    }
    sums.end_block();
  }
  sums.store(scale, score_stride, scores);
}

void score_token(const AttendArgs& a, const AttendTask& task, const AttendSums& sums,
                 const RowTile& tile, const TokenRows& rows) {
  constexpr int kRows = kScoreVecs * kStep;
  const std::int64_t width = a.q.cols;
  for (int r = rows.begin / kRows * kRows; r < rows.end; r += kRows) {
    const float* columns = tile.columns + tile.key.begin * kKvTileRows + r;
    int h = 0;
    for (; h + kHeadBlock <= task.n_heads; h += kHeadBlock) {
      const float* q = a.q.at(task.first_token + rows.token, task.first_head + h);
      float* scores = sums.head_scores(rows.token, h) + rows.offset + r;
#if HWY_TARGET == HWY_AVX3_DL
      if (tile.is_packed) {
        score_packed_rows(tile.format, tile.addresses + r, q, width, a.scale, sums.score_stride,
                          scores);
        continue;
      }
#endif
      score_rows<kHeadBlock>(q, width, width, columns, a.scale, scores, sums.score_stride);
    }
    for (; h < task.n_heads; ++h) {
      score_rows<1>(a.q.at(task.first_token + rows.token, task.first_head + h), width, width,
                    columns, a.scale, sums.head_scores(rows.token, h) + rows.offset + r,
                    sums.score_stride);
    }
  }
}

template <int kHeads, int kVecs>
HWY_INLINE void add_tile_rows(const float* weights, std::int64_t weight_stride, const float* rows,
                              std::int64_t row_stride, int n_rows, std::int64_t sum_stride,
                              float* sums) {
  add_rows<kHeads, kVecs>(weights, weight_stride, n_rows, sum_stride, sums,
                          [&](int r, VF32* values) HWY_ATTR {
                            for (int v = 0; v < kVecs; ++v) {
                              values[v] = hn::LoadU(DF32(), rows + r * row_stride + v * kStep);
                            }
                          });
}

template <int kHeads>
HWY_INLINE void add_channels(const float* weights, std::int64_t weight_stride, const float* rows,
                             std::int64_t row_stride, int n_rows, std::int64_t width,
                             std::int64_t sum_stride, float* sums) {
  std::int64_t c = 0;
  for (; c + kValueVecs * kStep <= width; c += kValueVecs * kStep) {
    add_tile_rows<kHeads, kValueVecs>(weights, weight_stride, rows + c, row_stride, n_rows,
                                      sum_stride, sums + c);
  }
  for (; c + 2 * kStep <= width; c += 2 * kStep) {
    add_tile_rows<kHeads, 2>(weights, weight_stride, rows + c, row_stride, n_rows, sum_stride,
                             sums + c);
  }
  for (; c < width; c += kStep) {
    add_tile_rows<kHeads, 1>(weights, weight_stride, rows + c, row_stride, n_rows, sum_stride,
                             sums + c);
  }
}

// Adds the tile's value channels, which are the sums' from `first_channel` on.
void add_token(const AttendTask& task, const AttendSums& sums, const RowTile& tile,
               std::int64_t first_channel, const TokenRows& rows) {
  const float* values = tile.rows + rows.begin * tile.width + tile.value.begin;
  const std::int64_t first = rows.offset + rows.begin;
  const std::int64_t width = padded_width(tile.value.count);
  const int n = rows.end - rows.begin;
  int h = 0;
  for (; h + kHeadBlock <= task.n_heads; h += kHeadBlock) {
#if HWY_TARGET == HWY_AVX3_DL
    if (tile.is_packed) {
      add_packed_rows(tile.format, tile.addresses + rows.begin, n, tile.value,
                      sums.head_scores(rows.token, h) + first, sums.score_stride, sums.value_width,
                      sums.head_sums(rows.token, h) + first_channel);
      continue;
    }
#endif
    add_channels<kHeadBlock>(sums.head_scores(rows.token, h) + first, sums.score_stride, values,
                             tile.width, n, width, sums.value_width,
                             sums.head_sums(rows.token, h) + first_channel);
  }
  for (; h < task.n_heads; ++h) {
    add_channels<1>(sums.head_scores(rows.token, h) + first, sums.score_stride, values, tile.width,
                    n, width, sums.value_width, sums.head_sums(rows.token, h) + first_channel);
  }
}

// One token's rows are decoded for it alone.
bool reads_packed(const AttendArgs& a, const AttendTask& task) {
#if HWY_TARGET == HWY_AVX3_DL
  const Channels key = a.key_channels();
  const Channels value = a.value_channels();
  return task.n_tokens == 1 && task.n_heads == kHeadBlock && is_packed_format(a.format) &&
         key.count == a.format.width() && value.begin % kStep == 0 && value.count % kStep == 0;
#else
  static_cast<void>(a);
  static_cast<void>(task);
  return false;
#endif
}

HWY_INLINE float exp_one(float x) {
  return hn::GetLane(exp_f32(hn::Set(DF32(), x)));
}

// Turns n scores into exp(u − max) and returns the denominator, the sink's share included.
float exponentials(float* scores, std::int64_t n, const float* sink) {
  const DF32 d;
  constexpr auto kVirtual = static_cast<std::int64_t>(kVirtualLanes);
  const std::int64_t padded = (n + kVirtual - 1) / kVirtual * kVirtual;
  std::fill(scores + n, scores + padded, -std::numeric_limits<float>::infinity());
  auto max_lanes = hn::LoadU(d, scores);
  for (std::int64_t r = kStep; r < padded; r += kStep) {
    max_lanes = hn::Max(max_lanes, hn::LoadU(d, scores + r));
  }
  const auto max = hn::MaxOfLanes(d, max_lanes);
  VF32 sums[kParts];
  for (VF32& sum : sums) sum = hn::Zero(d);
  for (std::int64_t r = 0; r < padded; r += kVirtual) {
    for (std::size_t part = 0; part < kParts; ++part) {
      float* p = scores + r + part * kLanes;
      const auto value = exp_f32(hn::Sub(hn::LoadU(d, p), max));
      hn::StoreU(value, d, p);
      sums[part] = hn::Add(sums[part], value);
    }
  }
  HWY_ALIGN float lanes[kVirtualLanes];
  for (std::size_t part = 0; part < kParts; ++part) {
    hn::Store(sums[part], d, lanes + part * kLanes);
  }
  const float sum = sum_lanes(lanes);
  return sink == nullptr ? sum : sum + exp_one(*sink - hn::GetLane(max));
}

// mass[i] += the probability of the i-th selected row, for one head.
void add_mass(const AttendArgs& a, std::int64_t t, const float* selected, float denominator) {
  float* mass = a.mass.row(t);
  if (a.selection.listed.empty()) {
    const std::int64_t n = n_selected_rows(a, t);
    for (std::int64_t i = 0; i < n; ++i) mass[i] += selected[i] / denominator;
    return;
  }
  for (const std::int32_t row : a.selection.listed.row_span(t)) {
    if (row >= 0) *mass += *selected++ / denominator;
    ++mass;
  }
}

void softmax_token(const AttendArgs& a, const AttendTask& task, const AttendSums& sums, int i,
                   int first_head, int n_heads) {
  const std::int64_t t = task.first_token + i;
  const std::int64_t n_window = n_window_rows(a, t);
  const std::int64_t n = n_window + n_selected_rows(a, t);
  if (!a.mass.empty()) std::fill_n(a.mass.row(t), a.mass.cols, 0.0f);
  for (int h = first_head; h < first_head + n_heads; ++h) {
    std::fill_n(sums.head_sums(i, h), sums.value_width, 0.0f);
    float& denominator = sums.denominators[i * task.n_heads + h];
    denominator = 0;
    if (n == 0) continue;
    float* scores = sums.head_scores(i, h);
    const float* sink = a.sink.empty() ? nullptr : &a.sink[task.first_head + h];
    denominator = exponentials(scores, n, sink);
    if (!a.mass.empty()) add_mass(a, t, scores + n_window, denominator);
    round_row(scores, n, a.rounding);  // only as factors: the denominator keeps its f32 terms
  }
}

void finish_token(const AttendArgs& a, const AttendTask& task, const AttendSums& sums, int i) {
  const std::int64_t t = task.first_token + i;
  const std::int64_t width = a.out.cols;
  const int n_pairs = a.rope.n_pairs();
  for (int h = 0; h < task.n_heads; ++h) {
    const float* head_sums = sums.head_sums(i, h);
    const float denominator = sums.denominators[i * task.n_heads + h];
    float* out = a.out.at(t, task.first_head + h);
    if (denominator == 0) {  // no row at all
      std::fill_n(out, width, 0.0f);
      continue;
    }
    for (std::int64_t c = 0; c < width; ++c) out[c] = head_sums[c] / denominator;
    round_row(out, width, a.rounding);
    if (n_pairs == 0) continue;
    float* rotated = out + width - 2 * n_pairs;
    rotate_pairs_back(rotated, n_pairs, a.rope.cos(t), a.rope.sin(t));
    round_row(rotated, 2 * n_pairs, a.rounding);
  }
}

}  // namespace

AttendBytes attend_bytes(const AttendArgs& a, const AttendTask& task) {
  Slices for_sums(nullptr);
  const AttendSums sums(for_sums, a, task);
  Slices for_tile(nullptr);
  const RowTile tile(for_tile, a, false);
  return {.sums = for_sums.n_bytes(), .tile = for_tile.n_bytes()};
}

// A task in four steps, of which three may run in parts side by side: parts of the rows, whose scores
// are independent, then heads, then parts of the channels, whose sums are.
void attend_scores(const AttendArgs& a, const AttendTask& task, const AttendMemory& memory,
                   std::int64_t begin, std::int64_t end) {
  Slices sum_slices(memory.sums);
  const AttendSums sums(sum_slices, a, task);
  Slices tile_slices(memory.tile);
  const RowTile tile(tile_slices, a, reads_packed(a, task));
  for_tiles<Pass::kScores>(a, task, tile, begin, end,
                           [&](const TokenRows& rows) { score_token(a, task, sums, tile, rows); });
}

void attend_softmax(const AttendArgs& a, const AttendTask& task, const AttendMemory& memory,
                    int first_head, int n_heads) {
  Slices sum_slices(memory.sums);
  const AttendSums sums(sum_slices, a, task);
  for (int i = 0; i < task.n_tokens; ++i) softmax_token(a, task, sums, i, first_head, n_heads);
}

void attend_values(const AttendArgs& a, const AttendTask& task, const AttendMemory& memory,
                   int first_channel, int n_channels) {
  Slices sum_slices(memory.sums);
  const AttendSums sums(sum_slices, a, task);
  Slices tile_slices(memory.tile);
  RowTile tile(tile_slices, a, reads_packed(a, task));
  tile.value = {tile.value.begin + first_channel, n_channels};
  for_tiles<Pass::kValues>(a, task, tile, 0, task.max_rows, [&](const TokenRows& rows) {
    add_token(task, sums, tile, first_channel, rows);
  });
}

void attend_finish(const AttendArgs& a, const AttendTask& task, const AttendMemory& memory) {
  Slices sum_slices(memory.sums);
  const AttendSums sums(sum_slices, a, task);
  for (int i = 0; i < task.n_tokens; ++i) finish_token(a, task, sums, i);
}

void attend_task(const AttendArgs& a, const AttendTask& task, const AttendMemory& memory) {
  attend_scores(a, task, memory, 0, task.max_rows);
  attend_softmax(a, task, memory, 0, task.n_heads);
  attend_values(a, task, memory, 0, static_cast<int>(a.out.cols));
  attend_finish(a, task, memory);
}

}  // namespace HWY_NAMESPACE
}  // namespace precis
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace precis {
namespace {

constexpr std::int64_t kMaxTaskTokens = 16;       // a tile's decoding is 1/16 of its use then
constexpr std::int64_t kMaxTaskScores = 1 << 18;  // 1 MiB: the second-level cache of one core
constexpr std::int64_t kFewTokens = 16;
constexpr std::int64_t kFewTokensHeads = 16;  // heads of a task where tokens alone are too few
constexpr std::int64_t kPartRows = 256;       // a few µs of scores
constexpr std::int64_t kChannelGrain = 16;    // the widest vector
constexpr std::int64_t kMinSplitRows = 2 * kPartRows;

std::int64_t max_rows_of_a_token(const AttendArgs& a) {
  const auto n_first = a.selection.n_first;
  const std::int64_t n_selected =
      n_first.empty() ? a.selection.listed.cols : *std::max_element(n_first.begin(), n_first.end());
  return a.window.window + n_selected;
}

}  // namespace

// One task on all threads: its rows are cut for the scores, its heads for the softmax, its channels
// for the sums.
void CpuBackend::attend_in_parts(const AttendArgs& a, const AttendTask& task, std::byte* sums,
                                 std::size_t tile_bytes) {
  const auto memory_of = [&](int worker) {
    return AttendMemory{.sums = sums, .tile = worker_scratch_[worker].get<std::byte>(tile_bytes)};
  };
  const auto scores = PRECIS_CPU_ENTRY(isa_, attend_scores);
  const auto values = PRECIS_CPU_ENTRY(isa_, attend_values);
  threads_.parallel_for(ceil_div(task.max_rows, kPartRows), 1,
                        [&](std::int64_t part, std::int64_t, int worker) {
                          const std::int64_t begin = part * kPartRows;
                          scores(a, task, memory_of(worker), begin, begin + kPartRows);
                        });
  const auto softmax = PRECIS_CPU_ENTRY(isa_, attend_softmax);
  // The heads' shares of `mass` are added in ascending order.
  const std::int64_t softmax_heads = a.mass.empty() ? 1 : task.n_heads;
  threads_.parallel_for(
      task.n_heads, softmax_heads, [&](std::int64_t begin, std::int64_t end, int worker) {
        softmax(a, task, memory_of(worker), static_cast<int>(begin), static_cast<int>(end - begin));
      });
  // Every part reads all rows: as few parts as keep the threads busy.
  const std::int64_t n_channels = a.out.cols;
  const std::int64_t part_channels =
      round_up(ceil_div(n_channels, threads_.n_threads()), kChannelGrain);
  threads_.parallel_for(ceil_div(n_channels, part_channels), 1,
                        [&](std::int64_t part, std::int64_t, int worker) {
                          const std::int64_t first = part * part_channels;
                          values(a, task, memory_of(worker), static_cast<int>(first),
                                 static_cast<int>(std::min(part_channels, n_channels - first)));
                        });
  PRECIS_CPU_ENTRY(isa_, attend_finish)(a, task, memory_of(0));
}

void CpuBackend::do_attend(const AttendArgs& a) {
  const std::int64_t n_tokens = a.q.n;
  const std::int64_t n_heads = a.heads_per_kv_head();  // of one KV head, as every task
  if (n_tokens == 0 || n_heads == 0) return;
  const std::int64_t max_rows = max_rows_of_a_token(a);
  // The heads' shares of `mass` are added in ascending order, so one task must hold all of them.
  const bool may_cut_heads = a.mass.empty() && n_tokens < kFewTokens;
  const std::int64_t task_heads = may_cut_heads ? std::min(n_heads, kFewTokensHeads) : n_heads;
  const std::int64_t task_tokens = std::clamp<std::int64_t>(
      std::min(kMaxTaskScores / (task_heads * (max_rows + 1)), ceil_div(n_tokens, 8)), 1,
      kMaxTaskTokens);
  const std::int64_t n_kv_blocks = ceil_div(n_heads, task_heads);
  const std::int64_t n_head_blocks = n_kv_blocks * a.n_kv_heads;
  const AttendTask largest{.n_tokens = static_cast<int>(task_tokens),
                           .n_heads = static_cast<int>(task_heads),
                           .max_rows = max_rows};
  const std::int64_t n_tasks = ceil_div(n_tokens, task_tokens) * n_head_blocks;
  const auto task_at = [&](std::int64_t index) {
    AttendTask task = largest;
    task.first_token = index / n_head_blocks * task_tokens;
    task.n_tokens =
        static_cast<int>(std::min<std::int64_t>(task_tokens, n_tokens - task.first_token));
    task.kv_head = static_cast<int>(index % n_head_blocks / n_kv_blocks);
    const std::int64_t first_head = index % n_kv_blocks * task_heads;
    task.first_head = static_cast<int>(task.kv_head * n_heads + first_head);
    task.n_heads = static_cast<int>(std::min<std::int64_t>(task_heads, n_heads - first_head));
    return task;
  };
  const AttendBytes bytes = PRECIS_CPU_ENTRY(isa_, attend_bytes)(a, largest);
  if (n_tasks < threads_.n_threads() && !a.selection.n_first.empty() && max_rows >= kMinSplitRows) {
    std::byte* sums = result_scratch_.get<std::byte>(bytes.sums);
    for (std::int64_t index = 0; index < n_tasks; ++index) {
      const AttendTask task = task_at(index);
      attend_in_parts(a.of_kv_head(task.kv_head), task, sums, bytes.tile);
    }
    return;
  }
  const auto run = PRECIS_CPU_ENTRY(isa_, attend_task);
  threads_.parallel_for(n_tasks, 1, [&](std::int64_t index, std::int64_t, int worker) {
    const AttendTask task = task_at(index);
    auto* memory = worker_scratch_[worker].get<std::byte>(bytes.tile + bytes.sums);
    run(a.of_kv_head(task.kv_head), task, {.sums = memory + bytes.tile, .tile = memory});
  });
}

}  // namespace precis
#endif
