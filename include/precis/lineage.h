// The attentions that led to DeepSeek-V4's, side by side: one layer of each over random rows, timed
// on the same backend, with the work and the bytes that it needs.  See docs/lineage.md.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "precis/bench.h"
#include "precis/status.h"

namespace precis {

/// One layer's sizes.  Latent rows (512 + 64 channels), V4's rows (448 + 64) and V3.2's index
/// (64 heads of 128 channels, 2048 rows) are the same in every shape.
struct AttentionShape {
  std::string name;         // "flash", "pro", "v3.2" or "custom"
  int n_heads = 64;         // of queries
  int head_dim = 128;       // keys and values of a head, where heads have their own
  int nsa_key_dim = 192;    // keys and values of NSA, 128 and 192 in its paper
  int n_groups = 8;         // KV heads of grouped-query attention
  int nsa_groups = 4;       // and of NSA
  int model_dim = 4096;     // width of the residual stream
  int csa_rows = 512;       // rows that V4's indexer selects
  int n_window_layers = 2;  // V4's mix
  int n_sparse_layers = 21;
  int n_heavy_layers = 20;
};

/// A named shape: "flash" and "pro" of V4, "v3.2".
///
/// Errors    kInvalidArgument — another name
Result<AttentionShape> attention_shape(std::string_view name);

/// Any number of heads of any width; the rest as in "flash", grouped by 8 and by 16 heads.
///
/// Errors    kInvalidArgument — n_heads not 1 … 1024, or head_dim not a multiple of 16 in
///           16 … 1024
Result<AttentionShape> custom_attention_shape(int n_heads, int head_dim);

struct AttentionKind {
  std::string name;   // "dense-mha", "csa", …
  std::string title;  // one line
  bool runs = true;   // false: only its formulas are evaluated
};

/// Every kind, oldest idea first.
const std::vector<AttentionKind>& attention_kinds();

struct AttentionBenchOptions {
  std::vector<std::string> kinds;
  AttentionShape shape;
  std::vector<std::int64_t> contexts;
  std::int64_t chunk_tokens = 16;                     // of a prefill step
  std::int64_t memory_bytes = std::int64_t{2} << 30;  // for cached rows; beyond, pages are reused
  std::string backend = "auto";
  int n_threads = 0;  // 0 = every available processor
  std::uint64_t seed = 1;
};

/// Enough that reused rows still come from memory, not from a cache.
inline constexpr std::int64_t kMinAttentionBytes = std::int64_t{256} << 20;
inline constexpr std::int64_t kMaxAttentionContext = std::int64_t{1} << 24;

/// What one step of one layer takes: `n_tokens` tokens of which the last is token `context`.
struct AttentionFigure {
  enum class Source : std::uint8_t {
    kRun,
    kRunReused,  // run, with pages of rows that stand for several
    kComputed,   // formulas only; seconds is 0
  };

  std::string kind;
  std::int64_t context = 0;
  std::int64_t n_tokens = 1;
  Source source = Source::kRun;
  int n_runs = 0;
  double seconds = 0;  // median
  double flop = 0;
  double bytes = 0;    // compulsory
  double bound_s = 0;  // 0 where no machine was given
  double cache_bytes_per_token = 0;
  double cache_bytes = 0;  // at `context`, the fixed part included

  double of_bound() const { return seconds > 0 ? bound_s / seconds : 0; }
};

/// "run", "run, rows reused" or "computed".
std::string_view source_name(AttentionFigure::Source source);

struct AttentionBench {
  AttentionShape shape;
  std::string backend;
  std::string isa;
  int n_threads = 0;
  // By kind, context, and one token before the chunk.  A chunk that would take long is shorter, and
  // missing where one token of it is all that fits.
  std::vector<AttentionFigure> figures;
};

/// Runs every kind at every context, for one token and for one chunk.
///
/// Errors    kInvalidArgument — no kind or an unknown one, no context or one outside
///           1 … kMaxAttentionContext, chunk_tokens outside 1 … 4096, memory_bytes below
///           kMinAttentionBytes, an unknown backend; kUnsupported — `machine` lacks the
///           instruction set or thread count that runs
/// Cost      up to memory_bytes; about two minutes for all kinds at 8K, 128K and 1M on two cores
Result<AttentionBench> bench_attention(const AttentionBenchOptions& options,
                                       const std::optional<Machine>& machine,
                                       const MeasureFn& on_measure = {});

}  // namespace precis
