#include "ops/cost.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "base/integers.h"

namespace precis {
namespace {

constexpr double kWord = 4;  // bytes of an f32 or i32 element between operations

double n_blocks(std::int64_t n, std::int64_t block) {
  return static_cast<double>(ceil_div(n, block));
}

template <typename T>
double words(const Mat<T>& mat) {
  return kWord * static_cast<double>(mat.rows) * static_cast<double>(mat.cols);
}

template <typename T>
double words(const Cube<T>& cube) {
  return words(cube.rows());
}

template <typename T>
double words(std::span<T> span) {
  return kWord * static_cast<double>(span.size());
}

template <typename View>
double n_elements(const View& view) {
  return words(view) / kWord;
}

double stored_bytes(const Weight& weight) {
  return precis::stored_bytes(weight.format(), weight.n_out(), weight.n_in());
}

// A product belongs to the class of its operands: quantised activations meet FP8 and FP4 weights,
// un-quantised ones are bf16 numbers.
void add_product(FlopCount& flop, const Weight& weight, InputQuant input, double n_tokens) {
  const double n =
      2 * n_tokens * static_cast<double>(weight.n_out()) * static_cast<double>(weight.n_in());
  if (weight.format() == WeightFormat::kF32) {
    flop.f32 += n;
  } else if (weight.format() == WeightFormat::kBf16 || input == InputQuant::kNone) {
    flop.bf16 += n;
  } else if (weight.format() == WeightFormat::kFp8Block) {
    flop.fp8 += n;
  } else {
    flop.fp4 += n;
  }
}

void add_expert(FlopCount& flop, const ExpertWeights& expert, InputQuant input, double n_tokens) {
  for (const Weight* weight : {expert.w1, expert.w3, expert.w2}) {
    add_product(flop, *weight, input, n_tokens);
  }
}

double expert_bytes(const ExpertWeights& expert) {
  return stored_bytes(*expert.w1) + stored_bytes(*expert.w3) + stored_bytes(*expert.w2);
}

std::int64_t n_distinct(Mat<const std::int32_t> listed) {
  std::vector<std::int32_t> rows;
  for (std::int64_t t = 0; t < listed.rows; ++t) {
    std::ranges::copy_if(listed.row_span(t), std::back_inserter(rows),
                         [](std::int32_t row) { return row >= 0; });
  }
  std::ranges::sort(rows);
  return std::unique(rows.begin(), rows.end()) - rows.begin();
}

std::int64_t n_listed(Mat<const std::int32_t> listed) {
  std::int64_t n = 0;
  for (std::int64_t t = 0; t < listed.rows; ++t) {
    n += std::ranges::count_if(listed.row_span(t), [](std::int32_t row) { return row >= 0; });
  }
  return n;
}

struct RowCounts {
  double reads = 0;  // Σ over tokens
  double distinct = 0;

