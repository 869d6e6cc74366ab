#include "plan/v4_model.h"

#include <algorithm>
#include <array>
#include <functional>
#include <numeric>
#include <optional>
#include <utility>
#include <vector>

#include "base/integers.h"
#include "checkpoint/safetensors.h"
#include "kv/kv_spec.h"
#include "model/tensor_table.h"

namespace precis {
namespace {

// Tensors and bytes of each group, of the draft stages, and of routed experts in main layers.
struct Totals {
  std::int64_t n_tensors = 0;
  std::int64_t n_bytes = 0;
  std::int64_t draft_bytes = 0;
  std::int64_t routed_expert_bytes = 0;
  std::array<std::int64_t, kNTensorGroups> by_group{};

  void add(const TensorSpec& spec, std::int64_t tensors, std::int64_t bytes) {
    n_tensors += tensors;
    n_bytes += bytes;
    if (spec.mtp) {
      draft_bytes += bytes;
      return;
    }
    by_group[static_cast<std::size_t>(spec.group)] += bytes;
    if (spec.group == TensorGroup::kRoutedExperts) routed_expert_bytes += bytes;
  }

  WeightPlan plan() const {
    WeightPlan plan;
    plan.exact = true;
    plan.n_tensors = n_tensors;
    plan.n_bytes = n_bytes;
    plan.draft_bytes = draft_bytes;
    plan.routed_expert_bytes = routed_expert_bytes;
    for (int group = 0; group < kNTensorGroups; ++group) {
      const std::int64_t bytes = by_group[static_cast<std::size_t>(group)];
      if (bytes == 0) continue;
      plan.parts.push_back({tensor_group_name(static_cast<TensorGroup>(group)), bytes});
    }
    if (draft_bytes > 0) plan.parts.push_back({"draft block", draft_bytes});
    std::ranges::stable_sort(plan.parts, std::ranges::greater(), &WeightPart::n_bytes);
    return plan;
  }
};

// Matrices that the releases leave in BF16.  Source: docs/model.md §3, §7.1.
bool is_bf16_matrix(std::string_view name) {
  constexpr std::array<std::string_view, 9> kEnds{
      "embed",        "head",           "ffn.gate",
      "weights_proj", "compressor.wkv", "compressor.wgate",
      "markov_w1",    "markov_w2",      "confidence_head.proj"};
  return std::ranges::any_of(kEnds, [&](std::string_view end) { return name.ends_with(end); });
}

void add_released(const ModelConfig& config, const TensorSpec& spec, Totals& totals) {
  const std::int64_t n =
      std::accumulate(spec.shape.begin(), spec.shape.end(), std::int64_t{1}, std::multiplies<>());
  if (spec.form == TensorForm::kTable) {
    totals.add(spec, 1, 8 * n);
  } else if (spec.form != TensorForm::kMatrix) {
    totals.add(spec, 1, (spec.name.ends_with("norm.weight") ? 2 : 4) * n);
  } else if (is_bf16_matrix(spec.name)) {
    totals.add(spec, 1, 2 * n);
  } else if (spec.name.find(".experts.") != std::string::npos) {
    totals.add(spec, 2, n / 2 + spec.shape[0] * ceil_div(spec.shape[1], 32));
  } else {
    totals.add(spec, 2,
               n + ceil_div(spec.shape[0], config.weight_block_out) *
                       ceil_div(spec.shape[1], config.weight_block_in));
  }
}

Totals released_totals(ModelConfig config, int n_experts) {
  config.n_experts = n_experts;
  Totals totals;
  for (const TensorSpec& spec : expected_tensors(config)) add_released(config, spec, totals);
  return totals;
}

class V4Model final : public PlannedModel {
 public:
  V4Model(ModelConfig config, MatrixFormats formats, WeightPlan weights)
      : config_(std::move(config)),
        formats_(formats),
        weights_(std::move(weights)),
        kv_spec_(kv_spec_of(config_, config_.layers, RopeStorage::kBf16)) {}

