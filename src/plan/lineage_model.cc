#include "plan/lineage_model.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>
#include <vector>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "plan/visible_rows.h"

namespace precis {
namespace {

using nlohmann::json;

constexpr std::int64_t kNoLimit = std::numeric_limits<std::int64_t>::max();

// Which tokens of a prompt a piece of work is done for.
enum class Reach : std::uint8_t {
  kEveryToken,
  kLastTokens,  // decoder layers of V4.1: the replayed end of a prompt alone
};

// Equal matrices in n layers.
struct Product {
  Part part;
  WeightFormat format;
  double n_out = 0;
  double n_in = 0;
  double n_layers = 1;
  Reach reach = Reach::kEveryToken;
};

struct Experts {
  WeightFormat format = WeightFormat::kFp8Block;
  double n_layers = 0;
  double n_routed = 0;
  double n_active = 0;
  double n_shared = 0;
  double width = 0;
  Reach reach = Reach::kEveryToken;
};

// Cached rows that the tokens of n layers read.
struct RowReads {
  Part part;
  double n_layers = 0;
  double flop_per_row = 0;  // all heads
  double row_bytes = 0;
  int ratio = 1;                // tokens a row
  std::int64_t cap = kNoLimit;  // rows that a token reads at most
  Reach reach = Reach::kEveryToken;
};

struct CacheShape {
  double selected_bytes = 0;  // a token
  double index_bytes = 0;
  double all_read_bytes = 0;
  double bf16_bytes = 0;
  double window_bytes = 0;  // fixed
};

struct Shape {
  int n_layers = 0;
  int n_heads = 0;
  std::int64_t n_replayed = 0;  // tokens of a prompt that kLastTokens work is done for
  double vocab_size = 0;
  double width = 0;
  std::vector<Product> products;
  std::vector<Experts> experts;
  std::vector<RowReads> reads;
  CacheShape cache;
};

double stored(WeightFormat format, double n_out, double n_in) {
  return stored_bytes(format, static_cast<std::int64_t>(n_out), static_cast<std::int64_t>(n_in));
}

double& flop_of(FlopCount& flop, WeightFormat format, Part part) {
  // wo_a is stored in FP8 and multiplied in bf16.
  if (part == Part::kGroupedOutput || format == WeightFormat::kBf16) return flop.bf16;
  if (format == WeightFormat::kF32) return flop.f32;
  return format == WeightFormat::kFp8Block ? flop.fp8 : flop.fp4;
}

// Tokens of one step: `n_sequences` times the positions begin … end − 1.
struct Tokens {
  std::int64_t n_sequences = 1;
  std::int64_t begin = 0;
  std::int64_t end = 0;
  double n() const { return static_cast<double>(n_sequences * (end - begin)); }
};

class LineageModel final : public PlannedModel {
 public:
  explicit LineageModel(Shape shape) : s_(std::move(shape)) {}

  WeightPlan weights() const override;
  KvBytes kv(std::int64_t n_tokens) const override {
    const auto n = static_cast<double>(n_tokens);
    KvBytes bytes;
    bytes.sparse_rows = std::llround(n * s_.cache.selected_bytes);
    bytes.index_rows = std::llround(n * s_.cache.index_bytes);
    bytes.heavy_rows = std::llround(n * s_.cache.all_read_bytes);
    bytes.window = std::llround(s_.cache.window_bytes);
    return bytes;
  }
  double kv_bytes_per_token() const override {
    return s_.cache.selected_bytes + s_.cache.index_bytes + s_.cache.all_read_bytes;
  }
  double kv_bf16_bytes_per_token() const override { return s_.cache.bf16_bytes; }

  Work decode(std::int64_t n_sequences, std::int64_t n_tokens) const override {
    Work work;
    add_step({n_sequences, n_tokens - 1, n_tokens}, n_tokens, work);
    add_head(static_cast<double>(n_sequences), work);
    return work;
  }
  Work prefill(std::int64_t n_tokens, std::int64_t chunk_tokens) const override {
    Work work;
    for (std::int64_t at = 0; at < n_tokens; at += chunk_tokens) {
      add_step({1, at, std::min(at + chunk_tokens, n_tokens)}, n_tokens, work);
    }
    add_head(1, work);
    return work;
  }

  int n_layers() const override { return s_.n_layers; }
  int n_heads() const override { return s_.n_heads; }
  std::int64_t n_experts() const override {
    return s_.experts.empty() ? 0 : static_cast<std::int64_t>(s_.experts.front().n_routed);
  }
  // These are compared at lengths that they were not trained for.
  std::int64_t max_context() const override { return 0; }

