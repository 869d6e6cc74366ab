#include "engine/device_plan.h"

#include <algorithm>
#include <string>

#include <fmt/format.h>

#include "base/integers.h"
#include "kv/kv_cache.h"
#include "model/model.h"
#include "model/scratch.h"
#include "model/step.h"
#include "model/tensor_table.h"

namespace precis {
namespace {

// Code of the kernels, recorded steps, scales of packed rows, and operations that outgrow the workspace.
constexpr std::int64_t kMarginBytes = std::int64_t{256} << 20;
// An allocation is rounded up to this.
constexpr std::int64_t kGranuleBytes = 512;
// Of a device that runs nothing else; the rest is the driver's.
constexpr double kUsableShare = 0.97;

std::string gib(std::int64_t n_bytes) {
  return fmt::format("{:.1f}", static_cast<double>(n_bytes) / (1 << 30));
}

void add_weights(const ModelConfig& config, const TensorSource& source, DevicePlan& plan) {
  ModelConfig run = config;
  run.drafter = {};  // its stages are not loaded
  std::int64_t routed = 0;
  for (const TensorSpec& spec : expected_tensors(run)) {
    for (const std::string& name : {spec.weight_name(), spec.scale_name()}) {
      const TensorInfo* info = source.find(name);
      if (info == nullptr) continue;
      auto n_bytes = static_cast<std::int64_t>(info->n_bytes);
      // Vectors become f32.
      if (spec.form == TensorForm::kVector && info->dtype == DType::kBf16) n_bytes *= 2;
      n_bytes = round_up(n_bytes, kGranuleBytes);
      plan.weights += n_bytes;
      if (spec.group == TensorGroup::kRoutedExperts) routed += n_bytes;
    }
  }
  // All experts of a model have one size.
  plan.expert_bytes = routed / std::max(1, config.n_experts);
  plan.host_weights = plan.expert_bytes * plan.n_host_experts;
  plan.weights -= plan.host_weights;
}

// The longest context, in whole pages, whose cache takes at most `n_bytes`.
std::int64_t longest_context(const DeviceNeeds& needs, std::int64_t n_bytes) {
  std::int64_t low = 0;
  std::int64_t high = needs.plan.max_tokens / kPagePositions;
  while (low < high) {
    const std::int64_t middle = (low + high + 1) / 2;
    const bool fits =
        KvCache::n_bytes_for(needs.kv, needs.chunk_tokens, middle * kPagePositions) <= n_bytes;
    fits ? low = middle : high = middle - 1;
  }
  return low * kPagePositions;
}

std::string what_would_fit(const DeviceNeeds& needs, std::int64_t missing) {
  const DevicePlan& plan = needs.plan;
  const std::int64_t context = longest_context(needs, plan.cache - missing);
  if (context > 0) return fmt::format("--ctx {} would fit", context);
  const std::int64_t whole_device = std::max<std::int64_t>(
      1, static_cast<std::int64_t>(kUsableShare * static_cast<double>(plan.total_bytes)) -
             needs.workspace_bytes - kMarginBytes);
  const std::int64_t wanted = plan.needed() - needs.workspace_bytes;
  if (wanted <= whole_device) {
    return fmt::format("it would fit if other processes left {} GiB", gib(wanted + kMarginBytes));
  }
  std::string text;
  const std::int64_t n_more =
      plan.expert_bytes == 0 ? plan.n_experts + 1 : ceil_div(missing, plan.expert_bytes);
  if (plan.n_host_experts + n_more <= plan.n_experts) {
    text = fmt::format("--experts-on-host {} would fit; ", plan.n_host_experts + n_more);
  }
  return text + fmt::format("it would take {} such devices to hold all of it, and one is used",
                            ceil_div(wanted + plan.host_weights, whole_device));
}

}  // namespace

DeviceNeeds device_needs(const ModelConfig& config, const TensorSource& source, Rounding rounding,
                         std::int64_t chunk_tokens, std::int64_t max_tokens,
                         const WeightPlacement& placement, const DeviceMemory& memory) {
  DeviceNeeds needs;
  needs.kv = kv_spec_of(config, config.layers, rope_storage(rounding));
  needs.chunk_tokens = chunk_tokens;
  needs.workspace_bytes = memory.workspace_bytes;
  DevicePlan& plan = needs.plan;
  plan.device = memory.device;
  plan.free_bytes = memory.free_bytes;
  plan.total_bytes = memory.total_bytes;
  plan.n_layers = config.n_layers();
  plan.n_experts = config.n_experts;
  plan.n_host_experts = placement.n_host_experts;
  add_weights(config, source, plan);
  plan.max_tokens = max_tokens;
  plan.cache = KvCache::n_bytes_for(needs.kv, chunk_tokens, max_tokens);
  plan.steps = Scratch::n_bytes_for(config, chunk_tokens) +
               StepTables::n_bytes_for(config, chunk_tokens) +
               StepRows::n_bytes_for(needs.kv, chunk_tokens) + memory.workspace_bytes;
  return needs;
}

Result<void> check_fits(const DeviceNeeds& needs) {
  const DevicePlan& plan = needs.plan;
  const std::int64_t free_bytes = plan.free_bytes + needs.workspace_bytes - kMarginBytes;
  const std::int64_t missing = plan.needed() - free_bytes;
  if (missing <= 0) return {};
  return Error{
      ErrorCode::kBudget,
      fmt::format("{}: want {} GiB (weights {}, cache of {} tokens {}, steps {}), found {} "
                  "of {} GiB free; {}",
                  plan.device, gib(plan.needed()), gib(plan.weights), plan.max_tokens,
                  gib(plan.cache), gib(plan.steps), gib(std::max<std::int64_t>(0, free_bytes)),
                  gib(plan.total_bytes), what_would_fit(needs, missing))};
}

Result<void> check_host_fits(const DevicePlan& plan, std::int64_t available_bytes) {
  if (plan.host_weights <= available_bytes) return {};
  return Error{
      ErrorCode::kBudget,
      fmt::format("host memory: want {} GiB for {} of {} experts a layer, found {} GiB free",
                  gib(plan.host_weights), plan.n_host_experts, plan.n_experts,
                  gib(available_bytes))};
}

}  // namespace precis
