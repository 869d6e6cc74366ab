// What a checkpoint directory holds, without loading its weights.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "precis/engine.h"
#include "precis/status.h"

namespace precis {

struct TensorSummary {
  std::string name;
  std::string dtype;  // as safetensors spells it
  std::vector<std::int64_t> shape;
  std::int64_t n_bytes = 0;
  std::string shard;
};

struct BytesByKind {
  std::string kind;  // "routed experts", "shared experts", "attention", "indexer", …
  std::int64_t n_tensors = 0;
  std::int64_t n_bytes = 0;
  std::int64_t n_parameters = 0;
};

struct LayerSummary {
  int layer = 0;
  bool mtp = false;
  int ratio = 0;        // 0 window only, 4 CSA, 128 HCA
  std::string kind;     // "window", "sparse", "heavy"
  std::string routing;  // "hash" or "scored"
  double rope_theta = 0;
  bool yarn = false;
  std::int64_t n_bytes = 0;
};

/// A published checkpoint with these totals, and whether this one equals them.
struct PublishedTotals {
  std::string name;
  std::int64_t n_tensors = 0;
  std::int64_t n_bytes = 0;
  bool matches = false;
};

struct CheckpointReport {
  std::string name;
  std::int64_t n_tensors = 0;
  std::int64_t n_bytes = 0;
  std::int64_t n_parameters = 0;  // main model; scales not counted
  std::int64_t n_mtp_parameters = 0;
  std::int64_t n_shards = 0;
  std::vector<BytesByKind> by_kind;
  std::vector<BytesByKind> by_dtype;
  std::vector<LayerSummary> layers;
  std::vector<TensorSummary> tensors;
  std::vector<std::string> missing;     // tensors the configuration calls for
  std::vector<std::string> unexpected;  // tensors it does not know
  std::vector<std::string> wrong;       // "name: want …, found …"
  std::vector<PublishedTotals> published;
  std::int64_t kv_tokens = 0;
  KvBytes kv;                     // at kv_tokens, release row formats
  double kv_bytes_per_token = 0;  // growing part
  KvComparison kv_comparison;

  bool complete() const { return missing.empty() && wrong.empty(); }
};

/// Reads headers and configuration only.
///
/// Errors    kNotFound, kCorrupt, kUnsupported naming the file and field; kInvalidArgument —
///           n_tokens negative or beyond max_position_embeddings
/// Cost      milliseconds; no weight is read
Result<CheckpointReport> inspect_checkpoint(const std::filesystem::path& model,
                                            std::int64_t n_tokens);

}  // namespace precis
