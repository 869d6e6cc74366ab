// DeepSeek-V4 models as the planner sees them.
#pragma once

#include <filesystem>
#include <memory>

#include "model/config.h"
#include "plan/planned_model.h"
#include "plan/v4_work.h"

namespace precis {

/// Tensors and bytes of a checkpoint in the released dtypes.
///
/// Cost      two tables of at most two experts each: totals are affine in the number of experts
WeightPlan released_weights(const ModelConfig& config);

/// A model whose checkpoint is stored as the releases are.
std::unique_ptr<PlannedModel> make_v4_model(ModelConfig config);

/// A model whose checkpoint lies in `dir`: its own dtypes and bytes, or those of a release where it
/// holds a configuration and no tensors.
///
/// Errors    as load_config and Checkpoint::open
Result<std::unique_ptr<PlannedModel>> open_v4_model(const std::filesystem::path& dir);

}  // namespace precis
