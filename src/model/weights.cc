#include "model/weights.h"

#include <algorithm>
#include <cstring>
#include <optional>

#include <fmt/format.h>

#include "tensor/bf16.h"
#include "tensor/quant.h"
#include "xxhash.h"

namespace precis {
namespace {

// Loads tensors by name and keeps the first error; every getter is harmless after one.
class Loader {
 public:
  Loader(const ModelConfig& config, const TensorSource& source, Backend& backend,
         const WeightPlacement& placement, ModelTensors& out)
      : config_(config), source_(source), backend_(backend), placement_(placement), out_(out) {}

  /// A matrix stored under `name`.weight, quantised or not.
  WeightPtr matrix(const std::string& name, WeightPlace place = WeightPlace::kBackend) {
    return load(name + ".weight", name + ".scale", place);
  }
  /// A matrix stored under `name` as it stands.
  WeightPtr plain_matrix(const std::string& name) { return load(name, "", WeightPlace::kBackend); }

  std::span<const float> vector(const std::string& name) {
    const TensorInfo* info = find(name);
    if (info == nullptr) return {};
    const TensorBytes read = source_.read(*info, info->n_bytes);
    const std::span<const std::byte> bytes = read.view();
    std::vector<float> values(bytes.size() / (info->dtype == DType::kBf16 ? 2 : 4));
    for (std::size_t i = 0; i < values.size(); ++i) {
      values[i] = info->dtype == DType::kBf16 ? bf16_at(bytes, i) : f32_at(bytes, i);
    }
    return store<float>(values);
  }

  Mat<const std::int32_t> expert_table(const std::string& name) {
    const TensorInfo* info = find(name);
    if (info == nullptr) return {};
    const TensorBytes read = source_.read(*info, info->n_bytes);
    const std::span<const std::byte> bytes = read.view();
    const std::size_t width = info->dtype == DType::kI64 ? 8 : 4;
    std::vector<std::int32_t> values(bytes.size() / width);
    for (std::size_t i = 0; i < values.size(); ++i) {
      const std::int64_t value = integer_at(bytes, i, width);
      if (value < 0 || value >= config_.n_experts) {
        fail(fmt::format("{}: want experts 0 … {}, found {} for token {}", name,
                         config_.n_experts - 1, value,
                         static_cast<std::int64_t>(i) / config_.n_active_experts));
        return {};
      }
      values[i] = static_cast<std::int32_t>(value);
    }
    const auto stored = store<std::int32_t>(values);
    return {stored.data(), config_.vocab_size, config_.n_active_experts};
  }

  HyperTensors hyper(const std::string& name) {
    return {plain_matrix(name + "_fn"), vector(name + "_base"), vector(name + "_scale")};
  }
  CompressorTensors compressor(const std::string& name) {
    return {matrix(name + ".wkv"), matrix(name + ".wgate"), vector(name + ".ape"),
            vector(name + ".norm.weight")};
  }
  ExpertTensors expert(const std::string& name, WeightPlace place = WeightPlace::kBackend) {
    return {matrix(name + ".w1", place), matrix(name + ".w2", place), matrix(name + ".w3", place)};
  }
  LayerTensors layer(const LayerConfig& config);

  const std::optional<Error>& error() const { return error_; }

 private:
  const TensorInfo* find(const std::string& name) {
    if (error_) return nullptr;
    const TensorInfo* info = source_.find(name);
    if (info == nullptr) fail(fmt::format("{}: missing from the checkpoint", name));
    return info;
  }
  void fail(std::string message) {
    if (!error_) error_ = Error{ErrorCode::kCorrupt, std::move(message)};
  }

  static float bf16_at(std::span<const std::byte> bytes, std::size_t i) {
    std::uint16_t bits;
    std::memcpy(&bits, bytes.data() + 2 * i, 2);
    const std::uint32_t word = std::uint32_t{bits} << 16;
    float value;
    std::memcpy(&value, &word, 4);
    return value;
  }
  static float f32_at(std::span<const std::byte> bytes, std::size_t i) {
    float value;
    std::memcpy(&value, bytes.data() + 4 * i, 4);
    return value;
  }
  static std::int64_t integer_at(std::span<const std::byte> bytes, std::size_t i,
                                 std::size_t width) {
    if (width == 8) {
      std::int64_t value;
      std::memcpy(&value, bytes.data() + 8 * i, 8);
      return value;
    }
    std::int32_t value;
    std::memcpy(&value, bytes.data() + 4 * i, 4);
    return value;
  }

