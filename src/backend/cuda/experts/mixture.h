// The launch of the expert kernel.
#pragma once

#include <cstdint>

#include "backend/cuda/device.h"

namespace precis::cuda {

struct MixtureArgs;

/// Rows of the largest tile that serves `n_tokens` well; it decides speed alone.
int tile_rows_for(std::int64_t n_tokens);

/// Runs the kernel whose tiles have at most `max_tile_rows`, one that tile_rows_for gives.
void run_mixture(Device& device, const MixtureArgs& args, int max_tile_rows);

}  // namespace precis::cuda
