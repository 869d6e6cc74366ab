// The linear operation: FP8 and BF16 weights on the tensor cores, the others by the common product.
#include <algorithm>
#include <vector>

#include "backend/cuda/dense/dense.h"
#include "backend/cuda/dense/few.h"
#include "backend/cuda/ops.h"
#include "backend/cuda/product.h"

namespace precis::cuda {
namespace {

// x as the quantised product sees it.
Mat<const float> quantised(Device& device, Mat<const float> x) {
  float* out = device.workspace.take<float>(x.rows * x.cols);
  quantise_input(device, x.data, x.stride, x.rows, static_cast<int>(x.cols), out);
  return {out, x.rows, x.cols};
}

void multiply_one(Device& device, const LinearArgs& args, const LinearTarget& target,
                  Mat<const float> x) {
  Product product;
  product.weight = view_of(target.weight);
  product.x = x.data;
  product.x_stride = x.stride;
  product.out = target.out.data;
  product.out_stride = target.out.stride;
  product.n_rows = static_cast<int>(x.rows);
  product.n_groups = args.n_groups;
  product.rounding = args.rounding;
  multiply(device, product);
}

// Targets that one launch can take: those of FP8 weights with quantised input, or of BF16 or FP8 ones
// with the input as it is.
bool shares_input(const LinearArgs& args, const WeightView& first, const WeightView& weight) {
  const bool is_fp8 = weight.format == WeightFormat::kFp8Block;
  return is_dense(weight, args.n_groups) && weight.format == first.format &&
         is_fp8 >= (args.input == InputQuant::kFp8Group128);
}

void multiply_rows(Device& device, const LinearArgs& args, std::span<const LinearTarget> targets) {
  std::vector<DenseTarget> dense;
  std::vector<const LinearTarget*> others;
  for (const LinearTarget& target : targets) {
    const WeightView weight = view_of(target.weight);
    if (shares_input(args, dense.empty() ? weight : dense.front().weight, weight)) {
      dense.push_back({weight, target.out});
    } else {
      others.push_back(&target);
    }
  }
  const bool is_quantised = args.input == InputQuant::kFp8Group128;
  const bool wants_codes = is_quantised && args.rounding == Rounding::kBf16;
  Mat<const float> x = args.x;
  if (is_quantised && (!others.empty() || !wants_codes)) x = quantised(device, x);
  for (const LinearTarget* target : others) multiply_one(device, args, *target, x);
  if (dense.empty()) return;
  if (wants_codes && args.n_groups == 1 && fits_few(args.x)) {
    return multiply_few(device, args.x, dense);
  }
  const DenseInput input =
      wants_codes ? quantise_rows(device, args.x)
                  : split_rows(device, x, args.n_groups, dense.front().weight, args.rounding);
  multiply_dense(device, input, dense, args.n_groups, args.rounding);
}

}  // namespace

void linear(Device& device, const LinearArgs& args) {
  if (args.x.rows == 0 || args.targets.empty()) return;
  constexpr std::int64_t kMaxValues = std::int64_t{1}
                                      << 27;  // of a packed input: bounds the workspace
  const std::int64_t chunk = std::max<std::int64_t>(256, kMaxValues / args.x.cols / 256 * 256);
  std::vector<LinearTarget> targets(args.targets.begin(), args.targets.end());
  for (std::int64_t begin = 0; begin < args.x.rows; begin += chunk) {
    const std::int64_t n = std::min(chunk, args.x.rows - begin);
    device.workspace.begin();
    LinearArgs part = args;
    part.x = args.x.slice_rows(begin, n);
    for (std::size_t i = 0; i < targets.size(); ++i) {
      targets[i].out = args.targets[i].out.slice_rows(begin, n);
    }
    multiply_rows(device, part, targets);
  }
}

}  // namespace precis::cuda
