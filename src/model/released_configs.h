// The configurations of the released models as JSON, for tests.
// Source: docs/model.md §1, §2, §7.1.
#pragma once

#include <nlohmann/json.hpp>

namespace precis {

/// Ratios of two layers of ratio `first`, `n_pairs` of CSA and HCA, a last CSA layer, and as many
/// draft blocks.
inline std::vector<int> released_ratios(int first, int n_pairs, int n_drafts) {
  std::vector<int> ratios{first, first};
  for (int i = 0; i < n_pairs; ++i) ratios.insert(ratios.end(), {4, 128});
  ratios.push_back(4);
  ratios.insert(ratios.end(), static_cast<std::size_t>(n_drafts), 0);
  return ratios;
}

inline nlohmann::json flash_config() {
  return {
      {"model_type", "deepseek_v4"},
      {"vocab_size", 129280},
      {"hidden_size", 4096},
      {"num_hidden_layers", 43},
      {"hc_mult", 4},
      {"num_attention_heads", 64},
      {"num_key_value_heads", 1},
      {"head_dim", 512},
      {"qk_rope_head_dim", 64},
      {"q_lora_rank", 1024},
      {"o_groups", 8},
      {"o_lora_rank", 1024},
      {"sliding_window", 128},
      {"compress_ratios", released_ratios(0, 20, 1)},
      {"index_topk", 512},
      {"index_n_heads", 64},
      {"index_head_dim", 128},
      {"n_routed_experts", 256},
      {"n_shared_experts", 1},
      {"num_experts_per_tok", 6},
      {"moe_intermediate_size", 2048},
      {"num_hash_layers", 3},
      {"num_nextn_predict_layers", 1},
      {"scoring_func", "sqrtsoftplus"},
      {"topk_method", "noaux_tc"},
      {"norm_topk_prob", true},
      {"routed_scaling_factor", 1.5},
      {"swiglu_limit", 10.0},
      {"hidden_act", "silu"},
      {"rms_norm_eps", 1e-6},
      {"hc_eps", 1e-6},
      {"hc_sinkhorn_iters", 20},
      {"rope_theta", 10000},
      {"compress_rope_theta", 160000},
      {"rope_scaling",
       {{"type", "yarn"},
        {"factor", 16},
        {"original_max_position_embeddings", 65536},
        {"beta_fast", 32},
        {"beta_slow", 1}}},
      {"max_position_embeddings", 1048576},
      {"expert_dtype", "fp4"},
      {"quantization_config",
       {{"quant_method", "fp8"},
        {"fmt", "e4m3"},
        {"scale_fmt", "ue8m0"},
        {"weight_block_size", {128, 128}},
        {"activation_scheme", "dynamic"}}},
      {"bos_token_id", 0},
      {"eos_token_id", 1},
  };
}

inline nlohmann::json pro_config() {
  nlohmann::json config = flash_config();
  config["hidden_size"] = 7168;
  config["num_hidden_layers"] = 61;
  config["num_attention_heads"] = 128;
  config["q_lora_rank"] = 1536;
  config["o_groups"] = 16;
  config["compress_ratios"] = released_ratios(128, 29, 1);
  config["index_topk"] = 1024;
  config["n_routed_experts"] = 384;
  config["moe_intermediate_size"] = 3072;
  config["routed_scaling_factor"] = 2.5;
  return config;
}

/// The same model with three drafter stages in place of its MTP block.
inline nlohmann::json with_drafter(nlohmann::json config, int markov_rank) {
  const int n_layers = config["num_hidden_layers"];
  config["compress_ratios"].insert(config["compress_ratios"].end(), {0, 0});
  config["dspark_block_size"] = 5;
  config["dspark_noise_token_id"] = 128799;
  config["dspark_target_layer_ids"] = {n_layers - 3, n_layers - 2, n_layers - 1};
  config["dspark_markov_rank"] = markov_rank;
  return config;
}

}  // namespace precis
