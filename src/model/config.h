// config.json as data: every number of the model, validated field by field.
//
// Layer kinds, ratios, widths and formats are read here and nowhere else; the rest of the program
// sees a list of layer descriptors.
#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "precis/status.h"

#include "kv/kv_spec.h"
#include "ops/rope.h"
#include "tensor/view.h"

namespace precis {

enum class LayerKind : std::uint8_t {
  kWindow,  // sliding window only
  kSparse,  // CSA: overlapping blocks, an indexer picks the rows
  kHeavy,   // HCA: every compressed row is read
};

std::string_view layer_kind_name(LayerKind kind);  // "window", "sparse", "heavy"

/// One layer's shape.
struct LayerConfig {
  std::string prefix;  // of its tensors: "layers.3." or "mtp.0."
  LayerKind kind = LayerKind::kWindow;
  int ratio = 0;  // tokens per compressed row; 0 = none
  bool hash_routing = false;

  bool compressed() const { return kind != LayerKind::kWindow; }
  bool overlap() const { return kind == LayerKind::kSparse; }
  bool yarn() const { return compressed(); }
};

/// DSpark drafter stages in place of the MTP block; known to the loader, not run.
struct DrafterConfig {
  int n_stages = 0;
  int block_size = 0;
  int markov_rank = 0;
  int n_targets = 0;
};

struct ModelConfig {
  std::int64_t vocab_size = 0;  // V
  int hidden_size = 0;          // D
  int n_streams = 0;            // M, hc_mult
  int n_heads = 0;              // H
  int head_dim = 0;             // Dh
  int rope_dim = 0;             // Dr
  int q_lora_rank = 0;          // Lq
  int o_groups = 0;             // G
  int o_lora_rank = 0;          // Lo
  int window = 0;               // W
  int index_topk = 0;           // K
  int index_heads = 0;          // Hi
  int index_dim = 0;            // Di
  int n_experts = 0;            // E
  int n_active_experts = 0;     // A
  int expert_dim = 0;           // F
  int sinkhorn_iters = 0;
  float norm_eps = 0;
  float hc_eps = 0;
  float route_scale = 0;
  float swiglu_limit = 0;
  double rope_theta = 0;
  double compress_rope_theta = 0;
  YarnScaling yarn;
  std::int64_t max_position_embeddings = 0;
  int bos_token = 0;
  int eos_token = 0;
  int weight_block_out = 128;  // FP8 weight blocks
  int weight_block_in = 128;
  std::vector<LayerConfig> layers;  // the main model's
  std::vector<LayerConfig> mtp;     // the MTP block, or empty
  DrafterConfig drafter;

  int n_layers() const { return static_cast<int>(layers.size()); }
  int nope_dim() const { return head_dim - rope_dim; }
  int mix_dim() const { return n_streams * (2 + n_streams); }
  int n_layers_of(LayerKind kind) const;
  double rope_theta_of(const LayerConfig& layer) const {
    return layer.yarn() ? compress_rope_theta : rope_theta;
  }
  KvRowFormat kv_format(RopeStorage storage) const { return {nope_dim(), rope_dim, storage}; }
  IndexRowFormat index_format() const { return {index_dim}; }
};

/// The KV cache shape of `layers` of this model.
KvSpec kv_spec_of(const ModelConfig& config, std::span<const LayerConfig> layers,
                  RopeStorage storage);

/// Reads a configuration; `name` stands for the file in messages.
///
/// Errors    kCorrupt — not JSON, a field missing or of the wrong type or value; kUnsupported —
///           another model_type, or a member of the family that this engine does not run
Result<ModelConfig> parse_config(std::string_view json, std::string_view name);

/// parse_config on `dir`/config.json.
///
/// Errors    kNotFound — no such directory or no config.json in it; as parse_config
Result<ModelConfig> load_config(const std::filesystem::path& dir);

}  // namespace precis
