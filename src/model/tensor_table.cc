#include "model/tensor_table.h"

#include <functional>
#include <numeric>
#include <set>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "base/integers.h"

namespace precis {
namespace {

using Shape = std::vector<std::int64_t>;

// Collects the specs of one prefix.
class Table {
 public:
  Table(std::vector<TensorSpec>& out, std::string prefix, int layer, bool mtp)
      : out_(out), prefix_(std::move(prefix)), layer_(layer), mtp_(mtp) {}

  void matrix(TensorGroup group, const std::string& name, Shape shape) {
    add(TensorForm::kMatrix, group, name, std::move(shape));
  }
  void plain(TensorGroup group, const std::string& name, Shape shape) {
    add(TensorForm::kPlainMatrix, group, name, std::move(shape));
  }
  void vector(TensorGroup group, const std::string& name, Shape shape) {
    add(TensorForm::kVector, group, name, std::move(shape));
  }
  void table(TensorGroup group, const std::string& name, Shape shape) {
    add(TensorForm::kTable, group, name, std::move(shape));
  }

 private:
  void add(TensorForm form, TensorGroup group, const std::string& name, Shape shape) {
    out_.push_back({prefix_ + name, form, group, std::move(shape), layer_, mtp_});
  }

  std::vector<TensorSpec>& out_;
  std::string prefix_;
  int layer_;
  bool mtp_;
};

void add_hyper(Table& t, const ModelConfig& c, const std::string& name, std::int64_t n_mix,
               std::int64_t n_scales) {
  t.plain(TensorGroup::kHyper, name + "_fn", {n_mix, c.n_streams * c.hidden_size});
  t.vector(TensorGroup::kHyper, name + "_base", {n_mix});
  t.vector(TensorGroup::kHyper, name + "_scale", {n_scales});
}

void add_compressor(Table& t, TensorGroup group, const std::string& name, const ModelConfig& c,
                    const LayerConfig& layer, std::int64_t width) {
  const std::int64_t projected = width * (layer.overlap() ? 2 : 1);
  t.vector(group, name + ".ape", {layer.ratio, projected});
  t.matrix(group, name + ".wkv", {projected, c.hidden_size});
  t.matrix(group, name + ".wgate", {projected, c.hidden_size});
  t.vector(group, name + ".norm.weight", {width});
}

void add_attention(Table& t, const ModelConfig& c, const LayerConfig& layer) {
  const std::int64_t q_width = std::int64_t{c.n_heads} * c.head_dim;
  const std::int64_t o_width = std::int64_t{c.o_groups} * c.o_lora_rank;
  constexpr auto kAttention = TensorGroup::kAttention;
  t.vector(kAttention, "attn.attn_sink", {c.n_heads});
  t.matrix(kAttention, "attn.wq_a", {c.q_lora_rank, c.hidden_size});
  t.vector(TensorGroup::kNorm, "attn.q_norm.weight", {c.q_lora_rank});
  t.matrix(kAttention, "attn.wq_b", {q_width, c.q_lora_rank});
  t.matrix(kAttention, "attn.wkv", {c.head_dim, c.hidden_size});
  t.vector(TensorGroup::kNorm, "attn.kv_norm.weight", {c.head_dim});
  t.matrix(kAttention, "attn.wo_a", {o_width, q_width / c.o_groups});
  t.matrix(kAttention, "attn.wo_b", {c.hidden_size, o_width});
  if (layer.compressed()) {
    add_compressor(t, TensorGroup::kCompressor, "attn.compressor", c, layer, c.head_dim);
  }
  if (layer.kind == LayerKind::kSparse) {
    constexpr auto kIndexer = TensorGroup::kIndexer;
    t.matrix(kIndexer, "attn.indexer.wq_b",
             {std::int64_t{c.index_heads} * c.index_dim, c.q_lora_rank});
    t.matrix(kIndexer, "attn.indexer.weights_proj", {c.index_heads, c.hidden_size});
    add_compressor(t, kIndexer, "attn.indexer.compressor", c, layer, c.index_dim);
  }
}

void add_experts(Table& t, const ModelConfig& c, const LayerConfig& layer) {
  t.matrix(TensorGroup::kRouter, "ffn.gate", {c.n_experts, c.hidden_size});
  if (layer.hash_routing) {
    t.table(TensorGroup::kRouter, "ffn.gate.tid2eid", {c.vocab_size, c.n_active_experts});
  } else {
    t.vector(TensorGroup::kRouter, "ffn.gate.bias", {c.n_experts});
  }
  auto expert = [&](TensorGroup group, const std::string& name) {
    t.matrix(group, name + ".w1", {c.expert_dim, c.hidden_size});
    t.matrix(group, name + ".w2", {c.hidden_size, c.expert_dim});
    t.matrix(group, name + ".w3", {c.expert_dim, c.hidden_size});
  };
  for (int e = 0; e < c.n_experts; ++e) {
    expert(TensorGroup::kRoutedExperts, fmt::format("ffn.experts.{}", e));
  }
  expert(TensorGroup::kSharedExpert, "ffn.shared_experts");
}

void add_block(Table& t, const ModelConfig& c, const LayerConfig& layer) {
  t.vector(TensorGroup::kNorm, "attn_norm.weight", {c.hidden_size});
  t.vector(TensorGroup::kNorm, "ffn_norm.weight", {c.hidden_size});
  add_hyper(t, c, "hc_attn", c.mix_dim(), 3);
  add_hyper(t, c, "hc_ffn", c.mix_dim(), 3);
  add_attention(t, c, layer);
  add_experts(t, c, layer);
}

void add_mtp(std::vector<TensorSpec>& out, const ModelConfig& c, const LayerConfig& layer) {
  Table t(out, layer.prefix, -1, true);
  add_block(t, c, layer);
  t.matrix(TensorGroup::kMtp, "e_proj", {c.hidden_size, c.hidden_size});
  t.matrix(TensorGroup::kMtp, "h_proj", {c.hidden_size, c.hidden_size});
  for (const char* name : {"enorm.weight", "hnorm.weight", "norm.weight"}) {
    t.vector(TensorGroup::kMtp, name, {c.hidden_size});
  }
  add_hyper(t, c, "hc_head", c.n_streams, 1);
}

void add_drafter(std::vector<TensorSpec>& out, const ModelConfig& c) {
  const std::int64_t d = c.hidden_size;
  for (int s = 0; s < c.drafter.n_stages; ++s) {
    LayerConfig stage;
    stage.prefix = fmt::format("mtp.{}.", s);
    Table t(out, stage.prefix, -1, true);
    add_block(t, c, stage);
    if (s == 0) {
      t.matrix(TensorGroup::kMtp, "main_proj", {d, d * c.drafter.n_targets});
      t.vector(TensorGroup::kMtp, "main_norm.weight", {d});
    }
    if (s == c.drafter.n_stages - 1) {
      t.vector(TensorGroup::kMtp, "norm.weight", {d});
      add_hyper(t, c, "hc_head", c.n_streams, 1);
      t.matrix(TensorGroup::kMtp, "markov_head.markov_w1", {c.vocab_size, c.drafter.markov_rank});
      t.matrix(TensorGroup::kMtp, "markov_head.markov_w2", {c.vocab_size, c.drafter.markov_rank});
      t.matrix(TensorGroup::kMtp, "confidence_head.proj", {1, d + c.drafter.markov_rank});
    }
  }
}

std::string describe(DType dtype, const Shape& shape) {
  return fmt::format("{} [{}]", dtype_name(dtype), fmt::join(shape, ", "));
}

// Holds one stored tensor against what the table wants of it.
class Checker {
 public:
  Checker(const ModelConfig& config, const TensorSource& source, TensorCheck& result)
      : config_(config), source_(source), result_(result) {}

