// experts: tokens grouped by expert, two products, and a sum in a fixed order.
//
// Every (token, expert) pair gets a row; the rows of one expert lie together, in the order of the
// tokens, and the shared expert is simply the last one, with a row for every token.  Results are
// combined from these rows token by token, so no sum depends on which expert finished first.
#include <algorithm>
#include <vector>

#include "backend/cpu/backend.h"
#include "backend/cpu/weight.h"
#include "base/check.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "backend/cpu/experts.cc"
#include <hwy/foreach_target.h>  // must come before the per-target headers

#include "backend/cpu/product.h"

#ifndef PRECIS_CPU_EXPERTS_ONCE_
#define PRECIS_CPU_EXPERTS_ONCE_
namespace precis {

// Rows [begin, end) of one expert.
struct ExpertRows {
  const ExpertWeights* weights;
  std::int64_t begin;
  std::int64_t end;
  bool is_shared;
};

struct ExpertPlan {
  std::vector<ExpertRows> groups;
  std::vector<std::int64_t> token_of_row;  // [T·A + T]
  std::vector<float> weight_of_row;        // [T·A + T]
  std::vector<std::int64_t> row_of_pair;   // [T·A], by token, then slot
  std::int64_t shared_begin = 0;           // row of token 0 in the shared expert's group
};

// Up to kTileRows rows of a group and up to kTileOutputs outputs.
struct ExpertTile {
  const ExpertRows* group;
  std::int64_t row;
  int n_rows;
  std::int64_t first_panel;
  int n_panels;
};

}  // namespace precis
#endif

