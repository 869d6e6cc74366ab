// The work of one step of a DeepSeek-V4 model, from its configuration alone.
//
// Lists the operations of model/model.cc and model/attention.cc with the shapes that they would be
// called with and asks ops/cost.h for each; a change of the forward pass is followed here, and a test
// holds both to the same count.
#pragma once

#include <cstdint>

#include "model/config.h"
#include "plan/work.h"

namespace precis {

/// How the matrices that a checkpoint may quantise are stored.
struct MatrixFormats {
  WeightFormat dense = WeightFormat::kFp8Block;   // projections and shared experts
  WeightFormat expert = WeightFormat::kFp4Group;  // routed experts
};

/// Sequences of equal length that go through the layers together.
struct StepShape {
  std::int64_t n_sequences = 1;
  std::int64_t n_tokens = 1;  // of each
  std::int64_t first_position = 0;
  std::int64_t n_logits = 0;  // rows of the head, of all sequences together
};

/// Work of the step's main layers, embedding and logits.
///
/// The FLOP are exactly those of the operations.  So are the bytes of a step of one token a
/// sequence; in longer ones the rows that sparse layers read are those of the last token times the
/// tokens, as far as there are rows.
/// Requires  n_sequences, n_tokens >= 1
Work step_work(const ModelConfig& config, const MatrixFormats& formats, const StepShape& step);

/// Work of a whole prompt of `n_tokens`, `chunk_tokens` a step, with the logits of its last token.
Work prefill_work(const ModelConfig& config, const MatrixFormats& formats, std::int64_t n_tokens,
                  std::int64_t chunk_tokens);

}  // namespace precis