  void check(const TensorSpec& spec) {
    const TensorInfo* info = find(spec.weight_name());
    if (info == nullptr) return;
    switch (spec.form) {
      case TensorForm::kMatrix: check_matrix(spec, *info); return;
      case TensorForm::kPlainMatrix:
      case TensorForm::kVector: want(*info, {DType::kBf16, DType::kF32}, spec.shape); return;
      case TensorForm::kTable: want(*info, {DType::kI64, DType::kI32}, spec.shape); return;
    }
  }

  void report_unexpected() {
    for (const TensorInfo& info : source_.tensors()) {
      // The MTP block shares the main embedding and head; some files repeat them.
      if (info.name.starts_with("mtp.") &&
          (info.name.ends_with(".embed.weight") || info.name.ends_with(".emb.tok_emb.weight") ||
           (info.name.ends_with(".head.weight") && !known_.contains(info.name)))) {
        continue;
      }
      if (!known_.contains(info.name)) result_.unexpected.push_back(info.name);
    }
  }

 private:
  const TensorInfo* find(const std::string& name) {
    const TensorInfo* info = source_.find(name);
    if (info == nullptr) {
      result_.missing.push_back(name);
    } else {
      known_.insert(name);
    }
    return info;
  }

  bool want(const TensorInfo& info, std::initializer_list<DType> dtypes, const Shape& shape) {
    for (const DType dtype : dtypes) {
      if (info.dtype == dtype && info.shape == shape) return true;
    }
    result_.wrong.push_back(fmt::format("{}: want {}, found {}", info.name,
                                        describe(*dtypes.begin(), shape),
                                        describe(info.dtype, info.shape)));
    return false;
  }

