// Models that the engine does not run, from their shapes: the multi-head latent attention of V2, V3
// and V3.2, and V4.1's shared rows.
//
// Work is counted in products and in bytes of weights and cached rows; norms and activations, which
// are small beside them, are left out.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "plan/planned_model.h"

namespace precis {

/// Errors    kCorrupt — no JSON object, or a field missing; kUnsupported — another model_type
Result<std::unique_ptr<PlannedModel>> make_lineage_model(const std::string& config_json,
                                                         std::string_view name);

}  // namespace precis
