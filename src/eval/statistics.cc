#include "eval/statistics.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "base/check.h"
#include "eval/draws.h"

namespace precis {
namespace {

constexpr double kNormal95 = 1.959963984540054;  // two-sided 95 % point of the normal distribution
constexpr int kResamples = 2000;

}  // namespace

Interval wilson_interval(double p, std::int64_t n_trials) {
  if (n_trials == 0) return {0, 1};
  const auto n = static_cast<double>(n_trials);
  const double z2 = kNormal95 * kNormal95;
  const double centre = (p + z2 / (2 * n)) / (1 + z2 / n);
  const double half = kNormal95 / (1 + z2 / n) * std::sqrt(p * (1 - p) / n + z2 / (4 * n * n));
  return {std::max(0.0, centre - half), std::min(1.0, centre + half)};
}

Interval bootstrap_interval(std::span<const std::vector<double>> groups) {
  std::vector<double> sums;
  for (const std::vector<double>& group : groups) {
    PRECIS_CHECK(!group.empty());
    sums.push_back(std::accumulate(group.begin(), group.end(), 0.0));
  }
  Draws draws(stream_seed(1, "bootstrap"));
  std::vector<double> means;
  means.reserve(kResamples);
  for (int i = 0; i < kResamples; ++i) {
    double sum = 0;
    double n = 0;
    for (std::size_t j = 0; j < groups.size(); ++j) {
      const std::size_t at = draws.below(groups.size());
      sum += sums[at];
      n += static_cast<double>(groups[at].size());
    }
    means.push_back(sum / n);
  }
  std::ranges::sort(means);
  return {means[kResamples / 40], means[kResamples - 1 - kResamples / 40]};
}

double mcnemar_p(std::int64_t n_a, std::int64_t n_b) {
  const std::int64_t n = n_a + n_b;
  if (n == 0) return 1;
  double tail = 0;  // P(at most the smaller count) for a fair coin
  for (std::int64_t k = 0; k <= std::min(n_a, n_b); ++k) {
    const auto log_choose = std::lgamma(static_cast<double>(n + 1)) -
                            std::lgamma(static_cast<double>(k + 1)) -
                            std::lgamma(static_cast<double>(n - k + 1));
    tail += std::exp(log_choose - static_cast<double>(n) * std::log(2.0));
  }
  return std::min(1.0, 2 * tail);
}

}  // namespace precis