  WeightPlan weights() const override { return weights_; }
  KvBytes kv(std::int64_t n_tokens) const override { return kv_bytes(kv_spec_, n_tokens); }
  double kv_bytes_per_token() const override { return precis::kv_bytes_per_token(kv_spec_); }
  double kv_bf16_bytes_per_token() const override {
    constexpr double kBf16Bytes = 2;
    double bytes = 0;
    for (const LayerConfig& layer : config_.layers) {
      if (!layer.compressed()) continue;
      const int width =
          config_.head_dim + (layer.kind == LayerKind::kSparse ? config_.index_dim : 0);
      bytes += kBf16Bytes * width / layer.ratio;
    }
    return bytes;
  }

  Work decode(std::int64_t n_sequences, std::int64_t n_tokens) const override {
    return step_work(config_, formats_, {n_sequences, 1, n_tokens - 1, n_sequences});
  }
  Work prefill(std::int64_t n_tokens, std::int64_t chunk_tokens) const override {
    return prefill_work(config_, formats_, n_tokens, chunk_tokens);
  }

  int n_layers() const override { return config_.n_layers(); }
  int n_heads() const override { return config_.n_heads; }
  std::int64_t n_experts() const override { return config_.n_experts; }
  std::int64_t max_context() const override { return config_.max_position_embeddings; }

 private:
  ModelConfig config_;
  MatrixFormats formats_;
  WeightPlan weights_;
  KvSpec kv_spec_;
};

WeightFormat stored_format(const Checkpoint& checkpoint, const std::string& name,
                           WeightFormat otherwise) {
  const TensorInfo* info = checkpoint.find(name);
  if (info == nullptr) return otherwise;
  switch (info->dtype) {
    case DType::kF32: return WeightFormat::kF32;
    case DType::kBf16: return WeightFormat::kBf16;
    case DType::kF8E4M3: return WeightFormat::kFp8Block;
    default: return WeightFormat::kFp4Group;
  }
}

WeightPlan stored_weights(const ModelConfig& config, const Checkpoint& checkpoint) {
  Totals totals;
  for (const TensorSpec& spec : expected_tensors(config)) {
    for (const std::string& name : {spec.weight_name(), spec.scale_name()}) {
      const TensorInfo* info = checkpoint.find(name);
      if (info != nullptr) totals.add(spec, 1, static_cast<std::int64_t>(info->n_bytes));
    }
  }
  return totals.plan();
}

}  // namespace

WeightPlan released_weights(const ModelConfig& config) {
  const Totals one = released_totals(config, 1);
  const Totals two = released_totals(config, 2);
  const auto extend = [&](std::int64_t with_one, std::int64_t with_two) {
    return with_one + (config.n_experts - 1) * (with_two - with_one);
  };
  Totals all;
  all.n_tensors = extend(one.n_tensors, two.n_tensors);
  all.n_bytes = extend(one.n_bytes, two.n_bytes);
  all.draft_bytes = extend(one.draft_bytes, two.draft_bytes);
  all.routed_expert_bytes = extend(one.routed_expert_bytes, two.routed_expert_bytes);
  for (std::size_t i = 0; i < all.by_group.size(); ++i) {
    all.by_group[i] = extend(one.by_group[i], two.by_group[i]);
  }
  return all.plan();
}

std::unique_ptr<PlannedModel> make_v4_model(ModelConfig config) {
  WeightPlan weights = released_weights(config);
  return std::make_unique<V4Model>(std::move(config), MatrixFormats{}, std::move(weights));
}

Result<std::unique_ptr<PlannedModel>> open_v4_model(const std::filesystem::path& dir) {
  PRECIS_ASSIGN_OR_RETURN(ModelConfig config, load_config(dir));
  std::error_code ec;
  if (!std::filesystem::exists(dir / "model.safetensors", ec) &&
      !std::filesystem::exists(dir / "model.safetensors.index.json", ec)) {
    return make_v4_model(std::move(config));
  }
  PRECIS_ASSIGN_OR_RETURN(const Checkpoint checkpoint, Checkpoint::open(dir));
  const std::string& first = config.layers.front().prefix;
  const MatrixFormats released;
  const MatrixFormats formats{
      stored_format(checkpoint, first + "attn.wq_a.weight", released.dense),
      stored_format(checkpoint, first + "ffn.experts.0.w1.weight", released.expert)};
  WeightPlan weights = stored_weights(config, checkpoint);
  return std::unique_ptr<PlannedModel>(
      std::make_unique<V4Model>(std::move(config), formats, std::move(weights)));
}

}  // namespace precis
