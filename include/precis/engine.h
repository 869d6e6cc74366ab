// Engine: a checkpoint opened on one machine; makes sessions.
//
//   auto engine = precis::Engine::open({.model = "models/mini"});
//   if (!engine) return report(engine.error());
//   auto session = (*engine)->new_session();
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "precis/ablation.h"
#include "precis/plan.h"
#include "precis/planner.h"
#include "precis/session.h"
#include "precis/status.h"
#include "precis/synthetic.h"
#include "precis/text.h"

namespace precis {

/// How values are rounded between operations (docs/numerics.md).
enum class ComputeMode : std::uint8_t {
  kRelease,  // bf16 where the release rounds to bf16
  kF32,      // nothing is rounded between operations; FP8 and FP4 quantisation as specified
};

/// "release" or "f32"; anything else is kInvalidArgument.
Result<ComputeMode> parse_compute_mode(std::string_view name);
std::string_view compute_mode_name(ComputeMode mode);

/// How a short step reaches a GPU; the bits are the same, and on a CPU it makes no difference.
enum class StepLaunch : std::uint8_t {
  kRepeated,  // a step like an earlier one is one launch of a CUDA graph
  kDirect,    // every kernel is launched by itself
};

struct EngineOptions {
  std::filesystem::path model;   // checkpoint directory
  std::string backend = "auto";  // "auto", "cpu", "cuda" or "ref"
  ComputeMode mode = ComputeMode::kRelease;
  int n_threads = 0;            // 0 = every available processor
  std::int64_t max_tokens = 0;  // context of each session; 0 = the model's own limit
  int chunk_tokens = 0;         // tokens a prefill step; 0 = 512
  // Random weights of a released shape in place of those of `model`, which gives the tokenizer.
  std::optional<SyntheticModel> synthetic = {};
  // Of each layer's routed experts, the last this many stay in pinned host memory, where kernels
  // read them over the bus when a token needs them.
  int n_host_experts = 0;
  StepLaunch launch = StepLaunch::kRepeated;
  // Called before anything is loaded, where the backend is a device with memory of its own.
  std::function<void(const DevicePlan&)> on_device_plan = {};
  // Of every session's attention.  Random rows follow from the seed, the layer and the position.
  Ablation ablation = Ablation::kNone;
  std::uint64_t ablation_seed = 1;
};

/// What the opened model is, for display.
struct ModelInfo {
  std::string name;               // directory name
  std::uint64_t fingerprint = 0;  // of names, dtypes, shapes and a sample of the bytes
  int n_layers = 0;
  int n_window_layers = 0;
  int n_sparse_layers = 0;  // CSA
  int n_heavy_layers = 0;   // HCA
  int sparse_ratio = 4;
  int heavy_ratio = 128;
  int vocab_size = 0;
  int index_topk = 0;
  std::int64_t max_position_embeddings = 0;
  std::int64_t n_parameters = 0;
  TokenId bos_token = 0;
  TokenId eos_token = 1;
  std::string backend;  // "cpu"
  std::string isa;      // "avx512"
  int n_threads = 0;
};

/// What the calls of one operation came to.
struct OperationCount {
  std::string operation;  // "linear", "attend", …
  std::int64_t n_calls = 0;
  FlopByClass flop;
  double bytes = 0;  // compulsory
};

/// An opened checkpoint.
///
/// Threads   const members may be called concurrently; sessions of one engine take turns: one
///           sync, step, save or load at a time
class Engine {
 public:
  /// Opens, checks and loads a checkpoint.
  ///
  /// Errors    kNotFound — no checkpoint there; kCorrupt — a file or tensor is not what its
  ///           configuration says; kUnsupported — another model family or format;
  ///           kInvalidArgument — an option out of range, an unknown backend; kBudget — a device
  ///           has not the memory for the weights, a step and one session: nothing was loaded, and
  ///           the message names what would fit
  /// Ensures   on a device, the memory of the weights, of steps and of one session is set aside
  /// Cost      reads every weight once
  static Result<std::unique_ptr<Engine>> open(const EngineOptions& options);
  ~Engine();

  const ModelInfo& info() const;
  const Tokenizer& tokenizer() const;
  std::int64_t max_tokens() const;
  ComputeMode mode() const;
  Ablation ablation() const;
  std::uint64_t ablation_seed() const;

  /// Bytes that a session of `n_tokens` takes: exact for weights and KV, an upper bound for the
  /// rest.
  MemoryPlan plan(std::int64_t n_tokens) const;
  KvComparison compare_kv(std::int64_t n_tokens) const;

  /// Counts every operation from now on; earlier counts are forgotten.
  void count_operations();
  /// Operations since count_operations(), in order of first call; empty without it.
  std::vector<OperationCount> operation_counts() const;

  /// An empty session that can hold max_tokens() tokens.  The engine must outlive it.
  ///
  /// Errors    kBudget — a device has no memory for one session more
  Result<std::unique_ptr<Session>> new_session();

  struct Impl;
  Impl& impl() { return *impl_; }

 private:
  explicit Engine(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace precis
