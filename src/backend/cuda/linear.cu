#include "backend/cuda/ops.h"
#include "backend/cuda/product.h"

namespace precis::cuda {

void linear(Device& device, const LinearArgs& args) {
  if (args.x.rows == 0) return;
  const float* x = args.x.data;
  std::int64_t x_stride = args.x.stride;
  if (args.input == InputQuant::kFp8Group128) {
    float* quantised = device.workspace.take<float>(args.x.rows * args.x.cols);
    quantise_input(device, x, x_stride, args.x.rows, static_cast<int>(args.x.cols), quantised);
    x = quantised;
    x_stride = args.x.cols;
  }
  for (const LinearTarget& target : args.targets) {
    Product product;
    product.weight = view_of(target.weight);
    product.x = x;
    product.x_stride = x_stride;
    product.out = target.out.data;
    product.out_stride = target.out.stride;
    product.n_rows = static_cast<int>(args.x.rows);
    product.n_groups = args.n_groups;
    product.rounding = args.rounding;
    multiply(device, product);
  }
}

}  // namespace precis::cuda
