#include "engine/device_plan.h"

#include <fmt/format.h>

#include "kv/kv_spec.h"
#include "model/tensor_table.h"

namespace precis {

DevicePlan device_plan(const ModelConfig& config, const TensorSource& source, ComputeMode mode,
                       std::int64_t max_tokens, const WeightPlacement& placement) {
  DevicePlan plan;
  std::int64_t routed = 0;
  ModelConfig run = config;
  run.drafter = {};  // its stages are not loaded
  for (const TensorSpec& spec : expected_tensors(run)) {
    for (const std::string& name : {spec.weight_name(), spec.scale_name()}) {
      const TensorInfo* info = source.find(name);
      if (info == nullptr) continue;
      plan.weights += static_cast<std::int64_t>(info->n_bytes);
      if (spec.group == TensorGroup::kRoutedExperts) {
        routed += static_cast<std::int64_t>(info->n_bytes);
      }
    }
  }
  plan.n_layers = config.n_layers();
  plan.n_experts = config.n_experts;
  plan.n_host_experts = placement.n_host_experts;
  // All experts of a model have one size.
  plan.host_weights = routed / config.n_experts * placement.n_host_experts;
  plan.weights -= plan.host_weights;
  const RopeStorage storage =
      mode == ComputeMode::kRelease ? RopeStorage::kBf16 : RopeStorage::kF32;
  plan.max_tokens = max_tokens;
  plan.cache = kv_bytes(kv_spec_of(config, config.layers, storage), max_tokens).total();
  return plan;
}

Result<void> check_host_fits(const DevicePlan& plan, std::int64_t available_bytes) {
  if (plan.host_weights <= available_bytes) return {};
  const auto gib = [](std::int64_t n) { return static_cast<double>(n) / (1 << 30); };
  return Error{
      ErrorCode::kBudget,
      fmt::format(
          "host memory: want {:.1f} GiB for {} of {} experts a layer, found {:.1f} GiB free",
          gib(plan.host_weights), plan.n_host_experts, plan.n_experts, gib(available_bytes))};
}

}  // namespace precis
