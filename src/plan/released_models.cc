#include "plan/released_models.h"

#include <array>

#include <nlohmann/json.hpp>

namespace precis {
namespace {

using nlohmann::json;

// DeepSeek-V2: multi-head latent attention, bf16 weights.
constexpr const char* kV2 = R"({
  "model_type": "deepseek_v2", "vocab_size": 102400, "hidden_size": 5120,
  "num_hidden_layers": 60, "num_attention_heads": 128, "q_lora_rank": 1536,
  "kv_lora_rank": 512, "qk_nope_head_dim": 128, "qk_rope_head_dim": 64, "v_head_dim": 128,
  "first_k_dense_replace": 1, "intermediate_size": 12288, "moe_intermediate_size": 1536,
  "n_routed_experts": 160, "n_shared_experts": 2, "num_experts_per_tok": 6
})";

// DeepSeek-V3: the same attention, FP8 weights.
constexpr const char* kV3 = R"({
  "model_type": "deepseek_v3", "vocab_size": 129280, "hidden_size": 7168,
  "num_hidden_layers": 61, "num_attention_heads": 128, "q_lora_rank": 1536,
  "kv_lora_rank": 512, "qk_nope_head_dim": 128, "qk_rope_head_dim": 64, "v_head_dim": 128,
  "first_k_dense_replace": 3, "intermediate_size": 18432, "moe_intermediate_size": 2048,
  "n_routed_experts": 256, "n_shared_experts": 1, "num_experts_per_tok": 8,
  "quantization_config": {"quant_method": "fp8"}
})";

// What V3.2 adds to V3: a lightning indexer over every token.
constexpr const char* kV32Changes = R"({
  "model_type": "deepseek_v32", "index_n_heads": 64, "index_head_dim": 128, "index_topk": 2048
})";

// DeepSeek-V4-Flash; compress_ratios are filled in below.
constexpr const char* kFlash = R"({
  "model_type": "deepseek_v4", "vocab_size": 129280, "hidden_size": 4096,
  "num_hidden_layers": 43, "hc_mult": 4, "num_attention_heads": 64, "num_key_value_heads": 1,
  "head_dim": 512, "qk_rope_head_dim": 64, "q_lora_rank": 1024, "o_groups": 8,
  "o_lora_rank": 1024, "sliding_window": 128, "index_topk": 512, "index_n_heads": 64,
  "index_head_dim": 128, "n_routed_experts": 256, "n_shared_experts": 1,
  "num_experts_per_tok": 6, "moe_intermediate_size": 2048, "num_hash_layers": 3,
  "num_nextn_predict_layers": 1, "scoring_func": "sqrtsoftplus", "topk_method": "noaux_tc",
  "norm_topk_prob": true, "routed_scaling_factor": 1.5, "swiglu_limit": 10.0,
  "hidden_act": "silu", "rms_norm_eps": 1e-6, "hc_eps": 1e-6, "hc_sinkhorn_iters": 20,
  "rope_theta": 10000, "compress_rope_theta": 160000,
  "rope_scaling": {"type": "yarn", "factor": 16, "original_max_position_embeddings": 65536,
                   "beta_fast": 32, "beta_slow": 1},
  "max_position_embeddings": 1048576, "expert_dtype": "fp4",
  "quantization_config": {"quant_method": "fp8", "fmt": "e4m3", "scale_fmt": "ue8m0",
                          "weight_block_size": [128, 128], "activation_scheme": "dynamic"},
  "bos_token_id": 0, "eos_token_id": 1
})";

constexpr const char* kProChanges = R"({
  "hidden_size": 7168, "num_hidden_layers": 61, "num_attention_heads": 128, "q_lora_rank": 1536,
  "o_groups": 16, "index_topk": 1024, "n_routed_experts": 384, "moe_intermediate_size": 3072,
  "routed_scaling_factor": 2.5
})";

