// A model as the planner sees it: how its weights, cache and work grow, whatever its family.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "precis/planner.h"
#include "precis/status.h"

#include "plan/work.h"

namespace precis {

class PlannedModel {
 public:
  virtual ~PlannedModel() = default;

  virtual WeightPlan weights() const = 0;
  virtual KvBytes kv(std::int64_t n_tokens) const = 0;
  virtual double kv_bytes_per_token() const = 0;
  /// Bytes that each token adds if every number of a row were bf16.
  virtual double kv_bf16_bytes_per_token() const = 0;

  /// One step in which each of `n_sequences` sequences decodes its token number `n_tokens`.
  virtual Work decode(std::int64_t n_sequences, std::int64_t n_tokens) const = 0;
  /// A prompt of `n_tokens` from an empty cache, `chunk_tokens` a step.
  virtual Work prefill(std::int64_t n_tokens, std::int64_t chunk_tokens) const = 0;

  virtual int n_layers() const = 0;
  virtual int n_heads() const = 0;
  virtual std::int64_t n_experts() const = 0;
  /// The longest context that its configuration allows; 0 = it does not say.
  virtual std::int64_t max_context() const = 0;
};

struct NamedModel {
  std::string name;
  std::string source;
  std::unique_ptr<PlannedModel> model;
};

/// A built-in model, or the configuration (and, where there are any, the tensors) of a directory.
///
/// Errors    as make_plan
Result<NamedModel> find_planned_model(const std::string& name_or_directory);

}  // namespace precis
