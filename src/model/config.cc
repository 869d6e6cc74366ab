#include "model/config.h"

#include <algorithm>
#include <bit>
#include <limits>
#include <optional>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "base/file.h"

namespace precis {
namespace {

using nlohmann::json;

constexpr std::size_t kMaxConfigBytes = 16 << 20;
constexpr std::int64_t kPagePositions = 128;  // every ratio must divide a page of the KV cache
constexpr std::int64_t kMaxDim = 1 << 20;
constexpr std::int64_t kMaxStreams = 8;  // released: 4; kernels keep a token's streams in registers

// A value as messages show it.  Lists and objects go by their type: printing one recurses as deep
// as a hostile file nests it.
std::string shown(const json& value) {
  constexpr std::size_t kMaxShown = 80;
  if (value.is_structured()) return value.is_array() ? "a list" : "an object";
  return value.dump().substr(0, kMaxShown);
}

// Reads fields of one JSON object and keeps the first thing that was wrong.
class Fields {
 public:
  Fields(const json& object, std::string name) : object_(object), name_(std::move(name)) {}

  std::int64_t integer(const char* field, std::int64_t low, std::int64_t high) {
    const json* value = find(field);
    if (value == nullptr) return low;
    return as_integer(*value, field, low, high);
  }
  std::int64_t integer_or(const char* field, std::int64_t low, std::int64_t high,
                          std::int64_t otherwise) {
    return has(field) ? integer(field, low, high) : otherwise;
  }
  double number(const char* field, double low, double high) {
    const json* value = find(field);
    if (value == nullptr) return low;
    if (!value->is_number() || !(value->get<double>() >= low && value->get<double>() <= high)) {
      fail(ErrorCode::kCorrupt,
           fmt::format("{}: want a number in {} … {}, found {}", field, low, high, shown(*value)));
      return low;
    }
    return value->get<double>();
  }
  double number_or(const char* field, double low, double high, double otherwise) {
    return has(field) ? number(field, low, high) : otherwise;
  }
  /// The field must say `want`, if it is there at all.
  void expect_string(const char* field, std::string_view want) {
    if (!has(field)) return;
    const json& value = object_[field];
    if (!value.is_string() || value.get<std::string>() != want) {
      fail(ErrorCode::kUnsupported,
           fmt::format("{}: want \"{}\", found {}", field, want, shown(value)));
    }
  }
  /// The flag must say `want`, if it is there at all.
  void expect_flag(const char* field, bool want) {
    if (!has(field)) return;
    const json& value = object_[field];
    if (!value.is_boolean() || value.get<bool>() != want) {
      fail(ErrorCode::kUnsupported,
           fmt::format("{}: want {}, found {}", field, want, shown(value)));
    }
  }
  std::vector<std::int64_t> integers(const char* field, std::int64_t low, std::int64_t high) {
    std::vector<std::int64_t> out;
    const json* value = find(field);
    if (value == nullptr) return out;
    if (!value->is_array()) {
      fail(ErrorCode::kCorrupt,
           fmt::format("{}: want a list of integers, found {}", field, shown(*value)));
      return out;
    }
    for (const json& item : *value) out.push_back(as_integer(item, field, low, high));
    return out;
  }
  /// The sub-object `field`, or null when it is absent or null.
  const json* object(const char* field) {
    if (!has(field)) return nullptr;
    if (!object_[field].is_object()) {
      fail(ErrorCode::kCorrupt,
           fmt::format("{}: want an object, found {}", field, shown(object_[field])));
      return nullptr;
    }
    return &object_[field];
  }
  bool has(const char* field) const {
    const auto it = object_.find(field);
    return it != object_.end() && !it->is_null();
  }

  void require(bool holds, ErrorCode code, std::string sentence) {
    if (!holds) fail(code, std::move(sentence));
  }
  void fail(ErrorCode code, std::string sentence) {
    if (!error_) error_ = Error{code, name_ + ": " + std::move(sentence)};
  }
  const std::optional<Error>& error() const { return error_; }

