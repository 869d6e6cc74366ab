// FP4 weights in the layout of the expert kernels (layout.cuh), made from the checkpoint's.
#pragma once

#include <cstddef>
#include <cstdint>

#include "backend/cuda/device.h"
#include "ops/weight.h"

namespace precis::cuda {

/// Whether a weight of this shape can be packed; whether its scales allow it, pack_fp4 finds out.
bool has_packed_shape(const WeightSource& source);

/// Bytes of the packed blocks; the scales of the rows are n_out bytes more.
std::size_t packed_bytes(const WeightSource& source);

/// Packs codes and scales that lie on the device.  False, and nothing of use written, where the groups
/// of a row are too far apart for one scale: more than 2^14, zero groups aside, or a scale is NaN.
bool pack_fp4(Device& device, const WeightSource& source, const std::uint8_t* codes,
              const std::uint8_t* scales, std::uint8_t* blocks, std::uint8_t* row_scales);

}  // namespace precis::cuda
