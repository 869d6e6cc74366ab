// Weights in device memory: kernels expand codes in registers.  FP4 weights are packed for the expert
// kernels where their shape and scales allow it (experts/layout.cuh), all others lie as in the
// checkpoint.
#pragma once

#include <cstdint>

#include "ops/weight.h"
#include "tensor/buffer.h"

namespace precis::cuda {

/// A weight as kernels see it.
struct WeightView {
  const std::uint8_t* codes;   // packed blocks where `is_packed`
  const std::uint8_t* scales;  // [ceil(n_out / block_out), scale_cols], of rows where `is_packed`;
                               // null if none
  int n_out;
  int n_in;
  int block_out;
  int block_in;
  int scale_cols;
  WeightFormat format;
  bool is_packed;

  bool operator==(const WeightView&) const = default;
};

class CudaWeight final : public Weight {
 public:
  enum class Layout : std::uint8_t { kCheckpoint, kPacked };

  CudaWeight(const WeightSource& source, Layout layout, Buffer codes, Buffer scales);

  WeightView view() const;

 private:
  Buffer codes_;
  Buffer scales_;
  int block_out_;
  int block_in_;
  Layout layout_;
};

/// Bytes of the scales of `source`; 0 where it has none.
std::size_t scale_bytes(const WeightSource& source);

WeightView view_of(const Weight* weight);

}  // namespace precis::cuda
