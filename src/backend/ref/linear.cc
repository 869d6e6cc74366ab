#include <vector>

#include "backend/ref/numbers.h"
#include "backend/ref/ops.h"
#include "backend/ref/weight.h"
#include "tensor/quant.h"

namespace precis::ref {

void linear(const LinearArgs& args) {
  for (std::int64_t t = 0; t < args.x.rows; ++t) {
    std::vector<float> x(args.x.row(t), args.x.row(t) + args.x.cols);
    if (args.input == InputQuant::kFp8Group128) fake_quantize_row_e4m3(x, kActivationGroup);
    for (const LinearTarget& target : args.targets) {
      const std::int64_t n_in = target.weight->n_in();
      const std::int64_t outs_per_group = target.weight->n_out() / args.n_groups;
      for (std::int64_t n = 0; n < target.weight->n_out(); ++n) {
        const std::span<const float> group = std::span(x).subspan(n / outs_per_group * n_in, n_in);
        target.out(t, n) = rounded(dot(group, weight_row(target.weight, n)), args.rounding);
      }
    }
  }
}

}  // namespace precis::ref
