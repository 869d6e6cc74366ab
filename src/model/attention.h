// One attention sub-layer: project, store rows, select, attend, project back.
#pragma once

#include "model/ablation.h"
#include "model/config.h"
#include "model/scratch.h"
#include "model/step.h"
#include "model/weights.h"
#include "ops/backend.h"

namespace precis {

/// What an attention sub-layer works with; views only.
struct AttentionContext {
  const ModelConfig& config;
  const LayerConfig& layer;
  const LayerTensors& w;
  int kv_layer;  // index of this layer in the caches
  const StepTables& tables;
  Scratch& scratch;
  Backend& backend;
  Rounding rounding;
  KvRowFormat kv_format;
  const RowAblation& ablation;
  const StepObserver& observer;
};

/// y = Attention(x) for all tokens of the step; stores the step's window and compressed rows.
///
/// Shapes    x, y [T, D]
/// Source    docs/model.md §5.2–§5.8 in the order of §5.11
void attention(const AttentionContext& c, Mat<const float> x, Mat<float> y);

}  // namespace precis