  template <typename T>
  std::span<const T> store(const std::vector<T>& values) {
    Buffer buffer = backend_.allocate(values.size() * sizeof(T));
    backend_.copy_in(buffer.data(), std::as_bytes(std::span(values)));
    const std::span<const T> view = buffer.span<const T>();
    out_.n_bytes += static_cast<std::int64_t>(values.size() * sizeof(T));
    out_.storage.push_back(std::move(buffer));
    return view;
  }

  // The bytes behind a WeightSource while the backend takes them.
  struct Stored {
    TensorBytes bytes;
    std::optional<RandomTable> table;
  };

  WeightPtr load(const std::string& name, const std::string& scale_name, WeightPlace place) {
    const TensorInfo* info = find(name);
    if (info == nullptr) return nullptr;
    WeightSource source;
    source.n_out = info->shape[0];
    source.n_in = info->shape[1];
    source.place = place;
    describe_format(*info, source);
    const Stored codes = read(*info);
    source.codes = codes.bytes.view().data();
    source.drawn_codes = codes.table ? &*codes.table : nullptr;
    Stored scales;
    if (source.quantised()) {
      const TensorInfo* scale_info = find(scale_name);
      if (scale_info == nullptr) return nullptr;
      scales = read(*scale_info);
      const std::span<const std::byte> bytes = scales.bytes.view();
      source.scales = reinterpret_cast<const std::uint8_t*>(bytes.data());
      source.drawn_scales = scales.table ? &*scales.table : nullptr;
      if (const auto at = find_nan_scale({source.scales, bytes.size()})) {
        fail(fmt::format("{}: want e8m0 scales, found NaN (byte 255) at element {}", scale_name,
                         *at));
        return nullptr;
      }
    }
    WeightPtr weight = backend_.load_weight(source);
    const auto n_bytes = static_cast<std::int64_t>(backend_.weight_bytes(source));
    out_.n_bytes += n_bytes;
    if (place == WeightPlace::kHost) out_.n_host_bytes += n_bytes;
    source_.release(*info);
    return weight;
  }

  Stored read(const TensorInfo& info) {
    if (backend_.draws_weights()) {
      if (auto table = source_.random_table(info)) return {{}, std::move(table)};
    }
    return {source_.read(info, info.n_bytes), std::nullopt};
  }

  void describe_format(const TensorInfo& info, WeightSource& source) const {
    switch (info.dtype) {
      case DType::kF32: source.format = WeightFormat::kF32; break;
      case DType::kBf16: source.format = WeightFormat::kBf16; break;
      case DType::kF8E4M3:
        source.format = WeightFormat::kFp8Block;
        source.block_out = config_.weight_block_out;
        source.block_in = config_.weight_block_in;
        break;
      default:
        source.format = WeightFormat::kFp4Group;
        source.block_out = 1;
        source.block_in = static_cast<int>(kFp4Group);
        if (info.dtype != DType::kF4E2M1) source.n_in *= 2;
        break;
    }
  }

