// Mixture of experts: routing and the expert products.
#pragma once

#include <cstdint>
#include <span>

#include "ops/weight.h"
#include "tensor/view.h"

namespace precis {

/// Chooses A experts for each token and their weights.
///
/// Shapes    x [T, D] · gate [E, D] · bias [E], empty on hash layers · tid2eid [V, A], empty on
///           scored layers · ids [T] · expert_idx, weight [T, A], experts ascending
/// scores = sqrt(softplus(x·gateᵀ)); scored layers take the A largest of score + bias (ties: lowest
/// expert), hash layers take the table's row; weights are the unbiased scores, normalised to sum
/// to `route_scale`.
/// Source    docs/model.md §5.9; model.py `Gate`
struct RouteArgs {
  Mat<const float> x;
  const Weight* gate = nullptr;
  std::span<const float> bias;
  Mat<const std::int32_t> tid2eid;
  std::span<const std::int32_t> ids;
  float route_scale = 1;
  Mat<std::int32_t> expert_idx;
  Mat<float> weight;
};

struct ExpertWeights {
  const Weight* w1 = nullptr;  // gate [F, D]
  const Weight* w3 = nullptr;  // up   [F, D]
  const Weight* w2 = nullptr;  // down [D, F]
};

/// The routed experts' weighted sum plus the shared expert.
///
/// Shapes    x, out [T, D] · expert_idx, weight [T, A] · experts [E] · shared
/// expert(x, w) = w2 · (w · silu(min(w1·x, limit)) · clamp(w3·x, ±limit)); each expert's output is
/// rounded, summed in f32 in ascending expert order, the shared expert (weight 1) last.
/// Source    docs/model.md §5.9; model.py `Expert`, `MoE`
struct ExpertsArgs {
  Mat<const float> x;
  Mat<const std::int32_t> expert_idx;
  Mat<const float> weight;
  std::span<const ExpertWeights> experts;
  ExpertWeights shared;
  float swiglu_limit = 0;
  InputQuant expert_input = InputQuant::kNone;
  InputQuant shared_input = InputQuant::kNone;
  Mat<float> out;
  Rounding rounding = Rounding::kNone;
};

void check(const RouteArgs& args);
void check(const ExpertsArgs& args);

}  // namespace precis