 private:
  const json* find(const char* field) {
    if (has(field)) return &object_[field];
    fail(ErrorCode::kCorrupt, fmt::format("field {} is missing", field));
    return nullptr;
  }
  std::int64_t as_integer(const json& value, const char* field, std::int64_t low,
                          std::int64_t high) {
    const bool in_range = value.is_number_integer() &&
                          !(value.is_number_unsigned() && value.get<std::uint64_t>() > INT64_MAX) &&
                          value.get<std::int64_t>() >= low && value.get<std::int64_t>() <= high;
    if (!in_range) {
      fail(ErrorCode::kCorrupt,
           fmt::format("{}: want an integer in {} … {}, found {}", field, low, high, shown(value)));
      return low;
    }
    return value.get<std::int64_t>();
  }

  const json& object_;
  std::string name_;
  std::optional<Error> error_;
};

int dim(Fields& f, const char* field) {
  return static_cast<int>(f.integer(field, 1, kMaxDim));
}

void read_shapes(Fields& f, ModelConfig& c) {
  c.vocab_size = f.integer("vocab_size", 1, std::numeric_limits<std::int32_t>::max());
  c.hidden_size = dim(f, "hidden_size");
  c.n_streams = static_cast<int>(f.integer("hc_mult", 1, kMaxStreams));
  c.n_heads = dim(f, "num_attention_heads");
  c.head_dim = dim(f, "head_dim");
  c.rope_dim = dim(f, "qk_rope_head_dim");
  c.q_lora_rank = dim(f, "q_lora_rank");
  c.o_groups = dim(f, "o_groups");
  c.o_lora_rank = dim(f, "o_lora_rank");
  c.window = dim(f, "sliding_window");
  c.n_experts = dim(f, "n_routed_experts");
  c.n_active_experts = dim(f, "num_experts_per_tok");
  c.expert_dim = dim(f, "moe_intermediate_size");
  c.max_position_embeddings = f.integer("max_position_embeddings", 1, std::int64_t{1} << 31);
}

void read_numbers(Fields& f, ModelConfig& c) {
  c.sinkhorn_iters = static_cast<int>(f.integer("hc_sinkhorn_iters", 1, 1000));
  c.norm_eps = static_cast<float>(f.number("rms_norm_eps", 0, 1));
  c.hc_eps = static_cast<float>(f.number("hc_eps", 0, 1));
  c.route_scale = static_cast<float>(f.number("routed_scaling_factor", 0, 1e6));
  c.swiglu_limit = static_cast<float>(f.number("swiglu_limit", 0, 1e30));
  c.rope_theta = f.number("rope_theta", 1, 1e12);
  c.bos_token = static_cast<int>(f.integer_or("bos_token_id", 0, INT32_MAX, 0));
  c.eos_token = static_cast<int>(f.integer_or("eos_token_id", 0, INT32_MAX, 1));
}

void read_rope_scaling(Fields& f, ModelConfig& c) {
  const json* scaling = f.object("rope_scaling");
  if (scaling == nullptr) return;
  Fields r(*scaling, "rope_scaling");
  r.expect_string("type", "yarn");
  r.expect_string("rope_type", "yarn");
  c.yarn.factor = r.number("factor", 1, 1e6);
  c.yarn.original_max_position = r.number("original_max_position_embeddings", 1, 1e12);
  c.yarn.beta_fast = r.number_or("beta_fast", 1e-6, 1e6, 32);
  c.yarn.beta_slow = r.number_or("beta_slow", 1e-6, 1e6, 1);
  if (r.error()) f.fail(r.error()->code, r.error()->message);
}

void read_quantization(Fields& f, ModelConfig& c) {
  const json* quant = f.object("quantization_config");
  if (quant == nullptr) return;
  Fields q(*quant, "quantization_config");
  q.expect_string("quant_method", "fp8");
  q.expect_string("fmt", "e4m3");
  q.expect_string("scale_fmt", "ue8m0");
  q.expect_string("activation_scheme", "dynamic");
  if (q.has("weight_block_size")) {
    const auto block = q.integers("weight_block_size", 1, kMaxDim);
    q.require(block.size() == 2, ErrorCode::kCorrupt,
              fmt::format("weight_block_size: want 2 integers, found {}", block.size()));
    if (block.size() == 2) {
      c.weight_block_out = static_cast<int>(block[0]);
      c.weight_block_in = static_cast<int>(block[1]);
    }
  }
  if (q.error()) f.fail(q.error()->code, q.error()->message);
}

void expect_family(Fields& f) {
  f.require(f.has("model_type"), ErrorCode::kCorrupt, "field model_type is missing");
  f.expect_string("model_type", "deepseek_v4");
  f.expect_string("hidden_act", "silu");
  f.expect_string("scoring_func", "sqrtsoftplus");
  f.expect_string("topk_method", "noaux_tc");
  f.expect_flag("norm_topk_prob", true);
  f.expect_flag("tie_word_embeddings", false);
  const auto n_shared = f.integer_or("n_shared_experts", 0, kMaxDim, 1);
  f.require(n_shared == 1, ErrorCode::kUnsupported,
            fmt::format("n_shared_experts: want 1, found {}", n_shared));
  const auto n_kv = f.integer_or("num_key_value_heads", 0, kMaxDim, 1);
  f.require(
      n_kv == 1, ErrorCode::kUnsupported,
      fmt::format("num_key_value_heads: want 1 (K and V are one shared row), found {}", n_kv));
  f.require(!f.has("kv_source_layer_ids"), ErrorCode::kUnsupported,
            "kv_source_layer_ids: layers that share another layer's rows (V4.1) are not supported");
}

LayerConfig make_layer(const std::string& prefix, std::int64_t ratio, bool hash_routing) {
  LayerConfig layer;
  layer.prefix = prefix;
  layer.ratio = static_cast<int>(ratio);
  layer.kind = ratio == 0   ? LayerKind::kWindow
               : ratio == 4 ? LayerKind::kSparse
                            : LayerKind::kHeavy;
  layer.hash_routing = hash_routing;
  return layer;
}

void read_layers(Fields& f, ModelConfig& c) {
  const std::int64_t n_layers = f.integer("num_hidden_layers", 1, 4096);
  const std::int64_t n_mtp = f.integer_or("num_nextn_predict_layers", 0, 1, 0);
  const std::int64_t n_hash = f.integer_or("num_hash_layers", 0, n_layers, 0);
  const auto ratios = f.integers("compress_ratios", 0, kPagePositions);
  const auto n_ratios = static_cast<std::int64_t>(ratios.size());
  f.require(n_ratios >= n_layers, ErrorCode::kCorrupt,
            fmt::format("compress_ratios: want at least num_hidden_layers = {} entries, found {}",
                        n_layers, n_ratios));
  if (f.error()) return;

  for (std::int64_t n = 0; n < n_layers; ++n) {
    const std::int64_t ratio = ratios[static_cast<std::size_t>(n)];
    f.require(ratio == 0 || (ratio > 1 && kPagePositions % ratio == 0), ErrorCode::kUnsupported,
              fmt::format("compress_ratios[{}]: want 0 or a divisor of {} above 1, found {}", n,
                          kPagePositions, ratio));
    c.layers.push_back(make_layer(fmt::format("layers.{}.", n), ratio, n < n_hash));
  }
  if (f.has("dspark_block_size")) {
    c.drafter.block_size = static_cast<int>(f.integer("dspark_block_size", 1, 64));
    c.drafter.markov_rank = static_cast<int>(f.integer("dspark_markov_rank", 1, kMaxDim));
    c.drafter.n_targets =
        static_cast<int>(f.integers("dspark_target_layer_ids", 0, n_layers - 1).size());
    c.drafter.n_stages = static_cast<int>(std::max<std::int64_t>(n_ratios - n_layers, 1));
  } else {
    // The block is window-only whatever the list says of the layer before it.
    for (std::int64_t n = 0; n < n_mtp; ++n) {
      c.mtp.push_back(make_layer(fmt::format("mtp.{}.", n), 0, false));
    }
  }
}

void read_compression(Fields& f, ModelConfig& c) {
  const bool any = std::any_of(c.layers.begin(), c.layers.end(),
                               [](const LayerConfig& l) { return l.compressed(); });
  if (any) c.compress_rope_theta = f.number("compress_rope_theta", 1, 1e12);
  if (c.n_layers_of(LayerKind::kSparse) == 0) return;
  c.index_topk = dim(f, "index_topk");
  c.index_heads = dim(f, "index_n_heads");
  c.index_dim = dim(f, "index_head_dim");
}

void check_relations(Fields& f, const ModelConfig& c) {
  f.require(c.rope_dim % 2 == 0 && c.rope_dim < c.head_dim, ErrorCode::kCorrupt,
            fmt::format("qk_rope_head_dim: want an even number below head_dim = {}, found {}",
                        c.head_dim, c.rope_dim));
  f.require(c.nope_dim() % KvRowFormat::kGroup == 0, ErrorCode::kCorrupt,
            fmt::format("head_dim − qk_rope_head_dim: want a multiple of {}, found {}",
                        KvRowFormat::kGroup, c.nope_dim()));
  f.require(c.n_heads % c.o_groups == 0, ErrorCode::kCorrupt,
            fmt::format("o_groups: want a divisor of num_attention_heads = {}, found {}", c.n_heads,
                        c.o_groups));
  f.require(c.n_active_experts <= c.n_experts, ErrorCode::kCorrupt,
            fmt::format("num_experts_per_tok: want at most n_routed_experts = {}, found {}",
                        c.n_experts, c.n_active_experts));
  f.require(c.bos_token < c.vocab_size && c.eos_token < c.vocab_size, ErrorCode::kCorrupt,
            fmt::format("bos_token_id, eos_token_id: want ids below vocab_size = {}, found {}, {}",
                        c.vocab_size, c.bos_token, c.eos_token));
  for (const auto& [name, value] : {std::pair{"hidden_size", c.hidden_size},
                                    std::pair{"moe_intermediate_size", c.expert_dim}}) {
    f.require(value % 32 == 0, ErrorCode::kCorrupt,
              fmt::format("{}: want a multiple of 32 (FP4 scale groups), found {}", name, value));
  }
  if (c.n_layers_of(LayerKind::kSparse) == 0) return;
  f.require(
      std::has_single_bit(static_cast<unsigned>(c.index_dim)) && c.index_dim >= 32,
      ErrorCode::kCorrupt,
      fmt::format("index_head_dim: want a power of two of at least 32 (Hadamard, FP4 groups), "
                  "found {}",
                  c.index_dim));
  f.require(c.rope_dim <= c.index_dim, ErrorCode::kCorrupt,
            fmt::format("index_head_dim: want at least qk_rope_head_dim = {}, found {}", c.rope_dim,
                        c.index_dim));
}

}  // namespace

std::string_view layer_kind_name(LayerKind kind) {
  switch (kind) {
    case LayerKind::kWindow: return "window";
    case LayerKind::kSparse: return "sparse";
    case LayerKind::kHeavy: return "heavy";
  }
  return "unknown";
}

int ModelConfig::n_layers_of(LayerKind kind) const {
  return static_cast<int>(std::count_if(layers.begin(), layers.end(),
                                        [&](const LayerConfig& l) { return l.kind == kind; }));
}

KvSpec kv_spec_of(const ModelConfig& config, std::span<const LayerConfig> layers,
                  RopeStorage storage) {
  KvSpec spec;
  spec.window = config.window;
  spec.kv = config.kv_format(storage);
  spec.index = config.index_format();
  for (const LayerConfig& layer : layers) {
    spec.layers.push_back({layer.ratio, layer.overlap(), layer.kind == LayerKind::kSparse});
  }
  return spec;
}

Result<ModelConfig> parse_config(std::string_view text, std::string_view name) {
  const json object = json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (!object.is_object()) {
    return Error{ErrorCode::kCorrupt,
                 fmt::format("{}: want a JSON object, found {}", name,
                             object.is_discarded() ? "malformed JSON" : object.type_name())};
  }
  Fields f(object, std::string(name));
  ModelConfig config;
  expect_family(f);
  if (f.error()) return *f.error();
  read_shapes(f, config);
  read_numbers(f, config);
  read_rope_scaling(f, config);
  read_quantization(f, config);
  read_layers(f, config);
  if (!f.error()) read_compression(f, config);
  if (!f.error()) check_relations(f, config);
  if (f.error()) return *f.error();
  return config;
}

Result<ModelConfig> load_config(const std::filesystem::path& dir) {
  std::error_code ec;
  if (!std::filesystem::is_directory(dir, ec)) {
    return Error{
        ErrorCode::kNotFound,
        fmt::format("{}: want a checkpoint directory (config.json, tokenizer.json, "
                    "*.safetensors), found {}",
                    dir.string(), std::filesystem::exists(dir, ec) ? "a file" : "nothing")};
  }
  const auto path = dir / "config.json";
  auto text = read_text_file(path, kMaxConfigBytes);
  if (!text) {
    if (text.error().code == ErrorCode::kNotFound) {
      return Error{
          ErrorCode::kNotFound,
          fmt::format("{}: want a checkpoint directory, found no config.json in it", dir.string())};
    }
    return std::move(text).error();
  }
  return parse_config(*text, path.string());
}

}  // namespace precis
