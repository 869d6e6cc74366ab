// Conformance: an engine against a file of expected values.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "precis/engine.h"
#include "precis/status.h"

namespace precis {

struct VerifyOptions {
  std::filesystem::path model;
  std::filesystem::path expected;  // safetensors: input_ids, logits, streams.L, attn_out.L, …
  std::string backend = "auto";
  int n_threads = 0;
  int chunk_tokens = 0;  // prefill in chunks of this many tokens; 0 = all at once
  bool per_layer = false;
};

/// rel = ‖x − y‖ / ‖y‖ per token; `*_differ` = share of elements off by more than one part in 10⁵
/// of the expected value or, where that is smaller, of its row's root mean square; topk_overlap =
/// share of expected rows that were selected or tie with the lowest selected row.
struct LayerVerify {
  int layer = 0;
  double attn_out_rel_median = 0;
  double ffn_out_rel_median = 0;
  double rows_differ = 0;
  double index_rows_differ = 0;
  double topk_overlap = 1;
  double streams_rel_median = 0;
};

struct VerifyReport {
  struct {
    double logits_rel_median = 0;
    double logits_rel_p99 = 0;
    double argmax_agree = 0;
    double topk_overlap = 1;
  } end_to_end;
  std::vector<LayerVerify> per_layer;
  bool has_mtp = false;
  double mtp_logits_rel_median = 0;
  std::vector<std::string> failures;  // one sentence per limit that was missed

  bool pass() const { return failures.empty(); }
};

/// The limits that a report is held to.  End to end they are what the oracle itself can promise:
/// a relative change of 10⁻⁷ in the embedding moves FP8 logits by 4 % in the median and BF16 logits
/// by 3·10⁻⁴ (docs/numerics.md).
struct VerifyLimits {
  static constexpr double kLayerRel = 1e-5;
  static constexpr double kRowsDiffer = 0.02;
  static constexpr double kTopkOverlap = 0.995;
};

/// Runs the model in mode f32: a prefill of `n_prefill` tokens (the file's metadata), the rest by
/// single steps; with per_layer also every layer on its expected input.
///
/// Errors    as Engine::open; kNotFound or kCorrupt — the expected file lacks a tensor or has it in
///           another shape
Result<VerifyReport> verify(const VerifyOptions& options);

}  // namespace precis
