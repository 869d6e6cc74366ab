#include "precis/inspect.h"

#include <algorithm>
#include <array>
#include <map>

#include <fmt/format.h>

#include "checkpoint/safetensors.h"
#include "engine/kv_compare.h"
#include "kv/kv_spec.h"
#include "model/config.h"
#include "model/tensor_table.h"

namespace precis {
namespace {

// Totals of the published checkpoints.
// Source: docs/model.md §10 (their index files; Pro-0813 computed).
struct Published {
  const char* name;
  std::int64_t n_tensors;
  std::int64_t n_bytes;
};
constexpr std::array<Published, 4> kPublished{{
    {"DeepSeek-V4-Flash (preview)", 69'187, 159'609'485'896},
    {"DeepSeek-V4-Flash-0731", 72'317, 166'878'536'440},
    {"DeepSeek-V4-Pro (preview)", 145'116, 864'704'792'696},
    {"DeepSeek-V4-Pro-0813 (computed)", 149'782, 892'727'580'904},
}};

// Sums bytes, tensors and parameters under a key, in order of first appearance.
class Sums {
 public:
  BytesByKind& at(const std::string& kind) {
    for (BytesByKind& sum : sums_) {
      if (sum.kind == kind) return sum;
    }
    sums_.push_back({kind, 0, 0, 0});
    return sums_.back();
  }
  std::vector<BytesByKind> take() {
    std::stable_sort(sums_.begin(), sums_.end(), [](const BytesByKind& a, const BytesByKind& b) {
      return a.n_bytes > b.n_bytes;
    });
    return std::move(sums_);
  }

 private:
  std::vector<BytesByKind> sums_;
};

LayerSummary summarise(const ModelConfig& config, const LayerConfig& layer, int index, bool mtp) {
  LayerSummary out;
  out.layer = index;
  out.mtp = mtp;
  out.ratio = layer.ratio;
  out.kind = layer_kind_name(layer.kind);
  out.routing = layer.hash_routing ? "hash" : "scored";
  out.rope_theta = config.rope_theta_of(layer);
  out.yarn = layer.yarn() && config.yarn.factor > 1;
  return out;
}

void add_layers(const ModelConfig& config, CheckpointReport& report) {
  for (int n = 0; n < config.n_layers(); ++n) {
    report.layers.push_back(
        summarise(config, config.layers[static_cast<std::size_t>(n)], n, false));
  }
  const int n_drafts =
      config.drafter.n_stages > 0 ? config.drafter.n_stages : static_cast<int>(config.mtp.size());
  for (int n = 0; n < n_drafts; ++n) report.layers.push_back(summarise(config, {}, n, true));
}

LayerSummary* layer_of(CheckpointReport& report, const TensorSpec& spec) {
  int index = spec.layer;
  if (spec.mtp) index = std::stoi(spec.name.substr(std::string("mtp.").size()));
  for (LayerSummary& layer : report.layers) {
    if (layer.mtp == spec.mtp && layer.layer == index) return &layer;
  }
  return nullptr;
}

void add_tensors(const std::vector<TensorSpec>& specs, const Checkpoint& checkpoint,
                 CheckpointReport& report) {
  Sums by_kind;
  Sums by_dtype;
  for (const TensorSpec& spec : specs) {
    (spec.mtp ? report.n_mtp_parameters : report.n_parameters) += n_parameters(spec);
    BytesByKind& sum = by_kind.at(spec.mtp ? "draft block" : tensor_group_name(spec.group));
    sum.n_parameters += n_parameters(spec);
    for (const std::string& name : {spec.weight_name(), spec.scale_name()}) {
      const TensorInfo* info = checkpoint.find(name);
      if (info == nullptr) continue;
      ++sum.n_tensors;
      sum.n_bytes += static_cast<std::int64_t>(info->n_bytes);
      if (LayerSummary* layer = layer_of(report, spec)) {
        layer->n_bytes += static_cast<std::int64_t>(info->n_bytes);
      }
    }
  }
  for (const TensorInfo& info : checkpoint.tensors()) {
    report.tensors.push_back({info.name, std::string(dtype_name(info.dtype)), info.shape,
                              static_cast<std::int64_t>(info.n_bytes),
                              checkpoint.shards()[info.shard_idx].path.filename().string()});
    BytesByKind& sum = by_dtype.at(std::string(dtype_name(info.dtype)));
    ++sum.n_tensors;
    sum.n_bytes += static_cast<std::int64_t>(info.n_bytes);
  }
  report.by_kind = by_kind.take();
  report.by_dtype = by_dtype.take();
}

}  // namespace

Result<CheckpointReport> inspect_checkpoint(const std::filesystem::path& model,
                                            std::int64_t n_tokens) {
  PRECIS_ASSIGN_OR_RETURN(const ModelConfig config, load_config(model));
  if (n_tokens < 0 || n_tokens > config.max_position_embeddings) {
    return Error{ErrorCode::kInvalidArgument,
                 fmt::format("ctx: want 0 … {} tokens (max_position_embeddings), found {}",
                             config.max_position_embeddings, n_tokens)};
  }
  PRECIS_ASSIGN_OR_RETURN(const Checkpoint checkpoint, Checkpoint::open(model));
  const std::vector<TensorSpec> specs = expected_tensors(config);

  CheckpointReport report;
  const auto path = model.lexically_normal();
  report.name = (path.has_filename() ? path : path.parent_path()).filename().string();
  report.n_tensors = static_cast<std::int64_t>(checkpoint.tensors().size());
  report.n_bytes = static_cast<std::int64_t>(checkpoint.payload_bytes());
  report.n_shards = static_cast<std::int64_t>(checkpoint.shards().size());
  add_layers(config, report);
  add_tensors(specs, checkpoint, report);
  TensorCheck check = check_tensors(config, specs, checkpoint);
  report.missing = std::move(check.missing);
  report.unexpected = std::move(check.unexpected);
  report.wrong = std::move(check.wrong);
  for (const Published& published : kPublished) {
    report.published.push_back(
        {published.name, published.n_tensors, published.n_bytes,
         published.n_tensors == report.n_tensors && published.n_bytes == report.n_bytes});
  }
  const KvSpec kv = kv_spec_of(config, config.layers, RopeStorage::kBf16);
  report.kv_tokens = n_tokens;
  report.kv = kv_bytes(kv, n_tokens);
  report.kv_bytes_per_token = kv_bytes_per_token(kv);
  report.kv_comparison = compare_kv(config, n_tokens);
  return report;
}

}  // namespace precis
