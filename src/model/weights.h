// The checkpoint's tensors as the forward pass uses them: typed, shape-checked, in the backend's
// layout.  Members carry the checkpoint's own names.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "precis/status.h"

#include "checkpoint/tensor_source.h"
#include "model/config.h"
#include "model/tensor_table.h"
#include "ops/backend.h"

namespace precis {

using WeightPtr = std::unique_ptr<Weight>;

struct HyperTensors {
  WeightPtr fn;
  std::span<const float> base;
  std::span<const float> scale;

  HyperWeights view() const { return {fn.get(), base, scale}; }
};

struct CompressorTensors {
  WeightPtr wkv;
  WeightPtr wgate;
  std::span<const float> ape;
  std::span<const float> norm;
};

struct ExpertTensors {
  WeightPtr w1;
  WeightPtr w2;
  WeightPtr w3;

  ExpertWeights view() const { return {w1.get(), w3.get(), w2.get()}; }
};

struct LayerTensors {
  HyperTensors hc_attn;
  HyperTensors hc_ffn;
  std::span<const float> attn_norm;
  std::span<const float> ffn_norm;

  std::span<const float> attn_sink;
  WeightPtr wq_a;
  std::span<const float> q_norm;
  WeightPtr wq_b;
  WeightPtr wkv;
  std::span<const float> kv_norm;
  WeightPtr wo_a;
  WeightPtr wo_b;
  CompressorTensors compressor;          // compressed layers
  WeightPtr indexer_wq_b;                // sparse layers
  WeightPtr indexer_weights_proj;        // sparse layers
  CompressorTensors indexer_compressor;  // sparse layers

  WeightPtr gate;
  std::span<const float> gate_bias;  // scored layers
  Mat<const std::int32_t> tid2eid;   // hash layers
  std::vector<ExpertTensors> experts;
  ExpertTensors shared_experts;
  std::vector<ExpertWeights> expert_views;  // of `experts`
};

struct MtpTensors {
  LayerTensors layer;
  WeightPtr e_proj;
  WeightPtr h_proj;
  std::span<const float> enorm;
  std::span<const float> hnorm;
  std::span<const float> norm;
  HyperTensors hc_head;
};

struct ModelTensors {
  WeightPtr embed;
  WeightPtr head;
  std::span<const float> norm;
  HyperTensors hc_head;
  std::vector<LayerTensors> layers;
  std::vector<MtpTensors> mtp;

  std::vector<Buffer> storage;    // of the spans above
  std::int64_t n_bytes = 0;       // in the backend's layout, wherever they lie
  std::int64_t n_host_bytes = 0;  // of those, experts kept in host memory
  std::uint64_t fingerprint = 0;  // of names, dtypes, shapes and a sample of the bytes
};

/// Where the weights of a model go.
struct WeightPlacement {
  int n_host_experts = 0;  // of each layer's routed experts, the last this many
};

/// Loads every tensor that `config` calls for.
///
/// Requires  the backend reads_host_weights() where `placement` puts any in host memory
/// Errors    kCorrupt — a tensor is missing or not of the wanted dtype and shape, a scale byte is
///           NaN, a hash table names an expert that does not exist; the message names the first
/// Cost      reads each weight once; `config.drafter` stages are not loaded
Result<ModelTensors> load_tensors(const ModelConfig& config, const TensorSource& source,
                                  Backend& backend, const WeightPlacement& placement = {});

/// What a product with this weight does to its input first.
InputQuant input_quant(const Weight& weight);

}  // namespace precis
