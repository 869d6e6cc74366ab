// Weights in device memory, in the checkpoint's own layout: kernels expand codes in registers.
#pragma once

#include <cstdint>

#include "ops/weight.h"
#include "tensor/buffer.h"

namespace precis::cuda {

/// A weight as kernels see it.
struct WeightView {
  const std::uint8_t* codes;
  const std::uint8_t* scales;  // [ceil(n_out / block_out), scale_cols]; null if none
  int n_out;
  int n_in;
  int block_out;
  int block_in;
  int scale_cols;
  WeightFormat format;

  bool operator==(const WeightView&) const = default;
};

class CudaWeight final : public Weight {
 public:
  CudaWeight(const WeightSource& source, Buffer codes, Buffer scales);

  WeightView view() const;

 private:
  Buffer codes_;
  Buffer scales_;
  int block_out_;
  int block_in_;
};

/// Bytes of the scales of `source`; 0 where it has none.
std::size_t scale_bytes(const WeightSource& source);

WeightView view_of(const Weight* weight);

}  // namespace precis::cuda
