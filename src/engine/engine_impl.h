// What an Engine is made of; seen by the files of this folder only.
#pragma once

#include <functional>
#include <memory>
#include <optional>

#include "precis/engine.h"

#include "base/threads.h"
#include "engine/device_plan.h"
#include "kv/kv_cache.h"
#include "kv/page_pool.h"
#include "model/config.h"
#include "model/model.h"
#include "ops/backend.h"

namespace precis {

inline constexpr int kDefaultChunkTokens = 512;

/// A checkpoint in memory without a tokenizer: what a session and a conformance run share.
struct LoadedModel {
  std::unique_ptr<ThreadPool> threads;
  std::unique_ptr<Backend> backend;
  std::unique_ptr<Model> model;
  std::int64_t n_parameters = 0;
  DeviceNeeds needs;  // of a backend with memory of its own; else nothing
};

/// Puts a backend of the caller's around the one that will run.
using WrapBackend = std::function<std::unique_ptr<Backend>(std::unique_ptr<Backend>)>;

/// Opens, checks and loads the checkpoint of `options`; steps of at most `chunk_tokens`.
///
/// Requires  config is model_config(options)
/// Errors    as Engine::open, tokenizer aside
Result<LoadedModel> load_model(const EngineOptions& options, ModelConfig config, int chunk_tokens,
                               const WrapBackend& wrap = {});

/// The tokens of a prefill step that `chunk_tokens` of EngineOptions asks for.
///
/// Errors    kInvalidArgument — out of range
Result<int> resolve_chunk(int chunk_tokens);

struct Engine::Impl {
  EngineOptions options;
  LoadedModel loaded;
  Tokenizer tokenizer;
  ModelInfo info;
  std::int64_t max_tokens = 0;
  std::unique_ptr<StepRows> step_rows;
  std::unique_ptr<PagePool> pages;
  OpCounter counter;
  int n_sessions = 0;

  /// Sets aside the memory of one session more; release_session gives it back.
  ///
  /// Errors    kBudget — a device has not as much
  Result<void> reserve_session();
  void release_session() { --n_sessions; }

  Model& model() { return *loaded.model; }
  Backend& backend() { return *loaded.backend; }
};

/// Saved states that a session keeps to go back to, at most.
inline constexpr int kMaxFrontiers = 16;

}  // namespace precis
