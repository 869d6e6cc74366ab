// Where an engine's model comes from: a checkpoint directory, or a shape with random weights.
#pragma once

#include <memory>

#include "precis/engine.h"

#include "base/threads.h"
#include "checkpoint/tensor_source.h"
#include "model/config.h"

namespace precis {

/// The configuration that `options` name.
///
/// Errors    as load_config, summarise_synthetic
Result<ModelConfig> model_config(const EngineOptions& options);

/// The tensors that `options` name; `threads` must outlive them.
///
/// Requires  config is model_config(options)
/// Errors    as Checkpoint::open
Result<std::unique_ptr<TensorSource>> open_tensors(const EngineOptions& options,
                                                   const ModelConfig& config, ThreadPool& threads);

/// How displays call the model: the directory's name, or the synthetic shape.
///
/// Requires  config is model_config(options)
std::string model_name(const EngineOptions& options, const ModelConfig& config);

}  // namespace precis
