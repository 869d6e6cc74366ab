// Weights that are drawn, not stored, made where they will lie.
#pragma once

#include <cstddef>

#include "backend/cuda/device.h"
#include "tensor/random_table.h"

namespace precis::cuda {

/// Writes the first `n_bytes` bytes of `table`: fill_random()'s, made by the device.
///
/// Requires  `out` is memory that the device can write, 256-byte aligned
void draw(Device& device, const RandomTable& table, std::size_t n_bytes, std::byte* out);

}  // namespace precis::cuda
