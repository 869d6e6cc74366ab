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

void attend_head(const AttendArgs& args, std::int64_t t, std::int64_t h,
                 std::span<const VisibleRow> rows) {
  const std::span<const float> q(args.q.at(t, h), args.q.cols);
  std::vector<double> scores(rows.size());
  for (std::size_t r = 0; r < rows.size(); ++r) scores[r] = dot(q, rows[r].values) * args.scale;
  const double max = *std::ranges::max_element(scores);

  double sum = args.sink.empty() ? 0 : std::exp(args.sink[h] - max);
  for (const double score : scores) sum += std::exp(score - max);
  std::vector<double> weighted(q.size());
  for (std::size_t r = 0; r < rows.size(); ++r) {
    const double weight = std::exp(scores[r] - max);
    // Only the numerator is rounded: it is what enters the bf16 product of the release.
    const double numerator =
        args.rounding == Rounding::kBf16 ? rounded(weight, Rounding::kBf16) : weight;
    for (std::size_t c = 0; c < q.size(); ++c) weighted[c] += numerator * rows[r].values[c];
    if (!args.mass.empty() && rows[r].mass_column >= 0) {
      args.mass(t, rows[r].mass_column) += static_cast<float>(weight / sum);
    }
  }
  const std::span<float> out(args.out.at(t, h), q.size());
  for (std::size_t c = 0; c < q.size(); ++c) out[c] = rounded(weighted[c] / sum, args.rounding);
  rotate_tail(out, args.rope, t, Rotation::kInverse, args.rounding);
}

}  // namespace

void attend(const AttendArgs& args) {
  for (std::int64_t t = 0; t < args.q.n; ++t) {
    if (!args.mass.empty()) std::ranges::fill(args.mass.row_span(t), 0.0f);
    const std::vector<VisibleRow> rows = visible_rows(args, t);
    for (std::int64_t h = 0; h < args.q.planes; ++h) {
      if (rows.empty()) {
        std::fill_n(args.out.at(t, h), args.out.cols, 0.0f);
      } else {
        attend_head(args, t, h, rows);
      }
    }
  }
}

}  // namespace precis::ref
