#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "backend/ref/numbers.h"
#include "backend/ref/ops.h"
#include "tensor/rows.h"

namespace precis::ref {
namespace {

struct VisibleRow {
  std::vector<float> values;  // [Dh]
  std::int64_t mass_column;   // -1 for window rows
};

// The rows of one token in the order in which they are added.
std::vector<VisibleRow> visible_rows(const AttendArgs& args, std::int64_t t) {
  std::vector<VisibleRow> rows;
  const std::int64_t position = args.window.step_begin + t;
  for (std::int64_t p = args.window.first_visible(position); p <= position; ++p) {
    rows.push_back({read_kv_row(args.window.pool, args.window.slot(p), args.format), -1});
  }
  const RowSelection& selection = args.selection;
  const std::int64_t n_first = selection.n_first.empty() ? 0 : selection.n_first[t];
  for (std::int64_t i = 0; i < n_first; ++i) {
    rows.push_back({read_kv_row(args.compressed, i, args.format), i});
  }
  const std::int64_t n_listed = selection.listed.empty() ? 0 : selection.listed.cols;
  for (std::int64_t i = 0; i < n_listed; ++i) {
    const std::int32_t row = selection.listed(t, i);
    if (row >= 0) rows.push_back({read_kv_row(args.compressed, row, args.format), i});
  }
  return rows;
}

std::span<const float> part(const std::vector<float>& row, const Channels& channels) {
  return std::span(row).subspan(channels.begin, channels.count);
}

void attend_head(const AttendArgs& args, std::int64_t t, std::int64_t h,
                 std::span<const VisibleRow> rows) {
  const std::span<const float> q(args.q.at(t, h), args.q.cols);
  std::vector<double> scores(rows.size());
  for (std::size_t r = 0; r < rows.size(); ++r) {
    scores[r] = dot(q, part(rows[r].values, args.key_channels())) * args.scale;
  }
  const double max = *std::ranges::max_element(scores);

  double sum = args.sink.empty() ? 0 : std::exp(args.sink[h] - max);
  for (const double score : scores) sum += std::exp(score - max);
  std::vector<double> weighted(args.out.cols);
  for (std::size_t r = 0; r < rows.size(); ++r) {
    const double weight = std::exp(scores[r] - max);
    // Only the numerator is rounded: it is what enters the bf16 product of the release.
    const double numerator =
        args.rounding == Rounding::kBf16 ? rounded(weight, Rounding::kBf16) : weight;
    const std::span<const float> value = part(rows[r].values, args.value_channels());
    for (std::size_t c = 0; c < weighted.size(); ++c) weighted[c] += numerator * value[c];
    if (!args.mass.empty() && rows[r].mass_column >= 0) {
      args.mass(t, rows[r].mass_column) += static_cast<float>(weight / sum);
    }
  }
  const std::span<float> out(args.out.at(t, h), weighted.size());
  for (std::size_t c = 0; c < out.size(); ++c) out[c] = rounded(weighted[c] / sum, args.rounding);
  if (args.rope.n_pairs() > 0) {
    rotate_tail(out, args.rope, t, Rotation::kInverse, args.rounding);
  }
}

// Token t for the query heads of one KV head.
void attend_kv_head(const AttendArgs& args, std::int64_t t, int kv_head) {
  const AttendArgs own = args.of_kv_head(kv_head);
  if (!own.mass.empty()) std::ranges::fill(own.mass.row_span(t), 0.0f);
  const std::vector<VisibleRow> rows = visible_rows(own, t);
  const std::int64_t n_heads = args.heads_per_kv_head();
  for (std::int64_t h = kv_head * n_heads; h < (kv_head + 1) * n_heads; ++h) {
    if (rows.empty()) {
      std::fill_n(own.out.at(t, h), own.out.cols, 0.0f);
    } else {
      attend_head(own, t, h, rows);
    }
  }
}

}  // namespace

void attend(const AttendArgs& args) {
  for (std::int64_t t = 0; t < args.q.n; ++t) {
    for (int head = 0; head < args.n_kv_heads; ++head) attend_kv_head(args, t, head);
  }
}

}  // namespace precis::ref
