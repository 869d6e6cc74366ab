// What lies where once a model is loaded on a device, before any of it is.
#pragma once

#include <cstdint>

#include "precis/engine.h"

#include "checkpoint/tensor_source.h"
#include "model/config.h"
#include "model/weights.h"

namespace precis {

/// Bytes of the weights as they are stored, by place, and of the cache of `max_tokens` tokens.
///
/// Requires  the source is that of `config`; what it lacks counts nothing
DevicePlan device_plan(const ModelConfig& config, const TensorSource& source, ComputeMode mode,
                       std::int64_t max_tokens, const WeightPlacement& placement);

/// Errors    kBudget — the experts in host memory are more than `available_bytes` of it
Result<void> check_host_fits(const DevicePlan& plan, std::int64_t available_bytes);

}  // namespace precis
