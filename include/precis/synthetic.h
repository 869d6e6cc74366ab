// Models of released shapes with random weights: true names, dtypes, widths and layer schedule, and
// nothing learned.  They measure speed and memory where the real weights are not at hand.
//
//   precis::Engine::open({.model = "models/mini", .synthetic = precis::SyntheticModel{.n_layers = 4}})
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>

#include "precis/status.h"

namespace precis {

struct SyntheticModel {
  std::string shape = "flash";  // "flash", "pro", or "mini": the shape of `model` itself
  int n_layers = 0;             // the first this many; 0 = all
  int n_experts = 0;            // routed experts a layer; 0 = as many as the shape has
  std::uint64_t seed = 1;
  bool draft_block = false;  // the MTP block too, which no session runs
};

/// What a synthetic model comes to, known before a byte of it is drawn.
struct SyntheticSummary {
  std::string name;  // "flash, 4 of 43 layers, 32 of 256 experts"
  int n_layers = 0;
  int n_experts = 0;
  std::int64_t n_tensors = 0;
  std::int64_t n_bytes = 0;
  std::int64_t n_parameters = 0;
};

/// Called with the bytes written so far and in all; false stops.
using WriteProgressFn = std::function<bool(std::uint64_t done, std::uint64_t total)>;

/// `model` is the checkpoint directory whose tokenizer the synthetic model takes.
///
/// Errors    kInvalidArgument — an unknown shape; layers or experts that the shape does not have, or
///           fewer experts than a token takes; kUnsupported — a shape whose tensors this engine
///           cannot name; as reading config.json of `model` for the shape "mini"
Result<SyntheticSummary> summarise_synthetic(const SyntheticModel& synthetic,
                                             const std::filesystem::path& model);

/// Writes a checkpoint directory: config.json, the tokenizer of `model`, weights in shards of 4 GiB.
///
/// Ensures   `dir` holds a whole checkpoint or, after an error, nothing that was not there before;
///           its tensors have the bytes of the same model in memory
/// Errors    as summarise_synthetic; kInvalidArgument — `dir` holds files already; kIo — the disk
///           lacks room, which is checked first, or the system refused; kCancelled — progress said so
/// Cost      memory for the shards' headers and 32 MiB
Result<SyntheticSummary> write_synthetic(const SyntheticModel& synthetic,
                                         const std::filesystem::path& model,
                                         const std::filesystem::path& dir,
                                         const WriteProgressFn& progress = {});

}  // namespace precis
