#include <algorithm>
#include <cmath>
#include <numeric>
#include <vector>

#include "backend/ref/numbers.h"
#include "backend/ref/ops.h"
#include "tensor/rows.h"

namespace precis::ref {
namespace {

// Score descending, NaN behind every number, then row ascending: a total order, so that the
// selection cannot depend on how it is searched.
bool ranks_before(std::span<const float> scores, std::int32_t a, std::int32_t b) {
  if (std::isnan(scores[a]) != std::isnan(scores[b])) return std::isnan(scores[b]);
  if (scores[a] > scores[b]) return true;
  if (scores[a] < scores[b]) return false;
  return a < b;
}

std::vector<float> score_rows(const SelectArgs& args, std::int64_t t) {
  const std::int64_t n_heads = args.weights.cols;
  std::vector<std::vector<float>> queries;
  for (std::int64_t h = 0; h < n_heads; ++h) {
    queries.push_back(read_index_row(args.queries, t * n_heads + h, args.format));
  }
  std::vector<float> scores(args.n_visible[t]);
  for (std::size_t s = 0; s < scores.size(); ++s) {
    const std::vector<float> key = read_index_row(args.keys, s, args.format);
    double score = 0;
    for (std::int64_t h = 0; h < n_heads; ++h) {
      const double product = dot(queries[h], key);
      const float weight = rounded(args.weights(t, h) * args.weight_scale, args.rounding);
      score += weight * (product < 0 ? 0 : product);  // a NaN product stays visible
    }
    scores[s] = rounded(score, args.rounding);
  }
  return scores;
}

}  // namespace

void select(const SelectArgs& args) {
  for (std::int64_t t = 0; t < args.weights.rows; ++t) {
    const std::span<std::int32_t> out = args.out.row_span(t);
    std::ranges::fill(out, -1);
    if (args.n_visible[t] == 0) continue;
    const std::vector<float> scores = score_rows(args, t);
    std::vector<std::int32_t> rows(scores.size());
    std::iota(rows.begin(), rows.end(), 0);
    std::ranges::sort(rows,
                      [&](std::int32_t a, std::int32_t b) { return ranks_before(scores, a, b); });
    std::ranges::copy_n(rows.begin(), std::min(rows.size(), out.size()), out.begin());
  }
}

}  // namespace precis::ref
