// Whether a model with its caches fits on some devices, and what would make it.
#pragma once

#include "precis/planner.h"

#include "plan/planned_model.h"

namespace precis {

/// The share of a device's memory that weights and caches may take; the rest is for activations and
/// the driver.
inline constexpr double kUsableShare = 0.9;

/// The longest context that a plan looks at.
inline constexpr std::int64_t kMaxContext = std::int64_t{1} << 24;

/// Weights and the caches of `batch` requests of `n_tokens` on `n_gpus` devices, all evenly split.
Placement place(const PlannedModel& model, const WeightPlan& weights, std::int64_t n_tokens,
                std::int64_t batch, const Hardware& hardware, int n_gpus);

}  // namespace precis