  const ModelConfig& config_;
  const TensorSource& source_;
  Backend& backend_;
  const WeightPlacement& placement_;
  ModelTensors& out_;
  std::optional<Error> error_;
};

LayerTensors Loader::layer(const LayerConfig& config) {
  const std::string& p = config.prefix;
  const std::string a = p + "attn.";
  const std::string f = p + "ffn.";
  LayerTensors t;
  t.hc_attn = hyper(p + "hc_attn");
  t.hc_ffn = hyper(p + "hc_ffn");
  t.attn_norm = vector(p + "attn_norm.weight");
  t.ffn_norm = vector(p + "ffn_norm.weight");

  t.attn_sink = vector(a + "attn_sink");
  t.wq_a = matrix(a + "wq_a");
  t.q_norm = vector(a + "q_norm.weight");
  t.wq_b = matrix(a + "wq_b");
  t.wkv = matrix(a + "wkv");
  t.kv_norm = vector(a + "kv_norm.weight");
  t.wo_a = matrix(a + "wo_a");
  t.wo_b = matrix(a + "wo_b");
  if (config.compressed()) t.compressor = compressor(a + "compressor");
  if (config.kind == LayerKind::kSparse) {
    t.indexer_wq_b = matrix(a + "indexer.wq_b");
    t.indexer_weights_proj = matrix(a + "indexer.weights_proj");
    t.indexer_compressor = compressor(a + "indexer.compressor");
  }

  t.gate = matrix(f + "gate");
  if (config.hash_routing) {
    t.tid2eid = expert_table(f + "gate.tid2eid");
  } else {
    t.gate_bias = vector(f + "gate.bias");
  }
  for (int e = 0; e < config_.n_experts && !error_; ++e) {
    const bool on_host = e >= config_.n_experts - placement_.n_host_experts;
    t.experts.push_back(expert(fmt::format("{}experts.{}", f, e),
                               on_host ? WeightPlace::kHost : WeightPlace::kBackend));
    t.expert_views.push_back(t.experts.back().view());
  }
  t.shared_experts = expert(f + "shared_experts");
  return t;
}

// Names, dtypes, shapes, and the first bytes of every tensor: enough to tell two checkpoints of one
// family apart without reading all of either.
std::uint64_t fingerprint(const TensorSource& source) {
  constexpr std::uint64_t kSampleBytes = 64;
  std::uint64_t hash = 0;
  for (const TensorInfo& info : source.tensors()) {
    const TensorBytes sample = source.read(info, kSampleBytes);
    const std::span<const std::byte> bytes = sample.view();
    hash = XXH3_64bits_withSeed(info.name.data(), info.name.size(), hash);
    hash = XXH3_64bits_withSeed(info.shape.data(), info.shape.size() * 8,
                                hash + static_cast<std::uint64_t>(info.dtype));
    hash = XXH3_64bits_withSeed(bytes.data(), bytes.size(), hash);
  }
  return hash;
}

Result<void> require_complete(const ModelConfig& config, const TensorSource& source) {
  ModelConfig run = config;
  run.drafter = {};
  const TensorCheck check = check_tensors(run, expected_tensors(run), source);
  if (!check.wrong.empty()) {
    return Error{ErrorCode::kCorrupt, fmt::format("{} ({} tensors differ from config.json)",
                                                  check.wrong.front(), check.wrong.size())};
  }
  if (!check.missing.empty()) {
    return Error{ErrorCode::kCorrupt,
                 fmt::format("{}: missing from the checkpoint ({} tensors of config.json are)",
                             check.missing.front(), check.missing.size())};
  }
  return {};
}

}  // namespace

Result<ModelTensors> load_tensors(const ModelConfig& config, const TensorSource& source,
                                  Backend& backend, const WeightPlacement& placement) {
  PRECIS_TRY(require_complete(config, source));
  ModelTensors out;
  Loader load(config, source, backend, placement, out);
  out.fingerprint = fingerprint(source);
  out.embed = load.matrix("embed");
  out.head = load.matrix("head");
  out.norm = load.vector("norm.weight");
  out.hc_head = load.hyper("hc_head");
  for (const LayerConfig& layer : config.layers) out.layers.push_back(load.layer(layer));
  for (const LayerConfig& layer : config.mtp) {
    const std::string& p = layer.prefix;
    MtpTensors t;
    t.layer = load.layer(layer);
    t.e_proj = load.matrix(p + "e_proj");
    t.h_proj = load.matrix(p + "h_proj");
    t.enorm = load.vector(p + "enorm.weight");
    t.hnorm = load.vector(p + "hnorm.weight");
    t.norm = load.vector(p + "norm.weight");
    t.hc_head = load.hyper(p + "hc_head");
    out.mtp.push_back(std::move(t));
  }
  if (load.error()) return *load.error();
  return out;
}

InputQuant input_quant(const Weight& weight) {
  const bool quantised =
      weight.format() == WeightFormat::kFp8Block || weight.format() == WeightFormat::kFp4Group;
  return quantised ? InputQuant::kFp8Group128 : InputQuant::kNone;
}

}  // namespace precis