 private:
  // The tokens of a step for which work of that reach is done; a decoded token is a last one.
  Tokens reached(const Tokens& tokens, Reach reach, std::int64_t prompt_end) const {
    if (reach == Reach::kEveryToken) return tokens;
    Tokens last = tokens;
    last.begin = std::clamp(prompt_end - s_.n_replayed, tokens.begin, tokens.end);
    return last;
  }

  void add_step(const Tokens& step, std::int64_t prompt_end, Work& work) const;
  void add_experts(const Experts& experts, double n_tokens, Work& work) const;
  void add_head(double n_rows, Work& work) const {
    Cost& cost = work[Part::kHead];
    cost.flop.bf16 += 2 * n_rows * s_.vocab_size * s_.width;
    cost.bytes += stored(WeightFormat::kBf16, s_.vocab_size, s_.width);
  }

  Shape s_;
};

void LineageModel::add_step(const Tokens& step, std::int64_t prompt_end, Work& work) const {
  for (const Product& product : s_.products) {
    const double n = reached(step, product.reach, prompt_end).n();
    if (n == 0) continue;
    Cost& cost = work[product.part];
    flop_of(cost.flop, product.format, product.part) +=
        2 * n * product.n_layers * product.n_out * product.n_in;
    cost.bytes += product.n_layers * stored(product.format, product.n_out, product.n_in);
  }
  for (const Experts& experts : s_.experts) {
    const double n = reached(step, experts.reach, prompt_end).n();
    if (n > 0) add_experts(experts, n, work);
  }
  for (const RowReads& reads : s_.reads) {
    const Tokens tokens = reached(step, reads.reach, prompt_end);
    if (tokens.n() == 0) continue;
    const double n_reads = sum_visible(tokens.begin, tokens.end, reads.ratio, reads.cap);
    const auto n_sequences = static_cast<double>(tokens.n_sequences);
    const std::int64_t n_visible = tokens.end / reads.ratio;
    const double n_distinct = std::min(n_reads, static_cast<double>(n_visible));
    Cost& cost = work[reads.part];
    const double flop = reads.n_layers * reads.flop_per_row * n_reads * n_sequences;
    // V3.2 scores its index in FP8, V4.1 in FP4 as V4 does.
    if (reads.part != Part::kIndexScores) {
      cost.flop.bf16 += flop;
    } else {
      (s_.n_replayed > 0 ? cost.flop.int8 : cost.flop.fp8) += flop;
    }
    cost.bytes += reads.n_layers * reads.row_bytes * n_distinct * n_sequences;
  }
}

void LineageModel::add_experts(const Experts& e, double n_tokens, Work& work) const {
  const double expert_flop = 6 * e.width * s_.width;
  const double expert_bytes =
      2 * stored(e.format, e.width, s_.width) + stored(e.format, s_.width, e.width);
  const double n_read = e.n_routed * (1 - std::pow(1 - e.n_active / e.n_routed, n_tokens));
  Cost& cost = work[Part::kExperts];
  flop_of(cost.flop, e.format, Part::kExperts) +=
      e.n_layers * n_tokens * (e.n_active + e.n_shared) * expert_flop;
  cost.bytes += e.n_layers * (n_read + e.n_shared) * expert_bytes;
}

WeightPlan LineageModel::weights() const {
  double products = 0;
  for (const Product& p : s_.products) products += p.n_layers * stored(p.format, p.n_out, p.n_in);
  double routed = 0;
  double shared = 0;
  for (const Experts& e : s_.experts) {
    const double one =
        2 * stored(e.format, e.width, s_.width) + stored(e.format, s_.width, e.width);
    routed += e.n_layers * e.n_routed * one;
    shared += e.n_layers * e.n_shared * one;
  }
  const double ends = 2 * stored(WeightFormat::kBf16, s_.vocab_size, s_.width);
  WeightPlan plan;
  plan.routed_expert_bytes = std::llround(routed);
  plan.parts = {{"routed experts", std::llround(routed)},
                {"shared experts", std::llround(shared)},
                {"other products", std::llround(products)},
                {"embedding and head", std::llround(ends)}};
  for (const WeightPart& part : plan.parts) plan.n_bytes += part.n_bytes;
  return plan;
}

// Numbers of one configuration; the first one that is missing is kept.
class Numbers {
 public:
  Numbers(const json& object, std::string_view name) : object_(object), name_(name) {}
  double operator()(const char* field) {
    const auto it = object_.find(field);
    if (it != object_.end() && it->is_number() && it->get<double>() >= 0) return it->get<double>();
    if (missing_.empty()) missing_ = fmt::format("{}: {}: want a number", name_, field);
    return 1;
  }
  const std::string& missing() const { return missing_; }

