// Configurations of small models for tests: every width can be chosen, the rest is as released.
#pragma once

#include <algorithm>
#include <string>

#include <fmt/format.h>

namespace precis {

/// The widths of config.json; as they stand, rows have the released format and layers are narrow.
struct SmallConfig {
  int hidden = 128;
  int heads = 4;
  int head_dim = 512;
  int rope = 64;
  int q_lora = 64;
  int groups = 2;
  int o_lora = 32;
  int window = 128;
  int topk = 24;
  int index_heads = 4;
  int index_dim = 128;
  int experts = 8;
  int active = 3;
  int expert_dim = 64;
  int n_hash = 1;
  int streams = 4;
  const char* ratios = "[0,4,128]";  // one for each layer; the draft block's is added
};

/// Text of config.json for a vocabulary of 64 tokens and 4,096 positions.
inline std::string small_config_json(const SmallConfig& s) {
  std::string ratios = s.ratios;
  ratios.insert(ratios.size() - 1, ",0");
  const auto n_layers = std::count(ratios.begin(), ratios.end(), ',');
  return fmt::format(
      R"({{"model_type":"deepseek_v4","vocab_size":64,"hidden_size":{},"num_hidden_layers":{},)"
      R"("hc_mult":{},"num_attention_heads":{},"head_dim":{},"qk_rope_head_dim":{},)"
      R"("q_lora_rank":{},"o_groups":{},"o_lora_rank":{},"sliding_window":{},"index_topk":{},)"
      R"("index_n_heads":{},"index_head_dim":{},"n_routed_experts":{},"num_experts_per_tok":{},)"
      R"("moe_intermediate_size":{},"num_hash_layers":{},"compress_ratios":{},)"
      R"("num_nextn_predict_layers":1,"hc_sinkhorn_iters":20,"rms_norm_eps":1e-6,"hc_eps":1e-6,)"
      R"("routed_scaling_factor":1.5,"swiglu_limit":10.0,"rope_theta":10000,)"
      R"("compress_rope_theta":160000,"max_position_embeddings":4096,"rope_scaling":{{"type":)"
      R"("yarn","factor":16,"original_max_position_embeddings":256}}}})",
      s.hidden, n_layers, s.streams, s.heads, s.head_dim, s.rope, s.q_lora, s.groups, s.o_lora,
      s.window, s.topk, s.index_heads, s.index_dim, s.experts, s.active, s.expert_dim, s.n_hash,
      ratios);
}

}  // namespace precis
