// What lies where once a model is loaded on a device, before any of it is, and what would fit where
// that does not.
#pragma once

#include <cstdint>

#include "precis/engine.h"

#include "checkpoint/tensor_source.h"
#include "kv/kv_spec.h"
#include "model/config.h"
#include "model/weights.h"
#include "ops/backend.h"

namespace precis {

/// A plan, and what it takes to plan for other contexts.
struct DeviceNeeds {
  DevicePlan plan;
  KvSpec kv;
  std::int64_t chunk_tokens = 0;
  std::int64_t workspace_bytes = 0;  // of plan.steps, and taken already
};

/// Bytes of the weights by place, of one session of `max_tokens`, and of steps of `chunk_tokens`.
///
/// Requires  the source is that of `config`; what it lacks counts nothing
DeviceNeeds device_needs(const ModelConfig& config, const TensorSource& source, Rounding rounding,
                         std::int64_t chunk_tokens, std::int64_t max_tokens,
                         const WeightPlacement& placement, const DeviceMemory& memory);

/// Errors    kBudget — the device has less free; the message says what would fit: a shorter context,
///           more experts in host memory, or how many such devices
Result<void> check_fits(const DeviceNeeds& needs);

/// Errors    kBudget — the experts in host memory are more than `available_bytes` of it
Result<void> check_host_fits(const DevicePlan& plan, std::int64_t available_bytes);

}  // namespace precis