// DeepSeek-V4.1-Flash, as far as its report describes it.
constexpr const char* kV41Flash = R"({
  "model_type": "deepseek_v41", "vocab_size": 129280, "hidden_size": 5120,
  "num_hidden_layers": 40, "hc_mult": 4, "num_attention_heads": 64, "head_dim": 512,
  "q_lora_rank": 1280, "o_groups": 8, "o_lora_rank": 1024, "sliding_window": 128,
  "index_topk": 512, "index_n_heads": 32, "index_head_dim": 128, "n_routed_experts": 384,
  "n_shared_experts": 1, "num_experts_per_tok": 6, "moe_intermediate_size": 2304,
  "kv_source_layer_ids": [2, 8, 14, 20],
  "index_source_layer_ids": [2, 8, 14, 20, 24, 28, 32, 36]
})";

json parsed(const char* text) {
  return json::parse(text);
}

json changed(json config, const json& changes) {
  config.update(changes);
  return config;
}

// Two layers of ratio `first`, pairs of CSA and HCA, a last CSA layer, then the draft stages.
json v4_ratios(int first, int n_layers, int n_drafts) {
  std::vector<int> ratios{first, first};
  while (static_cast<int>(ratios.size()) + 1 < n_layers) ratios.insert(ratios.end(), {4, 128});
  ratios.push_back(4);
  ratios.insert(ratios.end(), static_cast<std::size_t>(n_drafts), 0);
  return ratios;
}

json flash(int n_drafts) {
  json config = parsed(kFlash);
  config["compress_ratios"] = v4_ratios(0, config["num_hidden_layers"], n_drafts);
  return config;
}

json pro(int n_drafts) {
  json config = changed(parsed(kFlash), parsed(kProChanges));
  config["compress_ratios"] = v4_ratios(128, config["num_hidden_layers"], n_drafts);
  return config;
}

// Three drafter stages in place of the MTP block.
json with_drafter(json config, int markov_rank) {
  const int n_layers = config["num_hidden_layers"];
  config["dspark_block_size"] = 5;
  config["dspark_noise_token_id"] = 128799;
  config["dspark_target_layer_ids"] = {n_layers - 3, n_layers - 2, n_layers - 1};
  config["dspark_markov_rank"] = markov_rank;
  return config;
}

json v41_flash() {
  json config = parsed(kV41Flash);
  std::vector<int> ratios(2, 0);
  ratios.insert(ratios.end(), 18, 2);
  ratios.insert(ratios.end(), 20, 1);
  config["compress_ratios"] = ratios;
  return config;
}

struct Entry {
  const char* name;
  const char* source;
  json (*config)();
};

// Source of the V4 shapes: docs/model.md §1, §2, §7.
constexpr std::array<Entry, 8> kEntries{{
    {"v2", "config.json of DeepSeek-V2", [] { return parsed(kV2); }},
    {"v3", "config.json of DeepSeek-V3", [] { return parsed(kV3); }},
    {"v3.2", "config.json of DeepSeek-V3.2",
     [] { return changed(parsed(kV3), parsed(kV32Changes)); }},
    {"flash", "config.json of DeepSeek-V4-Flash (preview)", [] { return flash(1); }},
    {"pro", "config.json of DeepSeek-V4-Pro (preview)", [] { return pro(1); }},
    {"flash-0731", "config.json of DeepSeek-V4-Flash-0731",
     [] { return with_drafter(flash(3), 256); }},
    {"pro-0813", "config.json of DeepSeek-V4-Pro-0813, number of stages inferred",
     [] { return with_drafter(pro(3), 512); }},
    {"v4.1-flash", "report of DeepSeek-V4.1; Engram tables and vision are left out",
     [] { return v41_flash(); }},
}};

}  // namespace

std::vector<std::string> released_model_names() {
  std::vector<std::string> names;
  for (const Entry& entry : kEntries) names.emplace_back(entry.name);
  return names;
}

std::optional<ReleasedModel> find_released_model(std::string_view name) {
  for (const Entry& entry : kEntries) {
    if (entry.name == name) return ReleasedModel{entry.name, entry.source, entry.config().dump()};
  }
  return std::nullopt;
}

}  // namespace precis
