#include <algorithm>
#include <cmath>
#include <vector>

#include "backend/ref/numbers.h"
#include "backend/ref/ops.h"
#include "backend/ref/weight.h"
#include "tensor/quant.h"

namespace precis::ref {
namespace {

std::vector<float> product(const Weight* weight, std::vector<float> x, InputQuant input,
                           Rounding rounding) {
  if (input == InputQuant::kFp8Group128) fake_quantize_row_e4m3(x, kActivationGroup);
  std::vector<float> out(weight->n_out());
  for (std::size_t n = 0; n < out.size(); ++n) {
    out[n] = rounded(dot(x, weight_row(weight, n)), rounding);
  }
  return out;
}

// The routing weight enters before w2, hence before the quantisation of its input.
std::vector<float> expert_output(const ExpertWeights& expert, const std::vector<float>& x,
                                 double weight, InputQuant input, const ExpertsArgs& args) {
  std::vector<float> gate = product(expert.w1, x, input, args.rounding);
  const std::vector<float> up = product(expert.w3, x, input, args.rounding);
  const double limit = args.swiglu_limit;
  for (std::size_t f = 0; f < gate.size(); ++f) {
    const double g = std::min<double>(gate[f], limit);
    const double u = std::clamp<double>(up[f], -limit, limit);
    gate[f] = rounded(weight * (g / (1 + std::exp(-g))) * u, args.rounding);
  }
  return product(expert.w2, gate, input, args.rounding);
}

}  // namespace

void experts(const ExpertsArgs& args) {
  for (std::int64_t t = 0; t < args.x.rows; ++t) {
    const std::vector<float> x(args.x.row(t), args.x.row(t) + args.x.cols);
    std::vector<float> sum(x.size());
    const auto add = [&](const std::vector<float>& output) {
      for (std::size_t d = 0; d < sum.size(); ++d) sum[d] += output[d];
    };
    for (std::int64_t a = 0; a < args.expert_idx.cols; ++a) {
      const ExpertWeights& expert = args.experts[args.expert_idx(t, a)];
      add(expert_output(expert, x, args.weight(t, a), args.expert_input, args));
    }
    add(expert_output(args.shared, x, 1, args.shared_input, args));
    for (std::size_t d = 0; d < sum.size(); ++d) args.out(t, d) = rounded(sum[d], args.rounding);
  }
}

}  // namespace precis::ref
