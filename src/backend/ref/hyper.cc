#include <algorithm>
#include <cmath>
#include <vector>

#include "backend/ref/numbers.h"
#include "backend/ref/ops.h"
#include "backend/ref/weight.h"

namespace precis::ref {
namespace {

double sigmoid(double x) {
  return 1 / (1 + std::exp(-x));
}

// The streams of one token times fn, over their common root mean square.
std::vector<double> mixing_values(std::span<const float> streams, const Weight* fn,
                                  const HyperParams& params) {
  const double scale = inverse_rms(streams, params.norm_eps);
  std::vector<double> mix(fn->n_out());
  for (std::size_t i = 0; i < mix.size(); ++i) mix[i] = dot(streams, weight_row(fn, i)) * scale;
  return mix;
}

// Rows become a softmax plus eps; then columns and rows are normalised in turn, columns last.
void sinkhorn(std::span<double> comb, int n_streams, const HyperParams& params) {
  const auto at = [&](int i, int j) -> double& { return comb[i * n_streams + j]; };
  const auto divide = [&](auto&& cell) {
    for (int a = 0; a < n_streams; ++a) {
      double sum = params.hc_eps;
      for (int b = 0; b < n_streams; ++b) sum += cell(a, b);
      for (int b = 0; b < n_streams; ++b) cell(a, b) /= sum;
    }
  };
  const auto row_cell = [&](int a, int b) -> double& { return at(a, b); };
  const auto column_cell = [&](int a, int b) -> double& { return at(b, a); };
  for (int i = 0; i < n_streams; ++i) {
    const std::span<double> row = comb.subspan(i * n_streams, n_streams);
    const double max = *std::ranges::max_element(row);
    double sum = 0;
    for (double& value : row) sum += value = std::exp(value - max);
    for (double& value : row) value = value / sum + params.hc_eps;
  }
  divide(column_cell);
  for (int iteration = 1; iteration < params.sinkhorn_iters; ++iteration) {
    divide(row_cell);
    divide(column_cell);
  }
}

// x = Σ_i pre[i] · streams[i].
void collapse(const Cube<const float>& streams, std::int64_t t, std::span<const double> pre,
              Rounding rounding, float* x) {
  for (std::int64_t d = 0; d < streams.cols; ++d) {
    double sum = 0;
    for (std::int64_t m = 0; m < streams.planes; ++m) sum += pre[m] * streams.at(t, m)[d];
    x[d] = rounded(sum, rounding);
  }
}

}  // namespace

void hyper_pre(const HyperPreArgs& args) {
  const auto n_streams = static_cast<int>(args.streams.planes);
  const HyperWeights& weights = args.weights;
  for (std::int64_t t = 0; t < args.streams.n; ++t) {
    const std::vector<double> mix =
        mixing_values(args.streams.flat().row_span(t), weights.fn, args.params);
    const auto scaled = [&](int part, int i) {
      return mix[i] * weights.scale[part] + weights.base[i];
    };
    std::vector<double> pre(n_streams);
    std::vector<double> comb(n_streams * n_streams);
    for (int m = 0; m < n_streams; ++m) {
      pre[m] = sigmoid(scaled(0, m)) + args.params.hc_eps;
      args.post(t, m) = static_cast<float>(2 * sigmoid(scaled(1, n_streams + m)));
    }
    for (int i = 0; i < n_streams * n_streams; ++i) comb[i] = scaled(2, 2 * n_streams + i);
    sinkhorn(comb, n_streams, args.params);
    std::ranges::copy(comb, args.comb.row(t));
    collapse(args.streams, t, pre, args.rounding, args.x.row(t));
  }
}

void hyper_post(const HyperPostArgs& args) {
  const std::int64_t n_streams = args.streams.planes;
  std::vector<double> mixed(n_streams);  // out may be streams
  for (std::int64_t t = 0; t < args.streams.n; ++t) {
    for (std::int64_t d = 0; d < args.streams.cols; ++d) {
      for (std::int64_t j = 0; j < n_streams; ++j) {
        mixed[j] = static_cast<double>(args.post(t, j)) * args.f(t, d);
        for (std::int64_t i = 0; i < n_streams; ++i) {
          mixed[j] +=
              static_cast<double>(args.comb(t, i * n_streams + j)) * args.streams.at(t, i)[d];
        }
      }
      for (std::int64_t j = 0; j < n_streams; ++j) {
        args.out.at(t, j)[d] = rounded(mixed[j], args.rounding);
      }
    }
  }
}

void hyper_head(const HyperHeadArgs& args) {
  for (std::int64_t t = 0; t < args.streams.n; ++t) {
    std::vector<double> pre =
        mixing_values(args.streams.flat().row_span(t), args.weights.fn, args.params);
    for (std::size_t m = 0; m < pre.size(); ++m) {
      pre[m] = sigmoid(pre[m] * args.weights.scale[0] + args.weights.base[m]) + args.params.hc_eps;
    }
    collapse(args.streams, t, pre, args.rounding, args.x.row(t));
  }
}

}  // namespace precis::ref
