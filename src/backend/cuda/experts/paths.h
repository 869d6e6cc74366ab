// The two ways to compute experts, and what chooses between them.
#pragma once

#include <cstdint>

#include "backend/cuda/device.h"
#include "backend/cuda/experts/tables.h"
#include "ops/experts.h"

namespace precis::cuda {

/// Tokens begin … of a call, at most `n_max`.
ExpertsArgs slice_tokens(const ExpertsArgs& args, std::int64_t begin, std::int64_t n_max);

/// Any format, shape and mode, in f32.
void run_general(Device& device, const ExpertTables::Table& table, const ExpertsArgs& args);

}  // namespace precis::cuda