HWY_BEFORE_NAMESPACE();
namespace precis {
namespace HWY_NAMESPACE {
namespace {

// w · silu(min(gate, limit)) · clamp(up, ±limit) of one register; comparisons let NaN through.
VF32 swiglu(VF32 gate, VF32 up, VF32 weight, float limit) {
  const DF32 df;
  if (limit > 0) {
    const VF32 high = hn::Set(df, limit);
    const VF32 low = hn::Set(df, -limit);
    gate = hn::IfThenElse(hn::Gt(gate, high), high, gate);
    up = hn::IfThenElse(hn::Gt(up, high), high, up);
    up = hn::IfThenElse(hn::Lt(up, low), low, up);
  }
  return hn::Mul(weight, hn::Mul(hn::Mul(gate, sigmoid(gate)), up));
}

// One tile of both first products, joined and stored as the second product's input.
void run_hidden_tile(const ExpertsArgs& a, const ExpertPlan& plan, const ExpertTile& tile,
                     Mat<const float> x, Mat<float> hidden) {
  HWY_ALIGN float gates[kTileRows * kTileOutputs];
  HWY_ALIGN float ups[kTileRows * kTileOutputs];
  const float* rows[kTileRows];
  for (int r = 0; r < tile.n_rows; ++r) {
    rows[r] = x.row(plan.token_of_row[static_cast<std::size_t>(tile.row + r)]);
  }
  const ExpertWeights& weights = *tile.group->weights;
  multiply_tile(as_cpu(*weights.w1), tile.first_panel, tile.n_panels, rows, tile.n_rows, gates);
  multiply_tile(as_cpu(*weights.w3), tile.first_panel, tile.n_panels, rows, tile.n_rows, ups);
  const DF32 df;
  const std::int64_t begin = tile.first_panel * kPanelOutputs;
  const std::int64_t n_outputs =
      std::min<std::int64_t>(tile.n_panels * kPanelOutputs, weights.w1->n_out() - begin);
  for (int r = 0; r < tile.n_rows; ++r) {
    float* gate = gates + r * kTileOutputs;
    const float* up = ups + r * kTileOutputs;
    const VF32 weight = hn::Set(df, plan.weight_of_row[static_cast<std::size_t>(tile.row + r)]);
    for (std::size_t i = 0; i < kTileOutputs; i += kLanes) {
      const VF32 joined =
          swiglu(round_as(hn::Load(df, gate + i), a.rounding),
                 round_as(hn::Load(df, up + i), a.rounding), weight, a.swiglu_limit);
      hn::Store(joined, df, gate + i);
    }
    store_rounded(gate, static_cast<std::size_t>(n_outputs), a.rounding,
                  hidden.row(tile.row + r) + begin);
  }
}

// One tile of the last product.
void run_down_tile(const ExpertsArgs& a, const ExpertTile& tile, Mat<const float> hidden,
                   Mat<float> results) {
  HWY_ALIGN float downs[kTileRows * kTileOutputs];
  const float* rows[kTileRows];
  for (int r = 0; r < tile.n_rows; ++r) rows[r] = hidden.row(tile.row + r);
  const CpuWeight& w2 = as_cpu(*tile.group->weights->w2);
  multiply_tile(w2, tile.first_panel, tile.n_panels, rows, tile.n_rows, downs);
  const std::int64_t begin = tile.first_panel * kPanelOutputs;
  const std::int64_t n_outputs =
      std::min<std::int64_t>(tile.n_panels * kPanelOutputs, w2.n_out() - begin);
  for (int r = 0; r < tile.n_rows; ++r) {
    store_rounded(downs + r * kTileOutputs, static_cast<std::size_t>(n_outputs), a.rounding,
                  results.row(tile.row + r) + begin);
  }
}

// Adds a token's rows: routed experts in ascending order from zero, the shared one last.
void run_combine(const ExpertsArgs& a, const ExpertPlan& plan, Mat<const float> results,
                 std::int64_t t) {
  const DF32 df;
  const auto n_slots = static_cast<std::size_t>(a.expert_idx.cols);
  const std::int64_t* pairs = plan.row_of_pair.data() + static_cast<std::size_t>(t) * n_slots;
  const float* shared = results.row(plan.shared_begin + t);
  const auto n = static_cast<std::size_t>(a.out.cols);
  float* out = a.out.row(t);
  const auto load = [n](const float* row, std::size_t i) HWY_ATTR {
    return n - i < kLanes ? load_first(row + i, n - i) : hn::LoadU(DF32(), row + i);
  };
  for (std::size_t i = 0; i < n; i += kLanes) {
    VF32 sum = hn::Zero(df);
    for (std::size_t s = 0; s < n_slots; ++s) sum = hn::Add(sum, load(results.row(pairs[s]), i));
    sum = round_as(hn::Add(sum, load(shared, i)), a.rounding);
    if (n - i < kLanes) {
      store_first(sum, out + i, n - i);
    } else {
      hn::StoreU(sum, df, out + i);
    }
  }
}

void run_quantize_row(float* row, std::int64_t n) {
  fake_quantize_e4m3(row, static_cast<std::size_t>(n), row);
}

}  // namespace
}  // namespace HWY_NAMESPACE
}  // namespace precis
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace precis {
namespace {

// A stable counting sort of the pairs by expert; the shared expert's rows follow.
ExpertPlan plan_rows(const ExpertsArgs& a) {
  const std::int64_t n_tokens = a.x.rows;
  const std::int64_t n_slots = a.expert_idx.cols;
  const std::int64_t n_pairs = n_tokens * n_slots;
  std::vector<std::int64_t> next(a.experts.size() + 1, 0);
  for (std::int64_t t = 0; t < n_tokens; ++t) {
    for (const std::int32_t e : a.expert_idx.row_span(t)) ++next[static_cast<std::size_t>(e) + 1];
  }
  ExpertPlan plan;
  for (std::size_t e = 0; e < a.experts.size(); ++e) {
    next[e + 1] += next[e];
    if (next[e] < next[e + 1]) plan.groups.push_back({&a.experts[e], next[e], next[e + 1], false});
  }
  plan.groups.push_back({&a.shared, n_pairs, n_pairs + n_tokens, true});
  plan.shared_begin = n_pairs;
  plan.token_of_row.resize(static_cast<std::size_t>(n_pairs + n_tokens));
  plan.weight_of_row.assign(static_cast<std::size_t>(n_pairs + n_tokens), 1.0f);
  plan.row_of_pair.resize(static_cast<std::size_t>(n_pairs));
  for (std::int64_t t = 0; t < n_tokens; ++t) {
    plan.token_of_row[static_cast<std::size_t>(n_pairs + t)] = t;
    for (std::int64_t s = 0; s < n_slots; ++s) {
      const std::int64_t row = next[static_cast<std::size_t>(a.expert_idx(t, s))]++;
      plan.token_of_row[static_cast<std::size_t>(row)] = t;
      plan.weight_of_row[static_cast<std::size_t>(row)] = a.weight(t, s);
      plan.row_of_pair[static_cast<std::size_t>(t * n_slots + s)] = row;
    }
  }
  return plan;
}

// Row tiles run fastest, so that consecutive tasks share their weights.
std::vector<ExpertTile> cut_tiles(const ExpertPlan& plan, const Weight* ExpertWeights::*matrix) {
  std::vector<ExpertTile> tiles;
  for (const ExpertRows& group : plan.groups) {
    const std::int64_t n_panels = as_cpu(*(group.weights->*matrix)).n_panels();
    for (std::int64_t panel = 0; panel < n_panels; panel += kTilePanels) {
      const auto width = static_cast<int>(std::min<std::int64_t>(kTilePanels, n_panels - panel));
      for (std::int64_t row = group.begin; row < group.end; row += kTileRows) {
        const auto n_rows = static_cast<int>(std::min<std::int64_t>(kTileRows, group.end - row));
        tiles.push_back({&group, row, n_rows, panel, width});
      }
    }
  }
  return tiles;
}

double mean_tile_ns(std::span<const ExpertTile> tiles, std::int64_t n_in) {
  double total_ns = 0;
  for (const ExpertTile& tile : tiles) {
    total_ns += product_ns(n_in * kTileOutputs, tile.n_rows);
  }
  return total_ns / static_cast<double>(std::max<std::size_t>(tiles.size(), 1));
}

}  // namespace

void CpuBackend::do_experts(const ExpertsArgs& a) {
  if (a.x.rows == 0) return;
  const ExpertPlan plan = plan_rows(a);
  const auto n_rows = std::ssize(plan.token_of_row);
  // One width F for all, as in every released checkpoint (n_shared_experts is 1).
  const std::int64_t width = a.shared.w1->n_out();
  for (const ExpertWeights& expert : a.experts) PRECIS_CHECK_EQ(expert.w1->n_out(), width);
  const auto n_hidden = static_cast<std::size_t>(n_rows * width);
  const auto n_results = static_cast<std::size_t>(n_rows * a.out.cols);
  const Mat<float> hidden(hidden_scratch_.get<float>(n_hidden), n_rows, width);
  const Mat<float> results(result_scratch_.get<float>(n_results), n_rows, a.out.cols);
  const Mat<const float> x = quantized(a.x, a.expert_input, input_scratch_);
  const Mat<const float> shared_x =
      a.shared_input == a.expert_input ? x : quantized(a.x, a.shared_input, shared_input_scratch_);

  const auto hidden_tile = PRECIS_CPU_ENTRY(isa_, run_hidden_tile);
  const std::vector<ExpertTile> hidden_tiles = cut_tiles(plan, &ExpertWeights::w1);
  for_each(threads_, std::ssize(hidden_tiles), 2 * mean_tile_ns(hidden_tiles, a.x.cols),
           [&](std::int64_t i) {
             const ExpertTile& tile = hidden_tiles[static_cast<std::size_t>(i)];
             hidden_tile(a, plan, tile, tile.group->is_shared ? shared_x : x, hidden);
           });

  const auto quantize_row = PRECIS_CPU_ENTRY(isa_, run_quantize_row);
  for_each(threads_, n_rows, static_cast<double>(width) / 2, [&](std::int64_t row) {
    const InputQuant input = row < plan.shared_begin ? a.expert_input : a.shared_input;
    if (input != InputQuant::kNone) quantize_row(hidden.row(row), width);
  });

  const auto down_tile = PRECIS_CPU_ENTRY(isa_, run_down_tile);
  const std::vector<ExpertTile> down_tiles = cut_tiles(plan, &ExpertWeights::w2);
  for_each(threads_, std::ssize(down_tiles), mean_tile_ns(down_tiles, width), [&](std::int64_t i) {
    down_tile(a, down_tiles[static_cast<std::size_t>(i)], hidden, results);
  });

  const auto combine = PRECIS_CPU_ENTRY(isa_, run_combine);
  for_each(threads_, a.x.rows, static_cast<double>(a.out.cols * (a.expert_idx.cols + 1)) / 8,
           [&](std::int64_t t) { combine(a, plan, results, t); });
}

}  // namespace precis
#endif  // HWY_ONCE