  RowCounts& operator+=(const RowCounts& other) {
    reads += other.reads;
    distinct += other.distinct;
    return *this;
  }
  RowCounts& operator*=(double n) {
    reads *= n;
    distinct *= n;
    return *this;
  }
};

RowCounts counts_of(std::span<const std::int32_t> n_first) {
  RowCounts counts;
  for (const std::int32_t n : n_first) {
    counts.reads += n;
    counts.distinct = std::max(counts.distinct, static_cast<double>(n));
  }
  return counts;
}

RowCounts window_counts(const WindowRows& window, std::int64_t n_tokens) {
  RowCounts counts;
  for (std::int64_t t = 0; t < n_tokens; ++t) {
    counts.reads +=
        static_cast<double>(std::min<std::int64_t>(window.step_begin + t + 1, window.window));
  }
  counts.distinct =
      static_cast<double>(std::min<std::int64_t>(window.step_begin, window.window - 1) + n_tokens);
  return counts;
}

}  // namespace

FlopCount& FlopCount::operator+=(const FlopCount& other) {
  fp8 += other.fp8;
  fp4 += other.fp4;
  bf16 += other.bf16;
  f32 += other.f32;
  int8 += other.int8;
  element += other.element;
  return *this;
}

Cost& Cost::operator+=(const Cost& other) {
  flop += other.flop;
  bytes += other.bytes;
  return *this;
}

double bound_s(const Cost& cost, const Peak& peak) {
  const auto time = [](double n, double rate) { return n > 0 ? n / rate : 0; };
  const double arithmetic_s = time(cost.flop.fp8, peak.fp8_flop_per_s) +
                              time(cost.flop.fp4, peak.fp4_flop_per_s) +
                              time(cost.flop.bf16, peak.bf16_flop_per_s) +
                              time(cost.flop.f32 + cost.flop.element, peak.f32_flop_per_s) +
                              time(cost.flop.int8, peak.int8_flop_per_s);
  return std::max(arithmetic_s, time(cost.bytes, peak.bytes_per_s));
}

double stored_bytes(WeightFormat format, std::int64_t n_out, std::int64_t n_in) {
  const double n = static_cast<double>(n_out) * static_cast<double>(n_in);
  switch (format) {
    case WeightFormat::kF32: return 4 * n;
    case WeightFormat::kBf16: return 2 * n;
    case WeightFormat::kFp8Block: return n + n_blocks(n_out, 128) * n_blocks(n_in, 128);
    case WeightFormat::kFp4Group: return n / 2 + static_cast<double>(n_out) * n_blocks(n_in, 32);
  }
  return 0;
}

Cost cost(const EmbedArgs& a) {
  const double row_bytes = precis::stored_bytes(a.table->format(), 1, a.table->n_in());
  return {{}, words(a.ids) + static_cast<double>(a.ids.size()) * row_bytes + words(a.out)};
}

Cost cost(const LinearArgs& a) {
  Cost cost{{}, words(a.x)};
  for (const LinearTarget& target : a.targets) {
    add_product(cost.flop, *target.weight, a.input, static_cast<double>(a.x.rows));
    cost.bytes += stored_bytes(*target.weight) + words(target.out);
  }
  return cost;
}

Cost cost(const RmsNormArgs& a) {
  return {{.element = 4 * n_elements(a.x)}, 2 * words(a.x) + words(a.weight)};
}

Cost cost(const AddToStreamsArgs& a) {
  return {{.element = n_elements(a.streams)}, 2 * words(a.streams) + words(a.x)};
}

Cost cost(const HyperPreArgs& a) {
  Cost cost;
  add_product(cost.flop, *a.weights.fn, InputQuant::kNone, static_cast<double>(a.x.rows));
  cost.flop.element = 4 * n_elements(a.streams);  // mean square, and the collapse
  cost.bytes =
      stored_bytes(*a.weights.fn) + words(a.streams) + words(a.x) + words(a.post) + words(a.comb);
  return cost;
}

Cost cost(const HyperPostArgs& a) {
  const double n_mixed = 1 + static_cast<double>(a.streams.planes);
  return {{.element = 2 * n_mixed * n_elements(a.streams)},
          2 * words(a.streams) + words(a.f) + words(a.post) + words(a.comb)};
}

Cost cost(const HyperHeadArgs& a) {
  Cost cost;
  add_product(cost.flop, *a.weights.fn, InputQuant::kNone, static_cast<double>(a.x.rows));
  cost.flop.element = 4 * n_elements(a.streams);
  cost.bytes = stored_bytes(*a.weights.fn) + words(a.streams) + words(a.x);
  return cost;
}

Cost cost(const QueryArgs& a) {
  const double n_rotated = n_elements(a.rope.cos_sin) * static_cast<double>(a.q.planes);
  return {{.element = 4 * n_elements(a.q) + 3 * n_rotated}, 2 * words(a.q) + words(a.rope.cos_sin)};
}

Cost cost(const WindowRowsArgs& a) {
  return {{.element = 5 * n_elements(a.kv)},
          words(a.kv) + words(a.rope.cos_sin) + words(a.norm) +
              static_cast<double>(a.kv.rows) * a.format.row_bytes()};
}

Cost cost(const CommitWindowArgs& a) {
  const auto n_moved = static_cast<double>(std::min<std::int64_t>(a.n_tokens, a.rows.window));
  return {{}, 2 * n_moved * (a.rows.pool.data_bytes + a.rows.pool.scale_bytes)};
}

Cost cost(const IndexQueryArgs& a) {
  const double n_queries = static_cast<double>(a.q.n) * static_cast<double>(a.q.planes);
  const double n_rotated = n_elements(a.rope.cos_sin) * static_cast<double>(a.q.planes);
  return {{.element = n_elements(a.q) * std::log2(static_cast<double>(a.q.cols)) + 3 * n_rotated},
          words(a.q) + words(a.rope.cos_sin) + n_queries * a.format.row_bytes()};
}

Cost cost(const CompressArgs& a) {
  const auto cols = static_cast<double>(a.kv.cols);
  const auto n_finished = static_cast<double>(a.n_finished());
  const auto state_rows = static_cast<double>(a.state_kv.rows);
  const int row_bytes =
      a.kind == CompressedKind::kKvRow ? a.kv_format.row_bytes() : a.index_format.row_bytes();
  // The unfinished block goes to the state; the block that ends first comes from there.
  const double written = std::min(static_cast<double>(a.kv.rows), state_rows);
  const double read = n_finished > 0 ? state_rows : 0;
  return {
      {.element = 8 * n_finished * a.ratio * cols},
      words(a.kv) + words(a.score) + 2 * kWord * cols * (written + read) + n_finished * row_bytes};
}

Cost cost(const SelectArgs& a) {
  const RowCounts visible = counts_of(a.n_visible);
  const double n_heads = static_cast<double>(a.weights.cols);
  const double n_queries = static_cast<double>(a.weights.rows) * n_heads;
  const double n_flop = 2 * n_heads * a.format.width * visible.reads;
  FlopCount flop;
  (a.format.storage == IndexStorage::kE2m1 ? flop.int8 : flop.fp8) = n_flop;
  return {flop,
          (visible.distinct + n_queries) * a.format.row_bytes() + words(a.weights) + words(a.out)};
}

Cost cost(const AttendArgs& a) {
  const double n_kv_heads = a.n_kv_heads;
  RowCounts rows = window_counts(a.window, a.q.n);
  rows += counts_of(a.selection.n_first);
  rows *= n_kv_heads;
  for (int head = 0; head < a.n_kv_heads; ++head) {
    const Mat<const std::int32_t> listed = a.of_kv_head(head).selection.listed;
    rows += {static_cast<double>(n_listed(listed)), static_cast<double>(n_distinct(listed))};
  }
  const double row_flop =
      2 * static_cast<double>(a.heads_per_kv_head()) * static_cast<double>(a.q.cols + a.out.cols);
  return {{.bf16 = row_flop * rows.reads},
          rows.distinct * a.format.row_bytes() + words(a.q) + words(a.out) +
              words(a.selection.listed) + words(a.rope.cos_sin) + words(a.mass)};
}

Cost cost(const RouteArgs& a) {
  Cost cost;
  add_product(cost.flop, *a.gate, InputQuant::kNone, static_cast<double>(a.x.rows));
  cost.bytes = stored_bytes(*a.gate) + words(a.x) + words(a.expert_idx) + words(a.weight);
  return cost;
}

Cost cost(const ExpertsArgs& a) {
  const auto n_tokens = static_cast<double>(a.x.rows);
  const auto n_active = static_cast<double>(a.expert_idx.cols);
  const auto n_experts = static_cast<double>(a.experts.size());
  const double n_read = n_experts * (1 - std::pow(1 - n_active / n_experts, n_tokens));
  Cost cost;
  add_expert(cost.flop, a.experts.front(), a.expert_input, n_tokens * n_active);
  add_expert(cost.flop, a.shared, a.shared_input, n_tokens);
  cost.bytes = n_read * expert_bytes(a.experts.front()) + expert_bytes(a.shared) + 2 * words(a.x) +
               words(a.expert_idx) + words(a.weight);
  return cost;
}

}  // namespace precis
