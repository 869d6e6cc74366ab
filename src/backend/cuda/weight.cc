#include "backend/cuda/weight.h"

#include <utility>

#include "base/check.h"
#include "base/integers.h"

namespace precis::cuda {

CudaWeight::CudaWeight(const WeightSource& source, Layout layout, Buffer codes, Buffer scales)
    : Weight(source.format, source.n_out, source.n_in),
      codes_(std::move(codes)),
      scales_(std::move(scales)),
      block_out_(source.block_out),
      block_in_(source.block_in),
      layout_(layout) {}

WeightView CudaWeight::view() const {
  return {codes_.as<const std::uint8_t>(),
          scales_.as<const std::uint8_t>(),
          static_cast<int>(n_out()),
          static_cast<int>(n_in()),
          block_out_,
          block_in_,
          static_cast<int>(ceil_div(n_in(), block_in_)),
          format(),
          layout_ == Layout::kPacked};
}

std::size_t scale_bytes(const WeightSource& source) {
  if (!source.quantised()) return 0;
  return static_cast<std::size_t>(ceil_div(source.n_out, source.block_out) *
                                  ceil_div(source.n_in, source.block_in));
}

WeightView view_of(const Weight* weight) {
  PRECIS_CHECK(weight != nullptr);
  return static_cast<const CudaWeight*>(weight)->view();
}

}  // namespace precis::cuda