  void check_matrix(const TensorSpec& spec, const TensorInfo& info) {
    const std::int64_t n_out = spec.shape[0];
    const std::int64_t n_in = spec.shape[1];
    switch (info.dtype) {
      case DType::kF8E4M3: {
        if (!want(info, {DType::kF8E4M3}, spec.shape)) return;
        const TensorInfo* scale = find(spec.scale_name());
        if (scale != nullptr) {
          want(
              *scale, {DType::kF8E8M0},
              {ceil_div(n_out, config_.weight_block_out), ceil_div(n_in, config_.weight_block_in)});
        }
        return;
      }
      case DType::kI8:
      case DType::kU8:
      case DType::kF4E2M1: {
        const bool counts_bytes = info.dtype != DType::kF4E2M1;
        if (!want(info, {info.dtype}, {n_out, counts_bytes ? n_in / 2 : n_in})) return;
        const TensorInfo* scale = find(spec.scale_name());
        if (scale != nullptr) want(*scale, {DType::kF8E8M0}, {n_out, ceil_div(n_in, 32)});
        return;
      }
      default: want(info, {DType::kBf16, DType::kF32}, spec.shape); return;
    }
  }

  const ModelConfig& config_;
  const TensorSource& source_;
  TensorCheck& result_;
  std::set<std::string, std::less<>> known_;
};

}  // namespace

std::string tensor_group_name(TensorGroup group) {
  switch (group) {
    case TensorGroup::kEmbedding: return "embedding";
    case TensorGroup::kHead: return "head";
    case TensorGroup::kAttention: return "attention";
    case TensorGroup::kCompressor: return "compressors";
    case TensorGroup::kIndexer: return "indexers";
    case TensorGroup::kRouter: return "routers";
    case TensorGroup::kRoutedExperts: return "routed experts";
    case TensorGroup::kSharedExpert: return "shared experts";
    case TensorGroup::kHyper: return "hyper-connections";
    case TensorGroup::kNorm: return "norms";
    case TensorGroup::kMtp: return "draft heads";
  }
  return "unknown";
}

std::vector<TensorSpec> expected_tensors(const ModelConfig& c) {
  std::vector<TensorSpec> out;
  Table top(out, "", -1, false);
  top.matrix(TensorGroup::kEmbedding, "embed", {c.vocab_size, c.hidden_size});
  for (int n = 0; n < c.n_layers(); ++n) {
    const LayerConfig& layer = c.layers[static_cast<std::size_t>(n)];
    Table t(out, layer.prefix, n, false);
    add_block(t, c, layer);
  }
  top.vector(TensorGroup::kNorm, "norm.weight", {c.hidden_size});
  add_hyper(top, c, "hc_head", c.n_streams, 1);
  top.matrix(TensorGroup::kHead, "head", {c.vocab_size, c.hidden_size});
  for (const LayerConfig& layer : c.mtp) add_mtp(out, c, layer);
  add_drafter(out, c);
  return out;
}

TensorCheck check_tensors(const ModelConfig& config, const std::vector<TensorSpec>& specs,
                          const TensorSource& source) {
  TensorCheck result;
  Checker checker(config, source, result);
  for (const TensorSpec& spec : specs) checker.check(spec);
  checker.report_unexpected();
  return result;
}

std::int64_t n_parameters(const TensorSpec& spec) {
  if (spec.form == TensorForm::kTable) return 0;
  return std::accumulate(spec.shape.begin(), spec.shape.end(), std::int64_t{1},
                         std::multiplies<>());
}

}  // namespace precis
