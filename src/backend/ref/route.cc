#include <algorithm>
#include <cmath>
#include <numeric>
#include <vector>

#include "backend/ref/numbers.h"
#include "backend/ref/ops.h"
#include "backend/ref/weight.h"

namespace precis::ref {
namespace {

// log(1 + exp(x)) directly would be 0 below -16.6 and infinite above 88 in f32.
double softplus(double x) {
  constexpr double kLinearAbove = 20;
  return x > kLinearAbove ? x : std::log1p(std::exp(x));
}

// The experts of largest score + bias: descending, NaN last, lowest expert first among equals.
std::vector<std::int32_t> best_experts(std::span<const float> scores, std::span<const float> bias,
                                       std::int64_t n_active) {
  std::vector<float> biased(scores.begin(), scores.end());
  for (std::size_t e = 0; e < bias.size(); ++e) biased[e] += bias[e];
  std::vector<std::int32_t> experts(scores.size());
  std::iota(experts.begin(), experts.end(), 0);
  std::ranges::stable_sort(experts, [&](std::int32_t a, std::int32_t b) {
    if (std::isnan(biased[a]) || std::isnan(biased[b])) {
      return !std::isnan(biased[a]) && std::isnan(biased[b]);
    }
    return biased[a] > biased[b];
  });
  experts.resize(n_active);
  return experts;
}

}  // namespace

void route(const RouteArgs& args) {
  const std::int64_t n_active = args.expert_idx.cols;
  std::vector<float> scores(args.gate->n_out());
  for (std::int64_t t = 0; t < args.x.rows; ++t) {
    for (std::size_t e = 0; e < scores.size(); ++e) {
      const auto logit = static_cast<float>(dot(args.x.row_span(t), weight_row(args.gate, e)));
      scores[e] = static_cast<float>(std::sqrt(softplus(logit)));
    }
    std::vector<std::int32_t> experts;
    if (args.tid2eid.empty()) {
      experts = best_experts(scores, args.bias, n_active);
    } else {
      const std::span<const std::int32_t> row = args.tid2eid.row_span(args.ids[t]);
      experts.assign(row.begin(), row.end());
    }
    std::ranges::sort(experts);
    double sum = 0;
    for (const std::int32_t e : experts) sum += scores[e];
    for (std::int64_t a = 0; a < n_active; ++a) {
      args.expert_idx(t, a) = experts[a];
      args.weight(t, a) = static_cast<float>(scores[experts[a]] / sum * args.route_scale);
    }
  }
}

}  // namespace precis::ref