 private:
  const json& object_;
  std::string_view name_;
  std::string missing_;
};

// V2, V3 and V3.2: one latent row a token and layer, keys and values made from it.  The products
// with kv_b are counted as the absorbed form does them, which is as many.
Shape mla_shape(const json& config, Numbers& n) {
  const bool fp8 = config.contains("quantization_config");
  const WeightFormat format = fp8 ? WeightFormat::kFp8Block : WeightFormat::kBf16;
  const double layers = n("num_hidden_layers");
  const double d = n("hidden_size");
  const double heads = n("num_attention_heads");
  const double lq = n("q_lora_rank");
  const double latent = n("kv_lora_rank");
  const double nope = n("qk_nope_head_dim");
  const double rope = n("qk_rope_head_dim");
  const double v = n("v_head_dim");
  const double dense_layers = n("first_k_dense_replace");
  const double dense_width = n("intermediate_size");

  Shape s;
  s.n_layers = static_cast<int>(layers);
  s.n_heads = static_cast<int>(heads);
  s.vocab_size = n("vocab_size");
  s.width = d;
  s.products = {
      {Part::kProjections, format, lq, d, layers},
      {Part::kProjections, format, heads * (nope + rope), lq, layers},
      {Part::kProjections, format, latent + rope, d, layers},
      {Part::kProjections, format, heads * (nope + v), latent, layers},
      {Part::kProjections, format, d, heads * v, layers},
      {Part::kDenseFfn, format, 3 * dense_width, d, dense_layers},
      {Part::kRouter, WeightFormat::kBf16, n("n_routed_experts"), d, layers - dense_layers}};
  s.experts = {{format, layers - dense_layers, n("n_routed_experts"), n("num_experts_per_tok"),
                n("n_shared_experts"), n("moe_intermediate_size")}};

  const double row = latent + rope;
  const double core_flop = 2 * heads * (row + latent);
  s.cache.bf16_bytes = 2 * layers * row;
  if (!config.contains("index_topk")) {
    s.cache.all_read_bytes = s.cache.bf16_bytes;
    s.reads = {{Part::kAttentionDense, layers, core_flop, 2 * row}};
    return s;
  }
  const double index_heads = n("index_n_heads");
  const double index_dim = n("index_head_dim");
  s.products.push_back({Part::kIndexer, format, index_heads * index_dim, lq, layers});
  s.products.push_back({Part::kIndexer, format, index_dim, d, layers});
  s.products.push_back({Part::kIndexer, WeightFormat::kBf16, index_heads, d, layers});
  // e4m3 codes and an f32 scale per 128, rotated channels in bf16; keys of e4m3 and one f32 scale.
  const double row_bytes = latent + 4 * latent / 128 + 2 * rope;
  const double key_bytes = index_dim + 4;
  s.cache.selected_bytes = layers * row_bytes;
  s.cache.index_bytes = layers * key_bytes;
  s.cache.bf16_bytes += 2 * layers * index_dim;
  s.reads = {{Part::kAttentionSparse, layers, core_flop, row_bytes, 1,
              static_cast<std::int64_t>(n("index_topk"))},
             {Part::kIndexScores, layers, 2 * index_heads * index_dim, key_bytes}};
  return s;
}

std::vector<int> integers(const json& config, const char* field) {
  const auto it = config.find(field);
  if (it == config.end() || !it->is_array()) return {};
  return it->get<std::vector<int>>();
}

// V4.1: some layers make rows and selections, the others share them, and the second half of the
// layers runs for the last tokens of a prompt alone.  Source: docs/model.md §7.2
Shape shared_rows_shape(const json& config, Numbers& n) {
  constexpr double kRowBytes = 288;        // e2m1 codes, an e4m3 scale per 16 of 512 channels
  constexpr double kKeyBytes = 68;         // MXFP4
  constexpr double kWindowRowBytes = 528;  // e4m3 codes, an e8m0 scale per 32
  constexpr std::int64_t kCandidateRows = 16'384;
  constexpr auto kFp8 = WeightFormat::kFp8Block;
  constexpr auto kBf16 = WeightFormat::kBf16;
  const double d = n("hidden_size"), dh = n("head_dim"), heads = n("num_attention_heads");
  const double lq = n("q_lora_rank"), o = n("o_groups") * n("o_lora_rank");
  const double window = n("sliding_window"), streams = n("hc_mult");
  const double index_heads = n("index_n_heads"), index_dim = n("index_head_dim");
  const auto topk = static_cast<std::int64_t>(n("index_topk"));
  const std::vector<int> ratios = integers(config, "compress_ratios");
  const std::vector<int> kv_sources = integers(config, "kv_source_layer_ids");
  const std::vector<int> index_sources = integers(config, "index_source_layer_ids");
  const int decoder_begin = kv_sources.empty() ? 0 : kv_sources.back();

  Shape s;
  s.n_layers = static_cast<int>(ratios.size());
  s.n_heads = static_cast<int>(heads);
  s.n_replayed = static_cast<std::int64_t>(window);
  s.vocab_size = n("vocab_size");
  s.width = d;
  for (int layer = 0; layer < s.n_layers; ++layer) {
    const int ratio = ratios[static_cast<std::size_t>(layer)];
    const Reach reach = layer < decoder_begin ? Reach::kEveryToken : Reach::kLastTokens;
    for (const auto& [part, n_out, n_in] :
         {std::tuple{Part::kProjections, lq, d}, std::tuple{Part::kProjections, heads * dh, lq},
          std::tuple{Part::kProjections, dh, d},
          std::tuple{Part::kGroupedOutput, o, heads * dh / n("o_groups")},
          std::tuple{Part::kProjections, d, o}}) {
      s.products.push_back({part, kFp8, n_out, n_in, 1, reach});
    }
    s.products.push_back({Part::kRouter, kBf16, n("n_routed_experts"), d, 1, reach});
    s.products.push_back(
        {Part::kHyper, WeightFormat::kF32, 2 * streams * (2 + streams), streams * d, 1, reach});
    s.experts.push_back({kFp8, 1, n("n_routed_experts"), n("num_experts_per_tok"),
                         n("n_shared_experts"), n("moe_intermediate_size"), reach});
    const double core_flop = 4 * heads * dh;
    s.cache.window_bytes += window * kWindowRowBytes;
    s.reads.push_back({Part::kAttentionWindow, 1, core_flop, kWindowRowBytes, 1,
                       static_cast<std::int64_t>(window), reach});
    if (ratio == 0) continue;
    s.reads.push_back({Part::kAttentionSparse, 1, core_flop, kRowBytes, ratio, topk, reach});
    if (std::ranges::count(kv_sources, layer) > 0) {
      // Rows are made for every token; a ratio of 1 pools nothing and has no gate.
      s.products.push_back({Part::kCompressors, kBf16, dh * (ratio > 1 ? 2 : 1), d});
      s.products.push_back({Part::kIndexer, kBf16, index_dim, dh, 1});
      s.cache.selected_bytes += kRowBytes / ratio;
      s.cache.index_bytes += kKeyBytes / ratio;
      s.cache.bf16_bytes += 2 * (dh + index_dim) / ratio;
    }
    if (std::ranges::count(index_sources, layer) > 0) {
      const std::int64_t cap = layer > decoder_begin ? kCandidateRows : kNoLimit;
      s.products.push_back({Part::kIndexer, kFp8, index_heads * index_dim, lq, 1, reach});
      s.products.push_back({Part::kIndexer, kBf16, index_heads, d, 1, reach});
      s.reads.push_back(
          {Part::kIndexScores, 1, 2 * index_heads * index_dim, kKeyBytes, ratio, cap, reach});
    }
  }
  return s;
}

}  // namespace

Result<std::unique_ptr<PlannedModel>> make_lineage_model(const std::string& config_json,
                                                         std::string_view name) {
  const json config = json::parse(config_json, nullptr, /*allow_exceptions=*/false);
  if (!config.is_object()) {
    return Error{ErrorCode::kCorrupt, fmt::format("{}: want a JSON object", name)};
  }
  const std::string type = config.value("model_type", "");
  Numbers numbers(config, name);
  Shape shape;
  if (type == "deepseek_v2" || type == "deepseek_v3" || type == "deepseek_v32") {
    shape = mla_shape(config, numbers);
  } else if (type == "deepseek_v41") {
    shape = shared_rows_shape(config, numbers);
  } else {
    return Error{ErrorCode::kUnsupported,
                 fmt::format("{}: model_type: want deepseek_v2, deepseek_v3, deepseek_v32 or "
                             "deepseek_v41, found \"{}\"",
                             name, type)};
  }
  if (!numbers.missing().empty()) return Error{ErrorCode::kCorrupt, numbers.missing()};
  return std::unique_ptr<PlannedModel>(std::make_unique<LineageModel>(std::move(shape)));
}

}  // namespace precis
