// The network, written once for every backend: prefill and decode are one function of T.
#pragma once

#include <cstdint>
#include <functional>
#include <initializer_list>
#include <span>

#include "kv/kv_cache.h"
#include "model/ablation.h"
#include "model/config.h"
#include "model/scratch.h"
#include "model/step.h"
#include "model/weights.h"
#include "ops/backend.h"

namespace precis {

/// How a cache keeps rotated channels: the exact mode rounds nothing between operations.
RopeStorage rope_storage(Rounding rounding);

/// A loaded model with the scratch of one step.
///
/// Threads   one step at a time
class Model {
 public:
  /// `backend` must outlive the model; a step has at most `max_step_tokens` tokens.
  Model(ModelConfig config, ModelTensors tensors, Backend& backend, Rounding rounding,
        std::int64_t max_step_tokens, const RowAblation& ablation = {});

  const ModelConfig& config() const { return config_; }
  const ModelTensors& tensors() const { return tensors_; }
  Rounding rounding() const { return rounding_; }
  std::int64_t max_step_tokens() const { return scratch_.max_tokens(); }
  std::int64_t scratch_bytes() const { return scratch_.n_bytes() + tables_.n_bytes(); }

  /// The KV cache shape of the main layers, or of the MTP block alone.
  KvSpec kv_spec() const;
  KvSpec mtp_kv_spec() const;

  /// Runs a step through embedding and all layers and commits it to the caches.
  ///
  /// Requires  caches with room for their tokens (KvCache::reserve); ids inside the vocabulary
  /// Ensures   each cache holds its tokens; streams() belong to the step until the next one
  /// Cost      one forward pass over the step's tokens, without the head
  void forward(std::span<const SequenceStep> sequences, const StepObserver& observer = {});

  /// Next-token logits of step tokens begin … begin + n − 1, for the last forward.
  ///
  /// Requires  n <= kMaxLogitRows
  /// Ensures   valid until the next call
  Mat<const float> logits(std::int64_t begin, std::int64_t n);

  /// Output of the last layer, [T, M, D].
  Cube<float> streams() { return {scratch_.streams.as<float>(), tables_.n_tokens(), m(), d()}; }

  /// The parts of forward(), for a check of one layer on given input: begin_step, embed
  /// or streams of the caller's, run_layer, end_step.
  void begin_step(std::span<const SequenceStep> sequences);
  void embed();
  /// Sub-layer outputs before they are mixed back, where a caller wants them: [T, D] each.
  struct LayerOutputs {
    Mat<float> attn_out;
    Mat<float> ffn_out;
  };
  void run_layer(int layer, const StepObserver& observer, const LayerOutputs& outputs = {});
  void end_step();

  /// MTP block `mtp_idx`: streams [T, M, D] of the main model at positions t, and the ids of
  /// positions t + 1, give logits for t + 2.  `sequences` hold those ids and caches of
  /// mtp_kv_spec(); RoPE positions are those of the caches.
  ///
  /// Ensures   streams() then are the block's output; mtp_logits reads them
  void mtp_forward(int mtp_idx, Cube<const float> streams, std::span<const SequenceStep> sequences);
  Mat<const float> mtp_logits(int mtp_idx, std::int64_t begin, std::int64_t n);

 private:
  std::int64_t d() const { return config_.hidden_size; }
  std::int64_t m() const { return config_.n_streams; }

  void run_block(const LayerConfig& layer, const LayerTensors& w, int kv_layer,
                 const StepObserver& observer, const LayerOutputs& outputs);
  Mat<const float> head(const HyperTensors& hc_head, std::span<const float> norm,
                        std::int64_t begin, std::int64_t n);
  /// Parts of a step that a backend may repeat.
  enum class Part : std::uint64_t { kLayers, kHead };
  void run_part(Part part, std::initializer_list<std::uint64_t> arguments,
                const std::function<void()>& body);

  ModelConfig config_;
  ModelTensors tensors_;
  Backend& backend_;
  Rounding rounding_;
  RowAblation ablation_;
  Scratch scratch_;
  StepTables tables_;
};

}  // namespace precis
